/** How calls travel: together, in order, whole or not at all. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Calls } from "../../client/calls.ts";
import { fieldsOf } from "../../tabs/messages.ts";
import { collect, type FakeWorkers, openFake, settle } from "./support/fake-worker.ts";

describe("calls of one microtask", () => {
  test("travel as one frame, in the order of the calls", async (t) => {
    const { kv, workers } = await openFake(t);
    const sets = Array.from({ length: 1000 }, (_, i) => kv.set(["k", i], i));
    const read = kv.get<number>(["k", 999]);
    await Promise.all(sets);
    assert.equal((await read).value, 999);
    const [frame] = workers.last.frames;
    assert.equal(workers.last.frames.length, 1);
    assert.equal(frame?.requests.length, 1001);
    assert.equal(frame?.requests[1000]?.type, "get");
  });

  test("of different handles travel together too", async (t) => {
    const { kv, workers, name } = await openFake(t);
    const { openKv } = await import("../../client/index.ts");
    const other = await openKv(name);
    t.after(async () => other[Symbol.asyncDispose]());
    await Promise.all([kv.set(["a"], 1), other.get(["a"])]);
    assert.deepEqual(
      workers.last.frames.map(({ requests }) => requests.map(({ type }) => type)),
      [["commit", "get"]],
    );
  });

  test("are posted early where they are many bytes", async (t) => {
    const { kv, workers } = await openFake(t);
    const value = new Uint8Array(100_000);
    await Promise.all(Array.from({ length: 20 }, (_, i) => kv.set([i], value)));
    assert.ok(workers.last.frames.length > 1);
    // What waited for answers was sent when they came, and not because the worker seemed to hang.
    assert.equal(workers.all.length, 1);
    const keys = await collect(kv.list({ prefix: [] }), ({ key }) => key[0]);
    assert.deepEqual(
      keys,
      Array.from({ length: 20 }, (_, i) => i),
    );
  });
});

test("large values make a frame leave early too, and count in no other", async (t) => {
  const { kv, workers } = await openFake(t);
  await Promise.all([0, 1, 2].map((i) => kv.set([i], new Uint8Array(300_000))));
  await Promise.all([3, 4, 5].map((i) => kv.set([i], i)));
  const counts = workers.last.frames.map(({ requests }) => requests.length);
  assert.deepEqual(counts, [2, 1, 3]);
});

test("a frame says what was answered before it", async (t) => {
  const { kv, workers } = await openFake(t);
  await Promise.all([kv.get(["a"]), kv.get(["b"])]);
  await kv.get(["c"]);
  const [first, second] = workers.last.frames;
  assert.deepEqual([first?.first, first?.ackedThrough, first?.epoch], [1, 0, 1]);
  assert.deepEqual([second?.first, second?.ackedThrough, second?.epoch], [3, 2, 1]);
  assert.equal(first?.deadline, 0);
});

test("a call of more bytes than a frame may have is refused", async (t) => {
  const { kv } = await openFake(t);
  const key = ["x".repeat(8000)];
  const reads = kv.getMany(Array.from({ length: 9000 }, () => key));
  await assert.rejects(reads, { name: "TypeError", code: "TooLarge" });
  await kv.get(["a"]);
});

test("a commit of more bytes than a frame may have is refused and can be sent again", async (t) => {
  const { kv, workers } = await openFake(t);
  const text = "x".repeat(30_000);
  const operation = kv.atomic().set(["large"], new Uint8Array(40_000).fill(7));
  // It fits alone, and not behind what the frame has already.
  const room = 64 * 1024 * 1024 - 100_000;
  for (let bytes = 0; bytes < room; bytes += 30_020) operation.set(["k", bytes], text);
  const before = Array.from({ length: 10 }, (_, i) => kv.set(["before", i], text));
  await assert.rejects(operation.commit(), { name: "TypeError", code: "TooLarge" });
  await Promise.all(before);
  assert.deepEqual(await operation.commit().then(({ ok }) => ok), true);
  assert.deepEqual((await kv.get(["large"])).value, new Uint8Array(40_000).fill(7));
  await assert.rejects(operation.commit(), /can be committed once/);
  await kv.get(["a"]);
  assert.ok(workers.last.frames.length > 0);
});

describe("a call whose arguments can't be", () => {
  test("is rejected and leaves the calls around it whole", async (t) => {
    const { kv, workers } = await openFake(t);
    const before = kv.set(["before"], 1);
    const bad = kv.set(["bad"], { deep: { inside: () => 0 } });
    const worse = kv.get([null as never]);
    const after = kv.set(["after"], 2);
    await assert.rejects(bad, { name: "DataCloneError" });
    await assert.rejects(worse, TypeError);
    await Promise.all([before, after]);
    assert.equal(workers.last.frames.length, 1);
    assert.equal(workers.last.frames[0]?.requests.length, 2);
    const [a, b] = await kv.getMany([["before"], ["after"]]);
    assert.deepEqual([a?.value, b?.value], [1, 2]);
  });

  test("leaves no large value behind that came before what can't be", async (t) => {
    const { kv, workers } = await openFake(t);
    const large = new Uint8Array(40_000);
    const wrong = { expireIn: -1 };
    const before = kv.set(["before"], large);
    await assert.rejects(kv.set(["bad"], large, wrong), /expireIn must be/);
    const operation = kv.atomic();
    assert.throws(() => operation.set(["bad"], large, wrong), /expireIn must be/);
    await Promise.all([before, operation.set(["after"], 1).commit()]);
    const beside = workers.last.messages.flatMap((message) =>
      Array.isArray(message) ? message.slice(1) : [],
    );
    assert.equal(beside.length, 1);
  });

  test("sends nothing where there is no other call", async (t) => {
    const { kv, workers } = await openFake(t);
    await assert.rejects(kv.set(["bad"], Symbol("bad")), { name: "DataCloneError" });
    await settle();
    assert.deepEqual(workers.last.frames, []);
  });

  test("may not make other calls while it is encoded", async (t) => {
    const { kv } = await openFake(t);
    let inner: Promise<unknown> = Promise.resolve();
    const value = {
      get sneaky() {
        inner = kv.set(["inner"], 1);
        inner.catch(() => undefined);
        return 1;
      },
    };
    await kv.set(["outer"], value);
    await assert.rejects(inner, TypeError);
    assert.deepEqual((await kv.get(["outer"])).value, { sneaky: 1 });
  });
});

test("keys and values are those of the moment of the call", async (t) => {
  const { kv } = await openFake(t);
  const key = ["a", new Uint8Array([1])];
  const value = { n: 1 };
  const set = kv.set(key, value);
  const got = kv.get(key);
  const atomic = kv.atomic().set(["b"], value);
  value.n = 2;
  key[0] = "z";
  await set;
  assert.deepEqual(await got, {
    key: ["a", new Uint8Array([1])],
    value: { n: 1 },
    versionstamp: (await kv.get(["a", new Uint8Array([1])])).versionstamp,
  });
  await atomic.commit();
  assert.deepEqual((await kv.get(["b"])).value, { n: 1 });
});

test("a getter of an option may not make calls into the middle of that one", async (t) => {
  const { kv } = await openFake(t);
  const inner: Promise<unknown>[] = [];
  const options = {
    get expireIn() {
      inner.push(kv.set(["inner"], 1));
      return undefined;
    },
  };
  const outer = kv.set(["outer"], 1, options as never);
  const [first] = await Promise.allSettled(inner);
  assert.match(`${first?.status === "rejected" && first.reason}`, /TypeError: a getter of an arg/);
  assert.ok((await outer).ok);
  assert.equal((await kv.get(["outer"])).value, 1);
});

test("large bytes are those of the moment of the call, and stay their owner's", async (t) => {
  const { kv, workers } = await openFake(t);
  const buffer = new Uint8Array(100_000).fill(1);
  const value = buffer.subarray(10, 50_010);
  const sets = [kv.set(["a"], value), kv.atomic().set(["b"], value).commit()];
  buffer.fill(2);
  await Promise.all(sets);
  // They are sent again to the next worker as they were, too.
  workers.behaviour.request = () => undefined;
  const late = kv.set(["c"], value);
  await settle();
  buffer.fill(3);
  workers.behaviour.request = (worker, ...rest) => worker.host.answer(...rest);
  workers.last.crash();
  await late;
  assert.equal(buffer.length, 100_000);
  for (const [key, byte] of Object.entries({ a: 1, b: 1, c: 2 })) {
    assert.deepEqual((await kv.get([key])).value, new Uint8Array(50_000).fill(byte), key);
  }
});

test("bytes in a key are those of the moment of the call, in the entry too", async (t) => {
  const { kv } = await openFake(t);
  await kv.set([new Uint8Array([1])], 1);
  const bytes = new Uint8Array([1]);
  const key = [bytes];
  const [got, many] = [kv.get(key), kv.getMany([key])];
  const reader = kv.watch([key]).getReader();
  bytes[0] = 2;
  const entries = [await got, ...(await many), ...((await reader.read()).value ?? [])];
  for (const entry of entries) {
    assert.deepEqual([entry.key, entry.value], [[new Uint8Array([1])], 1]);
  }
  await reader.cancel();
});

describe("answers", () => {
  test("in any order reach their calls", () => {
    const calls = new Calls();
    const answered: number[] = [];
    for (let i = 1; i <= 1000; i++) {
      calls.add({
        isWrite: false,
        isPassing: false,
        answer: () => answered.push(i),
        fail: () => undefined,
      });
    }
    const order = Array.from({ length: 1000 }, (_, i) => ((i * 7) % 1000) + 1);
    for (const sequence of order) calls.take(sequence)?.answer({ type: "done" });
    assert.deepEqual(answered, order);
    assert.equal(calls.ackedThrough, 1000);
  });

  test("that come twice, or to no call, are ignored", () => {
    const calls = new Calls();
    calls.add({ isWrite: false, isPassing: false, answer: () => undefined, fail: () => undefined });
    assert.ok(calls.take(1));
    assert.equal(calls.take(1), undefined);
    assert.equal(calls.take(0), undefined);
    assert.equal(calls.take(2), undefined);
    assert.equal(calls.ackedThrough, 1);
  });

  test("acknowledge no call above one that waits", () => {
    const calls = new Calls();
    for (let i = 0; i < 3; i++) {
      calls.add({
        isWrite: false,
        isPassing: false,
        answer: () => undefined,
        fail: () => undefined,
      });
    }
    calls.take(3);
    calls.take(1);
    assert.equal(calls.ackedThrough, 1);
    calls.take(2);
    assert.equal(calls.ackedThrough, 3);
  });
});

describe("calls that can't be posted", () => {
  /** Has the worker take no message that has large values. */
  const refuse = (workers: FakeWorkers) => {
    const { postMessage } = workers.last;
    const error = new DOMException("Data cannot be cloned, out of memory.", "DataCloneError");
    workers.last.postMessage = function (message, transfer) {
      if (Array.isArray(message)) throw error;
      // It is there whenever it is asked: what it was not sent would be waited for.
      const { ping } = fieldsOf<{ ping?: number }>(message);
      if (ping !== undefined) this.say({ pong: ping });
      postMessage.call(this, message, transfer);
    };
    return error;
  };
  const large = new Uint8Array(40_000);

  test("fail, and the others go on", async (t) => {
    const { kv, workers } = await openFake(t);
    const error = refuse(workers);
    await assert.rejects(kv.set(["large"], large), { code: "TooLarge", cause: error });
    await kv.set(["small"], 1);
    assert.equal((await kv.get(["small"])).value, 1);
    assert.equal((await kv.get(["large"])).value, null);
  });

  test("end the subscriptions among them", async (t) => {
    const { kv, workers } = await openFake(t);
    refuse(workers);
    const before = kv.watch([["small"]]).getReader();
    await before.read();
    const set = kv.set(["large"], large);
    const beside = kv.watch([["small"]]).getReader();
    await assert.rejects(set, { code: "TooLarge" });
    await assert.rejects(beside.read(), { code: "TooLarge" });
    await kv.set(["small"], 1);
    assert.equal((await before.read()).value?.[0]?.value, 1);
  });

  test("end the subscription that makes a frame full", async (t) => {
    const { kv, workers } = await openFake(t);
    const error = refuse(workers);
    const end = "k".repeat(1_900);
    for (const begin of [() => kv.watch([[end]]), () => kv.changes({ prefix: [end] })]) {
      const set = kv.set(["large"], new Uint8Array(512 * 1024 - 500));
      const reader = begin().getReader();
      await assert.rejects(set, { code: "TooLarge", cause: error });
      await assert.rejects(reader.read(), { code: "TooLarge", cause: error });
    }
    await kv.set(["small"], 1);
  });

  test("fail where there is no memory for their frame, and are not sent later", async (t) => {
    const { kv } = await openFake(t);
    const { slice } = ArrayBuffer.prototype;
    const error = new RangeError("Array buffer allocation failed");
    t.mock.method(ArrayBuffer.prototype, "slice", function (this: ArrayBuffer, from = 0, to = 0) {
      if (to - from > 15_000) throw error;
      return slice.call(this, from, to);
    });
    // Frames are posted where one is full, or at the end of the microtask.
    for (const count of [40, 1]) {
      const name = "x".repeat(20_000);
      const sets = Array.from({ length: count }, (_, i) => kv.set([count, i], name));
      const reader = kv.watch([[count, 0]]).getReader();
      for (const set of sets) await assert.rejects(set, { code: "TooLarge", cause: error });
      if (count === 1) await assert.rejects(reader.read(), { code: "TooLarge", cause: error });
      await kv.set([count, "small"], 1);
      const keys = await collect(kv.list({ prefix: [count] }), ({ key }) => key[1]);
      assert.deepEqual(keys, ["small"]);
    }
  });

  test("to the next worker either fail too: of a write nobody knows", async (t) => {
    const { kv, workers } = await openFake(t);
    const answer = workers.behaviour.request;
    workers.behaviour.request = () => undefined;
    const [write, read] = [kv.set(["large"], large), kv.get(["a"])];
    await settle();
    workers.behaviour.request = answer;
    workers.behaviour.open = (worker) => {
      refuse(workers);
      worker.opened();
    };
    workers.last.crash();
    await assert.rejects(write, { code: "OutcomeUnknown" });
    await assert.rejects(read, { code: "TooLarge" });
    await kv.set(["small"], 1);
  });
});
