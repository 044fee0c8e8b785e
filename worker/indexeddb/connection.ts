/**
 * The connection to one database: opening it, opening it again when it was lost, and the
 * transactions on it.
 *
 * The fence: `Connection.take` writes a random owner into the database. Every transaction that
 * writes asks for the owner first and queues its writes at once; when the answer is another owner,
 * it is aborted, before any of them counts. That is decided within the event, since what waits for
 * a promise may run when the transaction is over.
 */

import type { Failure } from "../../tabs/messages.ts";
import {
  BUSY,
  CLOSED,
  failure,
  hasName,
  IO,
  NEWER_FORMAT,
  notThere,
  UNSUPPORTED,
  whileDoing,
  withCode,
} from "../failure.ts";

/** The version of every database, for ever: an upgrade would have to wait for all other tabs. */
const VERSION = 1;
/** How long opening may take: a deletion that waits for another tab holds it up. */
const OPEN_MS_MAX = 10_000;
/** How often a step that has certainly changed nothing is tried again on a new connection. */
const RETRIES = 2;

const CHUNKS = "chunks";
const META = "meta";
const OWNER = "owner";

/** Makes the requests of a transaction that reads a store. */
export type Ask<T> = (store: IDBObjectStore) => (EventTarget & { readonly result: T })[];
/** Queues the requests of a transaction on the chunks and on the meta store. */
export type Change = (chunks: IDBObjectStore, meta: IDBObjectStore) => void;

/** A connection that is made again when it was lost. */
export class Connection {
  readonly #name: string;
  readonly #owner = randomOwner();
  #deposed = () => {};
  #database: IDBDatabase | undefined;
  #prepared: Promise<void> | undefined;
  /** The new connection, while it is being made: one for all who wait for it. */
  #reconnecting: Promise<IDBDatabase> | undefined;
  #isClosed = false;
  /** Another owner was found. */
  #isFenced = false;

  /** To the database `name`. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Connects, so that `take` need not, if the database is there. */
  prepare(): void {
    const connected = (database: IDBDatabase) => {
      this.#database = database;
    };
    this.#prepared = this.#connect(false).then(connected, () => undefined);
  }

  /**
   * Takes the database over from any earlier owner, and makes `requests` in the same transaction.
   * One that is not there is made, or else refused. `deposed` is called once when a later owner is
   * met.
   */
  async take(deposed: () => void, requests: Change, create: boolean): Promise<void> {
    this.#deposed = deposed;
    const take: Change = (chunks, meta) => {
      meta.put(this.#owner, OWNER);
      requests(chunks, meta);
    };
    await this.#prepared;
    for (;;) {
      const prepared = this.#database;
      const database = prepared ?? (await this.#connect(create));
      try {
        await this.#writeOn(beginWrite(database, "relaxed"), take, false);
        this.#database = database;
        return;
      } catch (error) {
        this.#disconnect(database);
        // One that was prepared may have been lost since.
        if (prepared === undefined || !isLost(error)) {
          throw whileDoing("taking over the database", error);
        }
      }
    }
  }

  /**
   * Runs a transaction that reads the chunks: `ask` makes the requests, whose results are returned
   * in that order. It is run again on a new connection where the old one was lost.
   */
  async read<T>(ask: Ask<T>): Promise<T[]> {
    for (let retries = RETRIES; ; retries -= 1) {
      const database = this.#current() ?? (await this.#reconnect());
      try {
        return await readOn(database, CHUNKS, ask);
      } catch (error) {
        if (retries === 0 || !isLost(error)) throw whileDoing("reading", error);
      }
      this.#disconnect(database);
    }
  }

  /**
   * Runs a transaction that writes. Resolves when it is complete; then, and only then, it has been
   * applied.
   */
  async write(durability: IDBTransactionDurability, change: Change): Promise<void> {
    for (let retries = RETRIES; ; retries -= 1) {
      const database = this.#current() ?? (await this.#reconnect());
      let transaction: IDBTransaction;
      try {
        transaction = beginWrite(database, durability);
      } catch (error) {
        if (retries === 0 || !isLost(error)) throw whileDoing("writing", error);
        this.#disconnect(database);
        continue;
      }
      try {
        return await this.#writeOn(transaction, change, true);
      } catch (error) {
        throw this.#isFenced ? fenced() : whileDoing("writing", error);
      }
    }
  }

  #writeOn(transaction: IDBTransaction, change: Change, checkOwner: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      listen(transaction, reject);
      transaction.oncomplete = () => resolve();
      try {
        const meta = transaction.objectStore(META);
        if (checkOwner) {
          const request: IDBRequest<unknown> = meta.get(OWNER);
          request.onsuccess = () => this.#onOwner(transaction, request.result);
        }
        change(transaction.objectStore(CHUNKS), meta);
      } catch (error) {
        reject(error);
        abort(transaction);
      }
    });
  }

  #onOwner(transaction: IDBTransaction, found: unknown): void {
    if (found !== this.#owner) {
      this.#fence();
      abort(transaction);
      return;
    }
    try {
      transaction.commit();
    } catch {
      // It commits by itself, a little later; old browsers can't be told.
    }
  }

  /** Another owner was met. */
  #fence(): void {
    if (!this.#isFenced) this.#deposed();
    this.#isFenced = true;
  }

  /** The connection, if it is there. Throws when it was closed or another owner was met. */
  #current(): IDBDatabase | undefined {
    this.check();
    return this.#database;
  }

  #reconnect(): Promise<IDBDatabase> {
    this.#reconnecting ??= this.#reconnectOnce().finally(() => {
      this.#reconnecting = undefined;
    });
    return this.#reconnecting;
  }

  /** Connects to a database that must be there, and must still be ours. */
  async #reconnectOnce(): Promise<IDBDatabase> {
    const database = await this.#connect(false);
    try {
      const [owner] = await readOn<unknown>(database, META, (meta) => [meta.get(OWNER)]);
      if (owner !== this.#owner) this.#fence();
    } catch (error) {
      database.close();
      throw whileDoing("looking for the owner", error);
    }
    const refusal = this.#refusal();
    if (refusal !== undefined) {
      database.close();
      throw refusal;
    }
    this.#database = database;
    return database;
  }

  /** A new connection. A database that is not there is made, or else refused. */
  #connect(create: boolean): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
      const request = openRequest(this.#name);
      let isAbandoned = false;
      const timer = setTimeout(() => {
        isAbandoned = true;
        reject(failure(IO, "IndexedDB did not open the database in time"));
      }, OPEN_MS_MAX);
      request.onsuccess = () => {
        clearTimeout(timer);
        const database = request.result;
        if (isAbandoned) {
          database.close();
          return;
        }
        // Somebody deletes the database, or the browser has ended the connection. The next call
        // finds out.
        database.onversionchange = database.onclose = () => this.#disconnect(database);
        resolve(database);
      };
      request.onerror = (event) => {
        clearTimeout(timer);
        event.preventDefault();
        reject(openFailure(request.error, create));
      };
      request.onupgradeneeded = () => {
        if (create && !isAbandoned) {
          for (const store of [CHUNKS, META]) request.result.createObjectStore(store);
        } else {
          abort(request.transaction);
        }
      };
    });
  }

  #disconnect(database: IDBDatabase): void {
    database.close();
    if (this.#database === database) this.#database = undefined;
  }

  /** Throws when the connection was closed or another owner was met. */
  check(): void {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
  }

  #refusal(): Failure | undefined {
    if (this.#isClosed) return closed();
    return this.#isFenced ? fenced() : undefined;
  }

  /** Ends the connection, once its transactions are through. Throws where that was done before. */
  close(): void {
    if (this.#isClosed) throw closed();
    this.#isClosed = true;
    if (this.#database !== undefined) this.#disconnect(this.#database);
  }
}

/** A number that no other open has drawn. */
function randomOwner(): number {
  const [bits = 0n] = crypto.getRandomValues(new BigUint64Array(1));
  return Number(bits >> 11n);
}

function openRequest(name: string): IDBOpenDBRequest {
  try {
    return indexedDB.open(name, VERSION);
  } catch (error) {
    throw openFailure(error, true);
  }
}

function openFailure(exception: unknown, create: boolean): Failure {
  if (!create && hasName(exception, "AbortError")) {
    return notThere();
  }
  // Calling what is not there is a ReferenceError or a TypeError.
  if (hasName(exception, "SecurityError", "ReferenceError", "TypeError")) {
    return withCode(UNSUPPORTED, "IndexedDB can't be used here", exception);
  }
  if (hasName(exception, "VersionError")) {
    const newer = "a newer version of kvass made the database: update the page";
    return withCode(NEWER_FORMAT, newer, exception);
  }
  return whileDoing("opening the database", exception);
}

function closed(): Failure {
  return failure(CLOSED, "the storage was closed");
}

function fenced(): Failure {
  return failure(BUSY, "another tab or worker has taken over the database");
}

/** Whether it is an exception of a connection that is closing or lost. */
function isLost(exception: unknown): boolean {
  return hasName(exception, "InvalidStateError", "AbortError", "UnknownError");
}

function beginWrite(database: IDBDatabase, durability: IDBTransactionDurability): IDBTransaction {
  return database.transaction([CHUNKS, META], "readwrite", { durability });
}

function readOn<T>(database: IDBDatabase, store: string, ask: Ask<T>): Promise<T[]> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(store, "readonly");
    const requests = ask(transaction.objectStore(store));
    listen(transaction, reject);
    let waiting = requests.length;
    const onsuccess = () => {
      waiting -= 1;
      if (waiting === 0) resolve(requests.map(({ result }) => result));
    };
    for (const request of requests) request.addEventListener("success", onsuccess);
  });
}

/**
 * The first request that fails decides about its transaction. The event is kept from the worker, to
 * which it would look like a script that failed.
 */
function listen(transaction: IDBTransaction, reject: (reason: unknown) => void): void {
  transaction.onabort = () => reject(transaction.error);
  transaction.onerror = (event) => {
    event.preventDefault();
    reject((event.target as IDBRequest).error);
    abort(transaction);
  };
}

/** Where a transaction can't be aborted it is over: it was aborted for a reason of its own. */
function abort(transaction: IDBTransaction | null): void {
  try {
    transaction?.abort();
  } catch {
    // As said above.
  }
}
