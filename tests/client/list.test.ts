/** Lists: pages that grow, one snapshot, cursors, and the checks of Deno KV. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Kv, KvListSelector } from "../../client/index.ts";
import { collect, openFake, settle } from "./support/fake-worker.ts";
import type { Request } from "./support/wire.ts";

async function fill(kv: Kv, count: number) {
  await Promise.all(Array.from({ length: count }, (_, i) => kv.set(["n", i], i)));
}

const listsOf = (frames: { requests: Request[] }[]) =>
  frames.flatMap(({ requests }) => requests).filter((request) => request.type === "list");

describe("pages", () => {
  test("are small at first and grow while the reader goes on", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 3000);
    const values: unknown[] = [];
    for await (const { value } of kv.list({ prefix: ["n"] })) values.push(value);
    assert.deepEqual(
      values,
      Array.from({ length: 3000 }, (_, i) => i),
    );
    assert.deepEqual(
      listsOf(workers.last.frames).map(({ limit }) => limit),
      [100, 400, 1600, 6400],
    );
    assert.equal(workers.last.host.leases, 0);
  });

  test("have the size of batchSize where that is given", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 100);
    const options = { batchSize: 30, limit: 70 };
    assert.equal((await collect(kv.list({ prefix: ["n"] }, options))).length, 70);
    assert.deepEqual(
      listsOf(workers.last.frames).map(({ limit, keep }) => [limit, keep]),
      [
        [30, true],
        [30, true],
        [10, false],
      ],
    );
    assert.equal(workers.last.host.leases, 0);
  });

  test("are asked for while the one before is read", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 300);
    const list = kv.list({ prefix: ["n"] });
    for (let i = 0; i < 49; i++) await list.next();
    await settle();
    assert.equal(listsOf(workers.last.frames).length, 1);
    await list.next();
    await settle();
    assert.equal(listsOf(workers.last.frames).length, 2);
  });

  test("are all of one snapshot", async (t) => {
    const { kv } = await openFake(t);
    await fill(kv, 250);
    const list = kv.list<number>({ prefix: ["n"] });
    await list.next();
    await Promise.all([kv.delete(["n", 200]), kv.set(["n", 0.5], "new"), kv.set(["n", 240], "x")]);
    const rest = await collect(list, ({ value }) => value);
    assert.deepEqual(
      rest,
      Array.from({ length: 249 }, (_, i) => i + 1),
    );
  });

  test("come in order to calls of next that don't wait for each other", async (t) => {
    const { kv } = await openFake(t);
    await fill(kv, 250);
    const list = kv.list<number>({ prefix: ["n"] }, { batchSize: 10 });
    const results = await Promise.all(Array.from({ length: 252 }, () => list.next()));
    const values = results.map((result) => (result.done ? "done" : result.value.value));
    assert.deepEqual(values, [...Array.from({ length: 250 }, (_, i) => i), "done", "done"]);
  });
});

describe("the snapshot", () => {
  test("is let go when the reader leaves early", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 300);
    for await (const { value } of kv.list({ prefix: ["n"] })) {
      assert.equal(workers.last.host.leases, 1);
      if (value === 60) break;
    }
    await settle();
    assert.equal(workers.last.host.leases, 0);
  });

  test("is let go when the reader leaves before the first page is there", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 300);
    const list = kv.list({ prefix: ["n"] });
    const first = list.next();
    await list.return();
    assert.deepEqual(await first, { value: undefined, done: true });
    await settle();
    assert.equal(workers.last.host.leases, 0);
  });

  test("that ran out is no matter to a reader that does not come so far", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 300);
    const list = kv.list({ prefix: ["n"] }, { batchSize: 100 });
    await list.next();
    workers.last.host.expireLeases();
    // The next page is asked for ahead, and nobody is there to hear that it failed.
    for (let i = 1; i < 60; i++) await list.next();
    await settle();
    assert.equal(listsOf(workers.last.frames).length, 2);
    await list.return();
  });

  test("that ran out is an error, not a gap", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 300);
    const list = kv.list({ prefix: ["n"] }, { batchSize: 100 });
    await list.next();
    workers.last.host.expireLeases();
    await assert.rejects(collect(list), { code: "SnapshotExpired" });
  });

  test("is that of the list also with the next worker, which is told of it", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 300);
    const list = kv.list<number>({ prefix: ["n"] });
    await list.next();
    workers.last.crash();
    await settle();
    await kv.set(["n", 250], "new");
    const rest = await collect(list, ({ value }) => value);
    assert.deepEqual(
      rest,
      Array.from({ length: 299 }, (_, i) => i + 1),
    );
    assert.equal(workers.all.length, 2);
    assert.equal(workers.last.host.leases, 0);
  });

  test("that is let go as its worker crashes is not let go of at the next one", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 300);
    const list = kv.list({ prefix: ["n"] });
    await list.next();
    workers.behaviour.request = () => undefined;
    await list.return();
    await settle();
    const sent = workers.last.frames.at(-1)?.requests.map(({ type }) => type);
    assert.deepEqual(sent, ["release"]);
    workers.behaviour.request = (worker, ...rest) => worker.host.answer(...rest);
    // There that number may be that of another list.
    workers.last.crash();
    await settle();
    await kv.get(["n", 1]);
    const requests = workers.last.frames.flatMap((frame) => frame.requests);
    assert.ok(requests.every(({ type }) => type !== "release"));
  });

  test("of a worker that crashed is let go by nobody when the reader leaves", async (t) => {
    const { kv, workers } = await openFake(t);
    await fill(kv, 300);
    const list = kv.list({ prefix: ["n"] });
    await list.next();
    workers.last.crash();
    await settle();
    await kv.get(["n", 1]);
    await list.return();
    await settle();
    const requests = workers.last.frames.flatMap((frame) => frame.requests);
    assert.ok(requests.every(({ type }) => type !== "release"));
  });
});

test("a list ends with its handle, whatever of it is there already", async (t) => {
  const { kv } = await openFake(t);
  await fill(kv, 10);
  const list = kv.list({ prefix: ["n"] });
  await list.next();
  await kv.close();
  await assert.rejects(list.next(), { name: "KvassError", code: "Closed" });
});

describe("the cursor", () => {
  test("is that of Deno KV", async (t) => {
    const { kv } = await openFake(t);
    await kv.set(["a", "a"], 1);
    const list = kv.list({ prefix: ["a"] });
    assert.throws(() => list.cursor, /Cannot get cursor before first iteration/);
    await list.next();
    assert.equal(list.cursor, "AmEA");
    await list.next();
    assert.equal(list.cursor, "");
  });

  test("stays at the last entry where the limit ends the list", async (t) => {
    const { kv } = await openFake(t);
    await fill(kv, 4);
    const list = kv.list({ prefix: ["n"] }, { limit: 2 });
    await collect(list);
    assert.notEqual(list.cursor, "");
  });

  for (const reverse of [false, true]) {
    test(`leads through all entries ${reverse ? "in reverse" : "forward"}`, async (t) => {
      const { kv } = await openFake(t);
      await fill(kv, 25);
      const seen: unknown[] = [];
      let cursor = "";
      do {
        const list = kv.list({ prefix: ["n"] }, { limit: 7, cursor, reverse });
        for await (const { value } of list) seen.push(value);
        cursor = list.cursor;
      } while (cursor !== "");
      const all = Array.from({ length: 25 }, (_, i) => i);
      assert.deepEqual(seen, reverse ? all.reverse() : all);
    });
  }

  test("that is none is refused by the first next", async (t) => {
    const { kv } = await openFake(t);
    await assert.rejects(
      kv.list({ prefix: ["n"] }, { cursor: "\u{1f37a}" }).next(),
      /invalid cursor/,
    );
    const range = { start: ["b"], end: ["c"] };
    await assert.rejects(kv.list(range, { cursor: "AmEA" }).next(), /cursor out of bounds/);
  });
});

describe("what Deno KV refuses is refused where it does", () => {
  const both = { prefix: ["a"], start: ["a", 1], end: ["a", 2] } as unknown as KvListSelector;
  const thrown: [RegExp, KvListSelector, object?][] = [
    [/^TypeError: Selector can not specify both 'start' and 'end' key when specifying/, both],
    [/^TypeError: Selector must specify either 'prefix' or both/, {} as KvListSelector],
    [/^TypeError: Selector must specify either 'prefix' or both/, { start: ["a"] } as never],
    [/Limit must be a positive integer: received 0/, { prefix: [] }, { limit: 0 }],
    [/Limit must be a positive integer: received 1.5/, { prefix: [] }, { limit: 1.5 }],
    [/Limit must be a positive integer: received NaN/, { prefix: [] }, { limit: Number.NaN }],
    [/batchSize must be a positive integer/, { prefix: [] }, { batchSize: -1 }],
    [/a positive integer: received object/, { prefix: [] }, { limit: Object.create(null) }],
  ];
  for (const [message, selector, options] of thrown) {
    test(`thrown: ${message.source}`, async (t) => {
      const { kv } = await openFake(t);
      assert.throws(() => kv.list(selector, options), message);
    });
  }

  const rejected: [RegExp, KvListSelector, object?][] = [
    [/Start key is not in the keyspace defined by prefix/, { prefix: ["a"], start: ["b"] }],
    [/Start key is not in the keyspace defined by prefix/, { prefix: ["a"], start: ["a"] }],
    [/End key is not in the keyspace defined by prefix/, { prefix: ["a"], end: ["b"] }],
    [/Start key is greater than end key/, { start: ["b"], end: ["a"] }],
    [/expected string, number, bigint, ArrayBufferView, boolean/, { prefix: [null as never] }],
    [/Too many entries \(max 10000\)/, { prefix: [] }, { batchSize: 10_001 }],
    [/consistency must be/, { prefix: [] }, { consistency: "weak" }],
  ];
  for (const [message, selector, options] of rejected) {
    test(`rejected by next: ${message.source} ${JSON.stringify(selector)}`, async (t) => {
      const { kv } = await openFake(t);
      const list = kv.list(selector, options);
      await assert.rejects(list.next(), message);
    });
  }

  for (const key of ["", 0, false, null]) {
    test(`rejected by next: ${JSON.stringify(key)} for a key`, async (t) => {
      const { kv } = await openFake(t);
      const selectors = [{ prefix: key }, { prefix: [], start: key }, { start: [], end: key }];
      for (const selector of selectors as never[]) {
        await assert.rejects(kv.list(selector).next(), /a key must be an array of key parts/);
        assert.throws(() => kv.changes(selector), /a key must be an array of key parts/);
      }
    });
  }

  test("an empty range is no error and asks nobody", async (t) => {
    const { kv, workers } = await openFake(t);
    assert.deepEqual(await collect(kv.list({ start: ["a"], end: ["a"] })), []);
    assert.deepEqual(workers.last.frames, []);
  });
});

test("a prefix leaves out the key itself; start and end narrow it", async (t) => {
  const { kv } = await openFake(t);
  for (const key of [["a"], ["a", 1], ["a", 2], ["a", 3], ["b"]]) await kv.set(key, 0);
  const keys = (selector: KvListSelector) => collect(kv.list(selector), ({ key }) => key.join("/"));
  assert.deepEqual(await keys({ prefix: ["a"] }), ["a/1", "a/2", "a/3"]);
  assert.deepEqual(await keys({ prefix: ["a"], start: ["a", 2] }), ["a/2", "a/3"]);
  assert.deepEqual(await keys({ prefix: ["a"], end: ["a", 2] }), ["a/1"]);
  assert.deepEqual(await keys({ start: ["a"], end: ["a", 2] }), ["a", "a/1"]);
  assert.deepEqual(await keys({ prefix: [] }), ["a", "a/1", "a/2", "a/3", "b"]);
});
