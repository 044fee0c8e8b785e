/** Which ranges a list can have, and what it says to those that it can't. */

import type { KvListOptions, KvListSelector } from "kvass";
import { fails, same, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { fill, valuesOf } from "./support.ts";

const ENTRIES = [
  [["a"], "a"],
  [["a", "b"], "ab"],
  [["a", "b", 1], "ab1"],
  [["a", "c"], "ac"],
  [["a", "d"], "ad"],
  [["b"], "b"],
  [["b", "a"], "ba"],
] as const;

export const selectors: Suite = {
  "a prefix means the longer keys that begin with it": async ({ kv }) => {
    await fill(kv, ENTRIES);
    same(await valuesOf(kv, { prefix: ["a"] }), ["ab", "ab1", "ac", "ad"]);
    same(await valuesOf(kv, { prefix: ["a", "b"] }), ["ab1"]);
    same(await valuesOf(kv, { prefix: ["a", "d"] }), []);
    same(
      await valuesOf(kv, { prefix: [] }),
      ENTRIES.map(([, value]) => value),
    );
  },

  "start is inclusive and end exclusive": async ({ kv }) => {
    await fill(kv, ENTRIES);
    same(await valuesOf(kv, { start: ["a", "b"], end: ["b"] }), ["ab", "ab1", "ac", "ad"]);
    same(await valuesOf(kv, { start: ["a", "b", 1], end: ["a", "d"] }), ["ab1", "ac"]);
    same(await valuesOf(kv, { prefix: ["a"], start: ["a", "c"] }), ["ac", "ad"]);
    same(await valuesOf(kv, { prefix: ["a"], end: ["a", "c"] }), ["ab", "ab1"]);
  },

  "an equal start and end give nothing": async ({ kv }) => {
    await fill(kv, ENTRIES);
    same(await valuesOf(kv, { start: ["a", "b"], end: ["a", "b"] }), []);
  },

  "a selector that can't be is a TypeError": async ({ kv }) => {
    const refused: [unknown, string][] = [
      [
        { prefix: ["a"], start: ["a", "b"], end: ["a", "c"] },
        "Selector can not specify both 'start' and 'end' key when specifying 'prefix'",
      ],
      [{ start: ["a"] }, "Selector must specify either 'prefix' or both 'start' and 'end' key"],
      [{ end: ["a"] }, "Selector must specify either 'prefix' or both 'start' and 'end' key"],
      [{}, "Selector must specify either 'prefix' or both 'start' and 'end' key"],
      [{ prefix: ["a"], start: ["b"] }, "Start key is not in the keyspace defined by prefix"],
      [{ prefix: ["a"], end: ["b"] }, "End key is not in the keyspace defined by prefix"],
      [{ start: ["b"], end: ["a"] }, "Start key is greater than end key"],
    ];
    for (const [selector, message] of refused) {
      await fails(() => kv.list(selector as KvListSelector).next(), typeError(message));
    }
    for (const selector of [undefined, null, "a", 1]) {
      await fails(() => kv.list(selector as never).next(), typeError());
    }
  },

  "a limit that can't be is a TypeError": async ({ kv }) => {
    for (const limit of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "10"]) {
      const options = { limit } as KvListOptions;
      await fails(
        () => kv.list({ prefix: [] }, options).next(),
        typeError(`Limit must be a positive integer: received ${limit}`),
      );
    }
  },

  "a batch size that can't be is a TypeError": async ({ kv }) => {
    for (const batchSize of [0, -1, 1.5, Number.NaN]) {
      await fails(
        () => kv.list({ prefix: [] }, { batchSize }).next(),
        typeError("batchSize must be a positive integer"),
      );
    }
  },
};
