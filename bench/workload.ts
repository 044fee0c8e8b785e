/** What every store is given: keys of 16 bytes, values of 100 bytes, and how they are checked. */

/** How much of each kind of work is done. */
export interface Sizes {
  /** Puts and gets that wait for each other. */
  readonly awaited: number;
  /** Entries of the database that is read. */
  readonly entries: number;
  /** Entries written at a time. */
  readonly batch: number;
  /** Keys of one getMany. */
  readonly keys: number;
  /** Calls of getMany. */
  readonly calls: number;
}

export const VALUE_BYTES = 100;

/** A key and its value. */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array<ArrayBuffer>;
}

/** A store under test. Values that it gives may be views of larger buffers. */
export interface Store {
  /** Resolves when the value is kept: it survives the page from then on. */
  put(entry: Entry): Promise<unknown>;
  /** All of them or none. */
  putBatch(entries: readonly Entry[]): Promise<unknown>;
  /** Independent puts, made together and awaited together, where the store has more to it. */
  putTogether?(entries: readonly Entry[]): Promise<unknown>;
  get(key: string): Promise<Uint8Array | undefined>;
  getMany(keys: readonly string[]): Promise<(Uint8Array | undefined)[]>;
  /** Gives every entry, in the order of the keys. */
  scan(visit: (key: string, value: Uint8Array) => void): Promise<void>;
  close(): Promise<void>;
}

/** The key of entry `i`: 16 characters of one byte, sorted as the numbers are. */
export const keyOf = (i: number): string => `key-${String(i).padStart(12, "0")}`;

/** The entry `i`; no two values are alike. */
export function entryOf(i: number): Entry {
  const value = new Uint8Array(VALUE_BYTES);
  for (let at = 0; at < VALUE_BYTES; at++) value[at] = byteOf(i, at);
  return { key: keyOf(i), value };
}

/** Fails unless `value` is that of entry `i`, byte by byte. */
export function check(i: number, value: Uint8Array | undefined): void {
  if (value?.length !== VALUE_BYTES) throw new Error(`entry ${i} has ${value?.length} bytes`);
  for (let at = 0; at < VALUE_BYTES; at++) {
    if (value[at] !== byteOf(i, at)) throw new Error(`entry ${i} is wrong at byte ${at}`);
  }
}

const byteOf = (i: number, at: number) => (i + (i >> 8) + Math.imul(at, i | 1)) & 0xff;

/** Numbers below `end`, scattered, the same in every run. */
export function* scattered(count: number, end: number): Generator<number> {
  let state = 1;
  for (let n = 0; n < count; n++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    yield Math.floor((state / 2 ** 32) * end);
  }
}
