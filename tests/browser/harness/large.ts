/** Large values that tell by themselves whether they are whole. */

import type { Kv } from "kvass";

export const MIB = 1 << 20;

/** Bytes that look random and are told by a number. */
export function bytesOf(number: number, length: number): Uint8Array {
  const words = new Uint32Array(length / 4);
  let state = number + 1;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    words[at] = state ^ (state >>> 15);
  }
  return new Uint8Array(words.buffer);
}

/** Whether a value is what {@link bytesOf} gives. */
export function isWhole(value: unknown, number: number, length: number): boolean {
  if (!(value instanceof Uint8Array) || value.length !== length) return false;
  return indexedDB.cmp(value, bytesOf(number, length)) === 0;
}

/** So long it may take; it takes nine seconds where the machine is not busy. */
const SHRINK_MS = 300_000;

/** Waits until all files together are smaller than `bytes`; how large they are in the end. */
export async function shrink(kv: Kv, bytes: number): Promise<number> {
  const until = performance.now() + SHRINK_MS;
  for (;;) {
    const { diskBytes } = await kv.stats();
    if (diskBytes < bytes || performance.now() > until) return diskBytes;
    // What clients that may come back could ask for is kept for ten seconds.
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Writes values of this length under ["large", n] from `first` on until the page is killed. */
export async function write(kv: Kv, first: number, length: number, report: (n: string) => void) {
  for (let n = first; ; n++) {
    await kv.set(["large", n], bytesOf(n, length));
    report(String(n));
  }
}
