/**
 * What the page checks before it sends anything. The first preset is the page's copy of
 * src/limits.rs, which a test compares; the second is Deno KV's.
 */

/** Limits in bytes and counts. The sizes are those of encoded keys and values. */
export interface Limits {
  /** The largest key of a write. */
  readonly keyBytes: number;
  /** The largest key of a read. */
  readonly readKeyBytes: number;
  /** The largest value, without the byte that says what kind it is. */
  readonly valueBytes: number;
  /** Checks in one commit. */
  readonly checks: number;
  /** Mutations in one commit. */
  readonly mutations: number;
  /** Keys and values of one commit together. */
  readonly commitBytes: number;
  /** Keys of one commit together. */
  readonly commitKeyBytes: number;
  /** Keys of one getMany. */
  readonly getManyKeys: number;
  /** Keys of one watch. */
  readonly watchKeys: number;
  /** Ranges of one `changes` subscription. */
  readonly ranges: number;
  /** Entries in one page of a list. */
  readonly pageEntries: number;
}

/** The most bytes of a frame, and so of one call. */
export const FRAME_BYTES_MAX: number = 64 * 1024 * 1024;

/** From this size on a value travels beside its frame, in a buffer of its own. */
export const LARGE_VALUE_BYTES: number = 32 * 1024;

/** The presets of the option `limits`. */
export const LIMITS: { readonly kvass: Limits; readonly deno: Limits } = {
  kvass: {
    keyBytes: 8 * 1024,
    readKeyBytes: 8 * 1024 + 1,
    valueBytes: 64 * 1024 * 1024,
    checks: 1_000,
    mutations: 100_000,
    commitBytes: 256 * 1024 * 1024,
    commitKeyBytes: 256 * 1024 * 1024,
    getManyKeys: 10_000,
    watchKeys: 1_000,
    ranges: 1_000,
    pageEntries: 10_000,
  },
  deno: {
    keyBytes: 2048,
    readKeyBytes: 2049,
    valueBytes: 65_536,
    checks: 100,
    mutations: 1000,
    commitBytes: 819_200,
    commitKeyBytes: 81_920,
    getManyKeys: 10,
    watchKeys: 10,
    ranges: 1_000,
    pageEntries: 1000,
  },
};
