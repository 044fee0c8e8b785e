/** Bytes that are no value give a DecodeError: no crash, no hang, no memory beyond the input's. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DecodeError } from "../../client/codec/bytes.ts";
import { decodeKey, encodeKey } from "../../client/codec/key.ts";
import { decodeValue, encodeValue } from "../../client/codec/value/index.ts";
import { randomKey } from "./support/keys.ts";
import { Random, SEED } from "./support/random.ts";
import { randomValue } from "./support/values.ts";

function expectCleanly(decode: () => unknown, about: string): void {
  try {
    decode();
  } catch (error) {
    assert.ok(error instanceof DecodeError, `${about}: ${error}`);
  }
}

function flipped(bytes: Uint8Array, random: Random): Uint8Array {
  const damaged = bytes.slice();
  for (let n = 1 + random.below(3); n > 0; n--) {
    const at = random.below(damaged.length);
    damaged[at] = (damaged[at] as number) ^ (1 << random.below(8));
  }
  return damaged;
}

describe("damaged bytes are decoded or refused with a DecodeError", () => {
  test(`values cut short anywhere (SEED=${SEED})`, () => {
    for (let i = 0; i < 200; i++) {
      const bytes = encodeValue([randomValue(new Random(SEED + i))]);
      const step = Math.max(1, Math.floor(bytes.length / 100));
      for (let end = 0; end < bytes.length; end += step) {
        assert.throws(() => decodeValue(bytes, 0, end), DecodeError, `SEED=${SEED + i} end=${end}`);
      }
    }
  });

  test(`values with flipped bits (SEED=${SEED})`, () => {
    const random = new Random(SEED);
    for (let i = 0; i < 1000; i++) {
      const bytes = encodeValue(randomValue(new Random(SEED + i)));
      for (let n = 0; n < 20; n++) {
        const damaged = flipped(bytes, random);
        expectCleanly(() => decodeValue(damaged), `SEED=${SEED + i} flip ${n}`);
      }
    }
  });

  test(`random bytes (SEED=${SEED})`, () => {
    const random = new Random(SEED);
    for (let i = 0; i < 20_000; i++) {
      const bytes = random.bytes(1 + random.below(60));
      if (i % 2 === 0) bytes[0] = 1;
      expectCleanly(() => decodeValue(bytes), `value ${Buffer.from(bytes).toString("hex")}`);
      expectCleanly(() => decodeKey(bytes), `key ${Buffer.from(bytes).toString("hex")}`);
    }
  });

  test(`keys cut short or with flipped bits (SEED=${SEED})`, () => {
    const random = new Random(SEED);
    for (let i = 0; i < 1000; i++) {
      const bytes = encodeKey(randomKey(random));
      if (bytes.length === 0) continue;
      expectCleanly(() => decodeKey(bytes, 0, random.below(bytes.length)), `key ${i}`);
      expectCleanly(() => decodeKey(flipped(bytes, random)), `key ${i}`);
    }
  });
});

const MALFORMED: Record<string, string> = {
  "no bytes at all": "",
  "an unknown kind": "06",
  "a u64 of 7 bytes": "0200000000000000",
  "a number of 9 bytes": "04000000000000000000",
  "a bigint without a sign": "05",
  "a bigint with a sign of 2": "050201",
  "a bigint with a leading zero": "05000001",
  "a bigint that is a negative zero": "0501",
  "bytes behind the item": "01f6f6",
  "an array of 2^32 items": "019affffffff",
  "an array of 2^53 items": "019b001fffffffffffff",
  "a map of 2^32 entries": "01baffffffff",
  "a set of 2^32 items": "01d901029affffffff",
  "a text of 4 GB": "017affffffff",
  "a byte string of 4 GB": "015affffffff",
  "an integer over 2^53": "011b0020000000000000",
  "an indefinite length": "019f01ff",
  "a break": "01ff",
  "a reserved length": "011c",
  "a half-precision number": "01f93c00",
  "an unknown simple value": "01f0",
  "an unknown tag": "01d9ffff00",
  "a key that is no string": "01a10102",
  "text that is not UTF-8": "0161ff",
  "text that is not UTF-8, as a key": "01a161ff01",
  "an overlong character": "0162c080",
  "a surrogate in text": "0163eda080",
  "a character over U+10FFFF": "0164f4908080",
  "a character cut short": "0161e2",
  "WTF-8 that is none": "01d9011141ff",
  "a reference to nothing": "01d81d00",
  "a reference to what is being made": "01d81cc1d81d00",
  "a mark on a number": "01d81c01",
  "a mark on a mark": "01d81cd81c80",
  "a date of text": "01c16161",
  "a regular expression that is none": "01d9524a8261286167",
  "flags that are none": "01d9524a8261616178",
  "a typed array of half an element": "01d84543010203",
  "an unknown class": "01d81b826545766966696c80",
  "a class named by what objects inherit": "01d81b816b636f6e7374727563746f72",
  "a class without a name": "01d81b80",
  "a wrapper of another type": "01d81b82664e756d6265726131",
  "a view outside its buffer":
    "01d81b846a55696e7438417272617982d81b826b4172726179427566666572410000182a",
  "a view of a number": "01d81b826844617461566965770a",
  "an error of two fields too many": "01d81b84654572726f7261656000a0",
  "an array with a length that is none": "01d81b83654172726179fb3ff8000000000000a0",
};

describe("a malformed value is refused with a DecodeError", () => {
  for (const [name, hex] of Object.entries(MALFORMED)) {
    test(name, () => {
      assert.throws(() => decodeValue(new Uint8Array(Buffer.from(hex, "hex"))), DecodeError);
    });
  }

  test("values nested too deeply", () => {
    for (const level of [
      "81",
      "a16161",
      "d9010281",
      "d90103a101",
      "d81c81",
      "d81b8365417272617901a16130",
    ]) {
      const bytes = Buffer.from(`01${level.repeat(100_000)}`, "hex");
      assert.throws(() => decodeValue(bytes), DecodeError, level);
    }
  });
});

describe("a malformed key is refused with a DecodeError", () => {
  const malformed = {
    "an unknown part": "03",
    "a string without an end": "0261",
    "bytes that end in an escape": "016100ff",
    "a number cut short": "2180",
    "a bigint cut short": "1601",
    "a long bigint cut short": "1d0901",
    "a string that is not UTF-8": "02ff00",
  };
  for (const [name, hex] of Object.entries(malformed)) {
    test(name, () => {
      assert.throws(() => decodeKey(new Uint8Array(Buffer.from(hex, "hex"))), DecodeError);
    });
  }
});

test("a small value cannot make a large one", () => {
  const sparse = Buffer.from("01d81b836541727261791b00000000fffffffea0", "hex");
  const before = process.memoryUsage();
  const arrays = Array.from({ length: 200 }, () => decodeValue(sparse) as unknown[]);
  const after = process.memoryUsage();
  assert.equal(arrays[0]?.length, 0xfffffffe);
  assert.ok(after.heapUsed + after.external - before.heapUsed - before.external < 50e6);
});
