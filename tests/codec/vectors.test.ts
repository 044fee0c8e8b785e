/** What is stored stays readable: the bytes of these keys and values never change. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { compareBytes } from "../../client/codec/bytes.ts";
import { decodeKey, encodeKey, type KvKeyPart } from "../../client/codec/key.ts";
import { decodeValue, encodeValue } from "../../client/codec/value/index.ts";
import { GOLDEN_VALUES } from "./support/golden.ts";
import { difference } from "./support/same.ts";

interface KeyVector {
  description: string;
  parts: [type: string, value: string][];
  hex: string;
}

interface ValueVector {
  description: string;
  kind: string;
  hex: string;
}

function load<T>(name: string): T[] {
  return JSON.parse(readFileSync(new URL(`../vectors/${name}`, import.meta.url), "utf8"));
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

function partOf([type, value]: [string, string]): KvKeyPart {
  switch (type) {
    case "bytes":
      return bytesOf(value);
    case "string":
      return value;
    case "bigint":
      return BigInt(value);
    case "number":
      return Number(value);
    default:
      return value === "true";
  }
}

describe("the keys of tests/vectors/keys.json", () => {
  const vectors = load<KeyVector>("keys.json");

  for (const { description, parts, hex } of vectors) {
    test(description, () => {
      const key = parts.map(partOf);
      assert.equal(Buffer.from(encodeKey(key)).toString("hex"), hex);
      assert.deepEqual(decodeKey(bytesOf(hex)), key);
    });
  }

  test("stand in the order of keys", () => {
    for (let i = 1; i < vectors.length; i++) {
      const [a, b] = [vectors[i - 1] as KeyVector, vectors[i] as KeyVector];
      assert.ok(compareBytes(bytesOf(a.hex), bytesOf(b.hex)) < 0, b.description);
    }
  });
});

describe("the values of tests/vectors/values.json", () => {
  const vectors = load<ValueVector>("values.json");

  test("are all known here", () => {
    const names = vectors.map(({ description }) => description);
    assert.deepEqual(names, Object.keys(GOLDEN_VALUES));
  });

  for (const { description, hex } of vectors) {
    test(description, () => {
      const value = GOLDEN_VALUES[description];
      assert.equal(Buffer.from(encodeValue(value)).toString("hex"), hex);
      assert.equal(difference(decodeValue(bytesOf(hex)), value), undefined);
    });
  }
});
