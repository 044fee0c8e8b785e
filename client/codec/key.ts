/**
 * Keys as bytes that sort by `memcmp` as the keys do: the encoding of FoundationDB's tuple layer
 * (https://github.com/apple/foundationdb/blob/main/design/tuple.md), in the subset Deno KV uses.
 *
 *     Uint8Array  01  bytes, 00 as 00 FF              00
 *     string      02  UTF-8, 00 as 00 FF              00
 *     bigint      0B  length xor FF, complement       negative, 9 to 255 bytes
 *                 0C to 13  complement                negative, 8 to 1 bytes
 *                 14                                  zero
 *                 15 to 1C  magnitude                 positive, 1 to 8 bytes
 *                 1D  length, magnitude               positive, 9 to 255 bytes
 *     number      21  double, big-endian, the sign bit flipped, or all bits if it was negative
 *     false       26
 *     true        27
 *
 * Magnitudes are big-endian without leading zeros. NaN is canonical and sorts last.
 */

import { readMagnitude, U64_MAX, writeMagnitude } from "./bigint.ts";
import { ByteReader, ByteWriter, DecodeError } from "./bytes.ts";
import { decodeUtf8, writeUtf8 } from "./utf8.ts";

/** A part of a key. A symbol may only be what `commitVersionstamp()` returns. */
export type KvKeyPart = Uint8Array | string | number | bigint | boolean | symbol;

/** A key: parts, ordered one after the other. Types sort bytes, string, bigint, number, boolean. */
export type KvKey = readonly KvKeyPart[];

const BYTES = 0x01;
const STRING = 0x02;
const NEGATIVE_LONG = 0x0b;
const ZERO = 0x14;
const POSITIVE_LONG = 0x1d;
const NUMBER = 0x21;
const FALSE = 0x26;
const TRUE = 0x27;

const BIGINT_BYTES_MAX = 255;

/**
 * Appends the first `count` parts of a key. On an error the writer is as it was.
 * @throws TypeError if `key` is no array or holds what is no key part
 */
export function writeKey(w: ByteWriter, key: KvKey, count?: number): void {
  if (!Array.isArray(key)) throw new TypeError("a key must be an array of key parts");
  const start = w.begin();
  try {
    for (let i = 0; i < (count ?? key.length); i++) writePart(w, key[i]);
  } catch (error) {
    w.position = start;
    throw error;
  }
}

/** The bytes of a key; `writeKey` says what it throws. */
export function encodeKey(key: KvKey): Uint8Array<ArrayBuffer> {
  const w = new ByteWriter(64);
  writeKey(w, key);
  return w.bytes.slice(0, w.position);
}

function writePart(w: ByteWriter, part: unknown): void {
  switch (typeof part) {
    case "string":
      w.u8(STRING);
      writeUtf8(w, part, "key");
      w.u8(0);
      return;
    case "number":
      writeNumber(w, part);
      return;
    case "bigint":
      writeBigint(w, part);
      return;
    case "boolean":
      w.u8(part ? TRUE : FALSE);
      return;
    default:
      if (ArrayBuffer.isView(part)) {
        writeBytes(w, part);
        return;
      }
      throw new TypeError("expected string, number, bigint, ArrayBufferView, boolean");
  }
}

/**
 * A copy that stays what it is: the bytes in a key are its owner's, who may use them again. What is
 * no key is left for `writeKey` to refuse.
 */
export function copyKey(key: KvKey): KvKey {
  if (!Array.isArray(key)) return key;
  const copy: KvKeyPart[] = key.slice();
  for (let i = 0; i < copy.length; i++) {
    const part = copy[i];
    if (ArrayBuffer.isView(part)) copy[i] = viewed(part).slice();
  }
  return copy;
}

/** The same of many keys. @throws TypeError if they are not in an array */
export function copyKeys(keys: readonly KvKey[]): KvKey[] {
  if (!Array.isArray(keys)) throw new TypeError("keys must be in an array");
  return Array.from(keys, copyKey);
}

/** The bytes that a view of any kind is of. */
function viewed(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function writeBytes(w: ByteWriter, part: ArrayBufferView): void {
  const source = viewed(part);
  w.ensure(source.length * 2 + 2);
  w.bytes[w.position++] = BYTES;
  for (const byte of source) {
    w.bytes[w.position++] = byte;
    if (byte === 0) w.bytes[w.position++] = 0xff;
  }
  w.bytes[w.position++] = 0;
}

function writeNumber(w: ByteWriter, part: number): void {
  w.ensure(9);
  w.bytes[w.position++] = NUMBER;
  const start = w.position;
  // A NaN of another bit pattern would be another key.
  w.view.setFloat64(start, Number.isNaN(part) ? Number.NaN : part);
  flipNumber(w.view, start, w.view.getInt8(start) < 0);
  w.position = start + 8;
}

function flipNumber(view: DataView, start: number, isNegative: boolean): void {
  const high = view.getUint32(start);
  view.setUint32(start, isNegative ? ~high : high ^ 0x80000000);
  if (isNegative) view.setUint32(start + 4, ~view.getUint32(start + 4));
}

function writeBigint(w: ByteWriter, part: bigint): void {
  const isNegative = part < 0n;
  const magnitude = isNegative ? -part : part;
  const isLong = magnitude > U64_MAX;
  w.u8(0);
  if (isLong) w.u8(0);
  const start = w.position;
  writeMagnitude(w, magnitude);
  const length = w.position - start;
  if (length > BIGINT_BYTES_MAX) {
    throw new TypeError(`bigint too large for a key (max ${BIGINT_BYTES_MAX} bytes)`);
  }
  if (isLong) {
    w.bytes[start - 2] = isNegative ? NEGATIVE_LONG : POSITIVE_LONG;
    w.bytes[start - 1] = isNegative ? length ^ 0xff : length;
  } else {
    w.bytes[start - 1] = isNegative ? ZERO - length : ZERO + length;
  }
  if (!isNegative) return;
  for (let i = start; i < w.position; i++) w.bytes[i] = (w.bytes[i] as number) ^ 0xff;
}

/**
 * The parts of the key at `bytes[start..end]`, none of which shares memory with `bytes`.
 * @throws DecodeError if the bytes are no key
 */
export function decodeKey(bytes: Uint8Array, start = 0, end: number = bytes.length): KvKeyPart[] {
  const r = new ByteReader(bytes, start, end);
  const key: KvKeyPart[] = [];
  while (r.position < end) key.push(readPart(r));
  return key;
}

function readPart(r: ByteReader): KvKeyPart {
  const tag = r.u8();
  switch (tag) {
    case BYTES:
      return readBytes(r);
    case STRING:
      return readString(r);
    case NUMBER:
      return readNumber(r);
    case FALSE:
      return false;
    case TRUE:
      return true;
    default:
      if (tag < NEGATIVE_LONG || tag > POSITIVE_LONG) {
        throw new DecodeError(`unknown key part ${tag}`);
      }
      return readBigint(r, tag);
  }
}

/** Steps over a part and its final 00, and returns how many 00 FF are in it. */
function skipEscaped(r: ByteReader): number {
  const { bytes, end } = r;
  let escapes = 0;
  for (let i = r.position; i < end; i++) {
    if (bytes[i] !== 0) continue;
    if (i + 1 < end && bytes[i + 1] === 0xff) {
      escapes++;
      i++;
    } else {
      r.position = i + 1;
      return escapes;
    }
  }
  throw new DecodeError("a key part has no end");
}

function readString(r: ByteReader): string {
  const start = r.position;
  const escapes = skipEscaped(r);
  const end = r.position - 1;
  if (escapes === 0) return decodeUtf8(r.bytes, start, end);
  const plain = unescaped(r.bytes, start, end, escapes);
  return decodeUtf8(plain, 0, plain.length);
}

function readBytes(r: ByteReader): Uint8Array<ArrayBuffer> {
  const start = r.position;
  const escapes = skipEscaped(r);
  return unescaped(r.bytes, start, r.position - 1, escapes);
}

function unescaped(
  bytes: Uint8Array,
  start: number,
  end: number,
  escapes: number,
): Uint8Array<ArrayBuffer> {
  if (escapes === 0) return new Uint8Array(bytes.subarray(start, end));
  const plain = new Uint8Array(end - start - escapes);
  let from = start;
  for (let to = 0; to < plain.length; to++) {
    plain[to] = bytes[from] as number;
    from += bytes[from] === 0 ? 2 : 1;
  }
  return plain;
}

const scratch: DataView = /* @__PURE__ */ new DataView(new ArrayBuffer(8));

function readNumber(r: ByteReader): number {
  const start = r.skip(8);
  for (let i = 0; i < 8; i++) scratch.setUint8(i, r.bytes[start + i] as number);
  flipNumber(scratch, 0, scratch.getInt8(0) >= 0);
  return scratch.getFloat64(0);
}

function readBigint(r: ByteReader, tag: number): bigint {
  const isNegative = tag < ZERO;
  const mask = isNegative ? 0xff : 0;
  const isLong = tag === NEGATIVE_LONG || tag === POSITIVE_LONG;
  const length = isLong ? r.u8() ^ mask : Math.abs(tag - ZERO);
  const start = r.skip(length);
  const magnitude = readMagnitude(r.bytes, start, r.position, mask);
  return isNegative ? -magnitude : magnitude;
}

/** A range of encoded keys: `start` is inside, `end` is not. */
export interface KeyRange {
  start: Uint8Array;
  end: Uint8Array;
}

/**
 * The range of the keys that begin with the parts of `prefix` and have more of them; the key
 * `prefix` itself is not in it. No part begins with 00 or FF, so these two bound all parts.
 */
export function prefixRange(prefix: Uint8Array): KeyRange {
  return { start: withByte(prefix, 0x00), end: withByte(prefix, 0xff) };
}

/** The bytes with one more behind them; with 00, the next byte string in the order. */
export function withByte(bytes: Uint8Array, last: number): Uint8Array<ArrayBuffer> {
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  longer[bytes.length] = last;
  return longer;
}
