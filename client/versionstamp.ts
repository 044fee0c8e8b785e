/**
 * Versionstamps: ten bytes that grow with every commit, shown as 20 lowercase hex digits.
 *
 *     | open epoch: 4 bytes, big-endian | counter: 6 bytes, big-endian |
 */

import type { ByteReader, ByteWriter } from "./codec/bytes.ts";
import { shown } from "./errors.ts";

/** Bytes of a versionstamp. */
export const VERSIONSTAMP_BYTES = 10;

const HEX_DIGITS = /^[0-9a-f]{20}$/i;

// From the registry of symbols, so that two copies of the package on one page agree on it.
const MARKER: unique symbol = Symbol.for("kvass.commitVersionstamp") as never;

/**
 * A key part that stands for the versionstamp of the commit that writes the key. It may be only
 * the last part of the key of a `set`; the key then ends in the versionstamp as a string.
 */
export function commitVersionstamp(): symbol {
  return MARKER;
}

/** Whether the last part of `key` is `commitVersionstamp()`. */
export function endsInVersionstamp(key: readonly unknown[]): boolean {
  return key.length > 0 && key[key.length - 1] === MARKER;
}

/**
 * The versionstamp in lower case.
 * @throws TypeError if `value` is not a string of 20 hex digits
 */
export function parseVersionstamp(value: unknown): string {
  if (typeof value !== "string" || !HEX_DIGITS.test(value)) {
    throw new TypeError(`invalid versionstamp: expected 20 hex digits, received ${shown(value)}`);
  }
  return value.toLowerCase();
}

/** Writes the ten bytes of a versionstamp; a TypeError if it is not 20 hex digits. */
export function writeVersionstamp(w: ByteWriter, value: unknown): void {
  const hex = parseVersionstamp(value);
  w.ensure(VERSIONSTAMP_BYTES);
  for (let i = 0; i < hex.length; i += 2) {
    w.bytes[w.position++] = Number.parseInt(hex.slice(i, i + 2), 16);
  }
}

/** The character codes of the digits being read: one string is made of all, not one of each. */
const codes: number[] = /* @__PURE__ */ new Array(VERSIONSTAMP_BYTES * 2).fill(0);

/** Reads the ten bytes of a versionstamp. */
export function readVersionstamp(r: ByteReader): string {
  const start = r.skip(VERSIONSTAMP_BYTES);
  for (let i = 0; i < VERSIONSTAMP_BYTES; i++) {
    const byte = r.bytes[start + i] as number;
    codes[2 * i] = codeOfDigit(byte >> 4);
    codes[2 * i + 1] = codeOfDigit(byte & 15);
  }
  return String.fromCharCode.apply(null, codes);
}

function codeOfDigit(digit: number): number {
  return digit < 10 ? 48 + digit : 87 + digit;
}
