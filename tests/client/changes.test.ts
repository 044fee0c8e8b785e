/** Changes: every commit in order, or word that some were missed. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encodeKey } from "../../client/codec/key.ts";
import { type KvChangeEvent, KvU64 } from "../../client/index.ts";
import { type FakeWorkers, openFake, settle } from "./support/fake-worker.ts";
import { hexOf, ResponseWriter, writeMaybe } from "./support/wire.ts";

const LATE: [number, string, Uint8Array][] = [
  [0, hexOf(encodeKey(["late"])), new Uint8Array([4, 0, 0, 0, 0, 0, 0, 0, 0])],
];

/** The numbers of the subscriptions to changes that the worker was asked for. */
function subscriptionsOf(workers: FakeWorkers): number[] {
  const requests = workers.last.frames.flatMap((frame) => frame.requests);
  return requests.flatMap((request) => (request.type === "changes" ? [request.id] : []));
}

/** Has the worker say that it left commits out. */
function lag(workers: FakeWorkers, id: number, versionstamp: string, missed: number): void {
  const out = new ResponseWriter();
  out.lagged(id, versionstamp, missed);
  workers.last.send(out);
}

async function take(reader: ReadableStreamDefaultReader<KvChangeEvent>, count: number) {
  const events: KvChangeEvent[] = [];
  while (events.length < count) {
    const { value, done } = await reader.read();
    if (done) break;
    events.push(value);
  }
  return events;
}

describe("changes", () => {
  test("are the commits from now on, in order, whole", async (t) => {
    const { kv } = await openFake(t);
    await kv.set(["before"], 0);
    const reader = kv.changes().getReader();
    const first = await kv.set(["a"], { n: 1 });
    const second = await kv.atomic().sum(["n"], 5n).delete(["a"]).commit();
    assert.ok(second.ok);
    assert.deepEqual(await take(reader, 2), [
      {
        type: "commit",
        versionstamp: first.versionstamp,
        changes: [{ type: "set", key: ["a"], value: { n: 1 } }],
      },
      {
        type: "commit",
        versionstamp: second.versionstamp,
        changes: [
          { type: "set", key: ["n"], value: new KvU64(5n) },
          { type: "delete", key: ["a"] },
        ],
      },
    ]);
  });

  test("tell of what expires", async (t) => {
    const { kv, workers } = await openFake(t);
    await kv.set(["a"], 1);
    const reader = kv.changes({ prefix: [] }).getReader();
    await settle();
    const out = new ResponseWriter();
    workers.last.host.expire(hexOf(encodeKey(["a"])), out);
    workers.last.send(out);
    const [event] = await take(reader, 1);
    assert.ok(event?.type === "commit");
    assert.deepEqual(event.changes, [{ type: "expire", key: ["a"] }]);
  });

  test("are those of the ranges asked for", async (t) => {
    const { kv } = await openFake(t);
    const ranges = [{ prefix: ["a"] }, { start: ["c"], end: ["d"] }];
    const reader = kv.changes<number>(ranges).getReader();
    for (const key of [["a"], ["a", 1], ["b", 1], ["c", 1]]) await kv.set(key, 0);
    const keys = (await take(reader, 2)).flatMap((event) =>
      event.type === "commit" ? event.changes.map((change) => "key" in change && change.key) : [],
    );
    assert.deepEqual(keys, [
      ["a", 1],
      ["c", 1],
    ]);
  });

  test("tell a reader that fell behind once, and go on from there", async (t) => {
    const { kv } = await openFake(t);
    const reader = kv.changes<number>().getReader();
    const sets = (from: number, to: number) =>
      Promise.all(Array.from({ length: to - from }, (_, i) => kv.set(["n"], from + i)));
    await sets(0, 10_000);
    await sets(10_000, 25_000);
    await kv.set(["n"], "end");
    const [lagged, next] = await take(reader, 2);
    assert.ok(lagged?.type === "lagged" && next?.type === "commit");
    const { missed } = lagged;
    assert.ok(missed !== null && missed > 10_000);
    assert.deepEqual(next.changes, [{ type: "set", key: ["n"], value: missed }]);
    assert.ok(lagged.versionstamp < next.versionstamp);
    const rest = await take(reader, 25_000 - missed);
    assert.ok(rest.every(({ type }) => type === "commit"));
    assert.deepEqual(rest.at(-1), {
      type: "commit",
      versionstamp: (await kv.get(["n"])).versionstamp,
      changes: [{ type: "set", key: ["n"], value: "end" }],
    });
  });

  for (const isGapless of [false, true]) {
    const what = isGapless ? "are asked for again" : "are left out, and the reader is told";
    test(`that are many bytes for a reader that does not take them ${what}`, async (t) => {
      const { kv, workers } = await openFake(t);
      const { versionstamp: since } = await kv.set(["n"], 0);
      const reader = kv.changes(undefined, isGapless ? { since } : {}).getReader();
      await settle();
      for (let i = 0; i < 10; i++) await kv.set(["n", i], new Uint8Array(16 * 1024 * 1024));
      const last = await kv.set(["n", "end"], 1);
      const events: KvChangeEvent[] = [];
      while (events.at(-1)?.versionstamp !== last.versionstamp) {
        events.push(...(await take(reader, 1)));
      }
      const missed = events.flatMap((event) => (event.type === "lagged" ? [event.missed] : []));
      if (isGapless) {
        assert.deepEqual([events.length, missed], [11, []]);
        assert.ok(subscriptionsOf(workers).length > 1);
      } else {
        assert.deepEqual([events.length, missed], [11 - Number(missed[0]) + 1, [9]]);
      }
    });
  }

  test("tell of what the host did not send, with what was not read here", async (t) => {
    const { kv, workers } = await openFake(t);
    const reader = kv.changes().getReader();
    const first = await kv.set(["n"], 1);
    await settle();
    const [id = 0] = subscriptionsOf(workers);
    lag(workers, id, `${first.versionstamp.slice(0, -1)}5`, 4);
    await settle();
    const next = await kv.set(["n"], 2);
    const [commit, lagged, last] = await take(reader, 3);
    assert.equal(commit?.versionstamp, first.versionstamp);
    assert.deepEqual(lagged, {
      type: "lagged",
      versionstamp: `${first.versionstamp.slice(0, -1)}5`,
      missed: 4,
    });
    assert.equal(last?.versionstamp, next.versionstamp);
  });

  test("go on with the next worker, from where they were", async (t) => {
    const { kv, workers } = await openFake(t);
    const reader = kv.changes().getReader();
    const first = await kv.set(["a"], 1);
    // What the worker that dies had committed and nobody heard of.
    workers.files.log.push({ stamp: `${first.versionstamp.slice(0, -1)}2`, changes: LATE });
    workers.last.crash();
    await settle();
    const last = await kv.set(["b"], 2);
    const events = await take(reader, 3);
    assert.ok(events.every(({ type }) => type === "commit"));
    assert.deepEqual(
      events.map(({ versionstamp }) => versionstamp),
      [first.versionstamp, `${first.versionstamp.slice(0, -1)}2`, last.versionstamp],
    );
  });

  test("go on with the next worker, after word of what was missed if it is gone", async (t) => {
    const { kv, workers } = await openFake(t);
    const reader = kv.changes().getReader();
    await kv.set(["a"], 1);
    workers.files.gone = "ff";
    workers.last.crash();
    await settle();
    const set = await kv.set(["b"], 2);
    const [first, lagged, next] = await take(reader, 3);
    const types = [first?.type, lagged?.type, next?.type];
    assert.deepEqual(types, ["commit", "lagged", "commit"]);
    assert.equal(lagged?.type === "lagged" && lagged.missed, null);
    assert.equal(next?.versionstamp, set.versionstamp);
  });

  test("since a commit begin behind it, page by page, and go on as they happen", async (t) => {
    const { kv } = await openFake(t);
    const stamps: string[] = [];
    for (let n = 0; n < 9; n++) stamps.push((await kv.set(["n"], n)).versionstamp);
    const reader = kv.changes({ prefix: [] }, { since: stamps[1] as string }).getReader();
    const before = await take(reader, 3);
    stamps.push((await kv.set(["n"], 9)).versionstamp);
    const events = [...before, ...(await take(reader, 5))];
    assert.deepEqual(
      events.map(({ versionstamp }) => versionstamp),
      stamps.slice(2),
    );
  });

  test("are heard once, also of a worker that ends before it has answered", async (t) => {
    const { kv, workers } = await openFake(t);
    const { versionstamp: since } = await kv.set(["before"], 0);
    const { versionstamp } = await kv.set(["late"], 0);
    workers.behaviour.request = (worker, sequence, request, out) => {
      if (request.type === "changes" && workers.all.length === 1) {
        out.changes(request.id, versionstamp, LATE);
        setImmediate(() => setImmediate(() => worker.crash()));
      } else {
        worker.host.answer(sequence, request, out);
      }
    };
    const reader = kv.changes({ prefix: [] }, { since }).getReader();
    const [first] = await take(reader, 1);
    await settle();
    const after = await kv.set(["after"], 1);
    const [second] = await take(reader, 1);
    assert.equal(workers.all.length, 2);
    assert.deepEqual(
      [first?.versionstamp, second?.versionstamp],
      [versionstamp, after.versionstamp],
    );
  });

  test("since a commit are all of them, however slow the reader is", async (t) => {
    const { kv } = await openFake(t);
    const { versionstamp: since } = await kv.set(["n"], -1);
    const reader = kv.changes<number>({ prefix: [] }, { since }).getReader();
    await settle();
    for (let from = 0; from < 25_000; from += 5_000) {
      await Promise.all(Array.from({ length: 5_000 }, (_, i) => kv.set(["n"], from + i)));
    }
    const events = await take(reader, 25_000);
    const values = events.map((event) => event.type === "commit" && event.changes[0]);
    assert.ok(values.every((change, n) => change && change.type === "set" && change.value === n));
  });

  test("since a commit are all of them, also of a worker that ends while many wait", async (t) => {
    const { kv, workers } = await openFake(t);
    const { versionstamp: since } = await kv.set(["n"], -1);
    const reader = kv.changes<number>({ prefix: [] }, { since }).getReader();
    await settle();
    // One more than there is room for.
    await Promise.all(Array.from({ length: 10_001 }, (_, n) => kv.set(["n"], n)));
    workers.last.crash();
    await settle();
    await kv.set(["n"], 10_001);
    const events = await take(reader, 10_002);
    const values = events.map((event) => event.type === "commit" && event.changes[0]);
    assert.ok(values.every((change, n) => change && change.type === "set" && change.value === n));
  });

  test("since a commit are asked for again where the host did not send them", async (t) => {
    const { kv, workers } = await openFake(t);
    const { versionstamp: since } = await kv.set(["n"], 0);
    const reader = kv.changes<number>({ prefix: [] }, { since }).getReader();
    const before = await kv.set(["n"], 1);
    assert.equal((await take(reader, 1))[0]?.versionstamp, before.versionstamp);
    const [id = 0] = subscriptionsOf(workers);
    const missed = { stamp: `${before.versionstamp.slice(0, -1)}5`, changes: LATE };
    workers.files.log.push(missed);
    lag(workers, id, missed.stamp, 1);
    // Nobody has asked for the next commit yet, so nothing is asked of the host.
    await settle();
    assert.deepEqual(subscriptionsOf(workers), [id]);
    const [next] = await take(reader, 1);
    assert.equal(next?.versionstamp, missed.stamp);
    assert.equal(subscriptionsOf(workers).length, 2);
    assert.equal(workers.last.host.subscriptions, 1);
  });

  test("since a commit that is gone fail, and so does what is no versionstamp", async (t) => {
    const { kv, workers } = await openFake(t);
    const { versionstamp: since } = await kv.set(["n"], 1);
    workers.files.gone = "ff";
    await assert.rejects(kv.changes({ prefix: [] }, { since }).getReader().read(), {
      code: "HistoryGone",
    });
    assert.throws(() => kv.changes({ prefix: [] }, { since: "yesterday" }), TypeError);
  });

  test("tell of a deleted range as it was asked for, whatever byte its keys end in", async (t) => {
    const { kv } = await openFake(t);
    const reader = kv.changes().getReader();
    // The last byte of this number is FF, as that of the end of a prefix.
    const odd = 1 + 255 * Number.EPSILON;
    const selectors = [
      { start: ["a"], end: ["b", odd] },
      { prefix: ["b"], end: ["b", odd] },
      { prefix: ["b", odd] },
      { prefix: [] },
    ];
    for (const selector of selectors) await kv.deleteRange(selector);
    const events = await take(reader, selectors.length);
    assert.deepEqual(
      events.flatMap((event) => (event.type === "commit" ? event.changes : [])),
      selectors.map((selector) => ({ type: "deleteRange", selector })),
    );
  });

  test("of more ranges than there may be are refused", async (t) => {
    const { kv } = await openFake(t);
    const ranges = (count: number) => Array.from({ length: count }, (_, i) => ({ prefix: [i] }));
    await kv.changes(ranges(1_000)).cancel();
    const refusal = { name: "TypeError", message: "Too many ranges (max 1000)" };
    assert.throws(() => kv.changes(ranges(1_001)), refusal);
  });

  test("that wait keep of a frame of many answers what is about them", async (t) => {
    const { kv, workers } = await openFake(t);
    const reader = kv.changes().getReader();
    await settle();
    const [id = 0] = subscriptionsOf(workers);
    const out = new ResponseWriter();
    const nobody = 999;
    const answer = { versionstamp: "0".repeat(20), value: new Uint8Array(20_000).fill(3) };
    writeMaybe(out.reply(nobody, 1), answer);
    out.changes(id, `${"0".repeat(19)}1`, LATE);
    const [frame] = out.take(workers.last.host.epoch);
    workers.last.say(frame);
    await settle();
    // Who kept the whole frame would read what is there by now.
    new Uint8Array(frame).fill(0xff);
    const [event] = await take(reader, 1);
    assert.deepEqual(event?.type === "commit" && event.changes, [
      { type: "set", key: ["late"], value: 0 },
    ]);
  });

  test("that can't be read end the stream, and the host hears of that", async (t) => {
    const { kv, workers } = await openFake(t);
    const reader = kv.changes().getReader();
    await settle();
    assert.equal(workers.last.host.subscriptions, 1);
    const [id = 0] = subscriptionsOf(workers);
    const out = new ResponseWriter();
    out.changes(id, "0".repeat(19).concat("1"), [[0, "ff", new Uint8Array([1, 0xff])]]);
    workers.last.send(out);
    await assert.rejects(reader.read(), { code: "Corruption" });
    await settle();
    assert.equal(workers.last.host.subscriptions, 0);
    await kv.close();
  });

  test("end when the handle closes", async (t) => {
    const { kv } = await openFake(t);
    const reader = kv.changes().getReader();
    const next = reader.read();
    await kv.close();
    assert.deepEqual(await next, { value: undefined, done: true });
  });

  test("refuse the selectors that lists refuse", async (t) => {
    const { kv } = await openFake(t);
    assert.throws(() => kv.changes({} as never), /Selector must specify/);
    assert.throws(() => kv.changes([{ start: ["b"], end: ["a"] }]), /greater than end key/);
  });
});
