/** Selectors of lists and changes, as ranges of encoded keys. */

import { compareBytes } from "./codec/bytes.ts";
import { commonPrefixLength } from "./codec/cursor.ts";
import { encodeKey, type KeyRange, type KvKey, prefixRange } from "./codec/key.ts";
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

function checkWithin(prefix: Uint8Array, key: Uint8Array, name: "Start" | "End"): void {
  if (key.length > prefix.length && commonPrefixLength(prefix, key) === prefix.length) return;
  throw new TypeError(`${name} key is not in the keyspace defined by prefix`);
}

function checked(range: KeyRange, common: Uint8Array, { readKeyBytes }: Limits): Selection {
  checkReadKey(range.start.length, readKeyBytes);
  checkReadKey(range.end.length, readKeyBytes);
  return { range, common };
}
