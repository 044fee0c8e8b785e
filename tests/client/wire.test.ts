/** Page and host agree on the bytes of frames: tests/wire_vectors.rs writes what is read here. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { type Kv, KvU64 } from "../../client/index.ts";
import { writeVersionstamp } from "../../client/versionstamp.ts";
import { decodeWelcome, encodeHello } from "../../client/wire/hello.ts";
import type { FrameMessage } from "../../client/wire/request.ts";
import {
  type RawEvent,
  type Response,
  readChanges,
  readFrame,
  type Slice,
} from "../../client/wire/response.ts";
import { FakeWorkers, openFake, settle } from "./support/fake-worker.ts";
import { bytesOf, hexOf } from "./support/wire.ts";

interface Vector {
  name: string;
  direction: "request" | "response" | "welcome";
  hex: string;
  /** The large values beside it, each full of one byte. */
  attachments?: { byte: number; length: number }[];
  value?: unknown;
}

const url = new URL("../vectors/frames.json", import.meta.url);
const vectors: Vector[] = JSON.parse(readFileSync(url, "utf8"));
const of = (direction: string) => vectors.filter((vector) => vector.direction === direction);

const STAMP = "0000000700000000012c";
const LONG = new Uint8Array(199).fill(3);

/** The calls that lead to each frame; one that returns a promise is answered before the frame. */
const CALLS: Record<string, (kv: Kv) => unknown> = {
  get: (kv) => kv.get(["a"]),
  "three gets in one microtask": (kv) => [kv.get(["a"]), kv.get(["b"]), kv.get(["a"])],
  getMany: (kv) => kv.getMany([["a"], ["b"]]),
  "list of a prefix": (kv) => kv.list({ prefix: ["a"] }).next(),
  "list of five in reverse": (kv) =>
    kv.list({ start: ["a"], end: ["b"] }, { limit: 5, reverse: true }).next(),
  "list of keys": (kv) => kv.list({ prefix: ["a"] }, { keysOnly: true }).next(),
  count: (kv) => kv.count({ start: ["a"], end: ["b"] }),
  "second page of a list": async (kv) => {
    const list = kv.list({ prefix: ["a"] });
    await list.next();
    await list.next();
  },
  "list left early": async (kv) => {
    const list = kv.list({ prefix: ["a"] });
    await list.next();
    await list.return();
  },
  set: (kv) => kv.set(["a"], "x"),
  "set of 32 KiB": (kv) => kv.set(["a"], new Uint8Array(32_768).fill(3)),
  "set with expireIn, strict": (kv) =>
    kv.set(["a"], "x", { expireIn: 60_000, durability: "strict" }),
  "set with a versionstamp in its key": (kv) => kv.set(["a", kv.commitVersionstamp()], "x"),
  "set of 199 bytes": (kv) => kv.set(["a"], LONG),
  "delete, strict": (kv) => kv.delete(["a"], { durability: "strict" }),
  "delete of a range": (kv) => kv.deleteRange({ prefix: ["a"] }),
  atomic: (kv) =>
    kv
      .atomic()
      .set(["a"], "x")
      .check({ key: ["a"], versionstamp: STAMP }, { key: ["b"], versionstamp: null })
      .delete(["b"])
      .sum(["a"], 5n)
      .min(["a"], 5n)
      .mutate({ type: "max", key: ["a"], value: new KvU64(5n) })
      .mutate({ type: "sum", key: ["b"], value: 1 })
      .deleteRange({ start: ["a"], end: ["b"] })
      .commit(),
  watch: (kv) => kv.watch([["a"], ["b"]]),
  changes: (kv) => kv.changes(),
  "changes of two ranges": (kv) => kv.changes([{ prefix: ["a"] }, { start: ["a"], end: ["b"] }]),
  "changes since a commit": (kv) => {
    return kv.changes({ start: ["a"], end: ["b"] }, { since: STAMP });
  },
  "more changes": (kv) => {
    kv.changes({ start: ["a"], end: ["b"] }, { since: STAMP })
      .getReader()
      .read();
  },
  "watch left": async (kv) => {
    const stream = kv.watch([["a"]]);
    await settle();
    await stream.cancel();
  },
  flush: (kv) => kv.flush(),
  stats: (kv) => kv.stats(),
  status: (kv) => kv.status(),
  close: (kv) => kv.close(),
  verify: (kv) => kv.verify(),
};

/**
 * A first page: ["a", "x"], ["a", "y"] and ["a", "z"], each null, with more under lease 300 of the
 * snapshot at the time 1,700,000,000,000.
 */
const ROWS = ["78", "79", "7a"].map((char) => `0602610002${char}00${STAMP}0201f6`);
const PAGE = `07010103 0001ac02${STAMP}80d095ffbc31 03 3c ${ROWS.join("")} 00 00`.replaceAll(
  " ",
  "",
);

describe("requests are the bytes that the host reads", () => {
  for (const { name, hex, attachments } of of("request")) {
    test(name, async (t) => {
      const workers = new FakeWorkers();
      workers.files.epoch = 6;
      workers.behaviour.request = (worker, sequence, request, out) => {
        if (request.type === "list") worker.say(bytesOf(PAGE).buffer);
        else if (request.type === "changes" && request.since) out.reply(sequence, 6);
        else if (request.type === "more") writeVersionstamp(out.reply(sequence, 4), STAMP);
        else worker.host.answer(sequence, request, out);
      };
      const { kv } = await openFake(t, {}, workers);
      const call = CALLS[name];
      assert.ok(call, `no call is known for the vector "${name}"`);
      await Promise.all([call(kv), settle()]);
      await settle();
      const message = workers.last.messages.at(-1) as FrameMessage;
      const [buffer, ...large] = message instanceof ArrayBuffer ? [message] : message;
      // Clients are random, those of the vectors are not.
      const frame = `${"11".repeat(16)}${hexOf(new Uint8Array(buffer)).slice(32)}`;
      assert.equal(frame, hex);
      assert.deepEqual(large, buffersOf(attachments));
    });
  }

  test("every call has a vector", () => {
    assert.deepEqual(
      of("request")
        .map(({ name }) => name)
        .sort(),
      Object.keys(CALLS).sort(),
    );
  });
});

function buffersOf(attachments: Vector["attachments"] = []): ArrayBuffer[] {
  return attachments.map(({ byte, length }) => new Uint8Array(length).fill(byte).buffer);
}

/** Decoded frames as the vectors write them: bytes in hex, integers in decimal. */
function plain(value: unknown): unknown {
  if (typeof value === "number") return String(value);
  if (value instanceof ArrayBuffer) return hexOf(new Uint8Array(value));
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plain);
  if ("bytes" in value && value.bytes instanceof Uint8Array) {
    const { bytes, start, end } = value as Slice;
    return hexOf(bytes.subarray(start, end));
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

function plainEvent(event: RawEvent): unknown {
  if (event.type !== "changes") return plain(event);
  const { type, id, versionstamp } = event;
  return plain({ type, id, versionstamp, changes: readChanges(event) });
}

function decoded(hex: string, attachments: Vector["attachments"] = []) {
  let epoch = 0;
  const replies: { sequence: number; response: Response }[] = [];
  const events: unknown[] = [];
  readFrame([bytesOf(hex).buffer as ArrayBuffer, ...buffersOf(attachments)], {
    epoch: (its) => {
      epoch = its;
      return true;
    },
    reply: (sequence, response) => replies.push({ sequence, response }),
    event: (event) => events.push(plainEvent(event)),
  });
  return { epoch: plain(epoch), replies: plain(replies), events };
}

describe("responses are read from the bytes that the host writes", () => {
  for (const { name, hex, attachments, value } of of("response")) {
    test(name, () => assert.deepEqual(decoded(hex, attachments), value));

    test(`${name}, cut short anywhere, is an error`, () => {
      for (let length = 0; length < hex.length; length += 2) {
        assert.throws(() => decoded(hex.slice(0, length), attachments), { name: "DecodeError" });
      }
      assert.throws(() => decoded(`${hex}00`, attachments), { name: "DecodeError" });
      const [first, ...others] = attachments ?? [];
      const one = { byte: 0, length: 1 };
      assert.throws(() => decoded(hex, [...(attachments ?? []), one]), { name: "DecodeError" });
      if (first === undefined) return;
      assert.throws(() => decoded(hex, others), { name: "DecodeError" });
      assert.throws(() => decoded(hex, [one, ...others]), { name: "DecodeError" });
    });
  }
});

test("the welcome is read from the bytes that the host writes", () => {
  for (const { hex, value } of of("welcome")) {
    const { buffer } = bytesOf(hex);
    assert.deepEqual(plain(decodeWelcome(buffer as ArrayBuffer)), value);
  }
});

test("the hello has the layout that stays for ever", () => {
  const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
  const constant = (path: string, name: string) =>
    Number(new RegExp(`const ${name}: u16 = (\\d+)`).exec(read(path))?.[1]);
  const versions = Buffer.alloc(8);
  const [oldest, newest, format] = [
    constant("src/wire/mod.rs", "PROTOCOL_OLDEST"),
    constant("src/wire/mod.rs", "PROTOCOL"),
    constant("src/manifest.rs", "FORMAT"),
  ];
  [oldest, newest, format, format].forEach((version, i) => {
    versions.writeUInt16LE(version, 2 * i);
  });
  const { version } = JSON.parse(read("package.json"));
  const client = Buffer.alloc(16, 0x11);
  const build = [Buffer.from([version.length]), Buffer.from(version)];
  const expected = Buffer.concat([Buffer.from("KVSH"), versions, client, ...build]);
  assert.equal(hexOf(new Uint8Array(encodeHello(client))), expected.toString("hex"));
});
