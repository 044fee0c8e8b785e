/** Selectors as ranges of encoded keys, and back. */

import { compareBytes } from "./codec/bytes.ts";
import { commonPrefixLength } from "./codec/cursor.ts";
import { decodeKey, encodeKey, type KeyRange, type KvKey, prefixRange } from "./codec/key.ts";
import { checkReadKey } from "./fields.ts";
import type { Limits } from "./limits.ts";
import type { KvListSelector } from "./types.ts";

/** What a selector means. */
export interface Selection {
  readonly range: KeyRange;
  /** The bytes that all its keys begin with; cursors leave them out. */
  readonly common: Uint8Array;
}

type Parts = { prefix?: KvKey; start?: KvKey; end?: KvKey };

/** @throws TypeError for a combination of parts that means nothing */
export function checkSelector(selector: KvListSelector): void {
  const { prefix, start, end } = (selector ?? {}) as Parts;
  if (prefix === undefined && (start === undefined || end === undefined)) {
    throw new TypeError("Selector must specify either 'prefix' or both 'start' and 'end' key");
  }
  if (prefix !== undefined && start !== undefined && end !== undefined) {
    throw new TypeError(
      "Selector can not specify both 'start' and 'end' key when specifying 'prefix'",
    );
  }
}

/** Encodes a selector that `checkSelector` let pass. @throws TypeError for its keys */
export function encodeSelector(selector: KvListSelector, limits: Limits): Selection {
  const { prefix, start, end } = selector as Parts;
  const common = prefix === undefined ? undefined : encodeKey(prefix);
  const first = start === undefined ? undefined : encodeKey(start);
  const last = end === undefined ? undefined : encodeKey(end);
  if (common !== undefined) {
    if (first !== undefined) checkWithin(common, first, "Start");
    if (last !== undefined) checkWithin(common, last, "End");
    const whole = prefixRange(common);
    return checked({ start: first ?? whole.start, end: last ?? whole.end }, common, limits);
  }
  const range = { start: first as Uint8Array, end: last as Uint8Array };
  if (compareBytes(range.start, range.end) > 0) {
    throw new TypeError("Start key is greater than end key");
  }
  const length = commonPrefixLength(range.start, range.end);
  return checked(range, range.start.subarray(0, length), limits);
}

/** Checks and encodes a selector of a call that has no other arguments. @throws TypeError */
export function rangeOf(selector: KvListSelector, limits: Limits): KeyRange {
  checkSelector(selector);
  return encodeSelector(selector, limits).range;
}

/** The selector that is encoded as this range. @throws DecodeError if there is none */
export function decodeSelector(start: Uint8Array, end: Uint8Array): KvListSelector {
  const isWhole = start.length === 1 && (start[0] as number) <= 1;
  // What a prefix means begins and ends with a byte that no part of a key does.
  const fromPrefix = isWhole || (start[start.length - 1] === 0 && !isKey(start));
  const toPrefix = end[end.length - 1] === 0xff && !isKey(end);
  const key = (bytes: Uint8Array) => decodeKey(bytes, 0, bytes.length);
  const prefix = (bytes: Uint8Array) => decodeKey(bytes, 0, bytes.length - 1);
  if (fromPrefix && toPrefix) return { prefix: prefix(start) };
  if (fromPrefix) return { prefix: prefix(start), end: key(end) };
  if (toPrefix) return { prefix: prefix(end), start: key(start) };
  return { start: key(start), end: key(end) };
}

function isKey(bytes: Uint8Array): boolean {
  try {
    decodeKey(bytes, 0, bytes.length);
    return true;
  } catch {
    return false;
  }
}

function checkWithin(prefix: Uint8Array, key: Uint8Array, name: "Start" | "End"): void {
  if (key.length > prefix.length && commonPrefixLength(prefix, key) === prefix.length) return;
  throw new TypeError(`${name} key is not in the keyspace defined by prefix`);
}

function checked(range: KeyRange, common: Uint8Array, { readKeyBytes }: Limits): Selection {
  checkReadKey(range.start.length, readKeyBytes);
  checkReadKey(range.end.length, readKeyBytes);
  return { range, common };
}
