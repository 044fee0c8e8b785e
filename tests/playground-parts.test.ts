/** The parts of the playground that need no browser. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type KvKey, KvU64 } from "kvass";
import { compareBytes } from "../client/codec/bytes.ts";
import { encodeKey } from "../client/codec/key.ts";
import { JsonArrayReader } from "../www/json-stream.ts";
import { compareKeys, parsePart, partText } from "../www/keys.ts";
import { Audit } from "../www/tabs/audit.ts";
import type { TabCommit } from "../www/tabs/tab.ts";
import { fromText, NoText, preview, toText } from "../www/value-text.ts";

const KEYS: KvKey[] = [
  ...[[], [0], [0, 1], [1], [255]].map((bytes) => [Uint8Array.from(bytes)]),
  ...["", "\0", "a", "aa", "a\u00e9", "b", "\uffff", "\u{10000}", "\u{1f600}", "\u{1f601}"].map(
    (text) => [text],
  ),
  ...[-(2n ** 70n), -256n, -1n, 0n, 1n, 255n, 2n ** 70n].map((number) => [number]),
  ...[-Infinity, -1.5, -1, -0, 0, 5e-324, 1, Infinity, Number.NaN].map((number) => [number]),
  [false],
  [true],
  ["a", 1],
  ["a", "b"],
  ["a", "b", 0n],
];

test("keys compare as the store orders them", () => {
  for (const a of KEYS) {
    for (const b of KEYS) {
      const expected = Math.sign(compareBytes(encodeKey(a), encodeKey(b)));
      assert.equal(Math.sign(compareKeys(a, b)), expected, `${a.map(partText)} ${b.map(partText)}`);
    }
  }
});

test("a part that is typed as it is shown is the same part", () => {
  for (const [kind, part] of [
    ["string", "Île"],
    ["number", -0.5],
    ["bigint", -(2n ** 70n)],
    ["boolean", false],
    ["bytes", Uint8Array.of(0, 254)],
  ] as const) {
    assert.deepEqual(parsePart(kind, partText(part)), part);
  }
  for (const kind of ["number", "bigint", "boolean", "bytes"] as const) {
    assert.throws(() => parsePart(kind, "zebra"), SyntaxError);
  }
});

test("a JSON array is read to the same objects wherever the pieces are cut", () => {
  const objects = [
    { a: "} , {", b: 'quote " and \\' },
    { c: [{ d: 1 }, []], e: {} },
    { f: "\\", g: "é😀" },
  ];
  const text = JSON.stringify(objects, undefined, 1);
  for (let size = 1; size <= text.length; size++) {
    const reader = new JsonArrayReader();
    const read = [];
    for (let at = 0; at < text.length; at += size)
      read.push(...reader.push(text.slice(at, at + size)));
    reader.end();
    assert.deepEqual(read, objects, `pieces of ${size}`);
  }
});

test("a JSON array that is cut short is an error", () => {
  const reader = new JsonArrayReader();
  assert.deepEqual(reader.push('[{"a":1},{"b'), [{ a: 1 }]);
  assert.throws(() => reader.end(), SyntaxError);
});

test("a value that is edited as text is the same value", () => {
  const values = [
    null,
    undefined,
    true,
    1.5,
    -0,
    Number.NaN,
    -Infinity,
    2n ** 70n,
    "text",
    new KvU64(2n ** 64n - 1n),
    new Date(1e12),
    Uint8Array.of(0, 255),
    new Map<unknown, unknown>([["k", new Set([1n])]]),
    { $date: "not a date", nested: [{ $u64: "1" }, { $$x: undefined }, { $: 1 }] },
    JSON.parse('{"__proto__": {"polluted": true}, "b": 1}'),
  ];
  for (const value of values) assert.deepEqual(fromText(toText(value)), value);
});

test("a value without a text is refused, and text without a value", () => {
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  const sparse: unknown[] = [1];
  sparse[2] = 3;
  for (const value of [
    /x/,
    new Error("x"),
    new Date(Number.NaN),
    cycle,
    sparse,
    new Float32Array(1),
  ]) {
    assert.throws(() => toText(value), NoText);
    assert.equal(typeof preview(value), "string");
  }
  for (const text of ["", "{", '{"$u64": "-1"}', '{"$bytes": "abc"}', '{"$what": 1}']) {
    assert.throws(() => fromText(text), SyntaxError);
  }
});

/** What an audit finds in commits of `[versionstamp, run, number, count]`. */
function audited(...commits: [string, string, number, bigint?][]): [number, number] {
  const audit = new Audit();
  for (const [versionstamp, run, number, count] of commits) {
    const tab = { run, number, role: "host", epoch: 1, isCounting: true } as const;
    const commit: TabCommit = {
      versionstamp,
      epoch: 1,
      tab,
      seat: 0,
      count,
      isKill: false,
      expired: [],
    };
    audit.add(commit);
  }
  return [audit.missed, audit.repeated];
}

test("an audit of commits finds what is missing, there twice or out of order", () => {
  const whole: Parameters<typeof audited> = [
    ["01", "a", 7, 3n],
    ["02", "b", 1],
    ["03", "a", 8, 4n],
    ["04", "b", 2, 5n],
  ];
  const [first, second, , fourth] = whole as Required<typeof whole>;
  assert.deepEqual(audited(...whole), [0, 0]);
  assert.deepEqual(audited(first, second, fourth), [1, 0], "by the counter");
  assert.deepEqual(audited(second, ["05", "b", 4]), [2, 0], "by the tab's numbers");
  assert.deepEqual(audited(first, first), [0, 1], "heard twice");
  assert.deepEqual(audited(first, ["02", "a", 7]), [0, 1], "applied twice");
  assert.deepEqual(audited(second, first), [0, 1], "out of order");
});
