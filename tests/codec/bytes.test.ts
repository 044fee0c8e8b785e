/** What the writer wrote the reader reads, and nothing is read that is not there. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ByteReader, ByteWriter, DecodeError } from "../../client/codec/bytes.ts";
import { Random, SEED } from "./support/random.ts";

function written(write: (w: ByteWriter) => void): Uint8Array {
  const w = new ByteWriter(1);
  write(w);
  return new Uint8Array(w.take());
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

const VARINTS: [bigint, string][] = [
  [0n, "00"],
  [127n, "7f"],
  [128n, "8001"],
  [16_383n, "ff7f"],
  [16_384n, "808001"],
  [0xffff_ffffn, "ffffffff0f"],
  [0x1_0000_0000n, "8080808010"],
  [BigInt(Number.MAX_SAFE_INTEGER), "ffffffffffffff0f"],
  [0xffff_ffff_ffff_ffffn, "ffffffffffffffffff01"],
];

describe("varints are postcard's", () => {
  for (const [value, bytes] of VARINTS) {
    test(`${value}`, () => {
      assert.equal(hex(written((w) => w.varintBig(value))), bytes);
      assert.equal(new ByteReader(Buffer.from(bytes, "hex")).varintBig(), value);
      if (value > Number.MAX_SAFE_INTEGER) return;
      assert.equal(hex(written((w) => w.varint(Number(value)))), bytes);
      assert.equal(new ByteReader(Buffer.from(bytes, "hex")).varint(), Number(value));
    });
  }

  test("one that is too large or has no end is refused", () => {
    for (const bytes of ["80", "ffffffffffffff1f", "ffffffffffffffffff01", "80".repeat(20)]) {
      assert.throws(() => new ByteReader(Buffer.from(bytes, "hex")).varint(), DecodeError);
    }
    for (const bytes of ["80", "ffffffffffffffffff02", "80".repeat(20)]) {
      assert.throws(() => new ByteReader(Buffer.from(bytes, "hex")).varintBig(), DecodeError);
    }
  });
});

test("fields come back in order", () => {
  const bytes = written((w) => {
    w.u8(7);
    w.f64(-1.5);
    w.sized(new Uint8Array([1, 2, 3]));
    w.text("Zürich");
    w.text("");
    w.raw(new Uint8Array([9]));
  });
  const r = new ByteReader(bytes);
  assert.equal(r.u8(), 7);
  assert.equal(r.f64(), -1.5);
  assert.deepEqual([...r.sized()], [1, 2, 3]);
  assert.equal(r.text(), "Zürich");
  assert.equal(r.text(), "");
  assert.deepEqual([...r.raw(1)], [9]);
  assert.equal(r.left, 0);
});

test(`strings of every length and character come back (SEED=${SEED})`, () => {
  const random = new Random(SEED);
  for (let i = 0; i < 3000; i++) {
    const text = random.string();
    const bytes = written((w) => w.text(text));
    assert.equal(new ByteReader(bytes).text(), Buffer.from(text).toString(), `SEED=${SEED}`);
  }
});

test("a field of any length gets its length before it", () => {
  for (const length of [0, 1, 127, 128, 16_383, 16_384, 100_000]) {
    const content = new Uint8Array(length).fill(5);
    const bytes = written((w) => {
      const outer = w.beginSized();
      const inner = w.beginSized();
      w.raw(content);
      w.endSized(inner);
      w.endSized(outer);
      w.u8(0xee);
    });
    const r = new ByteReader(bytes);
    const outer = new ByteReader(r.sized());
    assert.deepEqual(outer.sized(), content);
    assert.equal(outer.left, 0);
    assert.equal(r.u8(), 0xee);
    assert.equal(r.left, 0);
  }
});

test("a reader stays inside its range", () => {
  const bytes = new Uint8Array([1, 200, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.throws(() => new ByteReader(bytes, 0, 0).u8(), DecodeError);
  assert.throws(() => new ByteReader(bytes, 0, 7).f64(), DecodeError);
  assert.throws(() => new ByteReader(bytes, 2, 3).sized(), DecodeError);
  assert.throws(() => new ByteReader(bytes, 0, 5).raw(6), DecodeError);
  assert.equal(new ByteReader(bytes.subarray(2), 1).u8(), 4);
  assert.equal(new ByteReader(bytes.subarray(2)).view.getUint8(0), 3);
});

test("taking gives a buffer of exactly what was written, and starts anew", () => {
  const w = new ByteWriter();
  w.raw(new Uint8Array([1, 2]));
  const first = w.take();
  w.u8(3);
  assert.deepEqual([...new Uint8Array(first)], [1, 2]);
  assert.deepEqual([...new Uint8Array(w.take())], [3]);
});

test("a very large frame's buffer is not kept", () => {
  const w = new ByteWriter();
  w.raw(new Uint8Array(5_000_000));
  w.take();
  assert.ok(w.bytes.length < 100_000);
});
