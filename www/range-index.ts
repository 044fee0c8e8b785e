/**
 * Random access to the rows of a range of any size, kept up to date, in little memory.
 *
 * One pass over the range (one list, so one snapshot) cuts it into pages of consecutive keys. A
 * page knows its first key, how many entries it holds, and the runs of equal next parts among
 * them; its entries are read when they come into view and dropped when others do. A page is
 * therefore a range of keys, not of row numbers: when a commit changes a key, only the page it
 * falls into is read again. Larger commits than that is worth lead to another pass, which replaces
 * the pages when it is done.
 *
 *     pages    [ AD…AE ][ AE…AF ][ AF…  ]…       first key, count, runs
 *     entries              ▲ only around the view
 */
import type { Kv, KvEntry, KvKey, KvKeyPart } from "kvass";
import { compareKeys, compareParts, inRange, type Range, selectorOf } from "./keys.ts";

/** Consecutive entries below the same next part. */
export interface Group {
  part: KvKeyPart;
  count: number;
}

interface Page {
  /** The first key when the page was cut; the first page begins where the range does. */
  readonly from: KvKey;
  /** The first key of the next page; the last page ends where the range does. */
  to: KvKey | undefined;
  count: number;
  runs: Group[];
  entries: KvEntry<unknown>[] | undefined;
  /** Whether a read is under way, and whether it must be repeated. */
  reading: boolean;
  stale: boolean;
  usedAt: number;
}

const PAGE_ENTRIES = 250;
const PAGES_KEPT = 24;
const BATCH = 1000;
/** With more changed keys than this at once, a new pass is cheaper than reading pages. */
const CHANGES_FOLLOWED = 64;
const PAUSE_MS = 150;

export class RangeIndex {
  readonly range: Range;
  readonly #kv: Kv;
  readonly #changed: () => void;
  readonly #failed: (error: unknown) => void;
  #pages: Page[] = [];
  /** The number of rows before each page. */
  #before: number[] = [];
  #total = 0;
  #use = 0;
  /** The first and last key in view. */
  #view: [KvKey, KvKey] | undefined;
  #scanning = false;
  #scanAgain = false;
  #hasFailed = false;
  #closed = false;
  #scanMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the pass that was asked for comes even if the changes don't pause. */
  #dueAt: number | undefined;

  /**
   * @param changed called when rows, their number or their groups may have changed
   * @param failed called with the error of a read
   */
  constructor(kv: Kv, range: Range, changed: () => void, failed: (error: unknown) => void) {
    this.#kv = kv;
    this.range = range;
    this.#changed = changed;
    this.#failed = failed;
    void this.#scan();
  }

  /** The number of entries; while the first pass runs, of those it has met. */
  get total(): number {
    return this.#total;
  }

  /** Whether a pass over the range is under way or due, so that numbers may be out of date. */
  get isBehind(): boolean {
    return this.#scanning || this.#timer !== undefined;
  }

  /** Whether the last pass did not reach the end of the range. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** How long the last pass took, in milliseconds. */
  get scanMs(): number {
    return this.#scanMs;
  }

  /** The next parts below the prefix with their numbers of entries; undefined past `max`. */
  groups(max: number): Group[] | undefined {
    const groups: Group[] = [];
    for (const page of this.#pages) {
      for (const run of page.runs) {
        const last = groups.at(-1);
        if (last !== undefined && compareParts(last.part, run.part) === 0) last.count += run.count;
        else if (groups.push({ ...run }) > max) return undefined;
      }
    }
    return groups;
  }

  /** The entry of a row, where it is in memory. */
  at(row: number): KvEntry<unknown> | undefined {
    const number = this.#pageOfRow(row);
    return this.#pages[number]?.entries?.[row - (this.#before[number] ?? 0)];
  }

  /** Sees to it that these rows get into memory; `changed` is called when they are. */
  show(first: number, last: number): void {
    if (this.#total === 0) return;
    const top = this.at(first);
    const bottom = this.at(last);
    if (top !== undefined && bottom !== undefined) this.#view = [top.key, bottom.key];
    this.#use += 1;
    const end = this.#pageOfRow(last);
    for (let number = this.#pageOfRow(first); number <= end; number++) {
      const page = this.#pages[number];
      if (page === undefined) continue;
      page.usedAt = this.#use;
      if (page.entries === undefined && !page.reading) void this.#read(page);
    }
  }

  /** The row of a key, or the one where it would be; its page need not be in memory. */
  rowOf(key: KvKey): number {
    const number = this.#pageOfKey(key);
    const before = this.#before[number] ?? 0;
    const entries = this.#pages[number]?.entries ?? [];
    const place = entries.findIndex((entry) => compareKeys(entry.key, key) >= 0);
    return before + (place < 0 ? entries.length : place);
  }

  /** Takes note of a commit's keys. */
  follow(keys: readonly KvKey[]): void {
    const inside = keys.filter((key) => inRange(key, this.range));
    if (inside.length === 0) return;
    if (this.#scanning || inside.length > CHANGES_FOLLOWED || this.#pages.length === 0) {
      this.renew();
      return;
    }
    for (const number of new Set(inside.map((key) => this.#pageOfKey(key)))) {
      const page = this.#pages[number];
      if (page === undefined) continue;
      page.stale = true;
      if (!page.reading) void this.#read(page);
    }
  }

  /** Asks for another pass: when the changes pause, and else for a small part of the time. */
  renew(): void {
    if (this.#scanning) {
      this.#scanAgain = true;
      return;
    }
    const now = performance.now();
    this.#dueAt ??= now + 4 * this.#scanMs;
    clearTimeout(this.#timer);
    const wait = Math.max(0, Math.min(this.#dueAt - now, PAUSE_MS));
    this.#timer = setTimeout(() => void this.#scan(), wait);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** Passes over the range; the first pass shows its pages as it finds them. */
  async #scan(): Promise<void> {
    const first = this.#pages.length === 0;
    const start = performance.now();
    const pages: Page[] = [];
    this.#timer = this.#dueAt = undefined;
    this.#scanning = true;
    this.#scanAgain = false;
    try {
      const list = this.#kv.list(selectorOf(this.range), { batchSize: BATCH });
      for await (const entry of list) {
        if (this.#closed) return;
        const page = this.#append(pages, entry);
        if (first && page.count === 1) this.#adopt(pages.slice(0, -1));
      }
      this.#scanMs = performance.now() - start;
      this.#scanning = this.#hasFailed = false;
      this.#adopt(pages);
      if (this.#scanAgain) this.renew();
    } catch (error) {
      this.#scanning = false;
      this.#hasFailed = true;
      if (this.#closed) return;
      this.#changed();
      this.#failed(error);
    }
  }

  /** Adds an entry to the last page, or to a new one. */
  #append(pages: Page[], entry: KvEntry<unknown>): Page {
    let page = pages.at(-1);
    if (page === undefined || page.count >= PAGE_ENTRIES) {
      if (page !== undefined) this.#seal(page, entry.key, pages.length === 1);
      page = {
        from: entry.key,
        to: undefined,
        count: 0,
        runs: [],
        entries: [],
        reading: false,
        stale: false,
        usedAt: this.#use,
      };
      pages.push(page);
    }
    page.count += 1;
    page.entries?.push(entry);
    this.#addToRuns(page.runs, entry.key);
    return page;
  }

  /** Ends a page of a pass; its entries stay where they are at hand anyway and likely of use. */
  #seal(page: Page, to: KvKey, first: boolean): void {
    page.to = to;
    const [top, bottom] = this.#view ?? [];
    const inView =
      top !== undefined &&
      bottom !== undefined &&
      compareKeys(page.from, bottom) <= 0 &&
      compareKeys(to, top) > 0;
    if (!first && !inView) page.entries = undefined;
  }

  /** Counts a key for the group it belongs to; a key that ends with the next part has none. */
  #addToRuns(runs: Group[], key: KvKey): void {
    if (key.length <= this.range.prefix.length + 1) return;
    const part = key[this.range.prefix.length] as KvKeyPart;
    const last = runs.at(-1);
    if (last !== undefined && compareParts(last.part, part) === 0) last.count += 1;
    else runs.push({ part, count: 1 });
  }

  #adopt(pages: Page[]): void {
    this.#pages = pages;
    this.#recount();
  }

  #recount(): void {
    this.#before = [];
    this.#total = 0;
    for (const page of this.#pages) {
      this.#before.push(this.#total);
      this.#total += page.count;
    }
    this.#changed();
  }

  /** Reads a page's entries, again for as long as it has changed meanwhile. */
  async #read(page: Page): Promise<void> {
    page.reading = true;
    try {
      do {
        page.stale = false;
        const entries = await this.#entriesOf(page);
        if (this.#closed) return;
        page.entries = entries;
        page.count = entries.length;
        page.runs = [];
        for (const entry of entries) this.#addToRuns(page.runs, entry.key);
      } while (page.stale);
      this.#forget();
      this.#recount();
      if (page.count > 4 * PAGE_ENTRIES) this.renew();
    } catch (error) {
      if (!this.#closed) this.#failed(error);
    } finally {
      page.reading = false;
    }
  }

  async #entriesOf(page: Page): Promise<KvEntry<unknown>[]> {
    const from = page === this.#pages[0] ? undefined : page.from;
    const selector = selectorOf(this.range, from, page.to);
    const entries: KvEntry<unknown>[] = [];
    for await (const entry of this.#kv.list(selector, { batchSize: BATCH })) entries.push(entry);
    return entries;
  }

  /** Drops the entries of the pages that were out of view the longest. */
  #forget(): void {
    const kept = this.#pages.filter((page) => page.entries !== undefined);
    kept.sort((a, b) => b.usedAt - a.usedAt);
    for (const page of kept.slice(PAGES_KEPT)) page.entries = undefined;
  }

  /** The number of the page that holds a row: the last one with no more rows before it. */
  #pageOfRow(row: number): number {
    return lastWhere(this.#pages.length, (number) => (this.#before[number] as number) <= row);
  }

  #pageOfKey(key: KvKey): number {
    return lastWhere(
      this.#pages.length,
      (number) => compareKeys((this.#pages[number] as Page).from, key) <= 0,
    );
  }
}

/** The last of 0 to `length` - 1 for which a condition holds that holds up to some point; or 0. */
function lastWhere(length: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
