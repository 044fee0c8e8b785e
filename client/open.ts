/**
 * Opening: the handles of one database in a page share a connection, and with it a worker. The
 * last one to be closed closes both.
 */

import { tabPlatform } from "./browser.ts";
import type { HostOptions } from "./candidate.ts";
import { Connection } from "./connection.ts";
import { KvassError, shown } from "./errors.ts";
import { checkChoice, checkObject, DURABILITIES } from "./fields.ts";
import { Handle } from "./kv.ts";
import { LIMITS } from "./limits.ts";
import { checkName } from "./name.ts";
import { followPage } from "./page.ts";
import type { HistoryOptions, Kv, OpenOptions } from "./types.ts";

const OPEN_TIMEOUT_MS = 30_000;
const HISTORY_BYTES = 8 * 1024 * 1024;
const STORAGES = ["auto", "opfs", "indexeddb", "memory"];
const BOOLEANS = [true, false];

/** A database that is open in this page, or being opened or closed. */
class Shared {
  readonly connection: Connection;
  readonly history: Required<HistoryOptions>;
  readonly salvage: boolean;
  handles = 0;
  /** Set once the last handle is closed: over when the worker has ended. */
  closing: Promise<void> | undefined;
  readonly #unfollow: () => void;

  constructor(name: string, options: OpenOptions) {
    const { storage = "auto", salvage = false } = options;
    const { worker, wasm, openTimeout } = options;
    const platform = tabPlatform(worker);
    if (platform.startWorker === undefined && platform.locks === undefined) {
      throw new KvassError(
        "Unsupported",
        "kvass opens databases in browsers: there is no Worker here, so it can only be imported",
      );
    }
    this.history = historyOf(options);
    this.salvage = salvage;
    const host: HostOptions = {
      name,
      storage,
      history: this.history,
      salvage,
      wasm: addressOf(wasm),
      openTimeout: openTimeout ?? OPEN_TIMEOUT_MS,
    };
    this.connection = new Connection(host, platform);
    this.#unfollow = followPage(this.connection);
  }

  /** @throws KvassError `Unsupported` if what is open is not what is asked for */
  checkOptions(name: string, options: OpenOptions): void {
    const { storage, history, salvage = false } = options;
    const obtained = this.connection.storage;
    const isOther = obtained !== undefined && storage !== undefined && storage !== obtained;
    if (isOther && (storage !== "auto" || obtained === "memory")) {
      const message = `"${name}" is open with the storage "${obtained}"`;
      throw new KvassError("Unsupported", `${message}, not "${storage}"`);
    }
    const { bytes, ms } = historyOf(options);
    if (history !== undefined && (bytes !== this.history.bytes || ms !== this.history.ms)) {
      throw new KvassError("Unsupported", `"${name}" is open in this page with another history`);
    }
    if (salvage !== this.salvage) {
      const message = `"${name}" is open in this page with salvage: ${this.salvage}`;
      throw new KvassError("Unsupported", `${message}, not ${salvage}`);
    }
  }

  #forget(name: string): void {
    if (databases.get(name) === this) databases.delete(name);
  }

  /** One handle less; the last one closes the database. */
  async release(name: string): Promise<void> {
    this.handles--;
    if (this.handles > 0) return;
    // The page is followed meanwhile: it may be frozen, or go into the back/forward cache.
    const close = this.connection.close();
    this.closing = close
      .catch(() => undefined)
      .then(() => {
        this.#unfollow();
        this.#forget(name);
      });
    await close;
    await this.closing;
  }
}

const databases = /* @__PURE__ */ new Map<string, Shared>();

/**
 * Opens a database, and makes it if it is not there. Every name is a database of its own in this
 * origin; several handles of one name in a page share it.
 *
 * @param name any well-formed string; "default" if there is none. OPFS takes up to 255 bytes of
 * it, where all of its UTF-8 but a to z, 0 to 9, - and _ counts three times
 * @throws TypeError for an option or a name that can't be, or one too long for OPFS. KvassError:
 * `Busy` if another tab or worker holds the database and does not answer, `Unsupported` if a
 * storage or the platform can't do what is asked for, `Corruption`, `NewerFormat`, `QuotaExceeded`
 * or `Io` if its files can't be opened, `VersionMismatch` if the tab that hosts it has another
 * kvass, or the worker an engine with another interface, `NoHost` where it can't be opened and no
 * page hosts it, `HostLost` if the worker crashed again and again, `Closed` if it is deleted
 * meanwhile, `Timeout` if it takes too long
 */
export async function openKv(name = "default", options: OpenOptions = {}): Promise<Kv> {
  checkArguments(name, options);
  const limits = LIMITS[options.limits ?? "kvass"];
  let shared = databases.get(name);
  while (shared?.closing !== undefined) {
    await shared.closing;
    shared = databases.get(name);
  }
  // One that was deleted is of no use to new handles.
  if (shared === undefined || shared.connection.isClosed) {
    shared = new Shared(name, options);
    databases.set(name, shared);
  }
  const { connection } = shared;
  const release = shared.release.bind(shared, name);
  shared.handles++;
  try {
    await connection.connect();
    shared.checkOptions(name, options);
  } catch (error) {
    // What kept it from opening says more than what went wrong after it.
    await release().catch(() => undefined);
    throw error;
  }
  if (options.persist) askToPersist();
  return new Handle(connection, limits, options.durability ?? "relaxed", release);
}

/** Asks the browser, which may ask the user and take long; the answer is told by `status`. */
function askToPersist(): void {
  const { storage } = globalThis.navigator ?? {};
  storage?.persist?.().catch(() => undefined);
}

function checkArguments(name: string, options: OpenOptions): void {
  checkName(name);
  checkObject("the options", options);
  const { storage, durability, limits, openTimeout, history, worker, wasm } = options;
  checkChoice("storage", storage, STORAGES);
  checkChoice("durability", durability, DURABILITIES);
  checkChoice("limits", limits, Object.keys(LIMITS));
  if (history !== undefined) checkObject("history", history);
  checkBound("history.bytes", history?.bytes);
  checkBound("history.ms", history?.ms);
  checkChoice("salvage", options.salvage, BOOLEANS);
  checkChoice("persist", options.persist, BOOLEANS);
  if (options.salvage && storage === "memory") {
    throw new TypeError('salvage reads files: there are none with storage "memory"');
  }
  if (!(isAddress(worker) || typeof worker === "function")) {
    throw new TypeError("worker must be an address or a function that starts a worker");
  }
  addressOf(wasm);
  if (openTimeout !== undefined && !(typeof openTimeout === "number" && openTimeout > 0)) {
    throw new TypeError(`openTimeout must be a positive number: received ${shown(openTimeout)}`);
  }
}

function checkBound(option: string, value: number | undefined): void {
  if (value === undefined || value === Number.POSITIVE_INFINITY) return;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return;
  throw new TypeError(
    `${option} must be a non-negative integer or Infinity: received ${shown(value)}`,
  );
}

function historyOf({ history }: OpenOptions): Required<HistoryOptions> {
  const { bytes = HISTORY_BYTES, ms = Number.POSITIVE_INFINITY } = history ?? {};
  return { bytes, ms };
}

/** The whole address of the engine, where one is given. @throws TypeError if it is none */
function addressOf(wasm: string | URL | undefined): string | undefined {
  try {
    if (wasm === undefined) return undefined;
    const { document, location } = globalThis as Partial<typeof globalThis>;
    if (isAddress(wasm)) return new URL(wasm, document?.baseURI ?? location?.href).href;
  } catch {
    // It is told below.
  }
  throw new TypeError(`wasm must be an address: received ${shown(wasm)}`);
}

function isAddress(value: unknown): boolean {
  return value === undefined || typeof value === "string" || value instanceof URL;
}
