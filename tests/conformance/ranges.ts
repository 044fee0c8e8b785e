/** Ranges as a whole: deleting them, counting them, and lists of their keys. */

import type { KvKeyEntry } from "kvass";
import { fails, same, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { fill, next, valuesOf } from "./support.ts";

const NUMBERS = Array.from({ length: 1000 }, (_, i) => i);
const ENTRIES = NUMBERS.map((i) => [["n", i], i] as const);

export const ranges: Suite = {
  "deleting a range removes what its selector means and nothing else": async ({ kv }) => {
    await fill(kv, [...ENTRIES, [["n"], "short"], [["m"], "before"], [["o"], "behind"]]);
    await kv.deleteRange({ prefix: ["n"], start: ["n", 990] });
    await kv.deleteRange({ prefix: ["n"], end: ["n", 10] });
    await kv.deleteRange({ start: ["n", 20], end: ["n", 980] });
    const left = NUMBERS.filter((i) => (i >= 10 && i < 20) || (i >= 980 && i < 990));
    same(await valuesOf(kv, { prefix: ["n"] }), left);
    same(await valuesOf(kv, { prefix: ["n"] }, { reverse: true }), left.toReversed());
    same((await kv.get(["n", 500])).value, null);
    await kv.deleteRange({ prefix: ["n"] }, { durability: "strict" });
    same(await valuesOf(kv, { prefix: [] }), ["before", "short", "behind"]);
    await kv.deleteRange({ prefix: [] });
    same(await valuesOf(kv, { prefix: [] }), []);
  },

  "in a commit it removes what was there and what the commit wrote before": async ({ kv }) => {
    await fill(kv, ENTRIES.slice(0, 5));
    const result = await kv
      .atomic()
      .set(["n", 0.5], "before")
      .deleteRange({ prefix: ["n"] })
      .set(["n", 1.5], "behind")
      .sum(["n", 2], 7n)
      .commit();
    same(result.ok, true);
    same(await valuesOf(kv, { prefix: ["n"] }, { limit: 1 }), ["behind"]);
    same(await kv.count({ prefix: ["n"] }), 2);
  },

  "a list goes on with what was there when it began": async ({ kv }) => {
    await fill(kv, ENTRIES);
    const list = kv.list<number>({ prefix: ["n"] }, { batchSize: 50 });
    await list.next();
    await kv.deleteRange({ prefix: ["n"] });
    const rest: number[] = [];
    for await (const { value } of list) rest.push(value);
    same(rest, NUMBERS.slice(1));
    same(await kv.count({ prefix: ["n"] }), 0);
  },

  "a check of a key in a deleted range finds no entry, and a watch sees it go": async ({ kv }) => {
    await kv.set(["n", 1], 1);
    const reader = kv.watch([["n", 1], ["other"]]).getReader();
    same(
      (await next(reader)).map(({ value }) => value),
      [1, null],
    );
    await kv.deleteRange({ prefix: ["n"] });
    same(
      (await next(reader)).map(({ value }) => value),
      [null, null],
    );
    await reader.cancel();
    const check = { key: ["n", 1], versionstamp: null };
    same((await kv.atomic().check(check).set(["n", 1], 2).commit()).ok, true);
  },

  "a count is exact, of every selector": async ({ kv }) => {
    await fill(kv, ENTRIES);
    await kv.delete(["n", 7]);
    await kv.deleteRange({ start: ["n", 10], end: ["n", 20] });
    same(await kv.count({ prefix: ["n"] }), 989);
    same(await kv.count({ prefix: ["n"], start: ["n", 5] }), 984);
    same(await kv.count({ prefix: ["n"], end: ["n", 12] }), 9);
    same(await kv.count({ start: ["n", 30], end: ["n", 40] }), 10);
    same(await kv.count({ start: ["n", 30], end: ["n", 30] }), 0);
    same(await kv.count({ prefix: [] }), 989);
  },

  "a list of keys has no values, and all else of a list": async ({ kv }) => {
    await fill(kv, ENTRIES.slice(0, 300));
    const entries: KvKeyEntry[] = [];
    for await (const entry of kv.list({ prefix: ["n"] }, { keysOnly: true })) entries.push(entry);
    const { versionstamp } = await kv.get(["n", 0]);
    same(
      entries,
      NUMBERS.slice(0, 300).map((i) => ({ key: ["n", i], versionstamp })),
    );
    const options = { keysOnly: true, reverse: true, limit: 2, batchSize: 1 } as const;
    const last: unknown[] = [];
    for await (const { key } of kv.list({ prefix: ["n"] }, options)) last.push(key[1]);
    same(last, [299, 298]);
  },

  "a range that can't be is a TypeError, and deletes nothing": async ({ kv }) => {
    await kv.set(["a"], 1);
    const reversed = { start: ["b"], end: ["a"] };
    const message = "Start key is greater than end key";
    await fails(() => kv.deleteRange(reversed), typeError(message));
    await fails(() => kv.count(reversed), typeError(message));
    await fails(async () => kv.atomic().deleteRange(reversed), typeError(message));
    await fails(() => kv.deleteRange({} as never), typeError());
    const many = kv.atomic();
    for (let i = 0; i <= 1000; i++) many.deleteRange({ prefix: ["a", i] });
    await fails(() => many.commit(), typeError("Too many ranges (max 1000)"));
    same(await kv.count({ prefix: [] }), 1);
  },
};
