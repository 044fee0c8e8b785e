/**
 * CBOR items back to values. The input is not trusted: a length is checked against the bytes that
 * are left before anything is allocated, a count allocates nothing (what it counts is read one by
 * one and takes a byte at least), the depth is bounded, only the tags and classes that the encoder
 * writes are known, and a key never reaches a prototype.
 */

import { readMagnitude } from "../bigint.ts";
import { ByteReader, DecodeError } from "../bytes.ts";
import { decodeName, decodeUtf8, decodeWtf8 } from "../utf8.ts";
import {
  DEPTH_MAX,
  DOUBLE,
  ERROR_NAMES,
  FALSE,
  MAJOR_ARRAY,
  MAJOR_BYTES,
  MAJOR_MAP,
  MAJOR_NEGATIVE,
  MAJOR_TAG,
  MAJOR_TEXT,
  MAJOR_UINT,
  NULL,
  TAG_DATE,
  TAG_MAP,
  TAG_NEGATIVE_BIGINT,
  TAG_OBJECT,
  TAG_POSITIVE_BIGINT,
  TAG_REFERENCE,
  TAG_REGEXP,
  TAG_SET,
  TAG_SHARED,
  TAG_WTF8,
  TRUE,
  TYPED_ARRAY_TAGS,
  UNDEFINED,
} from "./tags.ts";

/** Reads the one CBOR item at `bytes[start..end]`. */
export function decodeItem(bytes: Uint8Array, start: number, end: number): unknown {
  const decoder = new Decoder(bytes, start, end);
  try {
    const value = decoder.item(0);
    decoder.expectEnd();
    return value;
  } catch (error) {
    if (error instanceof DecodeError) throw error;
    // A constructor refused what it was given: a pattern, an alignment, a length.
    throw new DecodeError(`malformed value: ${(error as Error).message}`, { cause: error });
  }
}

/** Stands for a marked object until it is made. */
const UNMADE: unique symbol = Symbol("unmade") as never;

const NO_SLOT = -1;

type ViewClass = new (buffer: ArrayBuffer, byteOffset?: number, length?: number) => ArrayBufferView;

class Decoder extends ByteReader {
  /** The marked objects, in the order of their marks. */
  readonly #shared: unknown[] = [];
  /** The place in `#shared` of the object made next. */
  #slot = NO_SLOT;

  expectEnd(): void {
    if (this.left > 0) throw new DecodeError(`${this.left} bytes follow the value`);
  }

  item(depth: number): unknown {
    const initial = this.u8();
    const major = initial >> 5;
    switch (major) {
      case MAJOR_UINT:
        return this.#argument(initial);
      case MAJOR_NEGATIVE:
        return -1 - this.#argument(initial);
      case MAJOR_BYTES:
        return this.#made(this.#bytes(this.#argument(initial)));
      case MAJOR_TEXT:
        return this.#text(initial);
      case MAJOR_ARRAY:
        return this.#array(this.#made([]), this.#argument(initial), deeper(depth));
      case MAJOR_MAP:
        return this.#plain(this.#made({}), initial, deeper(depth));
      case MAJOR_TAG:
        return this.#tagged(this.#argument(initial), depth);
      default:
        return this.#simple(initial);
    }
  }

  #simple(initial: number): unknown {
    switch (initial) {
      case FALSE:
        return false;
      case TRUE:
        return true;
      case NULL:
        return null;
      case UNDEFINED:
        return undefined;
      case DOUBLE:
        return this.view.getFloat64(this.skip(8));
      default:
        throw new DecodeError(`unknown CBOR item ${initial}`);
    }
  }

  #argument(initial: number): number {
    const info = initial & 0x1f;
    if (info < 24) return info;
    switch (info) {
      case 24:
        return this.u8();
      case 25:
        return this.view.getUint16(this.skip(2));
      case 26:
        return this.view.getUint32(this.skip(4));
      case 27: {
        const at = this.skip(8);
        const value = this.view.getUint32(at) * 0x100000000 + this.view.getUint32(at + 4);
        if (value <= Number.MAX_SAFE_INTEGER) return value;
        throw new DecodeError("a CBOR integer is too large");
      }
      default:
        throw new DecodeError(`unknown CBOR item ${initial}`);
    }
  }

  /** The argument of an item that must be of the major type. */
  #head(major: number): number {
    const initial = this.u8();
    if (initial >> 5 !== major) throw new DecodeError(`CBOR type ${major} expected`);
    return this.#argument(initial);
  }

  #bytes(size: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.raw(size));
  }

  #text(initial: number): string {
    const size = this.#argument(initial);
    const start = this.skip(size);
    return decodeUtf8(this.bytes, start, start + size);
  }

  /** Puts an object into the slot that a mark opened for it, before its content is read. */
  #made<T>(object: T): T {
    if (this.#slot !== NO_SLOT) {
      this.#shared[this.#slot] = object;
      this.#slot = NO_SLOT;
    }
    return object;
  }

  #array(into: unknown[], count: number, depth: number): unknown[] {
    for (let i = 0; i < count; i++) into.push(this.item(depth));
    return into;
  }

  #plain<T extends object>(into: T, initial: number, depth: number): T {
    const count = this.#argument(initial);
    for (let i = 0; i < count; i++) setOwn(into, this.#name(), this.item(depth));
    return into;
  }

  /** A key of an object. */
  #name(): string {
    const initial = this.bytes[this.position] as number;
    if (initial >> 5 !== MAJOR_TEXT) return this.#string();
    this.position++;
    const size = this.#argument(initial);
    const start = this.skip(size);
    return decodeName(this.bytes, start, start + size);
  }

  #tagged(tag: number, depth: number): unknown {
    switch (tag) {
      case TAG_DATE:
        return this.#made(this.#date());
      case TAG_POSITIVE_BIGINT:
        return this.#bigint();
      case TAG_NEGATIVE_BIGINT:
        return -1n - this.#bigint();
      case TAG_OBJECT:
        return this.#class(deeper(depth));
      case TAG_SHARED:
        return this.#mark(depth);
      case TAG_REFERENCE:
        return this.#reference();
      case TAG_SET:
        return this.#set(deeper(depth));
      case TAG_MAP:
        return this.#map(deeper(depth));
      case TAG_WTF8:
        return this.#wtf8();
      case TAG_REGEXP:
        expectCount(this.#head(MAJOR_ARRAY), 2);
        return this.#made(new RegExp(this.#string(), this.#string()));
      default:
        return this.#typedArray(tag);
    }
  }

  /** Seconds in one double are exact to the millisecond for every date, if split like this. */
  #date(): Date {
    const time = this.#number();
    const seconds = Math.floor(time);
    return new Date(seconds * 1000 + Math.round((time - seconds) * 1000));
  }

  #number(): number {
    return expectType(this.item(DEPTH_MAX), "number") as number;
  }

  #string(): string {
    return expectType(this.item(DEPTH_MAX), "string") as string;
  }

  #bigint(): bigint {
    const size = this.#head(MAJOR_BYTES);
    const start = this.skip(size);
    return readMagnitude(this.bytes, start, start + size);
  }

  #mark(depth: number): unknown {
    if (this.#slot !== NO_SLOT) throw new DecodeError("a mark on a mark");
    this.#slot = this.#shared.push(UNMADE) - 1;
    const value = this.item(depth);
    if (this.#slot !== NO_SLOT) throw new DecodeError("a mark on what is no object");
    return value;
  }

  #reference(): unknown {
    const value = this.#shared[this.#head(MAJOR_UINT)] ?? UNMADE;
    if (value === UNMADE) throw new DecodeError("a reference to nothing");
    return value;
  }

  #set(depth: number): Set<unknown> {
    const set = this.#made(new Set());
    const count = this.#head(MAJOR_ARRAY);
    for (let i = 0; i < count; i++) set.add(this.item(depth));
    return set;
  }

  #map(depth: number): Map<unknown, unknown> {
    const map = this.#made(new Map());
    const count = this.#head(MAJOR_MAP);
    for (let i = 0; i < count; i++) {
      const key = this.item(depth);
      map.set(key, this.item(depth));
    }
    return map;
  }

  #wtf8(): string {
    const size = this.#head(MAJOR_BYTES);
    const start = this.skip(size);
    return decodeWtf8(this.bytes, start, start + size);
  }

  #typedArray(tag: number): unknown {
    const name = Object.keys(TYPED_ARRAY_TAGS).find((name) => TYPED_ARRAY_TAGS[name] === tag);
    if (name === undefined) throw new DecodeError(`unknown CBOR tag ${tag}`);
    const maker = viewClass(name);
    return this.#made(new maker(this.#buffer()));
  }

  /** The content of a byte string, as a buffer of its own. */
  #buffer(): ArrayBuffer {
    return this.#bytes(this.#head(MAJOR_BYTES)).buffer;
  }

  /** A generic object: the name of its class, then the arguments of its constructor. */
  #class(depth: number): unknown {
    const count = this.#head(MAJOR_ARRAY) - 1;
    const name = this.#string();
    if (ERROR_NAMES.includes(name)) return this.#error(name, count, depth);
    switch (name) {
      case "Array":
        return this.#irregularArray(count, depth);
      case "Boolean":
      case "Number":
      case "String":
      case "BigInt":
        expectCount(count, 1);
        return this.#made(Object(expectType(this.item(DEPTH_MAX), name.toLowerCase())));
      case "ArrayBuffer":
        expectCount(count, 1);
        return this.#made(this.#buffer());
      case "DOMException":
        expectCount(count, 2);
        return this.#made(new DOMException(this.#string(), this.#string()));
      default:
        return this.#view(name, count, depth);
    }
  }

  /** An array with holes, or with properties that are no elements. */
  #irregularArray(count: number, depth: number): unknown[] {
    expectCount(count, 2);
    const length = this.#number();
    const array: unknown[] = this.#made([]);
    // An engine keeps an array this long as a table, so that the real length allocates nothing.
    array.length = 0xffffffff;
    array.length = length;
    return this.#plain(array, this.u8(), depth);
  }

  #error(name: string, count: number, depth: number): Error {
    expectCount(count, 2);
    const slot = this.#takeSlot();
    const maker = (globalThis as unknown as Record<string, ErrorConstructor>)[name];
    const message = this.item(DEPTH_MAX);
    const error = new (maker as ErrorConstructor)(message as string | undefined);
    if (slot !== NO_SLOT) this.#shared[slot] = error;
    const properties = this.#plain({}, this.u8(), depth) as Record<string, unknown>;
    for (const key of ["stack", "cause"]) {
      if (!Object.hasOwn(properties, key)) continue;
      const value = properties[key];
      Object.defineProperty(error, key, { value, writable: true, configurable: true });
    }
    return error;
  }

  /** Keeps the open slot from the objects that are read before the one it is for is made. */
  #takeSlot(): number {
    const slot = this.#slot;
    this.#slot = NO_SLOT;
    return slot;
  }

  #view(name: string, count: number, depth: number): ArrayBufferView {
    const maker = viewClass(name);
    const slot = this.#takeSlot();
    const buffer = this.item(depth);
    if (!(buffer instanceof ArrayBuffer)) throw new DecodeError("a view of what is no buffer");
    if (count !== 1) expectCount(count, 3);
    const view =
      count === 1 ? new maker(buffer) : new maker(buffer, this.#number(), this.#number());
    if (slot !== NO_SLOT) this.#shared[slot] = view;
    return view;
  }
}

function viewClass(name: string): ViewClass {
  const isKnown =
    name === "DataView" || name === "Uint8Array" || Object.hasOwn(TYPED_ARRAY_TAGS, name);
  const maker = isKnown ? (globalThis as unknown as Record<string, ViewClass>)[name] : undefined;
  if (maker === undefined) throw new DecodeError(`unknown class ${name}`);
  return maker;
}

function expectCount(actual: number, expected: number): void {
  if (actual !== expected) throw new DecodeError("a wrong number of items");
}

function deeper(depth: number): number {
  if (depth >= DEPTH_MAX) throw new DecodeError("a value is nested too deeply");
  return depth + 1;
}

function expectType(value: unknown, type: string): unknown {
  if (typeof value !== type) throw new DecodeError(`a ${type} expected`);
  return value;
}

function setOwn(object: object, key: string, value: unknown): void {
  if (key === "__proto__") {
    Object.defineProperty(object, key, {
      value,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  } else {
    (object as Record<string, unknown>)[key] = value;
  }
}
