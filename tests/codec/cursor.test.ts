/** A cursor is Deno KV's, and resumes a list behind the last key in either direction. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { compareBytes } from "../../client/codec/bytes.ts";
import { commonPrefixLength, encodeCursor, resumeRange } from "../../client/codec/cursor.ts";
import { encodeKey, type KvKey, prefixRange } from "../../client/codec/key.ts";
import { randomKey } from "./support/keys.ts";
import { Random, SEED } from "./support/random.ts";

const prefix = encodeKey(["a"]);
const range = prefixRange(prefix);

test('["a", "a"] under the prefix ["a"] is AmEA, as in Deno', () => {
  assert.equal(encodeCursor(prefix, encodeKey(["a", "a"])), "AmEA");
});

test("a cursor is padded, in the alphabet that is safe in an address", () => {
  assert.equal(encodeCursor(prefix, encodeKey(["a", new Uint8Array([0xfb, 0xff])])), "Afv_AA==");
});

test("a key outside the selector has no cursor", () => {
  assert.throws(() => encodeCursor(prefix, encodeKey(["b", "a"])), {
    name: "TypeError",
    message: "cursor out of bounds",
  });
});

test(`a list goes on behind the cursor's key (SEED=${SEED})`, () => {
  const random = new Random(SEED);
  for (let i = 0; i < 2000; i++) {
    const key = (): KvKey => ["a", random.below(9), ...randomKey(random)];
    const last = encodeKey(key());
    const other = encodeKey(key());
    const cursor = encodeCursor(prefix, last);
    const order = compareBytes(other, last);
    for (const reverse of [false, true]) {
      const { start, end } = resumeRange(range, prefix, cursor, reverse);
      const isLeft = compareBytes(other, start) >= 0 && compareBytes(other, end) < 0;
      assert.equal(isLeft, reverse ? order < 0 : order > 0);
    }
  }
});

test("a cursor under a start and an end is relative to what these have in common", () => {
  const start = encodeKey(["users", "a"]);
  const end = encodeKey(["users", "z"]);
  const common = start.subarray(0, commonPrefixLength(start, end));
  const key = encodeKey(["users", "m", 1n]);
  const cursor = encodeCursor(common, key);
  assert.equal(Buffer.from(cursor, "base64url").toString("hex"), "6d001501");
  const rest = resumeRange({ start, end }, common, cursor, false);
  assert.equal(compareBytes(rest.start.subarray(0, -1), key), 0);
  assert.deepEqual(rest.end, end);
});

test("a cursor without its padding is taken", () => {
  assert.deepEqual(
    resumeRange(range, prefix, "Afv_AA", false),
    resumeRange(range, prefix, "Afv_AA==", false),
  );
});

test("what is no base64url is an invalid cursor", () => {
  for (const cursor of ["!", "A", "a b", "AmEA=", "Am+A", "Am/A", "\n", "=", "Am==EA"]) {
    assert.throws(() => resumeRange(range, prefix, cursor, false), {
      name: "TypeError",
      message: "invalid cursor",
    });
  }
});

test("a cursor that is longer than any key is out of bounds", () => {
  const long = new Uint8Array(prefix.length + 8193);
  long.set(prefix);
  long.fill(1, prefix.length);
  for (const reverse of [false, true]) {
    assert.throws(() => resumeRange(range, prefix, encodeCursor(prefix, long), reverse), {
      name: "TypeError",
      message: "cursor out of bounds",
    });
  }
});

test("a cursor outside the range is out of bounds", () => {
  const inner = { start: encodeKey(["a", "f"]), end: encodeKey(["a", "k"]) };
  for (const part of ["a", "z"]) {
    const cursor = encodeCursor(prefix, encodeKey(["a", part]));
    for (const reverse of [false, true]) {
      assert.throws(() => resumeRange(inner, prefix, cursor, reverse), {
        name: "TypeError",
        message: "cursor out of bounds",
      });
    }
  }
});
