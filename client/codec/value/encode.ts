/**
 * Values as CBOR: all that structured clone takes for storage.
 *
 * An object that is met again is written as a reference to its first place (tags 28 and 29). No
 * search goes ahead of the writing: each object is remembered with the place where it begins, a
 * reference is written with room for its number, and when all is written, in the rare case that
 * there are references, the objects they mean are marked and the numbers filled in. CBOR counts
 * items, not bytes, so a mark can be put in without touching what encloses it. So every getter is
 * read once, and a value without repetition pays a look-up per object.
 *
 * Views that share a buffer make the one exception: when the second one is met the value is
 * written anew, with whole buffers and views that refer to them.
 */

import { isU64 } from "../../u64.ts";
import type { ByteWriter } from "../bytes.ts";
import { writeBytes, writeHead, writeNumber, writePrimitive, writeText } from "./cbor.ts";
import { className, typeName, viewName } from "./classes.ts";
import {
  DEPTH_MAX,
  ERROR_NAMES,
  MAJOR_ARRAY,
  MAJOR_MAP,
  MAJOR_TAG,
  TAG_DATE,
  TAG_MAP,
  TAG_OBJECT,
  TAG_REFERENCE,
  TAG_REGEXP,
  TAG_SET,
  TAG_SHARED,
  TYPED_ARRAY_TAGS,
} from "./tags.ts";

/** Up to this many objects a search through an array is faster than a Map. */
const LINEAR_MAX = 64;

/** The place of an object that is not written itself but by a view of it. */
const BY_A_VIEW = -1;

/** Bytes of a tag 28. */
const MARK_BYTES = 2;

/** Appends a value as one CBOR item; the writer's position is undefined after an error. */
export function writeItem(w: ByteWriter, value: unknown): void {
  if (writePrimitive(w, value)) return;
  const start = w.position;
  const encoder = new Encoder(w, false);
  encoder.item(value, 0);
  if (encoder.hasSharedBuffers) {
    w.position = start;
    const second = new Encoder(w, true);
    second.item(value, 0);
    second.finish();
  } else {
    encoder.finish();
  }
}

class Encoder {
  hasSharedBuffers = false;
  readonly #w: ByteWriter;
  readonly #wholeBuffers: boolean;
  /** The objects met, in order, and where each one's item begins. */
  readonly #objects: object[] = [];
  readonly #places: number[] = [];
  #indexes: Map<object, number> | undefined;
  /** Of each reference: where its number goes, and the index of its object. */
  readonly #references: { place: number; index: number }[] = [];
  /** The keys that lead to the item being written, for error messages. */
  readonly #path: unknown[] = [];

  constructor(w: ByteWriter, wholeBuffers: boolean) {
    this.#w = w;
    this.#wholeBuffers = wholeBuffers;
  }

  /** Writes one item, `depth` objects deep. */
  item(value: unknown, depth: number): void {
    if (!writePrimitive(this.#w, value)) this.#object(value as object, depth);
  }

  #object(value: object, depth: number): void {
    if (typeof value !== "object") throw this.#refusal(`a ${typeof value}`, depth);
    this.#checkDepth(depth);
    const known = this.#meet(value, this.#w.position);
    if (known >= 0) {
      this.#reference(known);
      return;
    }
    if (Array.isArray(value)) {
      this.#array(value, depth);
      return;
    }
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) {
      this.#properties(value, Object.keys(value), depth);
      return;
    }
    this.#special(value, depth);
  }

  #checkDepth(depth: number): void {
    if (depth < DEPTH_MAX) return;
    throw new RangeError(`the value is nested too deeply (max ${DEPTH_MAX} levels)`);
  }

  /** The index of an object that was met before; otherwise remembers it and returns -1. */
  #meet(value: object, place: number): number {
    const count = this.#objects.length;
    if (this.#indexes === undefined) {
      const index = this.#objects.indexOf(value);
      if (index >= 0) return index;
      if (count === LINEAR_MAX) {
        this.#indexes = new Map(this.#objects.map((object, i) => [object, i]));
      }
    }
    if (this.#indexes !== undefined) {
      const index = this.#indexes.get(value);
      if (index !== undefined) return index;
      this.#indexes.set(value, count);
    }
    this.#objects.push(value);
    this.#places.push(place);
    return -1;
  }

  #reference(index: number): void {
    if (this.#places[index] === BY_A_VIEW) this.hasSharedBuffers = true;
    const w = this.#w;
    writeHead(w, MAJOR_TAG, TAG_REFERENCE);
    w.ensure(5);
    w.bytes[w.position] = 0x1a;
    this.#references.push({ place: w.position + 1, index });
    w.position += 5;
  }

  /** Fills in the references and marks what they mean. */
  finish(): void {
    if (this.#references.length === 0) return;
    const w = this.#w;
    const shared = [...new Set(this.#references.map(({ index }) => index))].sort((a, b) => a - b);
    const numbers = new Map(shared.map((index, number) => [index, number]));
    for (const { place, index } of this.#references) {
      w.view.setUint32(place, numbers.get(index) as number);
    }
    w.ensure(shared.length * MARK_BYTES);
    let end = w.position;
    w.position += shared.length * MARK_BYTES;
    for (let i = shared.length - 1; i >= 0; i--) {
      const place = this.#places[shared[i] as number] as number;
      const mark = place + i * MARK_BYTES;
      w.bytes.copyWithin(mark + MARK_BYTES, place, end);
      w.bytes[mark] = (MAJOR_TAG << 5) | 24;
      w.bytes[mark + 1] = TAG_SHARED;
      end = place;
    }
  }

  #array(value: unknown[], depth: number): void {
    const keys = Object.keys(value);
    const length = value.length;
    // Indexes come first and in order: if the last one is where it must be, none is missing and
    // no other property follows.
    if (keys.length !== length || (length > 0 && keys[length - 1] !== String(length - 1))) {
      this.#class("Array", 2);
      writeNumber(this.#w, length);
      this.#properties(value, keys, depth);
      return;
    }
    writeHead(this.#w, MAJOR_ARRAY, length);
    for (let i = 0; i < length; i++) {
      const item = value[i];
      if (writePrimitive(this.#w, item)) continue;
      this.#path[depth] = i;
      this.#object(item as object, depth + 1);
    }
  }

  #properties(value: object, keys: string[], depth: number): void {
    writeHead(this.#w, MAJOR_MAP, keys.length);
    for (const key of keys) {
      writeText(this.#w, key);
      const item = (value as Record<string, unknown>)[key];
      if (writePrimitive(this.#w, item)) continue;
      this.#path[depth] = key;
      this.#object(item as object, depth + 1);
    }
  }

  /** Opens a generic object: its class and, to be written next, `count` constructor arguments. */
  #class(name: string, count: number): void {
    writeHead(this.#w, MAJOR_TAG, TAG_OBJECT);
    writeHead(this.#w, MAJOR_ARRAY, count + 1);
    writeText(this.#w, name);
  }

  #special(value: object, depth: number): void {
    if (ArrayBuffer.isView(value)) {
      this.#view(value, depth);
      return;
    }
    if (isU64(value)) {
      throw new TypeError(`a KvU64 can only be a whole value${this.#where(depth)}`);
    }
    const type = className(value);
    switch (type) {
      case "Date":
        this.#date(Date.prototype.getTime.call(value));
        return;
      case "RegExp":
        this.#regexp(value as RegExp);
        return;
      case "Map":
        this.#map(value as Map<unknown, unknown>, depth);
        return;
      case "Set":
        this.#set(value as Set<unknown>, depth);
        return;
      case "Error":
        this.#error(value as Error, depth);
        return;
      case "ArrayBuffer":
        this.#class(type, 1);
        writeBytes(this.#w, new Uint8Array(value as ArrayBuffer));
        return;
      case "Boolean":
      case "Number":
      case "String":
      case "BigInt":
        this.#class(type, 1);
        this.item(unwrap(type, value), depth + 1);
        break;
      case "DOMException":
        this.#class(type, 2);
        this.item(String((value as DOMException).message), depth + 1);
        this.item(String((value as DOMException).name), depth + 1);
        break;
      default:
        if (type !== "Object" && !isOwnClass(value)) throw this.#refusal(type, depth);
        this.#properties(value, Object.keys(value), depth);
    }
  }

  #date(time: number): void {
    writeHead(this.#w, MAJOR_TAG, TAG_DATE);
    writeNumber(this.#w, time / 1000);
  }

  #regexp(value: RegExp): void {
    writeHead(this.#w, MAJOR_TAG, TAG_REGEXP);
    writeHead(this.#w, MAJOR_ARRAY, 2);
    // What it is made of, whatever its class makes of that.
    const { source, flags } = new RegExp(value);
    writeText(this.#w, source);
    writeText(this.#w, flags);
  }

  #map(value: Map<unknown, unknown>, depth: number): void {
    // A copy, because a getter further in could change the map.
    const entries = Array.from(Map.prototype.entries.call(value));
    writeHead(this.#w, MAJOR_TAG, TAG_MAP);
    writeHead(this.#w, MAJOR_MAP, entries.length);
    for (const [key, item] of entries) {
      this.#path[depth] = key;
      this.item(key, depth + 1);
      this.item(item, depth + 1);
    }
  }

  #set(value: Set<unknown>, depth: number): void {
    const items = Array.from(Set.prototype.values.call(value));
    writeHead(this.#w, MAJOR_TAG, TAG_SET);
    writeHead(this.#w, MAJOR_ARRAY, items.length);
    for (const [i, item] of items.entries()) {
      this.#path[depth] = i;
      this.item(item, depth + 1);
    }
  }

  /** The properties that structured clone keeps, as it reads them. */
  #error(value: Error, depth: number): void {
    const name = String(value.name);
    const message = Object.getOwnPropertyDescriptor(value, "message");
    const cause = Object.getOwnPropertyDescriptor(value, "cause");
    const hasCause = cause !== undefined && "value" in cause;
    this.#class(ERROR_NAMES.includes(name) ? name : "Error", 2);
    this.item(message && "value" in message ? String(message.value) : undefined, depth);
    writeHead(this.#w, MAJOR_MAP, hasCause ? 2 : 1);
    writeText(this.#w, "stack");
    this.item(typeof value.stack === "string" ? value.stack : undefined, depth);
    if (!hasCause) return;
    writeText(this.#w, "cause");
    this.#path[depth] = "cause";
    this.item(cause.value, depth + 1);
  }

  #view(value: ArrayBufferView, depth: number): void {
    const { buffer, byteOffset, byteLength } = value;
    if (typeName(buffer) !== "ArrayBuffer") throw this.#refusal(typeName(buffer), depth);
    const type = viewName(value);
    const tag = TYPED_ARRAY_TAGS[type];
    if (tag === undefined && type !== "Uint8Array" && type !== "DataView") {
      throw this.#refusal(type, depth);
    }
    if (this.#wholeBuffers) {
      this.#class(type, 3);
      this.item(buffer, depth + 1);
      writeNumber(this.#w, byteOffset);
      writeNumber(this.#w, type === "DataView" ? byteLength : (value as Uint8Array).length);
      return;
    }
    if (this.#meet(buffer, BY_A_VIEW) >= 0) this.hasSharedBuffers = true;
    if (type === "DataView") {
      this.#checkDepth(depth + 1);
      this.#class(type, 1);
      this.#class("ArrayBuffer", 1);
    } else if (tag !== undefined) {
      writeHead(this.#w, MAJOR_TAG, tag);
    }
    writeBytes(this.#w, new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength));
  }

  #refusal(type: string, depth: number): Error {
    const message = `${type} cannot be stored${this.#where(depth)}`;
    return typeof DOMException === "function"
      ? new DOMException(message, "DataCloneError")
      : new TypeError(message);
  }

  #where(depth: number): string {
    if (depth === 0) return "";
    const keys = this.#path.slice(0, depth).map((key) => `[${describe(key)}]`);
    return ` (at ${keys.join("")})`;
  }
}

function describe(key: unknown): string {
  if (typeof key === "string") return JSON.stringify(key);
  return typeof key === "object" ? typeName(key) : String(key);
}

function unwrap(type: "Boolean" | "Number" | "String" | "BigInt", value: object): unknown {
  const unwrapped: () => unknown = { Boolean, Number, String, BigInt }[type].prototype.valueOf;
  return unwrapped.call(value);
}

/**
 * Whether an object with a `Symbol.toStringTag` is of a class that the application wrote. Objects
 * of the platform, such as Blob or Promise, can't be told by their properties.
 */
function isOwnClass(value: object): boolean {
  let prototype: object = Object.getPrototypeOf(value);
  for (;;) {
    const parent: object | null = Object.getPrototypeOf(prototype);
    if (parent === null) return true;
    const maker: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
    if (typeof maker !== "function" || isPlatformClass(maker as NewableFunction)) return false;
    prototype = parent;
  }
}

function isPlatformClass(maker: NewableFunction): boolean {
  return (
    (globalThis as Record<string, unknown>)[maker.name] === maker ||
    Function.prototype.toString.call(maker).endsWith("{ [native code] }")
  );
}
