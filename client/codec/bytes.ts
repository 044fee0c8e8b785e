/**
 * The growable byte writer and the bounds-checked reader that every codec of the client shares.
 *
 * One writer holds a whole frame: keys, values and postcard fields are written one behind the
 * other, so a frame of a thousand operations costs no allocation per operation. `ByteWriter.take`
 * copies the result out once, into the buffer that is transferred. A codec that fails half-way
 * puts `position` back where it began.
 *
 * Varints are postcard's: seven bits a byte, least significant first, the high bit set on all
 * bytes but the last.
 */

import { DecodeError } from "./decode-error.ts";
import { decodeUtf8, writeUtf8 } from "./utf8.ts";

export { DecodeError };

/** A buffer above this size is not kept for the next frame. */
const KEPT_CAPACITY_MAX = 1 << 20;

/** A growable buffer with a write position. The fields are open to the codecs' inner loops. */
export class ByteWriter {
  /** The buffer; replaced when it grows, so not to be held across a write. */
  bytes: Uint8Array<ArrayBuffer>;
  /** A view of the same buffer. */
  view: DataView<ArrayBuffer>;
  /** Where the next byte goes, which is also how many have been written. */
  position = 0;
  /**
   * Set while a value is being written. A getter of it that wrote here, by a call of the database,
   * would write into the middle of it.
   */
  isLocked = false;
  /** Large values that travel beside what is written, in the order in which it speaks of them. */
  attachments: ArrayBuffer[] = [];
  readonly #capacity: number;

  /** @param capacity bytes to start with, and to shrink back to after a very large frame */
  constructor(capacity = 4096) {
    this.#capacity = capacity;
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /**
   * Where the key or value that comes next begins.
   * @throws TypeError if it is a getter of a value that is being written who asks
   */
  begin(): number {
    if (this.isLocked) throw new TypeError("a getter of a value being stored used the database");
    return this.position;
  }

  /** Makes room for `size` more bytes. */
  ensure(size: number): void {
    if (this.position + size > this.bytes.length) this.#grow(this.position + size);
  }

  #grow(needed: number): void {
    const old = this.bytes;
    this.bytes = new Uint8Array(Math.max(needed, old.length * 2));
    this.view = new DataView(this.bytes.buffer);
    // All of it: who moves content to put a length before it writes below what is already there.
    this.bytes.set(old);
  }

  /** One byte. */
  u8(byte: number): void {
    this.ensure(1);
    this.bytes[this.position++] = byte;
  }

  /** A varint of a whole number between 0 and `Number.MAX_SAFE_INTEGER`. */
  varint(value: number): void {
    this.ensure(8);
    let rest = value;
    while (rest > 0xffffffff) {
      this.bytes[this.position++] = (rest & 0x7f) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      this.bytes[this.position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.bytes[this.position++] = rest;
  }

  /** A varint of a bigint between 0 and 2^64 - 1. */
  varintBig(value: bigint): void {
    let rest = value;
    while (rest > 0x7fn) {
      this.u8(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.u8(Number(rest));
  }

  /** A double, little-endian. */
  f64(value: number): void {
    this.ensure(8);
    this.view.setFloat64(this.position, value, true);
    this.position += 8;
  }

  /** Bytes as they are. */
  raw(source: Uint8Array): void {
    this.ensure(source.length);
    this.bytes.set(source, this.position);
    this.position += source.length;
  }

  /** A varint of the length, then the bytes. */
  sized(source: Uint8Array): void {
    this.varint(source.length);
    this.raw(source);
  }

  /** Opens a field whose length goes before it; the result is for `endSized`. */
  beginSized(): number {
    this.u8(0);
    return this.position;
  }

  /** Closes the field: writes its length, moving the content where that takes over one byte. */
  endSized(start: number): void {
    const end = this.position;
    const length = end - start;
    let extra = 0;
    for (let rest = length; rest > 0x7f; rest = Math.floor(rest / 128)) extra++;
    if (extra > 0) {
      this.ensure(extra);
      this.bytes.copyWithin(start + extra, start, end);
    }
    this.position = start - 1;
    this.varint(length);
    this.position += length;
  }

  /** A varint of the length in bytes, then the string in UTF-8; lone surrogates become U+FFFD. */
  text(value: string): void {
    const start = this.beginSized();
    writeUtf8(this, value, "plain");
    this.endSized(start);
  }

  /** Forgets what was written; the buffer stays. */
  reset(): void {
    this.position = 0;
    this.attachments = [];
    if (this.bytes.length <= KEPT_CAPACITY_MAX) return;
    this.bytes = new Uint8Array(this.#capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** What was written, copied into a buffer of exactly that size, to be transferred. Resets. */
  take(): ArrayBuffer {
    const taken = this.bytes.buffer.slice(0, this.position);
    this.reset();
    return taken;
  }
}

/** Reads a range of bytes, with every length checked against what is left. */
export class ByteReader {
  readonly bytes: Uint8Array;
  /** The next byte to read. */
  position: number;
  /** The first byte that is not to be read. */
  readonly end: number;
  #view: DataView | undefined;

  constructor(bytes: Uint8Array, start = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.position = start;
    this.end = end;
  }

  /** A view of all of `bytes`. */
  get view(): DataView {
    // Made when first asked for: many values and frames have no number that needs it.
    if (this.#view === undefined) {
      const { buffer, byteOffset, byteLength } = this.bytes;
      this.#view = new DataView(buffer, byteOffset, byteLength);
    }
    return this.#view;
  }

  /** How many bytes are left. */
  get left(): number {
    return this.end - this.position;
  }

  /** Steps over `size` bytes and returns where they began. */
  skip(size: number): number {
    const start = this.position;
    if (size > this.end - start) {
      throw new DecodeError(`cut short: ${size} bytes expected, ${this.end - start} left`);
    }
    this.position = start + size;
    return start;
  }

  /** One byte. */
  u8(): number {
    return this.bytes[this.skip(1)] as number;
  }

  /** A varint up to `Number.MAX_SAFE_INTEGER`. */
  varint(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
    }
    throw new DecodeError("a varint is too large");
  }

  /** A varint up to 2^64 - 1. */
  varintBig(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value > 0xffffffffffffffffn) break;
        return value;
      }
    }
    throw new DecodeError("a varint is too large");
  }

  /** A double, little-endian. */
  f64(): number {
    return this.view.getFloat64(this.skip(8), true);
  }

  /** The next `size` bytes: a view, not a copy. */
  raw(size: number): Uint8Array {
    const start = this.skip(size);
    return this.bytes.subarray(start, start + size);
  }

  /** A varint of the length, then that many bytes: a view, not a copy. */
  sized(): Uint8Array {
    return this.raw(this.varint());
  }

  /** A varint of the length in bytes, then a string in UTF-8. */
  text(): string {
    const size = this.varint();
    const start = this.skip(size);
    return decodeUtf8(this.bytes, start, start + size);
  }
}

/** Orders byte strings as the engine does: negative, zero or positive. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
