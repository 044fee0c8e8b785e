/** Whole numbers of any size as big-endian bytes, for the key and the value codec. */

import type { ByteWriter } from "./bytes.ts";

/** The largest unsigned integer of 64 bits. */
export const U64_MAX = 0xffffffffffffffffn;

/** Writes a non-negative number, most significant byte first and without leading zeros. */
export function writeMagnitude(w: ByteWriter, value: bigint): void {
  if (value > U64_MAX) {
    writeLarge(w, value.toString(16));
    return;
  }
  w.ensure(8);
  const start = w.position;
  w.view.setBigUint64(start, value);
  let first = start;
  while (first < start + 8 && w.bytes[first] === 0) first++;
  w.bytes.copyWithin(start, first, start + 8);
  w.position = start + 8 - (first - start);
}

function writeLarge(w: ByteWriter, hex: string): void {
  const odd = hex.length & 1;
  w.ensure((hex.length + odd) >> 1);
  for (let i = -odd; i < hex.length; i += 2) {
    w.bytes[w.position++] = Number.parseInt(hex.slice(Math.max(i, 0), i + 2), 16);
  }
}

/** Reads what `writeMagnitude` wrote; `mask` is xored to every byte. */
export function readMagnitude(bytes: Uint8Array, start: number, end: number, mask = 0): bigint {
  let hex = "0x0";
  for (let i = start; i < end; i++) {
    hex += ((bytes[i] as number) ^ mask).toString(16).padStart(2, "0");
  }
  return BigInt(hex);
}
