/** Arguments as fields of a request: checked against the limits while they are written. */

import type { ByteWriter } from "./codec/bytes.ts";
import { type KvKey, writeKey } from "./codec/key.ts";
import { isBytes, writeValue } from "./codec/value/index.ts";
import { KIND_BYTES, KIND_CBOR } from "./codec/value/tags.ts";
import { shown, tooLarge } from "./errors.ts";
import { LARGE_VALUE_BYTES, type Limits } from "./limits.ts";
import { rangeOf } from "./selector.ts";
import type {
  CommitOptions,
  ExpireOptions,
  KvConsistencyLevel,
  KvDurability,
  KvListSelector,
} from "./types.ts";
import { endsInVersionstamp } from "./versionstamp.ts";
import { MUTATION, writeOption } from "./wire/request.ts";

/** Bytes of the string part that a versionstamp becomes: a tag, 20 digits, an end. */
const VERSIONSTAMP_PART_BYTES = 22;

/** The options of a read. */
export type ReadOptions = { consistency?: KvConsistencyLevel };

/** What the option `durability` may be. */
export const DURABILITIES: readonly string[] = ["relaxed", "strict"];
const CONSISTENCIES: readonly string[] = ["strong", "eventual"];

/** What the mutations of a commit come to. */
export interface Tally {
  keyBytes: number;
  valueBytes: number;
}

/** Writes a key that is to be read. @throws TypeError */
export function writeReadKey(w: ByteWriter, key: KvKey, { readKeyBytes }: Limits): void {
  const start = w.beginSized();
  writeKey(w, key);
  checkReadKey(w.position - start, readKeyBytes);
  w.endSized(start);
}

/** @throws TypeError if an encoded key to be read is of more than `max` bytes */
export function checkReadKey(size: number, max: number): void {
  if (size > max) throw tooLarge(`Key too large for read (max ${max} bytes)`);
}

/** Writes a key that may not be empty. @throws TypeError */
export function writeFullKey(w: ByteWriter, key: KvKey, limits: Limits): void {
  if (Array.isArray(key) && key.length === 0) throw emptyKey();
  writeReadKey(w, key, limits);
}

function emptyKey(): TypeError {
  return new TypeError("Key cannot be empty");
}

/** Writes a `set`. @throws TypeError; DataCloneError if the value cannot be stored */
export function writeSet(
  w: ByteWriter,
  key: KvKey,
  value: unknown,
  options: ExpireOptions | undefined,
  limits: Limits,
  tally: Tally,
): void {
  checkOptions(options);
  const hasStamp = Array.isArray(key) && endsInVersionstamp(key);
  const tagAt = w.position;
  w.u8(MUTATION.set);
  const keyBytes = writeMutationKey(w, key, hasStamp, limits);
  const valueBytes = writeSetValue(w, tagAt, value, limits);
  writeOption(w, checkExpireIn(options?.expireIn));
  w.u8(hasStamp ? 1 : 0);
  tally.keyBytes += keyBytes;
  tally.valueBytes += valueBytes;
}

/** Writes a `delete`. @throws TypeError */
export function writeDelete(w: ByteWriter, key: KvKey, limits: Limits, tally: Tally): void {
  w.u8(MUTATION.delete);
  tally.keyBytes += writeMutationKey(w, key, false, limits);
}

/** Writes a `deleteRange`. @throws TypeError */
export function writeDeleteRange(
  w: ByteWriter,
  selector: KvListSelector,
  limits: Limits,
  tally: Tally,
): void {
  const { start, end } = rangeOf(selector, limits);
  w.u8(MUTATION.deleteRange);
  w.sized(start);
  w.sized(end);
  tally.keyBytes += start.length + end.length;
}

/** Writes a `sum`, `min` or `max`. @throws TypeError; DataCloneError */
export function writeArithmetic(
  w: ByteWriter,
  type: "sum" | "min" | "max",
  key: KvKey,
  value: unknown,
  limits: Limits,
  tally: Tally,
): void {
  w.u8(MUTATION[type]);
  const keyBytes = writeMutationKey(w, key, false, limits);
  tally.valueBytes += writeMutationValue(w, value, limits);
  tally.keyBytes += keyBytes;
}

function writeMutationKey(
  w: ByteWriter,
  key: KvKey,
  hasStamp: boolean,
  { keyBytes }: Limits,
): number {
  const start = w.beginSized();
  writeKey(w, key, hasStamp ? key.length - 1 : undefined);
  const size = w.position - start + (hasStamp ? VERSIONSTAMP_PART_BYTES : 0);
  if (size === 0) throw emptyKey();
  if (size > keyBytes) throw tooLarge(`Key too large for write (max ${keyBytes} bytes)`);
  w.endSized(start);
  return size;
}

/** Writes the value of the mutation whose tag is at `tagAt`; a large one goes beside the frame. */
function writeSetValue(w: ByteWriter, tagAt: number, value: unknown, limits: Limits): number {
  const { valueBytes } = limits;
  if (isBytes(value) && value.length >= LARGE_VALUE_BYTES) {
    if (value.length > valueBytes) throw valueTooLarge(valueBytes);
    attach(w, tagAt, KIND_BYTES, new Uint8Array(value).buffer);
    return value.length + 1;
  }
  const start = w.beginSized();
  writeValue(w, value);
  const size = w.position - start;
  if (size - 1 > valueBytes) throw valueTooLarge(valueBytes);
  if (size < LARGE_VALUE_BYTES || w.bytes[start] !== KIND_CBOR) {
    w.endSized(start);
    return size;
  }
  const payload = w.bytes.buffer.slice(start + 1, w.position);
  w.position = start - 1;
  attach(w, tagAt, KIND_CBOR, payload);
  return size;
}

function attach(w: ByteWriter, tagAt: number, kind: number, payload: ArrayBuffer): void {
  w.bytes[tagAt] = MUTATION.setLarge;
  w.u8(kind);
  w.varint(payload.byteLength);
  w.attachments.push(payload);
}

function valueTooLarge(max: number): TypeError {
  return tooLarge(`Value too large (max ${max} bytes)`);
}

function writeMutationValue(w: ByteWriter, value: unknown, { valueBytes }: Limits): number {
  const start = w.beginSized();
  writeValue(w, value);
  const size = w.position - start;
  if (size - 1 > valueBytes) throw valueTooLarge(valueBytes);
  w.endSized(start);
  return size;
}

function checkExpireIn(expireIn: number | undefined): number | undefined {
  if (expireIn === undefined || expireIn === null) return undefined;
  if (typeof expireIn !== "number" || expireIn < 0 || Math.floor(expireIn) !== expireIn) {
    throw new TypeError(`expireIn must be a non-negative integer: received ${shown(expireIn)}`);
  }
  if (expireIn > Number.MAX_SAFE_INTEGER) throw new TypeError("expireIn is too large");
  return expireIn;
}

/** The durability that the options of a commit ask for. @throws TypeError if there is none such */
export function durabilityOf(
  options: CommitOptions | undefined,
  otherwise: KvDurability,
): KvDurability {
  checkOptions(options);
  const durability = options?.durability;
  checkChoice("durability", durability, DURABILITIES);
  return durability ?? otherwise;
}

/** @throws TypeError if the options of a read ask for a consistency that there is not */
export function checkConsistency(options: ReadOptions | undefined): void {
  checkOptions(options);
  checkChoice("consistency", options?.consistency, CONSISTENCIES);
}

/** @throws TypeError for what has no options in it, and would be passed over */
export function checkOptions(options: unknown): void {
  if (options !== undefined && options !== null) checkObject("the options", options);
}

/** @throws TypeError if it is none */
export function checkObject(what: string, value: unknown): void {
  if (typeof value === "object" && value !== null) return;
  throw new TypeError(`${what} must be an object: received ${shown(value)}`);
}

/** @throws TypeError for what is none of the values that an option may have */
export function checkChoice(option: string, value: unknown, choices: readonly unknown[]): void {
  if (value === undefined || choices.includes(value)) return;
  throw new TypeError(`${option} must be one of ${choices.join(", ")}: received ${shown(value)}`);
}
