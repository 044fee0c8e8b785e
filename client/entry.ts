/** Entries as they are given out, made from what a frame holds. */

import { DecodeError } from "./codec/bytes.ts";
import { decodeKey, type KvKey } from "./codec/key.ts";
import { decodePayload, decodeValue } from "./codec/value/index.ts";
import { KvassError } from "./errors.ts";
import { decodeSelector } from "./selector.ts";
import type { KvEntryMaybe, KvListSelector } from "./types.ts";
import type { RawEntry, RawValue, Slice } from "./wire/response.ts";

/** The entry of a key, or the nulls that stand for none. */
export function entryOf<T>(key: KvKey, raw: RawEntry | null): KvEntryMaybe<T> {
  if (raw === null) return { key, value: null, versionstamp: null };
  return { key, value: storedValue(raw.value) as T, versionstamp: raw.versionstamp };
}

/** @throws KvassError `Corruption` */
export function storedValue(value: RawValue): unknown {
  return orCorruption(() => {
    if ("payload" in value) return decodePayload(value.kind, value.payload);
    return decodeValue(value.bytes, value.start, value.end);
  });
}

/** @throws KvassError `Corruption` */
export function storedKey({ bytes, start, end }: Slice): KvKey {
  return orCorruption(() => decodeKey(bytes, start, end));
}

/** The selector of a range. @throws KvassError `Corruption` */
export function storedSelector(start: Slice, end: Slice): KvListSelector {
  return orCorruption(() =>
    decodeSelector(
      start.bytes.subarray(start.start, start.end),
      end.bytes.subarray(end.start, end.end),
    ),
  );
}

function orCorruption<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw corruptionOf(error);
  }
}

/** What a failure to decode stored bytes means: they are damaged. Other errors stay themselves. */
export function corruptionOf(error: unknown): unknown {
  if (!(error instanceof DecodeError)) return error;
  return new KvassError("Corruption", `an entry can't be read: ${error.message}`, { cause: error });
}

/** The error for an answer that does not fit its question. */
export function unexpected(response: { type: string }): KvassError {
  return new KvassError("MalformedFrame", `the host answered with "${response.type}"`);
}
