/** A value comes back from storage as structured clone would hand it over. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ByteWriter } from "../../client/codec/bytes.ts";
import { writeKey } from "../../client/codec/key.ts";
import { decodeValue, encodeValue, writeValue } from "../../client/codec/value/index.ts";
import { KvU64 } from "../../client/u64.ts";
import { Random, SEED } from "./support/random.ts";
import { difference } from "./support/same.ts";
import { randomValue } from "./support/values.ts";

function stored(value: unknown): unknown {
  return decodeValue(encodeValue(value));
}

function expectCloned(value: unknown): void {
  assert.equal(difference(stored(value), structuredClone(value)), undefined);
}

class Point {
  x = 1;
  get y(): number {
    return 2;
  }
}

class ValidationError extends TypeError {}

class Dictionary extends Map<number, number> {}

class Vector extends Array<number> {}

class Tagged {
  x = 1;
  get [Symbol.toStringTag](): string {
    return "Tagged";
  }
}

/** An object with a property that says of itself that it is of a class. */
const saying = (tag: string, properties: object = { x: 1 }) =>
  Object.assign(
    new (class {
      get [Symbol.toStringTag](): string {
        return tag;
      }
    })(),
    properties,
  );

/** What structured clone looks for in objects, whatever they say of themselves. */
const CLASSES = [
  ...["Date", "RegExp", "Map", "Set", "Error", "ArrayBuffer", "DataView", "Uint8Array"],
  ...["Boolean", "Number", "String", "BigInt", "DOMException", "Float64Array"],
];

class Chunk extends Uint8Array {
  // @ts-expect-error that of its class is another
  get [Symbol.toStringTag](): string {
    return "Float64Array";
  }
}

class Pattern extends RegExp {
  override get source(): string {
    return "(";
  }
  override get flags(): string {
    return "z";
  }
}

const oddException = Object.defineProperty(new DOMException("m", "n"), "message", { value: 5 });

const { buffer } = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const shared = { name: "shared" };
const cycle: Record<string, unknown> = { name: "cycle" };
cycle.self = cycle;
cycle.list = [cycle, new Map([[cycle, cycle]]), new Set([cycle])];
const withExtra = Object.assign(new TypeError("extra"), { extra: 1 });
const renamed = Object.assign(new Error("renamed"), { name: "TypeError" });
const unknownName = Object.assign(new Error("custom"), { name: "CustomError" });
const withGetter = Object.defineProperty(new Error("x"), "message", { get: () => "got" });
const withNumber = Object.defineProperty(new Error("x"), "message", { value: 12 });
const used = /a/g;
used.lastIndex = 3;
const holey: unknown[] = [1, undefined, 3];
holey.length = 5;
delete holey[2];
const holeyWithExtra = Object.assign(holey.slice(0, 3), { x: 1 });
const far: unknown[] = [];
far[4_000_000_000] = "far";

const CLONED: Record<string, unknown[]> = {
  "undefined, null and booleans": [undefined, null, true, false],
  numbers: [0, -0, 1, -1, 23, 24, 1.5, 2 ** 32, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 1e300, 5e-324],
  "numbers that are none": [Number.NaN, Infinity, -Infinity],
  bigints: [0n, 1n, -1n, 255n, -256n, 2n ** 64n - 1n, 2n ** 64n, -(2n ** 64n), 2n ** 5000n, -1n],
  strings: ["", "a", "\0", "é", "日本", "😀", "a".repeat(23), "é".repeat(23), "x".repeat(70_000)],
  "strings with a byte order mark": ["\ufeffa", "\ufeff".repeat(100)],
  "strings with a lone surrogate": ["\ud800", "a\udc00b", "\ud800".repeat(100), "😀\ud83d"],
  "keys with a lone surrogate": [{ "\ud800": 1, "\udc00": 2 }],
  dates: [
    new Date(0),
    new Date(-1),
    new Date(1_700_000_000_123),
    new Date(8.64e15),
    new Date(-8.64e15),
  ],
  "dates far from now": [new Date(8.64e15 - 1), new Date(-8.64e15 + 1), new Date(5e15 + 3)],
  "an invalid date": [new Date(Number.NaN)],
  "regular expressions": [/a/, /[/]\//gimsuy, /(?:)/, used],
  errors: [new Error("e"), new EvalError(), new SyntaxError("s"), new URIError("u")],
  "errors with odd properties": [withExtra, renamed, unknownName, withGetter, withNumber],
  "errors of other classes": [new AggregateError([1], "many"), new ValidationError("t")],
  "a cause that is undefined": [new Error("e", { cause: undefined }), new Error("e", { cause: 0 })],
  maps: [
    new Map(),
    new Map<unknown, unknown>([
      ["a", 1],
      [{}, {}],
      [{}, {}],
      [Number.NaN, -0],
    ]),
  ],
  sets: [new Set(), new Set([1, "1", {}, {}, null])],
  objects: [{}, { b: 1, a: { c: [] } }, { 2: "two", 1: "one", z: 0 }, Object.create(null)],
  "class instances": [new Point(), new Tagged(), Object.create({ inherited: 1 })],
  "objects that say of themselves what they are not": CLASSES.map((tag) => saying(tag)),
  "views that say of themselves that they are of another class": [
    { chunk: new Chunk([1, 2, 3]) },
    new Chunk([1, 2, 3]),
  ],
  "built-in objects that hide what they are made of": [new Pattern("a", "g")],
  "getters and what is not enumerable": [
    {
      get a() {
        return { b: 1 };
      },
    },
    Object.defineProperty({ a: 1 }, "hidden", { value: 2 }),
    { [Symbol("s")]: 1, a: 2 },
  ],
  "keys that name what objects inherit": [
    JSON.parse('{"__proto__": {"polluted": true}, "constructor": 1, "toString": null}'),
  ],
  "subclasses of the built-in": [new Dictionary([[1, 2]]), Vector.of(1, 2)],
  "built-in objects with properties of their own": [
    Object.assign(new Map([[1, 2]]), { x: 1 }),
    Object.assign(new Date(5), { x: 1 }),
  ],
  arrays: [[], [1, "a", null, undefined, [[]]], new Array(1000).fill(0)],
  "arrays with holes": [holey, new Array(3), far],
  "arrays with properties": [Object.assign([1, 2], { x: 1 }), /(b)(?<c>c)?/.exec("abc")],
  "holes and properties that add up to the length": [holeyWithExtra],
  wrappers: [Object(true), Object(-0), Object("text"), Object(5n), Object("")],
  buffers: [new ArrayBuffer(0), buffer],
  "typed arrays": [
    { a: new Uint8Array([1, 2]) },
    new Uint8ClampedArray([1, 300]),
    new Int8Array([-1]),
    new Uint16Array([1, 65535]),
    new Int16Array([-2]),
    new Uint32Array([1]),
    new Int32Array([-3]),
    new BigUint64Array([2n ** 64n - 1n]),
    new BigInt64Array([-1n]),
    new Float32Array([1.5, Number.NaN]),
    new Float64Array([-0, 1e300]),
    new Float64Array(0),
  ],
  "a data view": [new DataView(new ArrayBuffer(4))],
  "views that share a buffer": [
    [new Uint8Array(buffer), new Uint8Array(buffer)],
    [new Uint16Array(buffer, 2, 3), new DataView(buffer, 5), buffer],
    { buffer, view: new Float64Array(buffer, 8, 1) },
    new Map([[new Uint8Array(buffer, 1, 1), new Uint8Array(buffer, 15)]]),
  ],
  "one view in two places": [[new Uint8Array(buffer)].flatMap((view) => [view, view])],
  "one object in two places": [[shared, shared], { a: shared, b: { c: [shared] } }],
  "many objects in two places": [
    Array.from({ length: 500 }, (_, i) => ({ i })).flatMap((o) => [o, o]),
  ],
  "a leaf in two places": [[new Date(1)].flatMap((d) => [d, d]), [/a/].flatMap((r) => [r, r])],
  cycles: [cycle, [cycle]],
};

describe("a value comes back as structured clone hands it over", () => {
  for (const [name, values] of Object.entries(CLONED)) {
    test(name, () => {
      for (const value of values) {
        expectCloned(value);
        expectCloned([value, { value }]);
      }
    });
  }

  test(`random values (SEED=${SEED})`, () => {
    for (let i = 0; i < 4000; i++) {
      const value = randomValue(new Random(SEED + i));
      const found = difference(stored(value), structuredClone(value));
      assert.equal(found, undefined, `SEED=${SEED + i}`);
    }
  });
});

test("an error that is its own cause comes back so", () => {
  // Node's structuredClone fails on it, so it is no oracle here.
  const failure = new RangeError("out of range");
  failure.cause = { failure };
  const decoded = stored(failure) as RangeError;
  assert.equal(decoded.message, "out of range");
  assert.equal(decoded.stack, failure.stack);
  assert.ok(decoded instanceof RangeError);
  assert.equal((decoded.cause as { failure: unknown }).failure, decoded);
});

test("all kinds of objects are written in one writer, one behind the other", () => {
  const w = new ByteWriter(8);
  const values = Object.values(CLONED).flat();
  const ends = values.map((value) => {
    writeValue(w, value);
    return w.position;
  });
  const bytes = new Uint8Array(w.take());
  for (const [i, value] of values.entries()) {
    const decoded = decodeValue(bytes, ends[i - 1] ?? 0, ends[i]);
    assert.equal(difference(decoded, structuredClone(value)), undefined);
  }
});

test(`dates are exact to the millisecond from the first to the last (SEED=${SEED})`, () => {
  const random = new Random(SEED);
  const dates = Array.from({ length: 20_000 }, (_, i) => {
    // Around 4.45e15 a double of the milliseconds has half steps, which rounding could take wrong.
    const time = i % 2 === 0 ? random.next() * 8.64e15 : 4.3e15 + random.next() * 3e14;
    return new Date(random.below(2) === 0 ? time : -time);
  });
  assert.deepEqual(stored(dates), dates);
});

test("a lone view is stored with its own bytes, not with the rest of its buffer", () => {
  const large = new Uint8Array(100_000).fill(7);
  const bytes = encodeValue({ part: large.subarray(5, 8) });
  assert.ok(bytes.length < 20);
  const { part } = decodeValue(bytes) as { part: Uint8Array };
  assert.deepEqual([...part], [7, 7, 7]);
  assert.equal(part.buffer.byteLength, 3);
});

test("a resizable buffer is stored as its bytes", () => {
  const Resizable = ArrayBuffer as unknown as new (n: number, o: object) => ArrayBuffer;
  const decoded = stored([new Resizable(3, { maxByteLength: 9 })]) as [ArrayBuffer];
  assert.equal(decoded[0].byteLength, 3);
});

test("bytes, numbers, bigints and u64 have kinds of their own, as whole values", () => {
  const kinds = [{}, new KvU64(1n), new Uint8Array(1), 1, 1n, "s", new Uint16Array(1), Object(1)];
  assert.deepEqual(
    kinds.map((value) => encodeValue(value)[0]),
    [1, 2, 3, 4, 5, 1, 1, 1],
  );
  assert.deepEqual(stored(new KvU64(2n ** 64n - 1n)), new KvU64(2n ** 64n - 1n));
  assert.deepEqual(stored(Buffer.from("abc")), new Uint8Array([97, 98, 99]));
});

test("decoded bytes share no memory with what they were read from", () => {
  for (const value of [
    new Uint8Array([1, 2]),
    [new Uint8Array([1, 2])],
    [new Uint16Array([513])],
  ]) {
    const bytes = encodeValue(value);
    const decoded = decodeValue(bytes);
    bytes.fill(0xff);
    assert.equal(difference(decoded, structuredClone(value)), undefined);
  }
});

test("no key of a stored object reaches a prototype", () => {
  const value = stored(JSON.parse('{"__proto__": {"polluted": 1}, "a": {"__proto__": null}}'));
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
  assert.equal((value as Record<string, unknown>).polluted, undefined);
  assert.equal(({} as Record<string, unknown>).polluted, undefined);
});

test("a getter is read once, where its object stands in two places too", () => {
  let reads = 0;
  const object = {
    get a() {
      reads++;
      return 1;
    },
  };
  encodeValue([object, object]);
  assert.equal(reads, 1);
});

describe("what cannot be stored is refused by its type and place", () => {
  const refused: [unknown, RegExp][] = [
    [() => 1, /^a function cannot be stored$/],
    [{ list: [1, { f() {} }] }, /^a function cannot be stored \(at \["list"\]\[1\]\["f"\]\)$/],
    [[Symbol("s")], /^a symbol cannot be stored \(at \[0\]\)$/],
    [{ "a b": Promise.resolve() }, /^Promise cannot be stored \(at \["a b"\]\)$/],
    [new Map([["k", new WeakMap()]]), /^WeakMap cannot be stored \(at \["k"\]\)$/],
    [new Map([[new WeakSet(), 1]]), /^WeakSet cannot be stored/],
    [new Set([new WeakRef({})]), /^WeakRef cannot be stored \(at \[0\]\)$/],
    [[new SharedArrayBuffer(1)], /^SharedArrayBuffer cannot be stored \(at \[0\]\)$/],
    [[new Uint8Array(new SharedArrayBuffer(1))], /^SharedArrayBuffer cannot be stored/],
    [new Uint8Array(new SharedArrayBuffer(1)), /^SharedArrayBuffer cannot be stored$/],
    [new Uint16Array(new SharedArrayBuffer(2)), /^SharedArrayBuffer cannot be stored$/],
    [new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])), /^WebAssembly.Module/],
    [new Blob([]), /^Blob cannot be stored$/],
    [new (class extends Promise<void> {})(() => {}), /^Promise cannot be stored$/],
    [new Intl.NumberFormat(), /^Intl.NumberFormat cannot be stored$/],
    [new Map().entries(), /^Map Iterator cannot be stored$/],
    [(function* () {})(), /^Generator cannot be stored$/],
    [Object(Symbol("s")), /^Symbol cannot be stored$/],
    [new Error("e", { cause: [() => 1] }), /^a function cannot be stored \(at \["cause"\]\[0\]\)$/],
    [new URL("http://localhost"), /^URL cannot be stored$/],
  ];
  for (const [value, message] of refused) {
    test(message.source, () => {
      assert.throws(() => encodeValue(value), { name: "DataCloneError", message });
    });
  }

  test("a KvU64 inside another value is a TypeError", () => {
    assert.throws(() => encodeValue({ n: [new KvU64(1n)] }), {
      name: "TypeError",
      message: 'a KvU64 can only be a whole value (at ["n"][0])',
    });
  });

  test("a revoked proxy and a detached buffer are the platform's own TypeErrors", () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    assert.throws(() => encodeValue([proxy]), TypeError);
    const detached = new ArrayBuffer(4);
    const view = new Uint8Array(detached);
    structuredClone(detached, { transfer: [detached] });
    assert.throws(() => encodeValue([detached]), TypeError);
    assert.throws(() => encodeValue([view]), TypeError);
  });

  test("objects with the prototype of a class and nothing of it are refused", () => {
    for (const { prototype } of [Map, Set, ArrayBuffer, BigInt, DOMException, Promise]) {
      assert.throws(() => encodeValue(Object.create(prototype)), { name: "DataCloneError" });
    }
  });

  test("an exception whose message is none can be read", () => {
    const { message, name } = stored(oddException) as DOMException;
    assert.deepEqual([message, name], ["5", "n"]);
  });

  test("whatever is stored can be read, at any depth", () => {
    const leaves = [
      ...[{}, [1], new Date(1), /a/, Object(1), new Error("e", { cause: {} }), new Set([{}])],
      ...[new DataView(new ArrayBuffer(3)), new Uint16Array(2), new ArrayBuffer(1)],
      ...[[new Uint8Array(buffer), new DataView(buffer, 1)], new DOMException("m", "n")],
    ];
    for (const leaf of leaves) {
      let value: unknown = leaf;
      for (let depth = 1; depth <= 1001; depth++) {
        value = [value];
        if (depth < 995) continue;
        let bytes: Uint8Array;
        try {
          bytes = encodeValue(value);
        } catch (error) {
          assert.equal((error as Error).name, "RangeError");
          continue;
        }
        decodeValue(bytes);
      }
    }
  });

  test("a value nested too deeply is a RangeError, one at the limit is stored", () => {
    const nested = (levels: number) => {
      let value: unknown = 1n;
      for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : new Map([["k", value]]);
      return value;
    };
    expectCloned(nested(1000));
    assert.throws(() => encodeValue(nested(1001)), {
      name: "RangeError",
      message: "the value is nested too deeply (max 1000 levels)",
    });
  });
});

test("a value that is refused leaves the writer as it was", () => {
  const w = new ByteWriter(8);
  writeValue(w, "before");
  const { position } = w;
  assert.throws(() => writeValue(w, ["x".repeat(1000), () => 1]));
  assert.equal(w.position, position);
  writeValue(w, "after");
  assert.equal(decodeValue(w.bytes, 0, position), "before");
  assert.equal(decodeValue(w.bytes, position, w.position), "after");
});

test("a getter cannot write into the middle of its own value", () => {
  const w = new ByteWriter();
  for (const write of [() => writeValue(w, 1), () => writeKey(w, ["a"])]) {
    const value = {
      get a() {
        assert.throws(write, TypeError);
        return encodeValue(["elsewhere"]).length;
      },
    };
    const start = w.position;
    writeValue(w, value);
    assert.deepEqual(decodeValue(w.bytes, start, w.position), { a: 12 });
  }
});

test("a value of a kind that is not known is none, and not one of another kind", () => {
  for (const kind of [0, 6, 7, 255]) {
    const message = `unknown kind of value ${kind}`;
    assert.throws(() => decodeValue(new Uint8Array([kind, 0xf6])), {
      name: "DecodeError",
      message,
    });
  }
});
