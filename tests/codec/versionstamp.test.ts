/** Versionstamps are 20 hex digits outside and ten bytes inside. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteReader, ByteWriter, DecodeError } from "../../client/codec/bytes.ts";
import {
  commitVersionstamp,
  endsInVersionstamp,
  parseVersionstamp,
  readVersionstamp,
  writeVersionstamp,
} from "../../client/versionstamp.ts";

test("a versionstamp comes back from its ten bytes", () => {
  const w = new ByteWriter(1);
  writeVersionstamp(w, "00112233445566778899");
  assert.equal(w.position, 10);
  assert.equal(readVersionstamp(new ByteReader(w.bytes, 0, 10)), "00112233445566778899");
});

test("upper case is taken and given back in lower case", () => {
  assert.equal(parseVersionstamp("ABCDEF0000000000000F"), "abcdef0000000000000f");
});

test("anything but 20 hex digits is a TypeError", () => {
  const bad = ["", "0", "0".repeat(19), "0".repeat(21), "g".repeat(20), 0, undefined, {}, Symbol()];
  for (const value of [...bad, `${"0".repeat(20)}\n`, null]) {
    assert.throws(() => parseVersionstamp(value), {
      name: "TypeError",
      message: /^invalid versionstamp: expected 20 hex digits/,
    });
  }
});

test("a versionstamp cut short is refused", () => {
  assert.throws(() => readVersionstamp(new ByteReader(new Uint8Array(9))), DecodeError);
});

test("only the last part of a key can be the commit's versionstamp", () => {
  assert.equal(endsInVersionstamp(["a", commitVersionstamp()]), true);
  assert.equal(endsInVersionstamp([commitVersionstamp(), "a"]), false);
  assert.equal(endsInVersionstamp(["a"]), false);
  assert.equal(endsInVersionstamp([]), false);
  assert.equal(endsInVersionstamp([Symbol("other")]), false);
});
