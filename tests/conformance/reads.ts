/** get and getMany. */

import { fails, same, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { fill } from "./support.ts";

const NOTHING = { value: null, versionstamp: null };

export const reads: Suite = {
  "a missing key gives nulls": async ({ kv }) => {
    same(await kv.get(["no", 1]), { key: ["no", 1], ...NOTHING });
  },

  "get gives key, value and versionstamp": async ({ kv }) => {
    const { versionstamp } = await kv.set(["a", 1n], "b");
    same(await kv.get(["a", 1n]), { key: ["a", 1n], value: "b", versionstamp });
  },

  "a stored null is an entry and a missing key is none": async ({ kv }) => {
    const { versionstamp } = await kv.set(["null"], null);
    same(await kv.get(["null"]), { key: ["null"], value: null, versionstamp });
  },

  "getMany answers in the order of the keys, which may repeat": async ({ kv }) => {
    await fill(kv, [
      [["a"], 1],
      [["b"], 2],
    ]);
    const entries = await kv.getMany([["b"], ["none"], ["a"], ["b"]]);
    same(
      entries.map(({ key, value }) => [key, value]),
      [
        [["b"], 2],
        [["none"], null],
        [["a"], 1],
        [["b"], 2],
      ],
    );
    same(entries[1], { key: ["none"], ...NOTHING });
  },

  "getMany of no keys gives no entries": async ({ kv }) => {
    same(await kv.getMany([]), []);
  },

  "getMany takes more than fits into a frame, of every kind": async ({ kv }) => {
    const values = [new Uint8Array(30_000).fill(7), "x".repeat(30_000), 1n << 200_000n, 1.5];
    await Promise.all(values.map((value, i) => kv.set(["v", i], value)));
    const keys = Array.from({ length: 400 }, (_, i) => ["v", i % values.length]);
    const found = await kv.getMany<unknown[]>(keys);
    for (const [i, { value }] of found.entries()) same(value, values[i % values.length]);
  },

  "getMany takes thousands of keys": async ({ kv }) => {
    const keys = Array.from({ length: 5000 }, (_, i) => ["k", i]);
    await fill(
      kv,
      keys.map((key, i) => [key, i] as const),
    );
    const found = await kv.getMany<number[]>(keys as [["k", number]]);
    same(
      found.map((entry) => entry.value),
      keys.map((_, i) => i),
    );
  },

  "either consistency is accepted, and no other": async ({ kv }) => {
    await kv.set(["a"], 1);
    for (const consistency of ["strong", "eventual"] as const) {
      same((await kv.get(["a"], { consistency })).value, 1);
      same((await kv.getMany([["a"]], { consistency }))[0].value, 1);
    }
    const options = { consistency: "hopeful" } as never;
    await fails(() => kv.get(["a"], options), typeError());
    await fails(() => kv.getMany([["a"]], options), typeError());
  },

  "calls made in one go apply in their order, and a read sees the writes before it": async ({
    kv,
  }) => {
    const seen = await Promise.all([
      kv.get(["a"]),
      kv.set(["a"], 1),
      kv.get(["a"]),
      kv.set(["a"], 2),
      kv.getMany([["a"]]),
      kv.delete(["a"]),
      kv.get(["a"]),
    ]);
    same([seen[0].value, seen[2].value, seen[4][0].value, seen[6].value], [null, 1, 2, null]);
  },
};
