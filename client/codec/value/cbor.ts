/** CBOR items that hold no others: heads, numbers, strings and byte strings (RFC 8949). */

import { writeMagnitude } from "../bigint.ts";
import type { ByteWriter } from "../bytes.ts";
import { writeUtf8 } from "../utf8.ts";
import {
  DOUBLE,
  FALSE,
  MAJOR_BYTES,
  MAJOR_NEGATIVE,
  MAJOR_TAG,
  MAJOR_TEXT,
  MAJOR_UINT,
  NULL,
  TAG_NEGATIVE_BIGINT,
  TAG_POSITIVE_BIGINT,
  TAG_WTF8,
  TRUE,
  UNDEFINED,
} from "./tags.ts";

/** An item's first bytes: the major type and its argument, a safe whole number. */
export function writeHead(w: ByteWriter, major: number, argument: number): void {
  w.ensure(9);
  const type = major << 5;
  if (argument < 24) {
    w.bytes[w.position++] = type | argument;
  } else if (argument < 0x100) {
    w.bytes[w.position++] = type | 24;
    w.bytes[w.position++] = argument;
  } else if (argument < 0x10000) {
    w.bytes[w.position++] = type | 25;
    w.bytes[w.position++] = argument >> 8;
    w.bytes[w.position++] = argument;
  } else if (argument <= 0xffffffff) {
    w.bytes[w.position++] = type | 26;
    w.view.setUint32(w.position, argument);
    w.position += 4;
  } else {
    w.bytes[w.position++] = type | 27;
    w.view.setUint32(w.position, argument / 0x100000000);
    w.view.setUint32(w.position + 4, argument);
    w.position += 8;
  }
}

/** How many bytes the head of `argument` takes. */
function headLength(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x10000) return 3;
  return argument <= 0xffffffff ? 5 : 9;
}

/** A number: a safe whole one as a CBOR integer, any other one (-0 too) as a double. */
export function writeNumber(w: ByteWriter, value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    if (value < 0) writeHead(w, MAJOR_NEGATIVE, -1 - value);
    else writeHead(w, MAJOR_UINT, value);
    return;
  }
  w.ensure(9);
  w.bytes[w.position++] = DOUBLE;
  w.view.setFloat64(w.position, value);
  w.position += 8;
}

/** A bigint: always a bignum, so that it comes back as a bigint. */
export function writeBigint(w: ByteWriter, value: bigint): void {
  writeHead(w, MAJOR_TAG, value < 0n ? TAG_NEGATIVE_BIGINT : TAG_POSITIVE_BIGINT);
  const magnitude = value < 0n ? -1n - value : value;
  const start = w.position;
  writeMagnitude(w, magnitude);
  putHead(w, MAJOR_BYTES, start, 0);
}

/** Writes a value that is no object and says so; false, and nothing written, for any other. */
export function writePrimitive(w: ByteWriter, value: unknown): boolean {
  switch (typeof value) {
    case "string":
      writeText(w, value);
      return true;
    case "number":
      writeNumber(w, value);
      return true;
    case "boolean":
      w.u8(value ? TRUE : FALSE);
      return true;
    case "undefined":
      w.u8(UNDEFINED);
      return true;
    case "bigint":
      writeBigint(w, value);
      return true;
    default:
      if (value !== null) return false;
      w.u8(NULL);
      return true;
  }
}

/** A string; one with a lone surrogate, which is no Unicode text, as WTF-8 under its own tag. */
export function writeText(w: ByteWriter, value: string): void {
  const length = value.length;
  if (length < 24 && writeName(w, value)) return;
  const start = w.position;
  const guess = headLength(length);
  w.ensure(guess);
  w.position = start + guess;
  if (writeUtf8(w, value, "strict")) {
    putHead(w, MAJOR_TEXT, start, guess);
    return;
  }
  w.position = start;
  writeHead(w, MAJOR_TAG, TAG_WTF8);
  const bytesStart = w.position;
  writeUtf8(w, value, "wtf8");
  putHead(w, MAJOR_BYTES, bytesStart, 0);
}

/** The strings that most values are made of: under 24 characters, all ASCII. False for others. */
function writeName(w: ByteWriter, value: string): boolean {
  const length = value.length;
  w.ensure(length + 1);
  const bytes = w.bytes;
  let position = w.position;
  bytes[position++] = (MAJOR_TEXT << 5) | length;
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (code > 0x7f) return false;
    bytes[position++] = code;
  }
  w.position = position;
  return true;
}

/** Puts the head of a string whose content begins `room` bytes behind `start`, moving it to fit. */
function putHead(w: ByteWriter, major: number, start: number, room: number): void {
  const length = w.position - start - room;
  const needed = headLength(length);
  if (needed !== room) {
    w.ensure(needed);
    w.bytes.copyWithin(start + needed, start + room, w.position);
  }
  w.position = start;
  writeHead(w, major, length);
  w.position += length;
}

/** A byte string. */
export function writeBytes(w: ByteWriter, value: Uint8Array): void {
  writeHead(w, MAJOR_BYTES, value.length);
  w.raw(value);
}
