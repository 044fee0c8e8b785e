/** Lists: their order, their pages and cursors, and that they read one snapshot. */

import type { Kv } from "kvass";
import { fails, same, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { all, fill, valuesOf } from "./support.ts";

const COUNT = 1234;
const NUMBERS = Array.from({ length: COUNT }, (_, i) => i);

const fillNumbers = (kv: Kv) =>
  fill(
    kv,
    NUMBERS.map((i) => [["n", i], i] as const),
  );

export const list: Suite = {
  "a list gives keys, values and versionstamps": async ({ kv }) => {
    const { versionstamp } = await kv.set(["n", 1], { a: 1 });
    same(await all(kv, { prefix: ["n"] }), [{ key: ["n", 1], value: { a: 1 }, versionstamp }]);
  },

  "every batch size gives the same entries": async ({ kv }) => {
    await fillNumbers(kv);
    for (const batchSize of [undefined, 1, 7, 100, 500, 1000, 5000]) {
      const options = batchSize === undefined ? {} : { batchSize };
      const expected = batchSize === 1 ? NUMBERS.slice(0, 50) : NUMBERS;
      const limit = { limit: expected.length };
      same(await valuesOf(kv, { prefix: ["n"] }, { ...options, ...limit }), expected);
    }
  },

  "reverse gives the entries from the end, in every batch size": async ({ kv }) => {
    await fillNumbers(kv);
    const reversed = NUMBERS.toReversed();
    same(await valuesOf(kv, { prefix: ["n"] }, { reverse: true }), reversed);
    same(await valuesOf(kv, { prefix: ["n"] }, { reverse: true, batchSize: 9 }), reversed);
    same(
      await valuesOf(kv, { start: ["n", 3], end: ["n", 6] }, { reverse: true, limit: 2 }),
      [5, 4],
    );
  },

  "only true reverses": async ({ kv }) => {
    await fillNumbers(kv);
    const options = { reverse: 1, limit: 2 } as never;
    same(await valuesOf(kv, { prefix: ["n"] }, options), [0, 1]);
  },

  "a limit ends the list": async ({ kv }) => {
    await fillNumbers(kv);
    for (const limit of [1, 99, 100, 101, COUNT, COUNT + 1]) {
      same(await valuesOf(kv, { prefix: ["n"] }, { limit }), NUMBERS.slice(0, limit));
    }
  },

  "the cursor is base64url of the key behind the selector's common prefix": async ({ kv }) => {
    await fill(kv, [
      [["a", "a"], 1],
      [["a", "b"], 2],
    ]);
    const iterator = kv.list({ prefix: ["a"] });
    await fails(async () => iterator.cursor, {
      name: "Error",
      message: "Cannot get cursor before first iteration",
    });
    await iterator.next();
    same(iterator.cursor, "AmEA");
    await iterator.next();
    same(iterator.cursor, "AmIA");
    same(await iterator.next(), { value: undefined, done: true });
    same(iterator.cursor, "");
  },

  "a list goes on where the cursor of another left off": async ({ kv }) => {
    await fillNumbers(kv);
    for (const reverse of [false, true]) {
      const seen: number[] = [];
      let cursor: string | undefined;
      do {
        const options = { limit: 300, reverse, ...(cursor === undefined ? {} : { cursor }) };
        const page = kv.list<number>({ prefix: ["n"] }, options);
        for await (const entry of page) seen.push(entry.value);
        cursor = page.cursor;
      } while (cursor !== "");
      same(seen, reverse ? NUMBERS.toReversed() : NUMBERS);
    }
  },

  "a cursor works with start and end": async ({ kv }) => {
    await fillNumbers(kv);
    const selector = { start: ["n", 10], end: ["n", 20] };
    const first = kv.list<number>(selector, { limit: 4 });
    for await (const entry of first) same(entry.value < 14, true);
    same(await valuesOf(kv, selector, { cursor: first.cursor }), [14, 15, 16, 17, 18, 19]);
  },

  "a bad cursor is a TypeError": async ({ kv }) => {
    await fillNumbers(kv);
    const next = (cursor: string) => kv.list({ start: ["n", 1], end: ["n", 2] }, { cursor }).next();
    await fails(() => next("#+"), typeError("invalid cursor"));
    await fails(() => next("/w=="), typeError("invalid cursor"));
    await fails(() => next("_w=="), typeError("cursor out of bounds"));
  },

  "a list is one snapshot, across batches and whatever is written meanwhile": async ({ kv }) => {
    await fillNumbers(kv);
    const iterator = kv.list<number>({ prefix: ["n"] }, { batchSize: 10 });
    const seen = [(await iterator.next()).value?.value];
    await Promise.all([
      kv.set(["n", 50], "changed"),
      kv.set(["n", 60.5], "new"),
      kv.delete(["n", 100]),
      kv.set(["n", 1000], "changed"),
    ]);
    for await (const entry of iterator) seen.push(entry.value);
    same(seen, NUMBERS);
    same((await valuesOf(kv, { prefix: ["n"] })).length, COUNT);
  },

  "a list with a limit is one snapshot, however large its entries are": async ({ kv }) => {
    const fill = async (byte: number) => {
      const value = new Uint8Array(60_000).fill(byte);
      await Promise.all(Array.from({ length: 20 }, (_, i) => kv.set(["large", i], value)));
    };
    await fill(1);
    for (const options of [{ limit: 20 }, { limit: 20, reverse: true }, { limit: 15 }]) {
      const iterator = kv.list<Uint8Array>({ prefix: ["large"] }, options);
      const seen = [(await iterator.next()).value?.value[0]];
      await fill(2);
      for await (const entry of iterator) seen.push(entry.value[0]);
      same(seen, new Array(options.limit).fill(1));
      await fill(1);
    }
  },

  "nothing is read before the first next": async ({ kv }) => {
    const iterator = kv.list({ prefix: ["n"] });
    await kv.set(["n", 1], 1);
    same((await iterator.next()).value?.value, 1);
  },

  "a list that is left early is over": async ({ kv }) => {
    await fillNumbers(kv);
    const iterator = kv.list<number>({ prefix: ["n"] }, { batchSize: 5 });
    for await (const entry of iterator) if (entry.value === 7) break;
    same(await iterator.next(), { value: undefined, done: true });
  },

  "calls of next that don't wait for each other give every entry once": async ({ kv }) => {
    await fillNumbers(kv);
    const iterator = kv.list<number>({ prefix: ["n"] }, { batchSize: 3, limit: 20 });
    const results = await Promise.all(Array.from({ length: 22 }, () => iterator.next()));
    same(
      results.map((result) => result.value?.value),
      [...NUMBERS.slice(0, 20), undefined, undefined],
    );
  },

  "either consistency is accepted": async ({ kv }) => {
    await kv.set(["n", 1], 1);
    for (const consistency of ["strong", "eventual"] as const) {
      same(await valuesOf(kv, { prefix: ["n"] }, { consistency }), [1]);
    }
  },
};
