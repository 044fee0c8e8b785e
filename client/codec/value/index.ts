/**
 * Values as bytes: one byte that says what kind the value is, then the value.
 *
 *     01  CBOR item                   everything that has no kind of its own
 *     02  u64, little-endian          KvU64
 *     03  bytes                       Uint8Array
 *     04  double, little-endian       number
 *     05  sign, magnitude big-endian  bigint; the sign is 00, or 01 if negative; no leading zeros
 *
 * The engine reads kinds 02, 04 and 05, because it computes with them, and takes the others as
 * they are. docs/VALUE-FORMAT.md describes the CBOR of kind 01.
 */

import { isU64, KvU64 } from "../../u64.ts";
import { readMagnitude, writeMagnitude } from "../bigint.ts";
import { ByteReader, ByteWriter, DecodeError } from "../bytes.ts";
import { typeName, viewName } from "./classes.ts";
import { decodeItem } from "./decode.ts";
import { writeItem } from "./encode.ts";
import { KIND_BIGINT, KIND_BYTES, KIND_CBOR, KIND_NUMBER, KIND_U64 } from "./tags.ts";

/**
 * Appends a value. On an error the writer is as it was.
 * @throws DataCloneError (DOMException) naming the type and the place of what cannot be stored,
 * TypeError for a KvU64 inside another value, RangeError for a value that is nested too deeply
 */
export function writeValue(w: ByteWriter, value: unknown): void {
  const start = w.begin();
  w.isLocked = true;
  try {
    writeKind(w, value);
  } catch (error) {
    w.position = start;
    throw error;
  } finally {
    w.isLocked = false;
  }
}

function writeKind(w: ByteWriter, value: unknown): void {
  if (typeof value === "number") {
    w.u8(KIND_NUMBER);
    w.f64(value);
  } else if (typeof value === "bigint") {
    w.u8(KIND_BIGINT);
    w.u8(value < 0n ? 1 : 0);
    writeMagnitude(w, value < 0n ? -value : value);
  } else if (isU64(value)) {
    w.u8(KIND_U64);
    w.ensure(8);
    w.view.setBigUint64(w.position, value.value, true);
    w.position += 8;
  } else if (isBytes(value)) {
    w.u8(KIND_BYTES);
    w.raw(value);
  } else {
    w.u8(KIND_CBOR);
    writeItem(w, value);
  }
}

/** Whether it is a value of kind 03. Shared memory is no value, whatever looks at it. */
export function isBytes(value: unknown): value is Uint8Array {
  if (!ArrayBuffer.isView(value) || viewName(value) !== "Uint8Array") return false;
  return typeName(value.buffer) === "ArrayBuffer";
}

/** The bytes of a value; `writeValue` says what it throws. */
export function encodeValue(value: unknown): Uint8Array<ArrayBuffer> {
  const w = new ByteWriter(256);
  writeValue(w, value);
  return w.bytes.slice(0, w.position);
}

/**
 * The value at `bytes[start..end]`; it shares no memory with `bytes`.
 * @throws DecodeError if the bytes are no value
 */
export function decodeValue(bytes: Uint8Array, start = 0, end: number = bytes.length): unknown {
  const r = new ByteReader(bytes, start, end);
  const kind = r.u8();
  if (kind === KIND_BYTES) return new Uint8Array(bytes.subarray(r.position, end));
  return decodeOther(kind, r);
}

/**
 * The value of a kind whose payload is all of `buffer`, which the value may go on using.
 * @throws DecodeError if it is no value
 */
export function decodePayload(kind: number, buffer: ArrayBuffer): unknown {
  const bytes = new Uint8Array(buffer);
  return kind === KIND_BYTES ? bytes : decodeOther(kind, new ByteReader(bytes));
}

/** A value that is not bytes, from its payload. */
function decodeOther(kind: number, r: ByteReader): unknown {
  switch (kind) {
    case KIND_CBOR:
      return decodeItem(r.bytes, r.position, r.end);
    case KIND_U64:
      if (r.left !== 8) throw new DecodeError("a u64 is not of 8 bytes");
      return new KvU64(r.view.getBigUint64(r.position, true));
    case KIND_NUMBER:
      if (r.left !== 8) throw new DecodeError("a number is not of 8 bytes");
      return r.f64();
    case KIND_BIGINT:
      return readBigint(r);
    default:
      throw new DecodeError(`unknown kind of value ${kind}`);
  }
}

function readBigint(r: ByteReader): bigint {
  const sign = r.u8();
  const magnitude = readMagnitude(r.bytes, r.position, r.end);
  const hasLeadingZero = r.left > 0 && r.bytes[r.position] === 0;
  if (sign > 1 || hasLeadingZero || (sign === 1 && magnitude === 0n)) {
    throw new DecodeError("a bigint is not in its shortest form");
  }
  return sign === 1 ? -magnitude : magnitude;
}
