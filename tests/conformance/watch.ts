/** Watching keys: the state now, then the latest state after every change. */

import type { KvEntries, KvKey } from "kvass";
import { fails, same, that, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { next, until } from "./support.ts";

const valuesIn = (entries: KvEntries<unknown[]>) => entries.map((entry) => entry.value);

export const watch: Suite = {
  "the first emission is the current state, missing keys included": async ({ kv }) => {
    const { versionstamp } = await kv.set(["a"], 1);
    const reader = kv.watch([["a"], ["b"]]).getReader();
    same(await next(reader), [
      { key: ["a"], value: 1, versionstamp },
      { key: ["b"], value: null, versionstamp: null },
    ]);
    await reader.cancel();
  },

  "every commit that touches a key emits the state of all": async ({ kv }) => {
    const reader = kv.watch([["a"], ["b"]]).getReader();
    same(valuesIn(await next(reader)), [null, null]);
    await kv.set(["a"], 1);
    same(valuesIn(await next(reader)), [1, null]);
    await kv.atomic().set(["a"], 2).set(["b"], 3).commit();
    same(valuesIn(await next(reader)), [2, 3]);
    await kv.delete(["a"]);
    same(valuesIn(await next(reader)), [null, 3]);
    await reader.cancel();
  },

  "setting the same value emits again, and another key does not": async ({ kv }) => {
    const first = await kv.set(["a"], 1);
    const reader = kv.watch([["a"]]).getReader();
    same((await next(reader))[0].versionstamp, first.versionstamp);
    await kv.set(["other"], 1);
    const second = await kv.set(["a"], 1);
    same((await next(reader))[0].versionstamp, second.versionstamp);
    await reader.cancel();
  },

  "a slow reader gets the latest state and not every one, with raw too": async ({ kv }) => {
    for (const raw of [false, true]) {
      const reader = kv.watch<[number]>([["n"]], { raw }).getReader();
      await next(reader);
      for (let i = 1; i <= 200; i++) await kv.set(["n"], i);
      const seen = await until(reader, ([entry]) => entry.value === 200);
      that(seen.length < 20, `${seen.length} states`);
      same(
        seen.map(([entry]) => entry.value),
        seen.map(([entry]) => entry.value).sort((a, b) => Number(a) - Number(b)),
      );
      await kv.delete(["n"]);
      await reader.cancel();
    }
  },

  "what is emitted is never older than what was emitted before": async ({ kv }) => {
    const reader = kv.watch<[number, number]>([["a"], ["b"]]).getReader();
    const writes = Promise.all(
      Array.from({ length: 300 }, (_, i) => kv.atomic().set(["a"], i).set(["b"], i).commit()),
    );
    let last = -1;
    while (last < 299) {
      const [a, b] = await next(reader);
      same(a.value, b.value);
      that((a.value ?? -1) >= last, `${a.value} after ${last}`);
      last = a.value ?? -1;
    }
    await writes;
    await reader.cancel();
  },

  "a key may be watched twice, and by several watches": async ({ kv }) => {
    const one = kv.watch([["a"], ["a"]]).getReader();
    const other = kv.watch([["a"]]).getReader();
    await Promise.all([next(one), next(other)]);
    await kv.set(["a"], 1);
    same([valuesIn(await next(one)), valuesIn(await next(other))], [[1, 1], [1]]);
    await one.cancel();
    await kv.set(["a"], 2);
    same(valuesIn(await next(other)), [2]);
    await other.cancel();
  },

  "a watch can be read with for await, and leaving the loop ends it": async ({ kv }) => {
    const seen: unknown[] = [];
    for await (const [entry] of kv.watch([["n"]])) {
      seen.push(entry.value);
      if (entry.value === 3) break;
      await kv.set(["n"], Number(entry.value) + 1);
    }
    same(seen, [null, 1, 2, 3]);
  },

  "keys that are none are refused": async ({ kv }) => {
    const start = (keys: unknown) =>
      kv
        .watch(keys as [KvKey])
        .getReader()
        .read();
    await fails(() => start([[null]]), typeError());
    await fails(() => start(["a"]), typeError());
    await fails(() => start(undefined), typeError());
  },

  "a watch sees what another handle writes": async ({ kv, reopen }) => {
    const other = await reopen();
    const reader = kv.watch([["a"]]).getReader();
    await next(reader);
    await other.set(["a"], "from the other");
    same(valuesIn(await next(reader)), ["from the other"]);
    await reader.cancel();
    await other.close();
  },

  "a watch ends when its handle closes": async ({ kv }) => {
    const reader = kv.watch([["a"]]).getReader();
    await next(reader);
    await kv.close();
    same((await reader.read()).done, true);
  },
};
