/** Keys: their kinds, their order, and what is no key. */

import type { KvKey, KvKeyPart } from "kvass";
import { fails, same, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { all, EVERYTHING, fill, valuesOf } from "./support.ts";

const bytes = (...values: number[]) => new Uint8Array(values);

/** In the order of the database. */
const ORDERED: KvKeyPart[] = [
  bytes(),
  bytes(0),
  bytes(0, 0),
  bytes(0, 255),
  bytes(1),
  bytes(255),
  "",
  "\0",
  "\0a",
  "a",
  "a\0",
  "aa",
  "b",
  "é",
  "\uffff",
  "\u{10000}",
  -(2n ** 200n),
  -(2n ** 64n),
  -(2n ** 63n),
  -256n,
  -255n,
  -1n,
  0n,
  1n,
  255n,
  256n,
  2n ** 63n,
  2n ** 64n - 1n,
  2n ** 64n,
  2n ** 200n,
  Number.NEGATIVE_INFINITY,
  -Number.MAX_VALUE,
  -1,
  -Number.MIN_VALUE,
  -0,
  0,
  Number.MIN_VALUE,
  1,
  1.5,
  Number.MAX_VALUE,
  Number.POSITIVE_INFINITY,
  Number.NaN,
  false,
  true,
];

const NO_PARTS = [null, undefined, {}, new Date(0), new ArrayBuffer(2), ["nested"], () => 1];

export const keys: Suite = {
  "parts of every kind sort bytes, strings, bigints, numbers, false, true": async ({ kv }) => {
    const shuffled = ORDERED.map((part, i) => [[part], i] as const).sort(
      ([, a], [, b]) => ((a * 7919) % 101) - ((b * 7919) % 101),
    );
    await fill(kv, shuffled);
    const entries = await all<number>(kv, EVERYTHING);
    same(
      entries.map((entry) => entry.value),
      ORDERED.map((_, i) => i),
    );
    same(
      entries.map((entry) => entry.key),
      ORDERED.map((part) => [part]),
    );
  },

  "a key sorts before the longer keys that begin with it": async ({ kv }) => {
    const ordered: KvKey[] = [["a"], ["a", ""], ["a", "b"], ["a", "b", 1], ["a", 0], ["ab"], ["b"]];
    await fill(
      kv,
      ordered.map((key) => [key, 0] as const),
    );
    same(
      (await all(kv, EVERYTHING)).map((entry) => entry.key),
      ordered,
    );
  },

  "every kind of part comes back from get as it was given": async ({ kv }) => {
    for (const part of ORDERED) await kv.set(["x", part, "y"], "found");
    for (const part of ORDERED) {
      const entry = await kv.get(["x", part, "y"]);
      same([entry.key, entry.value], [["x", part, "y"], "found"]);
    }
  },

  "-0 and 0 are two keys, and every NaN is one": async ({ kv }) => {
    const otherNaN = new Float64Array(new BigUint64Array([0xfff8_0000_0000_0001n]).buffer)[0];
    await kv.set([-0], "minus");
    await kv.set([0], "plus");
    await kv.set([otherNaN as number], "NaN");
    const values = await kv.getMany([[-0], [0], [Number.NaN]]);
    same(
      values.map((entry) => entry.value),
      ["minus", "plus", "NaN"],
    );
  },

  "1, 1n, '1', true and a byte 1 are different keys": async ({ kv }) => {
    const parts: KvKeyPart[] = [bytes(1), "1", 1n, 1, true];
    await fill(
      kv,
      parts.map((part, i) => [[part], i] as const),
    );
    same(await valuesOf(kv, EVERYTHING), [0, 1, 2, 3, 4]);
  },

  "strings sort as UTF-8, and a lone surrogate becomes U+FFFD": async ({ kv }) => {
    await kv.set(["\ud800"], "lone");
    same((await kv.get(["\ufffd"])).value, "lone");
    same(
      (await all(kv, EVERYTHING)).map((entry) => entry.key),
      [["\ufffd"]],
    );
  },

  "any view is a part by the bytes it shows": async ({ kv }) => {
    const { buffer } = bytes(9, 1, 2, 9);
    await kv.set([new Uint8Array(buffer, 1, 2)], "part");
    same((await kv.get([bytes(1, 2)])).value, "part");
    same((await kv.get([new DataView(buffer, 1, 2)] as unknown as KvKey)).value, "part");
  },

  "a key is taken when the method is called": async ({ kv }) => {
    const part = bytes(1);
    const key: KvKeyPart[] = ["k", part];
    const written = kv.set(key, "as it was");
    part[0] = 2;
    key[0] = "other";
    await written;
    same((await kv.get(["k", bytes(1)])).value, "as it was");
  },

  "what is no key part is refused": async ({ kv }) => {
    const message = "expected string, number, bigint, ArrayBufferView, boolean";
    for (const part of NO_PARTS) {
      const key = ["a", part] as unknown as KvKey;
      await fails(() => kv.set(key, 1), typeError(message));
      await fails(() => kv.get(key), typeError(message));
      await fails(() => kv.getMany([key]), typeError(message));
      await fails(() => kv.delete(key), typeError(message));
      await fails(() => kv.atomic().check({ key, versionstamp: null }), typeError(message));
      await fails(() => kv.atomic().set(key, 1), typeError(message));
      await fails(() => kv.list({ prefix: key }).next(), typeError(message));
    }
    same(await all(kv, EVERYTHING), []);
  },

  "what is no array is no key": async ({ kv }) => {
    for (const key of ["a", 1, null, undefined, {}, bytes(1)] as unknown as KvKey[]) {
      await fails(() => kv.set(key, 1), typeError());
      await fails(() => kv.get(key), typeError());
    }
  },

  "the empty key can't be written and is never found": async ({ kv }) => {
    await fails(() => kv.set([], 1), typeError());
    await fails(() => kv.delete([]), typeError());
    await fails(() => kv.atomic().set([], 1).commit(), typeError());
    same(await kv.get([]), { key: [], value: null, versionstamp: null });
  },

  "a bigint of 255 bytes is a key and one of 256 is not": async ({ kv }) => {
    const largest = 2n ** (255n * 8n) - 1n;
    await kv.set([largest], "largest");
    await kv.set([-largest], "smallest");
    same(await valuesOf(kv, EVERYTHING), ["smallest", "largest"]);
    await fails(() => kv.set([largest + 1n], 1), {});
    await fails(() => kv.set([-largest - 1n], 1), {});
  },
};
