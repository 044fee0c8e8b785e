/** Handles: the methods of `Kv`, as requests to the connection that they share. */

import { Atomic } from "./atomic.ts";
import { Changes } from "./changes.ts";
import type { ByteWriter } from "./codec/bytes.ts";
import { copyKey, copyKeys, type KvKey } from "./codec/key.ts";
import type { Connection, Subscription } from "./connection.ts";
import { entryOf, unexpected } from "./entry.ts";
import { codeOf, KvassError, tooLarge } from "./errors.ts";
import {
  checkConsistency,
  checkOptions,
  durabilityOf,
  type ReadOptions,
  type Tally,
  writeDelete,
  writeDeleteRange,
  writeReadKey,
  writeSet,
} from "./fields.ts";
import type { Limits } from "./limits.ts";
import { ListIterator } from "./list.ts";
import { rangeOf } from "./selector.ts";
import type {
  AtomicOperation,
  CommitOptions,
  Kv,
  KvChangeEvent,
  KvChangesOptions,
  KvCommitError,
  KvCommitResult,
  KvDurability,
  KvEntries,
  KvEntryMaybe,
  KvKeyEntry,
  KvKeyListOptions,
  KvKeys,
  KvListIterator,
  KvListOptions,
  KvListSelector,
  KvStats,
  KvStatus,
  KvStorage,
  KvStream,
  KvVerification,
  SetOptions,
} from "./types.ts";
import { commitVersionstamp } from "./versionstamp.ts";
import { Watch } from "./watch.ts";
import { REQUEST, writeDurability } from "./wire/request.ts";
import type { Response } from "./wire/response.ts";

/** One handle of an open database. */
export class Handle implements Kv {
  readonly #connection: Connection;
  readonly #limits: Limits;
  readonly #durability: KvDurability;
  readonly #release: () => Promise<void>;
  /** Subscriptions and their numbers in the connection. */
  readonly #subscriptions = new Map<Subscription, number>();
  #isClosed = false;

  /**
   * @param durability of commits that don't say themselves
   * @param release called once, when the handle is closed
   */
  constructor(
    connection: Connection,
    limits: Limits,
    durability: KvDurability,
    release: () => Promise<void>,
  ) {
    this.#connection = connection;
    this.#limits = limits;
    this.#durability = durability;
    this.#release = release;
  }

  get<T = unknown>(key: KvKey, options?: ReadOptions): Promise<KvEntryMaybe<T>> {
    if (isEmpty(key) && !this.#isClosed) {
      return new Promise((resolve) => {
        checkConsistency(options);
        resolve(entryOf([], null));
      });
    }
    let copy: KvKey = key;
    const write = (w: ByteWriter) => {
      checkConsistency(options);
      w.u8(REQUEST.get);
      // What was read once is asked for and told: others may write to the memory of its bytes.
      copy = copyKey(key);
      writeReadKey(w, copy, this.#limits);
    };
    return this.#call(write, (response) => {
      if (response.type !== "entry") throw unexpected(response);
      return entryOf<T>(copy, response.entry);
    });
  }

  getMany<T extends readonly unknown[]>(
    keys: KvKeys<T>,
    options?: ReadOptions,
  ): Promise<KvEntries<T>> {
    let copies: KvKey[] = [];
    const write = (w: ByteWriter) => {
      checkConsistency(options);
      copies = copyKeys(keys);
      const { getManyKeys } = this.#limits;
      if (copies.length > getManyKeys) throw tooLarge(`Too many ranges (max ${getManyKeys})`);
      w.u8(REQUEST.getMany);
      // The empty key is never there; the host is not asked for it.
      const asked = copies.filter((key) => !isEmpty(key));
      w.varint(asked.length);
      for (const key of asked) writeReadKey(w, key, this.#limits);
    };
    return this.#call(write, (response) => {
      if (response.type !== "entries") throw unexpected(response);
      let next = 0;
      return copies.map((key) => {
        return entryOf(key, isEmpty(key) ? null : (response.entries[next++] ?? null));
      }) as KvEntries<T>;
    });
  }

  set(key: KvKey, value: unknown, options?: SetOptions): Promise<KvCommitResult> {
    return this.#commitOne(options, (w, tally) => {
      writeSet(w, key, value, options, this.#limits, tally);
    });
  }

  async delete(key: KvKey, options?: CommitOptions): Promise<void> {
    await this.#commitOne(options, (w, tally) => writeDelete(w, key, this.#limits, tally));
  }

  deleteRange(selector: KvListSelector, options?: CommitOptions): Promise<KvCommitResult> {
    return this.#commitOne(options, (w, tally) => {
      writeDeleteRange(w, selector, this.#limits, tally);
    });
  }

  count(selector: KvListSelector): Promise<number> {
    const write = (w: ByteWriter) => {
      const { start, end } = rangeOf(selector, this.#limits);
      w.u8(REQUEST.count);
      w.sized(start);
      w.sized(end);
    };
    return this.#call(write, (response) => {
      if (response.type !== "counted") throw unexpected(response);
      return response.count;
    });
  }

  /** Sends a commit of one mutation and no check. */
  #commitOne(
    options: CommitOptions | undefined,
    mutate: (w: ByteWriter, tally: Tally) => void,
  ): Promise<KvCommitResult> {
    const write = (w: ByteWriter) => {
      const durability = durabilityOf(options, this.#durability);
      w.u8(REQUEST.commit);
      w.u8(0);
      w.u8(1);
      mutate(w, { keyBytes: 0, valueBytes: 0 });
      writeDurability(w, durability);
    };
    return this.#call(write, committed, true);
  }

  list<T = unknown>(selector: KvListSelector, options?: KvListOptions): KvListIterator<T>;
  list<T = unknown>(
    selector: KvListSelector,
    options: KvKeyListOptions,
  ): KvListIterator<T, KvKeyEntry>;
  list<T = unknown>(
    selector: KvListSelector,
    options?: KvListOptions | KvKeyListOptions,
  ): KvListIterator<T> | KvListIterator<T, KvKeyEntry> {
    const context = {
      connection: this.#connection,
      limits: this.#limits,
      checkOpen: () => this.#checkOpen(),
    };
    return new ListIterator<T>(context, selector, options ?? {});
  }

  atomic(): AtomicOperation {
    const send = (write: (w: ByteWriter) => void) => this.#call(write, committedOrNot, true);
    return new Atomic(send, this.#limits, this.#durability);
  }

  watch<T extends readonly unknown[]>(
    keys: KvKeys<T>,
    options?: { raw?: boolean },
  ): KvStream<KvEntries<T>> {
    this.#checkOpen();
    checkOptions(options);
    const watch: Watch = new Watch(keys, this.#limits, {
      cancelled: () => this.#unsubscribe(watch),
      restart: () => this.#restart(watch),
    });
    this.#subscribe(watch);
    return watch.stream as KvStream<unknown> as KvStream<KvEntries<T>>;
  }

  changes<T = unknown>(
    selector?: KvListSelector | readonly KvListSelector[],
    options?: KvChangesOptions,
  ): KvStream<KvChangeEvent<T>> {
    this.#checkOpen();
    checkOptions(options);
    const changes: Changes = new Changes(selector, options?.since, this.#limits, {
      cancelled: () => this.#unsubscribe(changes),
      restart: () => this.#restart(changes),
      more: (id) => this.#connection.more(id),
    });
    this.#subscribe(changes);
    return changes.stream as KvStream<KvChangeEvent<T>>;
  }

  #subscribe(subscription: Subscription): void {
    this.#subscriptions.set(subscription, this.#connection.subscribe(subscription));
  }

  #restart(subscription: Subscription): void {
    this.#unsubscribe(subscription);
    this.#subscribe(subscription);
  }

  #unsubscribe(subscription: Subscription): void {
    const id = this.#subscriptions.get(subscription);
    if (id === undefined) return;
    this.#subscriptions.delete(subscription);
    this.#connection.unsubscribe(id);
  }

  commitVersionstamp(): symbol {
    return commitVersionstamp();
  }

  stats(): Promise<KvStats> {
    return this.#call(
      (w) => w.u8(REQUEST.stats),
      (response) => {
        if (response.type !== "stats") throw unexpected(response);
        return response.stats;
      },
    );
  }

  async status(): Promise<KvStatus> {
    const engine = this.#call(
      (w) => w.u8(REQUEST.status),
      (response) => {
        if (response.type !== "status") throw unexpected(response);
        return response.status;
      },
    );
    const [{ failure, ...status }, browser] = await Promise.all([engine, browserStatus()]);
    return {
      ...status,
      storage: status.storage as KvStorage,
      durability: this.#durability,
      role: this.#connection.role,
      ...browser,
      failure: failure && { code: codeOf(failure.code), message: failure.message },
    };
  }

  verify(): Promise<KvVerification> {
    return this.#call(
      (w) => w.u8(REQUEST.verify),
      (response) => {
        if (response.type !== "verified") throw unexpected(response);
        return response.verified;
      },
    );
  }

  flush(): Promise<void> {
    return this.#call(
      (w) => w.u8(REQUEST.flush),
      (response) => {
        if (response.type !== "done") throw unexpected(response);
      },
    );
  }

  close(): Promise<void> {
    this.#checkOpen();
    this.#isClosed = true;
    for (const [subscription, id] of this.#subscriptions) {
      this.#connection.unsubscribe(id);
      subscription.end();
    }
    this.#subscriptions.clear();
    return this.#release();
  }

  [Symbol.dispose](): void {
    if (!this.#isClosed) void this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isClosed) await this.close();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new KvassError("Closed", "the database handle was closed");
  }

  #call<T>(
    write: (w: ByteWriter) => void,
    read: (response: Response) => T,
    isWrite?: boolean,
  ): Promise<T> {
    const checked = (w: ByteWriter) => {
      this.#checkOpen();
      write(w);
    };
    return this.#connection.call(checked, read, isWrite);
  }
}

function isEmpty(key: KvKey): boolean {
  return Array.isArray(key) && key.length === 0;
}

function committed(response: Response): KvCommitResult {
  if (response.type !== "committed") throw unexpected(response);
  return { ok: true, versionstamp: response.versionstamp };
}

function committedOrNot(response: Response): KvCommitResult | KvCommitError {
  if (response.type === "checkFailed") return { ok: false, check: response.check };
  return committed(response);
}

/** What the browser says of this origin's storage, where it has that to say. */
async function browserStatus(): Promise<Pick<KvStatus, "persisted" | "quota" | "usage">> {
  const storage = (globalThis.navigator as Partial<Navigator> | undefined)?.storage;
  const [persisted, estimate] = await Promise.all([storage?.persisted?.(), storage?.estimate?.()]);
  return {
    persisted: persisted ?? false,
    quota: estimate?.quota ?? null,
    usage: estimate?.usage ?? null,
  };
}
