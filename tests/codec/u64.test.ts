/** KvU64 is Deno KV's: checked when made, frozen, usable as a number. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { KvU64 } from "../../client/u64.ts";

test("a KvU64 holds any integer of 64 bits", () => {
  for (const value of [0n, 1n, 2n ** 64n - 1n]) assert.equal(new KvU64(value).value, value);
});

test("a KvU64 cannot be changed", () => {
  assert.ok(Object.isFrozen(new KvU64(1n)));
});

test("a KvU64 computes, prints and inspects as its number", () => {
  const five = new KvU64(5n);
  assert.equal(five.valueOf() + 1n, 6n);
  assert.ok(five > new KvU64(4n));
  assert.equal(`${five}`, "5");
  assert.equal(inspect({ five }), "{ five: [KvU64: 5n] }");
  assert.equal(Object.prototype.toString.call(five), "[object KvU64]");
});

test("what is no integer of 64 bits is refused, with Deno's messages", () => {
  const make = (value: unknown) => () => new KvU64(value as bigint);
  assert.throws(make(1), { name: "TypeError", message: "Value must be a bigint: received number" });
  assert.throws(make("1"), TypeError);
  assert.throws(make(-1n), {
    name: "RangeError",
    message: "Value must be a positive bigint: received -1",
  });
  assert.throws(make(2n ** 64n), {
    name: "RangeError",
    message: "Value must fit in a 64-bit unsigned integer",
  });
});
