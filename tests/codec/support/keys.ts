/** Random keys, and the order of keys as the rules say it, to be held against their bytes. */

import type { KvKey, KvKeyPart } from "../../../client/codec/key.ts";
import type { Random } from "./random.ts";

/** A key of up to four parts; its strings hold no lone surrogates, so it comes back the same. */
export function randomKey(random: Random): KvKeyPart[] {
  return Array.from({ length: random.below(5) }, () => randomPart(random));
}

function randomPart(random: Random): KvKeyPart {
  switch (random.below(5)) {
    case 0:
      return random
        .bytes(random.below(4))
        .map((byte) => (byte < 100 ? 0 : byte < 150 ? 255 : byte));
    case 1:
      return Buffer.from(random.string().slice(0, 30)).toString();
    case 2:
      return random.bigint(random.pick([3, 9, 64, 70, 2040]));
    case 3:
      return random.number();
    default:
      return random.below(2) === 0;
  }
}

const TYPES = ["object", "string", "bigint", "number", "boolean"];

/** Negative, zero or positive: part by part, first by type, then by value; a prefix comes first. */
export function compareKeys(a: KvKey, b: KvKey): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = compareParts(a[i] as KvKeyPart, b[i] as KvKeyPart);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareParts(a: KvKeyPart, b: KvKeyPart): number {
  if (typeof a !== typeof b) return TYPES.indexOf(typeof a) - TYPES.indexOf(typeof b);
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b);
  if (typeof a === "string" && typeof b === "string") {
    return Buffer.compare(Buffer.from(a), Buffer.from(b));
  }
  if (typeof a === "number" && typeof b === "number") return compareNumbers(a, b);
  const [left, right] = [a, b] as [bigint | boolean, bigint | boolean];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** -Infinity < -1 < -0 < 0 < Infinity < NaN */
function compareNumbers(a: number, b: number): number {
  if (Object.is(a, b)) return 0;
  if (Number.isNaN(a)) return 1;
  if (Number.isNaN(b)) return -1;
  return a === b ? (Object.is(a, -0) ? -1 : 1) : a - b;
}
