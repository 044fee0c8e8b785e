/** Values: all that structured clone takes for storage, and nothing else. */

import { KvU64 } from "kvass";
import { fails, same } from "./check.ts";
import type { Suite } from "./index.ts";

const cycle: Record<string, unknown> = { name: "cycle", list: [] };
cycle.self = cycle;
(cycle.list as unknown[]).push(cycle, new Map([[cycle, new Set([cycle])]]));

const sparse: unknown[] = [1, undefined, 3];
sparse.length = 5;

const { buffer } = new Uint8Array(32).map((_, i) => i * 7);

/** One object of each kind. */
const KINDS: Record<string, unknown> = {
  undefined: undefined,
  null: null,
  true: true,
  false: false,
  zero: 0,
  "minus zero": -0,
  "a fraction": 0.1,
  NaN: Number.NaN,
  infinity: Number.NEGATIVE_INFINITY,
  "a large integer": Number.MAX_SAFE_INTEGER,
  "a bigint": 2n ** 100n,
  "a negative bigint": -1n,
  "bigint zero": 0n,
  "an empty string": "",
  "a string": "Wörter\0\u{1f37a}",
  "a Date": new Date(1_700_000_000_123),
  "an invalid Date": new Date(Number.NaN),
  "a RegExp": /a[/]b/giu,
  "an Error": new RangeError("too far", { cause: new Error("why") }),
  "a Map": new Map<unknown, unknown>([
    [{ a: 1 }, "object"],
    [Number.NaN, [1]],
  ]),
  "a Set": new Set([1, "1", 1n]),
  "an ArrayBuffer": buffer.slice(3, 9),
  "a Uint8Array": new Uint8Array([1, 2, 3]),
  "an empty Uint8Array": new Uint8Array(),
  "a DataView": new DataView(buffer.slice(0, 7)),
  "two views of one buffer": [new Uint16Array(buffer, 2, 3), new DataView(buffer, 5, 7)],
  "a Float64Array": new Float64Array([-0, Number.NaN, 1.5]),
  "a BigInt64Array": new BigInt64Array([-1n, 1n]),
  "an object": { a: 1, b: { c: [true, null, undefined] }, "": 0, 7: "seven" },
  "an array": [1, "2", [3], {}],
  "a sparse array": sparse,
  "objects in a cycle": cycle,
  "wrapped primitives": [Object(1), Object("s"), Object(true), Object(2n)],
};

class Point {
  x = 1;
  #hidden = 2;
  get sum(): number {
    return this.x + this.#hidden;
  }
}

const REFUSED: Record<string, unknown> = {
  "a function": () => 1,
  "a symbol": Symbol("s"),
  "a WeakMap": new WeakMap(),
  "a Promise": Promise.resolve(1),
  "a function inside": { deep: [() => 1] },
};

/** What structured clone gives, but for errors: WebKit's makes a string of an error's cause. */
function cloned(value: unknown): unknown {
  return value instanceof Error ? value : structuredClone(value);
}

export const values: Suite = {
  "every kind of value comes back as structured clone gives it": async ({ kv }) => {
    const kinds = Object.entries(KINDS);
    await Promise.all(kinds.map(([name, value]) => kv.set(["kinds", name], value)));
    for (const [name, value] of kinds) {
      same((await kv.get(["kinds", name])).value, cloned(value), name);
    }
  },

  "values come back from getMany and list as from get": async ({ kv }) => {
    const kinds = Object.entries(KINDS);
    await Promise.all(kinds.map(([, value], i) => kv.set(["kinds", i], value)));
    const many = await kv.getMany(kinds.map((_, i) => ["kinds", i]));
    const listed: unknown[] = [];
    for await (const entry of kv.list({ prefix: ["kinds"] })) listed.push(entry.value);
    for (const [i, [name, value]] of kinds.entries()) {
      same(many[i]?.value, cloned(value), name);
      same(listed[i], cloned(value), name);
    }
  },

  "a lone view of a part comes back as that part, without the rest of its buffer": async ({
    kv,
  }) => {
    await kv.set(["part"], new Uint16Array(buffer, 2, 3));
    same((await kv.get(["part"])).value, new Uint16Array(buffer.slice(2, 8)));
  },

  "a __proto__ key stays a key and touches no prototype": async ({ kv }) => {
    const value = JSON.parse('{ "__proto__": { "polluted": true }, "constructor": 1 }');
    await kv.set(["p"], value);
    const stored = (await kv.get<object>(["p"])).value as object;
    same(stored, structuredClone(value));
    same(Object.getPrototypeOf(stored), Object.prototype);
    same(({} as { polluted?: boolean }).polluted, undefined);
  },

  "one object in two places is one object again": async ({ kv }) => {
    const shared = { n: 1 };
    await kv.set(["s"], [shared, shared]);
    const [a, b] = (await kv.get<object[]>(["s"])).value as object[];
    same(a === b, true);
  },

  "an object of a class comes back plain, as from structured clone": async ({ kv }) => {
    const point = new Point();
    await kv.set(["point"], point);
    same((await kv.get(["point"])).value, structuredClone(point));
    same(point.sum, 3);
  },

  "a value is taken when the method is called": async ({ kv }) => {
    const value = { n: 1 };
    const written = kv.set(["v"], value);
    value.n = 2;
    await written;
    same((await kv.get(["v"])).value, { n: 1 });
  },

  "what can't be cloned is refused and changes nothing": async ({ kv }) => {
    await kv.set(["v"], "before");
    for (const value of Object.values(REFUSED)) {
      await fails(() => kv.set(["v"], value), { name: "DataCloneError" });
      await fails(() => kv.atomic().set(["v"], value), { name: "DataCloneError" });
    }
    same((await kv.get(["v"])).value, "before");
  },

  "a KvU64 comes back as one": async ({ kv }) => {
    await kv.set(["u"], new KvU64(2n ** 64n - 1n));
    const { value } = await kv.get<KvU64>(["u"]);
    same([value instanceof KvU64, value?.value], [true, 2n ** 64n - 1n]);
  },

  "a value of a megabyte comes back whole": async ({ kv }) => {
    const large = new Uint8Array(1 << 20).map((_, i) => (i * 31) ^ (i >> 8));
    await kv.set(["large"], large);
    await kv.set(["text"], "a\u00e9\u{1f37a}".repeat(100_000));
    same((await kv.get(["large"])).value, large);
    same((await kv.get(["text"])).value, "a\u00e9\u{1f37a}".repeat(100_000));
  },
};
