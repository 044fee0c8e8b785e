/**
 * Strings as UTF-8. Short ones are written and read here, character by character: a call of
 * TextEncoder or TextDecoder costs a browser as much as some sixty characters do.
 */

import type { ByteWriter } from "./bytes.ts";
import { DecodeError } from "./decode-error.ts";

const encoder: TextEncoder = /* @__PURE__ */ new TextEncoder();
// A decoder that is not fatal would turn damage into U+FFFD, and one that eats a byte order mark
// would change the string.
const decoder: TextDecoder = /* @__PURE__ */ new TextDecoder("utf-8", {
  fatal: true,
  ignoreBOM: true,
});

/** Strings of more characters, or bytes, than this go through TextEncoder and TextDecoder. */
const SHORT_MAX = 64;

/**
 * What `writeUtf8` does with what UTF-8 cannot say or a key cannot hold. A lone surrogate:
 * `plain` and `key` write U+FFFD, `strict` stops and says so, `wtf8` writes its three generalised
 * UTF-8 bytes (https://simonsapin.github.io/wtf-8/). A NUL: `key` writes 00 FF.
 */
export type Utf8Mode = "plain" | "strict" | "wtf8" | "key";

/** Appends a string's bytes. False if `mode` is `strict` and the string has a lone surrogate. */
export function writeUtf8(w: ByteWriter, value: string, mode: Utf8Mode): boolean {
  const isShort = value.length <= SHORT_MAX || mode === "wtf8";
  if (isShort || (mode === "key" && value.includes("\0"))) return writeChars(w, value, mode);
  const start = w.position;
  let read = 0;
  // Most strings are ASCII: room for three bytes a character is made for those that are not.
  for (let room = value.length; read < value.length; room = (value.length - read) * 3) {
    w.ensure(room);
    const rest = read === 0 ? value : value.slice(read);
    const done = encoder.encodeInto(rest, w.bytes.subarray(w.position));
    read += done.read;
    w.position += done.written;
  }
  const isAscii = w.position - start === value.length;
  return isAscii || mode !== "strict" || !/[\ud800-\udfff]/u.test(value);
}

function writeChars(w: ByteWriter, value: string, mode: Utf8Mode): boolean {
  const length = value.length;
  w.ensure(length * 3);
  const bytes = w.bytes;
  let position = w.position;
  for (let i = 0; i < length; i++) {
    let code = value.charCodeAt(i);
    if (code < 0x80) {
      bytes[position++] = code;
      if (code === 0 && mode === "key") bytes[position++] = 0xff;
      continue;
    }
    if (code >= 0xd800 && code <= 0xdfff) {
      const whole = value.codePointAt(i) as number;
      if (whole > 0xffff) {
        i++;
        code = whole;
      } else if (mode === "strict") {
        return false;
      } else if (mode !== "wtf8") {
        code = 0xfffd;
      }
    }
    if (code < 0x800) {
      bytes[position++] = 0xc0 | (code >> 6);
    } else {
      if (code < 0x10000) {
        bytes[position++] = 0xe0 | (code >> 12);
      } else {
        bytes[position++] = 0xf0 | (code >> 18);
        bytes[position++] = 0x80 | ((code >> 12) & 0x3f);
      }
      bytes[position++] = 0x80 | ((code >> 6) & 0x3f);
    }
    bytes[position++] = 0x80 | (code & 0x3f);
  }
  w.position = position;
  return true;
}

/** The string whose UTF-8 bytes are `bytes[start..end]`; a DecodeError if they are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= SHORT_MAX) return decodeChars(bytes, start, end, false);
  try {
    return decoder.decode(bytes.subarray(start, end));
  } catch {
    throw new DecodeError("a string is not UTF-8");
  }
}

/** Names come again and again: this many of them are kept, each in the place its bytes give. */
const NAMES_MAX = 512;
const NAME_BYTES_MAX = 32;
const names: string[] = [];

/**
 * As `decodeUtf8`, for the keys of objects. A name that was read before is the same string again,
 * which saves making it and, as it is an object's key already, looking it up as one.
 */
export function decodeName(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start;
  if (length === 0 || length > NAME_BYTES_MAX) return decodeUtf8(bytes, start, end);
  const middle = bytes[start + (length >> 1)] as number;
  const ends = (bytes[start] as number) * 5 + (bytes[end - 1] as number) * 31;
  const slot = (ends + middle * 17 + length * 73) % NAMES_MAX;
  const known = names[slot];
  if (known !== undefined && isAscii(known, bytes, start, length)) return known;
  const name = decodeUtf8(bytes, start, end);
  if (name.length === length) names[slot] = name;
  return name;
}

function isAscii(text: string, bytes: Uint8Array, start: number, length: number): boolean {
  if (text.length !== length) return false;
  for (let i = 0; i < length; i++) {
    if (text.charCodeAt(i) !== bytes[start + i]) return false;
  }
  return true;
}

/** The string whose WTF-8 bytes are `bytes[start..end]`. */
export function decodeWtf8(bytes: Uint8Array, start: number, end: number): string {
  return decodeChars(bytes, start, end, true);
}

function decodeChars(bytes: Uint8Array, start: number, end: number, isWtf8: boolean): string {
  let text = "";
  let i = start;
  // Eight at a time, because each call and each string put together has its price.
  for (; i + 8 <= end; i += 8) {
    const a = bytes[i] as number;
    const b = bytes[i + 1] as number;
    const c = bytes[i + 2] as number;
    const d = bytes[i + 3] as number;
    const e = bytes[i + 4] as number;
    const f = bytes[i + 5] as number;
    const g = bytes[i + 6] as number;
    const h = bytes[i + 7] as number;
    if ((a | b | c | d | e | f | g | h) > 0x7f) break;
    text += String.fromCharCode(a, b, c, d, e, f, g, h);
  }
  for (; i + 3 <= end; i += 3) {
    const a = bytes[i] as number;
    const b = bytes[i + 1] as number;
    const c = bytes[i + 2] as number;
    if ((a | b | c) > 0x7f) break;
    text += String.fromCharCode(a, b, c);
  }
  while (i < end) {
    const first = bytes[i] as number;
    if (first < 0x80) {
      text += String.fromCharCode(first);
      i++;
    } else {
      const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
      text += String.fromCodePoint(decodeChar(bytes, i, size, end, isWtf8));
      i += size;
    }
  }
  return text;
}

/** The smallest code point of a sequence of 0 to 4 bytes: a smaller one is not UTF-8. */
const SMALLEST = [0, 0, 0x80, 0x800, 0x10000];

function decodeChar(
  bytes: Uint8Array,
  start: number,
  size: number,
  end: number,
  isWtf8: boolean,
): number {
  const first = bytes[start] as number;
  let isValid = start + size <= end && first > 0xbf && first < 0xf8;
  let code = first & (0x7f >> size);
  for (let i = start + 1; isValid && i < start + size; i++) {
    const next = bytes[i] as number;
    isValid = next >> 6 === 2;
    code = (code << 6) | (next & 0x3f);
  }
  const isSurrogate = code >> 11 === 0x1b;
  if (
    !isValid ||
    code < (SMALLEST[size] as number) ||
    code > 0x10ffff ||
    (isSurrogate && !isWtf8)
  ) {
    throw new DecodeError("a string is not UTF-8");
  }
  return code;
}
