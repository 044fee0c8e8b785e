/** Keys sort by their bytes as they do by their parts, and come back as they were. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ByteWriter, compareBytes } from "../../client/codec/bytes.ts";
import { decodeKey, encodeKey, type KvKey, prefixRange, writeKey } from "../../client/codec/key.ts";
import { compareKeys, randomKey } from "./support/keys.ts";
import { Random, SEED } from "./support/random.ts";

function hex(key: KvKey): string {
  return Buffer.from(encodeKey(key)).toString("hex");
}

test("keys encode as the examples of the tuple layer's specification", () => {
  assert.equal(hex([new Uint8Array(Buffer.from("foo\0bar"))]), "01666f6f00ff62617200");
  assert.equal(hex(["F\u00d4O\0bar"]), "0246c3944f00ff62617200");
  assert.equal(hex([-5551212n]), "11ab4b93");
});

test("keys come back with parts of the same types", () => {
  const key = [
    new Uint8Array([0, 1, 255]),
    "a\0b",
    "",
    0n,
    -1n,
    2n ** 2039n,
    1.5,
    -0,
    Number.NaN,
    true,
    false,
  ];
  assert.deepEqual(decodeKey(encodeKey(key)), key);
  assert.deepEqual(decodeKey(encodeKey([])), []);
});

test(`random keys come back (SEED=${SEED})`, () => {
  const random = new Random(SEED);
  for (let i = 0; i < 5000; i++) {
    const key = randomKey(random);
    assert.deepEqual(decodeKey(encodeKey(key)), key);
  }
});

test(`random keys sort by their bytes as by their parts (SEED=${SEED})`, () => {
  const random = new Random(SEED);
  const keys = Array.from({ length: 3000 }, () => randomKey(random)).sort(compareKeys);
  for (let i = 1; i < keys.length; i++) {
    const [a, b] = [keys[i - 1] as KvKey, keys[i] as KvKey];
    const order = Math.sign(compareBytes(encodeKey(a), encodeKey(b)));
    assert.equal(order, Math.sign(compareKeys(a, b)), `${hex(a)} ${hex(b)}`);
  }
});

test("parts sort by type, then by value", () => {
  const ordered: KvKey[] = [
    [],
    [new Uint8Array()],
    [new Uint8Array([0])],
    [new Uint8Array([0, 0])],
    [new Uint8Array([0, 1])],
    [new Uint8Array([1])],
    [""],
    ["", "a"],
    ["\0"],
    ["a"],
    ["a", ""],
    ["a\0"],
    ["\uffff"],
    ["\u{10000}"],
    [-(2n ** 2040n) + 1n],
    [-(2n ** 64n)],
    [-(2n ** 64n) + 1n],
    [-256n],
    [-255n],
    [-1n],
    [0n],
    [1n],
    [255n],
    [256n],
    [2n ** 64n - 1n],
    [2n ** 64n],
    [2n ** 2040n - 1n],
    [-Infinity],
    [-1],
    [-5e-324],
    [-0],
    [0],
    [5e-324],
    [1],
    [Infinity],
    [Number.NaN],
    [false],
    [true],
  ];
  const sorted = [...ordered].reverse().sort((a, b) => compareBytes(encodeKey(a), encodeKey(b)));
  assert.deepEqual(sorted, ordered);
});

test("every NaN is one key", () => {
  const bits = new Float64Array(new BigUint64Array([0xfff8_0000_0000_0001n]).buffer);
  assert.equal(hex([bits[0] as number]), hex([Number.NaN]));
});

test("a lone surrogate in a key becomes U+FFFD", () => {
  assert.equal(hex(["\ud800"]), hex(["\ufffd"]));
  assert.equal(hex([`\udc00${"x".repeat(100)}`]), hex([`\ufffd${"x".repeat(100)}`]));
});

test("any view is taken as its bytes", () => {
  const { buffer } = new Uint8Array([9, 0, 1, 2]);
  const parts = [new DataView(buffer, 1, 2), new Uint16Array(buffer, 2), Buffer.from(buffer, 3)];
  assert.equal(hex(parts as unknown as KvKey), "0100ff010001010200010200");
});

describe("what is no key is a TypeError that leaves the writer as it was", () => {
  const message = "expected string, number, bigint, ArrayBufferView, boolean";
  const parts = [null, undefined, {}, new Date(), new ArrayBuffer(1), ["a"], () => 1, Symbol("s")];
  for (const part of parts) {
    test(`a part that is ${Object.prototype.toString.call(part)}`, () => {
      const w = new ByteWriter();
      w.u8(7);
      assert.throws(() => writeKey(w, ["a", part] as KvKey), { name: "TypeError", message });
      assert.equal(w.position, 1);
    });
  }

  test("a key that is no array", () => {
    for (const key of ["a", null, undefined, { length: 1 }, new Uint8Array(1)]) {
      assert.throws(() => encodeKey(key as KvKey), {
        name: "TypeError",
        message: "a key must be an array of key parts",
      });
    }
  });

  test("a bigint of more than 255 bytes", () => {
    assert.throws(() => encodeKey([2n ** 2040n]), TypeError);
    assert.throws(() => encodeKey([-(2n ** 2040n)]), TypeError);
  });
});

test("the first parts of a key can be written alone", () => {
  const w = new ByteWriter();
  writeKey(w, ["a", Symbol("last")], 1);
  assert.deepEqual(decodeKey(w.bytes, 0, w.position), ["a"]);
});

test(`a prefix's range holds the keys that go on behind it, and no others (SEED=${SEED})`, () => {
  const random = new Random(SEED);
  for (let i = 0; i < 3000; i++) {
    const prefix = randomKey(random);
    const other = random.below(2) === 0 ? [...prefix, ...randomKey(random)] : randomKey(random);
    const { start, end } = prefixRange(encodeKey(prefix));
    const bytes = encodeKey(other);
    const isInside = compareBytes(bytes, start) >= 0 && compareBytes(bytes, end) < 0;
    const head = other.slice(0, prefix.length);
    const goesOn = other.length > prefix.length && hex(head) === hex(prefix);
    assert.equal(isInside, goesOn, `${hex(prefix)} ${hex(other)}`);
  }
});

test("bytes of a key that is read are the reader's own", () => {
  for (const part of [new Uint8Array([1, 2]), new Uint8Array([0, 2])]) {
    const bytes = encodeKey([part]);
    const [read] = decodeKey(bytes);
    bytes.fill(0xee);
    assert.deepEqual(read, part);
  }
});
