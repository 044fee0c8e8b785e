/** The life of the worker: opening, failing, crashing, closing. Nothing hangs, all is told. */

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { deleteKv, type Kv, KvassError, openKv } from "../../client/index.ts";
import { FakeWorkers, openFake, settle } from "./support/fake-worker.ts";
import { bytesOf, welcome } from "./support/wire.ts";

describe("opening", () => {
  test("tells the worker what to open", async (t) => {
    const workers = new FakeWorkers();
    let told: unknown;
    workers.behaviour.open = (worker, { open }) => {
      told = open;
      worker.opened();
    };
    const wasm = "https://example.com/engine.wasm";
    const options = { storage: "indexeddb", wasm } as const;
    const { name } = await openFake(t, { ...options, storage: "auto" }, workers);
    const history = { bytes: 8 * 1024 * 1024, ms: Number.POSITIVE_INFINITY };
    assert.deepEqual(told, { name, storage: "auto", history, salvage: false, wasm });
  });

  test("refuses a history that can't be, and another one than is open", async (t) => {
    const bounds = [{ bytes: -1 }, { ms: 0.5 }, { bytes: Number.NaN }, { ms: "1" }];
    for (const history of [...bounds, 8_000_000, "8 MiB", null]) {
      await assert.rejects(openKv("history", { history: history as never }), TypeError);
    }
    const { name, workers } = await openFake(t, { history: { bytes: 5 } });
    const other = { history: { bytes: 6 }, worker: workers.start };
    await assert.rejects(openKv(name, other), { code: "Unsupported" });
    const shorter = { history: { bytes: 5, ms: 1_000 }, worker: workers.start };
    await assert.rejects(openKv(name, shorter), { code: "Unsupported" });
    await (await openKv(name, { worker: workers.start })).close();
  });

  test("fails with the engine's error and lets go of the worker", async () => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => worker.say({ failed: { code: 1, message: "held" } });
    const opening = openKv("busy", { worker: workers.start });
    await assert.rejects(opening, { name: "KvassError", code: "Busy", message: "held" });
    assert.ok(workers.last.isTerminated);
    workers.behaviour.open = (worker) => worker.opened();
    await (await openKv("busy", { worker: workers.start })).close();
  });

  test("is given up after openTimeout", async () => {
    const workers = new FakeWorkers();
    workers.behaviour.open = () => undefined;
    const opening = openKv("mute", { worker: workers.start, openTimeout: 5 });
    await assert.rejects(opening, { code: "Timeout" });
    assert.ok(workers.last.isTerminated);
  });

  test("is not given up where openTimeout is more than a timer can wait", async (t) => {
    for (const openTimeout of [2 ** 31, Number.POSITIVE_INFINITY]) {
      const { kv } = await openFake(t, { openTimeout });
      assert.equal((await kv.set(["a"], 1)).ok, true);
    }
  });

  test("is tried again after a crash, three times in all", async () => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => worker.crash();
    const opening = openKv("crashing", { worker: workers.start });
    await assert.rejects(opening, { code: "HostLost", message: /crashed 3 times in a row/ });
    assert.equal(workers.all.length, 3);
  });

  test("succeeds after one crash", async (t) => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) =>
      workers.all.length === 1 ? worker.crash() : worker.opened();
    const { kv } = await openFake(t, {}, workers);
    await kv.set(["a"], 1);
    assert.equal(workers.all.length, 2);
  });

  test("names the script that can't be loaded as the cause", async () => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => worker.onerror?.({});
    const opening = openKv("missing", { worker: workers.start });
    await assert.rejects(opening, { code: "Unsupported", message: /worker could not be loaded/ });
  });

  test("refuses what the option worker made, where it is no worker", async () => {
    for (const made of [undefined, 5, {}, Promise.resolve()]) {
      const opening = openKv("made", { worker: (() => made) as never });
      const message = /worker could not be started: TypeError: the option worker made none/;
      await assert.rejects(opening, { code: "Unsupported", message });
    }
  });

  test("refuses a worker of a version too far apart", async () => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) =>
      worker.say({ welcome: welcome(1, 0), storage: "opfs", salvage: false });
    const opening = openKv("old", { worker: workers.start });
    await assert.rejects(opening, { code: "VersionMismatch" });
  });

  test("refuses options that can't be", async () => {
    await assert.rejects(openKv(1 as never), TypeError);
    await assert.rejects(openKv("x", { storage: "disk" as never }), /storage must be one of/);
    await assert.rejects(openKv("x", { durability: "no" as never }), /durability must be one of/);
    await assert.rejects(openKv("x", { limits: "no" as never }), /limits must be one of/);
    await assert.rejects(openKv("\ud800"), /the name of a database must be well-formed/);
    await assert.rejects(openKv("x", { openTimeout: -1 }), /openTimeout must be/);
    await assert.rejects(openKv("x", null as never), /the options must be an object/);
    await assert.rejects(
      openKv("x", { salvage: 1 as never }),
      /salvage must be one of true, false/,
    );
    await assert.rejects(
      openKv("x", { persist: "no" as never }),
      /persist must be one of true, false/,
    );
    await assert.rejects(openKv("x", { salvage: true, storage: "memory" }), /salvage reads files/);
    await assert.rejects(openKv("x", { worker: 1 as never }), /worker must be an address/);
    await assert.rejects(openKv("x", { wasm: 1 as never }), /wasm must be an address/);
    await assert.rejects(openKv("x", { wasm: "http://[" }), /wasm must be an address/);
    const unheard = Object.create(null);
    await assert.rejects(openKv("x", { storage: unheard }), /opfs, .*: received object/);
  });

  test("where there are no workers says so, also where there are locks", async (t) => {
    const unsupported = { name: "KvassError", code: "Unsupported" };
    await assert.rejects(openKv("node"), unsupported);
    const value = { locks: { request: () => new Promise(() => undefined) } };
    const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
    Object.defineProperty(globalThis, "navigator", { configurable: true, value });
    t.after(() => Object.defineProperty(globalThis, "navigator", before ?? { value: undefined }));
    await assert.rejects(openKv("node"), unsupported);
    await assert.rejects(deleteKv("node"), unsupported);
  });

  test("with a name that is too long for its storage is a TypeError", async () => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => worker.say({ fatal: { code: 8, message: "too long" } });
    const opening = openKv("long", { worker: workers.start });
    await assert.rejects(opening, { name: "TypeError", code: "TooLarge", message: "too long" });
  });

  test("says so where the browser refuses to start the worker", async () => {
    const refusal = new DOMException("the script is of another origin", "SecurityError");
    const worker = () => {
      throw refusal;
    };
    await assert.rejects(openKv("refused", { worker }), {
      name: "KvassError",
      code: "Unsupported",
      message: /could not be started: SecurityError: the script is of another origin/,
      cause: refusal,
    });
  });
});

describe("handles of one name", () => {
  test("share a worker, which ends with the last of them", async (t) => {
    const { kv, workers, name } = await openFake(t);
    const other = await openKv(name, { worker: workers.start });
    assert.equal(workers.all.length, 1);
    await kv.set(["a"], 1);
    await kv.close();
    assert.equal((await other.get(["a"])).value, 1);
    assert.ok(!workers.last.isTerminated);
    await other.close();
    assert.ok(workers.last.isTerminated);
    assert.deepEqual(workers.last.frames.at(-1)?.requests, [{ type: "close" }]);
  });

  test("may be opened again while the last one closes", async (t) => {
    const { kv, workers, name } = await openFake(t);
    const closing = kv.close();
    const again = await openKv(name, { worker: workers.start });
    await closing;
    assert.equal(workers.all.length, 2);
    assert.ok(workers.all[0]?.isTerminated);
    await again.set(["a"], 1);
    await again.close();
  });

  test("can't differ in storage or salvage", async (t) => {
    const { workers, name } = await openFake(t);
    const { start: worker } = workers;
    const other = { name: "KvassError", code: "Unsupported" };
    await assert.rejects(openKv(name, { worker, storage: "indexeddb" }), other);
    await assert.rejects(openKv(name, { worker, salvage: true }), other);
    const same = await openKv(name, { worker, storage: "opfs" });
    await same.close();
    assert.ok(!workers.last.isTerminated);
  });

  test("may differ in their durability, which a commit overrides", async (t) => {
    const { kv, workers, name } = await openFake(t);
    const strict = await openKv(name, { worker: workers.start, durability: "strict" });
    await Promise.all([kv.set(["a"], 1), strict.set(["a"], 2), strict.atomic().commit()]);
    await strict.set(["a"], 3, { durability: "relaxed" });
    const commits = workers.last.frames.flatMap(({ requests }) => requests);
    assert.deepEqual(
      commits.map((request) => request.type === "commit" && request.durability),
      [undefined, "strict", "strict", undefined],
    );
    assert.equal((await kv.status()).durability, "relaxed");
    assert.equal((await strict.status()).durability, "strict");
    await strict.close();
  });

  test("may differ in their limits", async (t) => {
    const { kv, workers, name } = await openFake(t);
    const small = await openKv(name, { worker: workers.start, limits: "deno" });
    const value = new Uint8Array(65_537);
    await assert.rejects(small.set(["a"], value), /Value too large \(max 65536 bytes\)/);
    await kv.set(["a"], value);
    await small.set(["a"], value.subarray(1));
    await small.close();
  });
});

describe("a database in memory", () => {
  const inMemory = async (t: Parameters<typeof openFake>[0]) => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => worker.opened("memory");
    return openFake(t, { storage: "memory" }, workers);
  };

  test("is gone with its worker, and never an empty one instead", async (t) => {
    const { kv, workers } = await inMemory(t);
    await kv.set(["a"], 1);
    workers.last.crash();
    await settle();
    await assert.rejects(kv.get(["a"]), { name: "KvassError", code: "HostLost" });
    assert.equal(workers.all.length, 1);
  });

  test("is not taken for one that is stored", async (t) => {
    const { workers, name } = await inMemory(t);
    const { start: worker } = workers;
    const other = { code: "Unsupported", message: /is open with the storage "memory", not "auto"/ };
    await assert.rejects(openKv(name, { worker, storage: "auto" }), other);
    await (await openKv(name, { worker, storage: "memory" })).close();
  });
});

describe("the option persist", () => {
  const pretend = (t: TestContext, persist: () => Promise<boolean>) => {
    const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
    const value = { storage: { persist } };
    Object.defineProperty(globalThis, "navigator", { configurable: true, value });
    t.after(() => Object.defineProperty(globalThis, "navigator", before ?? { value: undefined }));
  };

  test("has the browser asked once the database is open, and only then", async (t) => {
    let asked = 0;
    pretend(t, async () => ++asked > 0);
    await openFake(t);
    assert.equal(asked, 0);
    await openFake(t, { persist: true });
    assert.equal(asked, 1);
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => worker.say({ failed: { code: 1, message: "held" } });
    await assert.rejects(openKv("held", { persist: true, worker: workers.start }));
    assert.equal(asked, 1);
  });

  test("is no failure where the browser can't be asked", async (t) => {
    pretend(t, () => Promise.reject(new DOMException("no storage", "TypeError")));
    const { kv } = await openFake(t, { persist: true });
    await settle();
    assert.ok((await kv.set(["a"], 1)).ok);
  });
});

describe("after close", () => {
  test("every method rejects, and a second close throws", async (t) => {
    const { kv } = await openFake(t);
    const list = kv.list({ prefix: [] });
    const atomic = kv.atomic().set(["a"], 1);
    await kv.close();
    const closed = { name: "KvassError", code: "Closed" };
    await assert.rejects(kv.get(["a"]), closed);
    await assert.rejects(kv.get([]), closed);
    await assert.rejects(kv.getMany([["a"]]), closed);
    await assert.rejects(kv.set(["a"], 1), closed);
    await assert.rejects(kv.delete(["a"]), closed);
    await assert.rejects(list.next(), closed);
    await assert.rejects(atomic.commit(), closed);
    await assert.rejects(kv.stats(), closed);
    await assert.rejects(kv.status(), closed);
    await assert.rejects(kv.flush(), closed);
    assert.throws(() => kv.watch([["a"]]), closed);
    assert.throws(() => kv.changes(), closed);
    assert.throws(() => kv.close(), closed);
    await kv[Symbol.asyncDispose]();
    kv[Symbol.dispose]();
  });

  test("what was called before is done", async (t) => {
    const { kv, workers } = await openFake(t);
    const set = kv.set(["a"], 1);
    await kv.close();
    assert.ok((await set).ok);
    assert.equal(workers.files.entries.size, 1);
  });

  test("a failure of the last flush is told", async (t) => {
    const { kv, workers } = await openFake(t);
    workers.behaviour.request = (_worker, sequence, _request, out) =>
      out.error(sequence, 5, "the disk is gone");
    await assert.rejects(kv.close(), { code: "Io", message: "the disk is gone" });
    assert.ok(workers.last.isTerminated);
  });
});

test("a worker that has another database of that name closes the handle", async (t) => {
  const workers = new FakeWorkers();
  let database = "01".repeat(16);
  workers.behaviour.open = (worker) => {
    const hello = welcome(worker.host.epoch, 1, database);
    worker.say({ welcome: hello, storage: "opfs", salvage: false });
  };
  const { kv } = await openFake(t, {}, workers);
  workers.last.crash();
  await kv.set(["the same"], 1);
  database = "02".repeat(16);
  workers.last.crash();
  await assert.rejects(kv.get(["another"]), { code: "Closed", message: /was deleted/ });
});

test("a name whose database was deleted can be opened again before it is closed", async (t) => {
  const workers = new FakeWorkers();
  let database = "01".repeat(16);
  workers.behaviour.open = (worker) => {
    const hello = welcome(worker.host.epoch, 1, database);
    worker.say({ welcome: hello, storage: "opfs", salvage: false });
  };
  const { kv, name } = await openFake(t, {}, workers);
  database = "02".repeat(16);
  workers.last.crash();
  await assert.rejects(kv.get(["a"]), { code: "Closed" });
  const again = await openKv(name, { worker: workers.start });
  const { length } = workers.all;
  await kv.close();
  // What is closed by now was another one: the new one is shared as ever.
  const third = await openKv(name, { worker: workers.start });
  assert.equal(workers.all.length, length);
  await Promise.all([again.set(["a"], 1), third.get(["a"])]);
  await again.close();
  assert.ok(!workers.last.isTerminated);
  await third.close();
  assert.ok(workers.last.isTerminated);
});

test("a database that another tab has open for salvage is Busy, and so reversed", async () => {
  for (const salvage of [true, false]) {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) =>
      worker.say({ welcome: welcome(1), storage: "opfs", salvage: !salvage });
    const opening = openKv("salvaged", { worker: workers.start, salvage });
    const message = `another tab has the database open ${salvage ? "without" : "with"} salvage`;
    await assert.rejects(opening, { code: "Busy", message: new RegExp(message) });
    assert.ok(workers.last.isTerminated);
  }
});

describe("when the worker ends", () => {
  const mute = (workers: FakeWorkers) => {
    workers.behaviour.request = () => undefined;
  };

  const endings: Record<string, (workers: FakeWorkers) => void> = {
    "its engine panics": ({ last }) => last.crash("unreachable executed"),
    "it throws": ({ last }) => last.onerror?.({ message: "unreachable executed" }),
    "its message can't be read": ({ last }) => last.onmessageerror?.(),
  };
  const calls = (kv: Kv) =>
    Promise.allSettled([
      kv.get(["a"]),
      kv.set(["a"], 1),
      kv.atomic().delete(["a"]).commit(),
      kv.list({ prefix: [] }).next(),
    ]);
  const codesOf = (outcomes: PromiseSettledResult<unknown>[]) =>
    outcomes.map((outcome) =>
      outcome.status === "rejected" ? outcome.reason.code : outcome.status,
    );

  for (const [how, end] of Object.entries(endings)) {
    test(`the next one is sent what was not answered, as it was, if ${how}`, async (t) => {
      const { kv, workers } = await openFake(t);
      await kv.get(["a"]);
      const answer = workers.behaviour.request;
      mute(workers);
      const outcomes = calls(kv);
      await settle();
      const [lost] = workers.last.frames.slice(-1);
      workers.behaviour.request = answer;
      end(workers);
      assert.deepEqual(codesOf(await outcomes), Array(4).fill("fulfilled"));
      assert.ok(workers.all[0]?.isTerminated);
      assert.equal(workers.all.length, 2);
      const again = workers.last.frames[0];
      assert.deepEqual(again, { ...lost, epoch: 2, resendOf: 1 });
    });
  }

  test("with a frame that can't be read, reads fail and writes are in doubt", async (t) => {
    const { kv, workers } = await openFake(t);
    const answer = workers.behaviour.request;
    mute(workers);
    const outcomes = calls(kv);
    await settle();
    workers.last.say(bytesOf("010101").buffer);
    const [read, write] = ["MalformedFrame", "OutcomeUnknown"];
    assert.deepEqual(codesOf(await outcomes), [read, write, write, read]);
    assert.ok(workers.last.isTerminated);
    workers.behaviour.request = answer;
    await kv.set(["b"], 1);
    assert.equal(workers.all.length, 2);
  });

  test("what two of them ended on is given up, and the rest goes on", async (t) => {
    const { kv, workers } = await openFake(t);
    mute(workers);
    const killers = calls(kv);
    await settle();
    workers.last.crash();
    await settle();
    assert.equal(workers.all.length, 2);
    workers.behaviour.request = (worker, sequence, request, out) =>
      worker.host.answer(sequence, request, out);
    const later = kv.set(["later"], 1);
    workers.last.crash();
    const [read, write] = ["HostLost", "OutcomeUnknown"];
    assert.deepEqual(codesOf(await killers), [read, write, write, read]);
    assert.ok((await later).ok);
    assert.equal(workers.all.length, 3);
  });

  test("calls made while there is none travel in frames that are not too large", async (t) => {
    const { kv, workers } = await openFake(t);
    workers.behaviour.open = () => undefined;
    workers.last.crash();
    await settle();
    const sets = Array.from({ length: 6 }, (_, i) => kv.set([i], new Uint8Array(300_000)));
    await settle();
    workers.last.opened();
    assert.ok((await Promise.all(sets)).every(({ ok }) => ok));
    const counts = workers.last.frames.map(({ requests }) => requests.length);
    assert.deepEqual(counts, [2, 2, 2]);
  });

  test("another one is started at once, to be there when it is needed", async (t) => {
    const { workers } = await openFake(t);
    workers.last.crash();
    await settle();
    assert.equal(workers.all.length, 2);
  });

  test("three times in a row, no other is started, and that is told", async (t) => {
    const { kv, workers } = await openFake(t);
    for (let i = 0; i < 3; i++) {
      workers.last.crash("again");
      await settle();
    }
    await assert.rejects(kv.set(["a"], 1), (error: KvassError) => {
      assert.equal(error.code, "HostLost");
      assert.match(error.message, /crashed 3 times in a row: again$/);
      assert.equal((error.cause as Error).message, "again");
      return true;
    });
    assert.equal(workers.all.length, 3);
  });

  test("again and again, but answers in between, others are started", async (t) => {
    const { kv, workers } = await openFake(t);
    for (let i = 1; i <= 6; i++) {
      await kv.set(["n"], i);
      assert.equal(workers.all.length, i);
      workers.last.crash();
      await settle();
    }
  });

  test("calls that wait for the next one fail if that can't open", async (t) => {
    const { kv, workers } = await openFake(t);
    const watch = kv.watch([["a"]]).getReader();
    await watch.read();
    workers.behaviour.open = (worker) => worker.say({ failed: { code: 1, message: "held" } });
    workers.last.crash();
    await assert.rejects(watch.read(), { code: "Busy" });
    await assert.rejects(kv.set(["a"], 1), { code: "Busy" });
  });
});

test("errors of the host have its code and message; misfits are TypeErrors", async (t) => {
  const { kv, workers } = await openFake(t);
  let code = 0;
  workers.behaviour.request = (_worker, sequence, _request, out) =>
    out.error(sequence, code, `message ${code}`);
  code = 4;
  await assert.rejects(kv.set(["a"], 1), (error) => {
    assert.ok(error instanceof KvassError);
    assert.deepEqual(
      [error.name, error.code, error.message],
      ["KvassError", "QuotaExceeded", "message 4"],
    );
    return true;
  });
  for (const [number, name] of [
    [7, "TypeMismatch"],
    [8, "TooLarge"],
  ] as const) {
    code = number;
    await assert.rejects(kv.atomic().sum(["a"], 1n).commit(), (error) => {
      assert.ok(error instanceof TypeError);
      assert.equal((error as Error & { code?: string }).code, name);
      return true;
    });
  }
  code = 200;
  await assert.rejects(kv.get(["a"]), { code: "Io", message: "message 200" });
  workers.behaviour.request = (worker, sequence, request, out) =>
    worker.host.answer(sequence, request, out);
});

test("a damaged value fails its own call and no other", async (t) => {
  const { kv, workers } = await openFake(t);
  await kv.set(["good"], 1);
  await kv.set(["bad"], 2);
  for (const [key, entry] of workers.files.entries) {
    if (key.includes(Buffer.from("bad").toString("hex"))) entry.value = bytesOf("01ff");
  }
  const [good, bad] = await Promise.allSettled([kv.get(["good"]), kv.get(["bad"])]);
  assert.equal(good.status, "fulfilled");
  assert.equal(bad.status === "rejected" && bad.reason.code, "Corruption");
  const list = kv.list({ prefix: [] });
  await assert.rejects(list.next(), { code: "Corruption" });
  assert.deepEqual((await list.next()).value?.key, ["good"]);
});

test("an array that is no frame is taken for none, and changes nothing", async (t) => {
  const { kv, workers } = await openFake(t);
  for (const nonsense of [[], ["x"], [new ArrayBuffer(1), 5]]) workers.last.say(nonsense);
  await settle();
  assert.equal((await kv.get(["a"])).value, null);
  assert.equal(workers.all.length, 1);
});
