/** The values whose bytes tests/vectors/values.json fixes, by its descriptions. */

import { KvU64 } from "../../../client/u64.ts";

const shared = { name: "shared" };
const cycle: unknown[] = ["cycle"];
cycle.push(cycle);
const { buffer } = new Uint8Array([1, 2, 3, 4]);
const holey: unknown[] = ["a"];
holey.length = 3;
const error = new RangeError("out of range", { cause: "a cause" });
error.stack = "RangeError: out of range\n    at golden.ts";

export const GOLDEN_VALUES: Readonly<Record<string, unknown>> = {
  "u64 zero": new KvU64(0n),
  "u64 one": new KvU64(1n),
  "u64 with eight different bytes": new KvU64(0x0102030405060708n),
  "u64 maximum": new KvU64(2n ** 64n - 1n),
  "no bytes": new Uint8Array(0),
  "three bytes": new Uint8Array([0, 1, 255]),
  "number zero": 0,
  "number negative zero": -0,
  "number one": 1,
  "number minus 1.5": -1.5,
  "number infinity": Infinity,
  "number NaN": Number.NaN,
  "bigint zero": 0n,
  "bigint one": 1n,
  "bigint minus one": -1n,
  "bigint 255": 255n,
  "bigint 256": 256n,
  "bigint 2^64": 2n ** 64n,
  "bigint minus 2^64": -(2n ** 64n),
  undefined: undefined,
  null: null,
  true: true,
  "string, empty": "",
  "string, Zürich": "Zürich",
  "string with a lone surrogate": "a\ud800b",
  "string of 24 bytes": "abcdefghijklmnopqrstuvwx",
  "array of integers": [0, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1],
  "array of negative integers": [-1, -24, -25, -256, -(2 ** 53) + 1],
  "array of other numbers": [1.5, -0, Number.NaN, -Infinity, 2 ** 53],
  "array of bigints": [0n, -1n, 2n ** 64n],
  "array with holes": holey,
  "array with a property": Object.assign(["a"], { index: 0 }),
  object: { name: "Zürich", lat: 47.36667, tags: ["city"], mayor: null },
  "object with a key __proto__": JSON.parse('{"__proto__": 1}'),
  "map with an object as a key": new Map<unknown, unknown>([[{ a: 1 }, "x"]]),
  set: new Set(["a", 1]),
  "date, whole seconds": new Date(1_700_000_000_000),
  "date with milliseconds": new Date(1_700_000_000_500),
  "date, invalid": new Date(Number.NaN),
  "date at the end of time but a millisecond": new Date(8_639_999_999_999_999),
  "regular expression": /a+\/b/gi,
  error,
  "wrapper of a boolean": Object(true),
  "wrapper of a number": Object(1),
  "wrapper of a string": Object("s"),
  "wrapper of a bigint": Object(1n),
  buffer,
  "array of bytes": [new Uint8Array([1, 2])],
  Uint8ClampedArray: new Uint8ClampedArray([1, 255]),
  Int8Array: new Int8Array([-1]),
  Uint16Array: new Uint16Array([0x0102]),
  Int16Array: new Int16Array([-2]),
  Uint32Array: new Uint32Array([0x01020304]),
  Int32Array: new Int32Array([-2]),
  BigUint64Array: new BigUint64Array([0x0102030405060708n]),
  BigInt64Array: new BigInt64Array([-2n]),
  Float32Array: new Float32Array([1.5]),
  Float64Array: new Float64Array([1.5]),
  DataView: new DataView(new Uint8Array([1, 2]).buffer),
  "views that share a buffer": [new Uint16Array(buffer, 2, 1), buffer],
  "one object in two places": [shared, shared],
  "two objects in two places": [shared, error.cause, shared, holey, holey],
  "array that holds itself": cycle,
};
