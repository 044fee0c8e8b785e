/// <reference lib="esnext.disposable" preserve="true" />
/** The public types of the page client. What they do is in the other files of this folder. */

import type { KvKey, KvKeyPart } from "./codec/key.ts";
import type { KvassErrorCode } from "./errors.ts";
import type { KvU64 } from "./u64.ts";

export type { KvKey, KvKeyPart };

/** Where a database keeps its files. */
export type KvStorage = "opfs" | "indexeddb" | "memory";

/**
 * When a commit is acknowledged. `strict`: once it is flushed, so that a loss of power can't undo
 * it. `relaxed`: once the browser has it; it is flushed soon after, and when the page is hidden.
 */
export type KvDurability = "relaxed" | "strict";

/** Accepted as Deno KV does. There is one host, so that every read is strongly consistent. */
export type KvConsistencyLevel = "strong" | "eventual";

/**
 * Options of `openKv`. Handles of one name in a page share a worker: what `worker`, `wasm` and
 * `openTimeout` say counts for the first of them.
 */
export interface OpenOptions {
  /**
   * Where the files are kept. `auto`, the default, takes OPFS where it works and IndexedDB where
   * it is missing; `Kv.status` says which it was. It never means memory.
   */
  storage?: "auto" | KvStorage;
  /** The durability of this handle's commits that don't say themselves; `relaxed` by default. */
  durability?: KvDurability;
  /**
   * How much of the past is kept for `Kv.changes`: the last 8 MiB by default. Of the tabs that have
   * the database open, the one that hosts it decides.
   */
  history?: HistoryOptions;
  /** `deno` enforces the limits of Deno KV, which are smaller. */
  limits?: "kvass" | "deno";
  /**
   * Whether to ask the browser to keep the data of this origin when space runs short, which may
   * ask the user. Whether it will is told by `Kv.status`. Not asked by default.
   */
  persist?: boolean;
  /**
   * Opens a damaged database to read what is left of it, and changes nothing in its files: writes
   * are `Unsupported`. Lists pass over what is damaged, and `Kv.status` tells of it; a read of a
   * key that the damage may hide is `Corruption`. What was damaged may have held newer values than
   * are found, and deletions. A database that is not there is not made: opening it is `Io`.
   */
  salvage?: boolean;
  /** How long opening may take, in milliseconds, before it fails with `Timeout`; 30,000. */
  openTimeout?: number;
  /**
   * Where the worker's script is, for bundlers and policies that can't have the default, which is
   * `worker.js` beside the package's own script. Or a function that starts the worker.
   */
  worker?: string | URL | (() => Worker);
  /** Where the engine is; by default `kvass.wasm` beside the worker's script. */
  wasm?: string | URL;
}

/** An entry of the database. */
export interface KvEntry<T = unknown> {
  readonly key: KvKey;
  readonly value: T;
  /** The commit that wrote the value: 20 hex digits, higher for every later commit. */
  readonly versionstamp: string;
}

/** An entry of a keys-only list: its value is not read. */
export interface KvKeyEntry {
  readonly key: KvKey;
  /** The commit that wrote the value, as in `KvEntry`. */
  readonly versionstamp: string;
}

/** What a read finds at a key: an entry, or nulls where there is none. */
export type KvEntryMaybe<T = unknown> =
  | KvEntry<T>
  | { readonly key: KvKey; readonly value: null; readonly versionstamp: null };

/** What `getMany` and `watch` find at a tuple of keys, given the types of the values. */
export type KvEntries<T extends readonly unknown[]> = { [K in keyof T]: KvEntryMaybe<T[K]> };

/** A tuple of keys, one for each type of value. */
export type KvKeys<T extends readonly unknown[]> = readonly [...{ [K in keyof T]: KvKey }];

/**
 * A range of keys. `prefix` means the keys that begin with it and are longer; `start` is
 * inclusive, `end` exclusive. Beside a prefix they must begin with it.
 */
export type KvListSelector =
  | { prefix: KvKey }
  | { prefix: KvKey; start: KvKey }
  | { prefix: KvKey; end: KvKey }
  | { start: KvKey; end: KvKey };

/** Options of `Kv.list`. */
export interface KvListOptions {
  /** The most entries to give; all by default. */
  limit?: number;
  /** Where to go on: the `cursor` of the iterator of an earlier list of the same selector. */
  cursor?: string;
  /** Whether to go from the end of the range to its start. */
  reverse?: boolean;
  consistency?: KvConsistencyLevel;
  /** How many entries to fetch at a time. By default a few at first, then more and more. */
  batchSize?: number;
  keysOnly?: false;
}

/** Options of a list of keys only. */
export interface KvKeyListOptions extends Omit<KvListOptions, "keysOnly"> {
  /** Leaves out the values, which are neither copied nor sent then. */
  keysOnly: true;
}

/**
 * The entries of a list, all as they were when its first page was read. Leaving a `for await` loop
 * early lets go of that snapshot; one that is not read for a minute ends in `SnapshotExpired`.
 */
export interface KvListIterator<T, E = KvEntry<T>> extends AsyncIterableIterator<E> {
  /**
   * Where a later list can go on behind the entry last given; "" once there are no more.
   * @throws Error before the first entry was asked for
   */
  readonly cursor: string;
  next(): Promise<IteratorResult<E, undefined>>;
  return(): Promise<IteratorResult<E, undefined>>;
  [Symbol.asyncIterator](): KvListIterator<T, E>;
}

/** A commit that was applied. */
export interface KvCommitResult {
  readonly ok: true;
  readonly versionstamp: string;
}

/** A commit that was not applied, because one of its checks did not hold. */
export interface KvCommitError {
  readonly ok: false;
  /** The first check that did not hold, by its place among the commit's checks. */
  readonly check: number;
}

/** A condition of a commit: the versionstamp that a key must have, or null for no entry. */
export interface AtomicCheck {
  key: KvKey;
  versionstamp: string | null;
}

/** A change to one key, as `AtomicOperation.mutate` takes it. */
export type KvMutation = { key: KvKey } & (
  | { type: "set"; value: unknown; expireIn?: number }
  | { type: "delete" }
  | { type: "sum"; value: KvU64 | number | bigint }
  | { type: "min" | "max"; value: KvU64 }
);

/** Options of a commit. */
export interface CommitOptions {
  /** The durability of this commit; by default that of the database. */
  durability?: KvDurability;
}

/** Options of `AtomicOperation.set`. */
export interface ExpireOptions {
  /** After how many milliseconds the entry expires, from the commit on; never by default. */
  expireIn?: number;
}

/** Options of `Kv.set`. */
export interface SetOptions extends ExpireOptions, CommitOptions {}

/**
 * Checks and changes that are applied together or not at all. Keys and values are encoded, and
 * errors in them thrown, by the method that takes them: what happens to an object later does not
 * change what is stored. It is no promise: `commit` sends it.
 */
export interface AtomicOperation {
  /** Adds conditions. @throws TypeError for a bad key or versionstamp */
  check(...checks: AtomicCheck[]): this;
  /** Adds changes. @throws TypeError for a bad one, DataCloneError for an unstorable value */
  mutate(...mutations: KvMutation[]): this;
  /** Writes a value. @throws TypeError for a bad key or option, DataCloneError for the value */
  set(key: KvKey, value: unknown, options?: ExpireOptions): this;
  /** Removes an entry, if there is one. @throws TypeError for a bad key */
  delete(key: KvKey): this;
  /**
   * Removes all entries of a range. What the same commit writes there before this is not written,
   * what it writes after it stays.
   * @throws TypeError for a bad selector
   */
  deleteRange(selector: KvListSelector): this;
  /** Adds to a `KvU64`, modulo 2^64; stores `n` where there is no entry. Ends its expiry. */
  sum(key: KvKey, n: bigint): this;
  /** Keeps the smaller of a `KvU64` and `n`; stores `n` where there is no entry. */
  min(key: KvKey, n: bigint): this;
  /** Keeps the larger of a `KvU64` and `n`; stores `n` where there is no entry. */
  max(key: KvKey, n: bigint): this;
  /**
   * Applies it. May be called again, which is another commit, unless it has values of 32 KiB or
   * more: those are handed over.
   * @throws TypeError past a limit, or where a sum, min or max meets a value of another kind;
   * KvassError otherwise. In each case nothing was changed, but for the code `OutcomeUnknown`
   */
  commit(options?: CommitOptions): Promise<KvCommitResult | KvCommitError>;
}

/**
 * How much of the past is kept for `Kv.changes`, by size and by time: the smaller of both, and 32
 * logs of a few megabytes at most.
 */
export interface HistoryOptions {
  /** Bytes of the log that are kept beside the data; 8 MiB by default, `Infinity` for no bound. */
  bytes?: number;
  /** For how many milliseconds commits are kept; without a bound by default. */
  ms?: number;
}

/** Options of `Kv.changes`. */
export interface KvChangesOptions {
  /**
   * Begin behind this commit: with the ones after it that are there already, then as they happen.
   * A reader that names one misses none, however slow it is: it is never told that it lagged.
   */
  since?: string;
}

/** What a commit did to one key, or to a range of keys as a whole. */
export type KvChange<T = unknown> =
  | { readonly type: "set"; readonly key: KvKey; readonly value: T }
  | { readonly type: "delete"; readonly key: KvKey }
  | { readonly type: "expire"; readonly key: KvKey }
  | { readonly type: "deleteRange"; readonly selector: KvListSelector };

/** One commit and what it did to the keys asked about, in the order of its mutations. */
export interface KvCommit<T = unknown> {
  readonly type: "commit";
  readonly versionstamp: string;
  readonly changes: readonly KvChange<T>[];
}

/**
 * Stands for the commits that a reader of `Kv.changes` without `since` missed, because it fell more
 * than 10,000 or 128 MiB behind, because its page took nothing in while some 4 MiB were on their
 * way to it, or because they were not kept when the host was replaced. What a read finds after it
 * includes them.
 */
export interface KvLagged {
  readonly type: "lagged";
  /** The last commit that may have been missed. */
  readonly versionstamp: string;
  /** How many commits were left out, or null where nobody knows. */
  readonly missed: number | null;
}

/** What `Kv.changes` gives. */
export type KvChangeEvent<T = unknown> = KvCommit<T> | KvLagged;

/** A stream that `for await` can read, in browsers too whose streams can't. */
export type KvStream<T> = ReadableStream<T> & AsyncIterable<T>;

/** Figures of an open database. Counts begin with the open. */
export interface KvStats {
  /** An estimate of the number of entries: keys written twice may count twice for a while. */
  readonly entries: number;
  /** Bytes of all files. */
  readonly diskBytes: number;
  readonly commits: number;
  /** Blocks found in the cache, and blocks read from storage. */
  readonly cacheHits: number;
  readonly cacheMisses: number;
  /** Bytes of the block cache in use. */
  readonly cacheBytes: number;
  /** Bytes of the memtables in use. */
  readonly memtableBytes: number;
  /** Bytes of the write-ahead log since it was last rotated. */
  readonly walBytes: number;
  /** Flushes of the storage. */
  readonly flushes: number;
  /** Tables and their bytes, from level 0 down. */
  readonly levels: readonly { readonly tables: number; readonly bytes: number }[];
  /** Bytes of the engine's memory. */
  readonly memoryBytes: number;
}

/** What was really obtained for a database. */
export interface KvStatus {
  readonly storage: KvStorage;
  readonly durability: KvDurability;
  /** Whether this page's worker runs the engine. */
  readonly role: "host" | "client";
  /** How often the database was opened before, and once more. */
  readonly epoch: number;
  /** The version of the files' format. */
  readonly format: number;
  /** Whether the browser will keep the data when space runs short. */
  readonly persisted: boolean;
  /** Bytes that this origin may use and does use, estimated by the browser; null if it can't. */
  readonly quota: number | null;
  readonly usage: number | null;
  /** Why the storage is not OPFS, where `"auto"` was asked for; null if it is, or was not. */
  readonly reason: string | null;
  /** The last failure of a flush or compaction in the background, until one succeeds again. */
  readonly failure: { readonly code: KvassErrorCode; readonly message: string } | null;
}

/** A database that is stored in this origin. */
export interface KvDatabase {
  readonly name: string;
  readonly storage: "opfs" | "indexeddb";
}

/** A place in the files of a database that is damaged. */
export interface KvDamage {
  /** What the file is for. */
  readonly kind: "manifest" | "log" | "table" | "blob";
  /** The number of the file. */
  readonly file: number;
  /** Where in the file what is damaged begins, in bytes. */
  readonly offset: number;
  /** What is wrong there. */
  readonly message: string;
}

/** What `Kv.verify` found. */
export interface KvVerification {
  /** How many files were read, and how many bytes. */
  readonly files: number;
  readonly bytes: number;
  /** How many places are damaged. */
  readonly damaged: number;
  /** The first hundred of them. */
  readonly damage: readonly KvDamage[];
}

/**
 * A handle of an open database. Methods reject with a TypeError for arguments that can't be, and
 * with a KvassError for everything else; `Closed` after `close`.
 *
 * The calls made in one go, before the next await, travel together: they are applied in the order
 * of the calls, and a read sees the writes before it.
 */
export interface Kv extends Disposable, AsyncDisposable {
  /** Reads a key. */
  get<T = unknown>(
    key: KvKey,
    options?: { consistency?: KvConsistencyLevel },
  ): Promise<KvEntryMaybe<T>>;

  /** Reads keys, all as they are at one moment. */
  getMany<T extends readonly unknown[]>(
    keys: KvKeys<T>,
    options?: { consistency?: KvConsistencyLevel },
  ): Promise<KvEntries<T>>;

  /**
   * Writes a value: what structured clone takes for storage, but for objects of the platform such
   * as `Blob`, or a `KvU64`. Rejects with a DataCloneError for any other.
   */
  set(key: KvKey, value: unknown, options?: SetOptions): Promise<KvCommitResult>;

  /** Removes an entry, if there is one. */
  delete(key: KvKey, options?: CommitOptions): Promise<void>;

  /**
   * Removes all entries of a range, in one commit that costs the same whatever there are. It is one
   * change to readers of `changes`; watched keys in the range become null.
   */
  deleteRange(selector: KvListSelector, options?: CommitOptions): Promise<KvCommitResult>;

  /** How many entries a range has at this moment, exactly. Reads the range, but copies nothing. */
  count(selector: KvListSelector): Promise<number>;

  /**
   * The entries of a range in the order of their keys, on one snapshot. Nothing is read before
   * the first `next`.
   * @throws TypeError for a selector, limit or batch size that can't be; the iterator rejects for
   * keys and cursors
   */
  list<T = unknown>(selector: KvListSelector, options?: KvListOptions): KvListIterator<T>;
  list<T = unknown>(
    selector: KvListSelector,
    options: KvKeyListOptions,
  ): KvListIterator<T, KvKeyEntry>;

  /** Begins a commit of several checks and changes. */
  atomic(): AtomicOperation;

  /**
   * The state of some keys: what there is now, then again after commits that touch them. A slow
   * reader gets the latest state, not every one, with `raw` too, which is accepted as Deno does.
   * Ends when the handle closes.
   */
  watch<T extends readonly unknown[]>(
    keys: KvKeys<T>,
    options?: { raw?: boolean },
  ): KvStream<KvEntries<T>>;

  /**
   * The commits from now on that touch a range, in order and without a gap; of all keys where no
   * selector is given. Or those since a commit, as far as the option `history` of `openKv` keeps
   * them. Each has the versionstamp from which to go on. Ends when the handle closes; fails with
   * `HistoryGone` where commits since then are not kept any more, or where `since` is of another
   * database, and with `Corruption` where they can't be read.
   */
  changes<T = unknown>(
    selector?: KvListSelector | readonly KvListSelector[],
    options?: KvChangesOptions,
  ): KvStream<KvChangeEvent<T>>;

  /**
   * A key part that stands for the versionstamp of the commit that writes the key. Only as the
   * last part of the key of a `set`.
   */
  commitVersionstamp(): symbol;

  /** Figures of the engine. */
  stats(): Promise<KvStats>;

  /** Storage, durability, quota, and whether something failed in the background. */
  status(): Promise<KvStatus>;

  /**
   * Reads every file of the database to its last byte and tells what is damaged. It takes as long
   * as reading them does; other calls don't wait for it. Nothing is changed.
   */
  verify(): Promise<KvVerification>;

  /** Resolves once all that was committed before is flushed. */
  flush(): Promise<void>;

  /**
   * Closes the handle: lists and watches end. The last handle of a database in a page also flushes
   * and closes the database, and the promise waits for that.
   * @throws KvassError `Closed` if it was closed before
   */
  close(): Promise<void>;
}
