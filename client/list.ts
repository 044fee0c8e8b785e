/**
 * Lists: pages of a range, fetched on one snapshot. Pages are small at first and grow, because
 * most lists are short and the long ones are read to the end; the next page is asked for when half
 * of the one before is read. Entries are decoded one by one as they are taken.
 */

import { ByteReader, type ByteWriter, compareBytes } from "./codec/bytes.ts";
import { encodeCursor, resumeRange } from "./codec/cursor.ts";
import { decodeKey, type KeyRange, withByte } from "./codec/key.ts";
import type { Connection } from "./connection.ts";
import { corruptionOf, storedValue, unexpected } from "./entry.ts";
import { shown, tooLarge } from "./errors.ts";
import { checkConsistency } from "./fields.ts";
import type { Limits } from "./limits.ts";
import { checkSelector, encodeSelector, type Selection } from "./selector.ts";
import type {
  KvEntry,
  KvKeyEntry,
  KvKeyListOptions,
  KvListIterator,
  KvListOptions,
  KvListSelector,
} from "./types.ts";
import { readVersionstamp, writeVersionstamp } from "./versionstamp.ts";
import { REQUEST } from "./wire/request.ts";
import { type Lease, type Response, readValue, type Slice } from "./wire/response.ts";

const FIRST_PAGE = 100;
const PAGE_GROWTH = 4;
const PAGE_MAX = 6_400;

/** What a list needs of the handle that it belongs to. */
export interface ListContext {
  readonly connection: Connection;
  readonly limits: Limits;
  /** @throws KvassError `Closed` once the handle is closed */
  checkOpen(): void;
}

type Page = Response & { type: "page" };
type Result<T> = IteratorResult<KvEntry<T>, undefined>;

/** The iterator that `Kv.list` returns. */
export class ListIterator<T> implements KvListIterator<T> {
  readonly #context: ListContext;
  readonly #reverse: boolean;
  readonly #pinnedSize: number | undefined;
  readonly #firstCursor: string;
  readonly #keysOnly: boolean;
  #selection: Selection | undefined;
  /** What is wrong with the arguments, told by the first `next`. */
  #argumentError: unknown;
  /** What is left to fetch. */
  #rest: KeyRange | undefined;
  /** How many entries are left to fetch and to give. */
  #toFetch: number;
  #toGive: number;
  #pageSize: number;
  /** The page being read, and how many of its entries are left; at half of them, the next. */
  #reader: ByteReader | undefined;
  #left = 0;
  #attached: ArrayBuffer[] = [];
  #half = 0;
  /** The pages that are on their way, in a row. */
  #fetching: Promise<Page> | undefined;
  /**
   * What holds the snapshot between two pages, and with which host: another one is told all of it,
   * and goes on with the snapshot if it can.
   */
  #lease: { lease: Lease; generation: number } | undefined;
  /** The bytes of the key last given. */
  #lastKey: Slice | undefined;
  #isExhausted = false;
  #isOver = false;

  constructor(
    context: ListContext,
    selector: KvListSelector,
    options: KvListOptions | KvKeyListOptions,
  ) {
    const { limit, batchSize, cursor, reverse, keysOnly } = options;
    if (limit !== undefined && !isCount(limit)) {
      throw new TypeError(`Limit must be a positive integer: received ${shown(limit)}`);
    }
    if (batchSize !== undefined && !isCount(batchSize)) {
      throw new TypeError(`batchSize must be a positive integer: received ${shown(batchSize)}`);
    }
    checkSelector(selector);
    this.#context = context;
    this.#reverse = reverse === true;
    this.#keysOnly = keysOnly === true;
    this.#pinnedSize = batchSize;
    this.#pageSize = batchSize ?? Math.min(FIRST_PAGE, context.limits.pageEntries);
    this.#toFetch = this.#toGive = limit ?? Number.POSITIVE_INFINITY;
    this.#firstCursor = cursor ?? "";
    try {
      this.#prepare(selector, options);
    } catch (error) {
      this.#argumentError = error;
    }
  }

  #prepare(selector: KvListSelector, options: KvListOptions | KvKeyListOptions): void {
    const { batchSize, cursor } = options;
    const { limits } = this.#context;
    checkConsistency(options);
    if (batchSize !== undefined && batchSize > limits.pageEntries) {
      throw tooLarge(`Too many entries (max ${limits.pageEntries})`);
    }
    const selection = encodeSelector(selector, limits);
    this.#selection = selection;
    this.#rest = cursor
      ? resumeRange(selection.range, selection.common, cursor, this.#reverse)
      : selection.range;
  }

  get cursor(): string {
    if (this.#isExhausted) return "";
    if (this.#lastKey !== undefined) {
      const { bytes, start, end } = this.#lastKey;
      return encodeCursor((this.#selection as Selection).common, bytes.subarray(start, end));
    }
    if (this.#firstCursor === "") throw new Error("Cannot get cursor before first iteration");
    return this.#firstCursor;
  }

  next(): Promise<Result<T>> {
    // No async function, whose every call would cost more than the rest of this.
    if (this.#left === 0 || this.#isOver) return this.#advance();
    try {
      this.#context.checkOpen();
      return Promise.resolve({ value: this.#take(), done: false });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #advance(): Promise<Result<T>> {
    while (!this.#isOver) {
      this.#context.checkOpen();
      if (this.#argumentError !== undefined) throw this.#argumentError;
      if (this.#toGive === 0) {
        this.#isOver = true;
      } else if (this.#left > 0) {
        return { value: this.#take(), done: false };
      } else if (this.#rest === undefined && this.#fetching === undefined) {
        this.#isExhausted = true;
        this.#isOver = true;
      } else {
        await this.#turn();
      }
    }
    return { value: undefined, done: true };
  }

  /** Waits for the next page, which other calls of `next` may wait for too. */
  async #turn(): Promise<void> {
    this.#fetching ??= this.#fetch();
    const fetching = this.#fetching;
    try {
      const page = await fetching;
      if (this.#fetching === fetching) this.#open(page);
    } finally {
      if (this.#fetching === fetching) this.#fetching = undefined;
    }
  }

  /** The next large value of the page, which is the reader's from then on. */
  readonly #attachment = () => this.#attached.shift() as ArrayBuffer;

  #open({ count, entries, attached }: Page): void {
    this.#attached = attached;
    this.#reader = new ByteReader(entries.bytes, entries.start, entries.end);
    this.#left = Math.min(count, this.#toGive);
    this.#half = this.#rest === undefined ? -1 : count >> 1;
  }

  /** The next entry of the page. */
  #take(): KvEntry<T> {
    const r = this.#reader as ByteReader;
    const keyBytes = r.varint();
    const keyStart = r.skip(keyBytes);
    const keyEnd = r.position;
    const versionstamp = readVersionstamp(r);
    const raw = this.#keysOnly ? null : readValue(r, this.#attachment);
    this.#left--;
    this.#toGive--;
    this.#lastKey = { bytes: r.bytes, start: keyStart, end: keyEnd };
    if (this.#left === this.#half && this.#toGive > 0) this.#prefetch();
    try {
      const key = decodeKey(r.bytes, keyStart, keyEnd);
      const entry: KvKeyEntry = { key, versionstamp };
      // The list is typed by its options.
      if (raw === null) return entry as KvEntry<T>;
      return { key, value: storedValue(raw) as T, versionstamp };
    } catch (error) {
      throw corruptionOf(error);
    }
  }

  #prefetch(): void {
    this.#fetching = this.#fetch();
    // Whoever needs the page hears of the error.
    this.#fetching.catch(() => undefined);
  }

  async #fetch(): Promise<Page> {
    const { connection } = this.#context;
    const { start, end } = this.#rest as KeyRange;
    const size = Math.min(this.#pageSize, this.#toFetch);
    const lease = this.#lease?.lease;
    if (compareBytes(start, end) >= 0) return this.#receive(EMPTY_PAGE);
    const write = (w: ByteWriter) => {
      w.u8(REQUEST.list);
      w.sized(start);
      w.sized(end);
      w.u8(this.#reverse ? 1 : 0);
      w.varint(size);
      writeLease(w, lease);
      w.u8(this.#toFetch > size ? 1 : 0);
      w.u8(this.#keysOnly ? 1 : 0);
    };
    const page = await connection.call(write, pageOf);
    this.#lease = page.lease && { lease: page.lease, generation: connection.generation };
    return this.#receive(page);
  }

  /** Takes note of what a page leaves to fetch. */
  #receive(page: Page): Page {
    this.#toFetch -= page.count;
    const last = page.count === 0 ? undefined : lastKeyOf(page, this.#keysOnly);
    if (page.done || last === undefined || this.#toFetch <= 0) {
      this.#rest = undefined;
    } else {
      const { start, end } = this.#rest as KeyRange;
      this.#rest = this.#reverse ? { start, end: last } : { start: withByte(last, 0), end };
    }
    const max = Math.min(PAGE_MAX, this.#context.limits.pageEntries);
    this.#pageSize = this.#pinnedSize ?? Math.min(this.#pageSize * PAGE_GROWTH, max);
    if (this.#isOver) this.#release();
    return page;
  }

  #release(): void {
    const held = this.#lease;
    const { connection } = this.#context;
    this.#lease = undefined;
    if (held?.generation !== connection.generation) return;
    connection.tell((w) => {
      w.u8(REQUEST.release);
      w.varint(held.lease.id);
    });
  }

  async return(): Promise<Result<T>> {
    this.#isOver = true;
    this.#left = 0;
    this.#reader = undefined;
    this.#attached = [];
    this.#release();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

const NO_BUFFER = new ArrayBuffer(0);
const EMPTY_PAGE: Page = {
  type: "page",
  done: true,
  lease: undefined,
  count: 0,
  entries: { bytes: new Uint8Array(0), start: 0, end: 0 },
  attached: [],
};

function writeLease(w: ByteWriter, lease: Lease | undefined): void {
  w.u8(lease === undefined ? 0 : 1);
  if (lease === undefined) return;
  w.varint(lease.id);
  writeVersionstamp(w, lease.versionstamp);
  w.varint(lease.timeMs);
}

function pageOf(response: Response): Page {
  if (response.type !== "page") throw unexpected(response);
  return response;
}

/** The last key of a page that is not empty. Steps through it, which checks all its lengths. */
function lastKeyOf(page: Page, keysOnly: boolean): Uint8Array {
  const { count, entries } = page;
  const { bytes, start, end } = entries;
  const r = new ByteReader(bytes, start, end);
  for (let i = 1; ; i++) {
    const key = r.sized();
    r.skip(10);
    if (!keysOnly) readValue(r, () => NO_BUFFER);
    if (i === count) return key;
  }
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) > 0;
}
