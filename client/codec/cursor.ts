/**
 * List cursors, as Deno KV makes them: base64url (padded) of the last key's bytes behind the
 * prefix that all keys of the selector share.
 */

import { LIMITS } from "../limits.ts";
import { compareBytes } from "./bytes.ts";
import { type KeyRange, withByte } from "./key.ts";

/** How many bytes `a` and `b` have in common at their beginning. */
export function commonPrefixLength(a: Uint8Array, b: Uint8Array): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/**
 * The cursor that stands behind `key`.
 * @param common the bytes that all keys of the selector begin with
 * @throws TypeError `cursor out of bounds` if `key` does not begin with them
 */
export function encodeCursor(common: Uint8Array, key: Uint8Array): string {
  if (commonPrefixLength(common, key) < common.length) throw outOfBounds();
  let binary = "";
  for (const byte of key.subarray(common.length)) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_");
}

/**
 * What is left of `range` behind the cursor; in front of it if `reverse`.
 * @param common the bytes that all keys of the selector begin with
 * @throws TypeError `invalid cursor` if it is no base64url, `cursor out of bounds` if it leaves
 * the range or is longer than keys are
 */
export function resumeRange(
  range: KeyRange,
  common: Uint8Array,
  cursor: string,
  reverse: boolean,
): KeyRange {
  const rest = decodeBase64Url(cursor);
  const key = new Uint8Array(common.length + rest.length);
  key.set(common);
  key.set(rest, common.length);
  const isLong = key.length > LIMITS.kvass.keyBytes;
  if (isLong || compareBytes(key, range.start) < 0 || compareBytes(key, range.end) > 0) {
    throw outOfBounds();
  }
  return reverse ? { start: range.start, end: key } : { start: withByte(key, 0), end: range.end };
}

function decodeBase64Url(cursor: string): Uint8Array {
  if (!/^[\w-]*={0,2}$/.test(cursor)) throw new TypeError("invalid cursor");
  let binary: string;
  try {
    binary = atob(cursor.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    throw new TypeError("invalid cursor");
  }
  return Uint8Array.from(binary, (char) => char.charCodeAt(0));
}

function outOfBounds(): TypeError {
  return new TypeError("cursor out of bounds");
}
