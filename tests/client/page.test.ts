/** What happens to the page: hidden, frozen, put into the back/forward cache, brought back. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { encodeKey } from "../../client/codec/key.ts";
import { encodeValue } from "../../client/codec/value/index.ts";
import { openKv } from "../../client/index.ts";
import { browser } from "../../tabs/browser.ts";
import { FakeWorkers, openFake, settle } from "./support/fake-worker.ts";
import { hexOf } from "./support/wire.ts";

/** The parts of a window and its document that the client looks at. */
class FakeDocument extends EventTarget {
  visibilityState = "visible";
  prerendering = false;
  baseURI: string | undefined;
}

let page: EventTarget;
let fakeDocument: FakeDocument;

beforeEach(() => {
  page = new EventTarget();
  fakeDocument = new FakeDocument();
  Object.assign(globalThis, {
    document: fakeDocument,
    addEventListener: page.addEventListener.bind(page),
  });
});

afterEach(() => {
  Reflect.deleteProperty(globalThis, "document");
  Reflect.deleteProperty(globalThis, "addEventListener");
});

const transition = (type: string, persisted: boolean) =>
  page.dispatchEvent(Object.assign(new Event(type), { persisted }));

describe("a page that is hidden", () => {
  const ways: Record<string, () => void> = {
    "by another tab": () => {
      fakeDocument.visibilityState = "hidden";
      fakeDocument.dispatchEvent(new Event("visibilitychange"));
    },
    "for good": () => transition("pagehide", false),
  };
  for (const [way, hide] of Object.entries(ways)) {
    test(`${way} has its worker flush, after all that was called`, async (t) => {
      const { kv, workers } = await openFake(t);
      const set = kv.set(["a"], 1);
      hide();
      await set;
      assert.deepEqual(workers.last.said, [{ hide: true }]);
      assert.ok(!workers.last.isTerminated);
    });
  }

  test("and shown again is no concern of the worker", async (t) => {
    const { workers } = await openFake(t);
    fakeDocument.dispatchEvent(new Event("visibilitychange"));
    await settle();
    assert.deepEqual(workers.last.said, []);
  });
});

describe("a page that is frozen", () => {
  test("holds no worker, and has one again when it goes on", async (t) => {
    const { kv, workers } = await openFake(t);
    await kv.set(["a"], 1);
    const reader = kv.watch<[number]>([["a"]]).getReader();
    await reader.read();
    fakeDocument.dispatchEvent(new Event("freeze"));
    assert.ok(workers.last.isTerminated);
    await settle();
    assert.equal(workers.all.length, 1);
    fakeDocument.dispatchEvent(new Event("resume"));
    await settle();
    assert.equal(workers.all.length, 2);
    await kv.set(["a"], 2);
    assert.equal((await reader.read()).value?.[0].value, 2);
  });
});

describe("a page that is prerendered", () => {
  test("opens once it is shown, however much later that is", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    fakeDocument.prerendering = true;
    const workers = new FakeWorkers();
    const opening = openFake(t, { openTimeout: 20 }, workers);
    await settle();
    t.mock.timers.tick(60);
    await settle();
    assert.equal(workers.all.length, 0);
    fakeDocument.prerendering = false;
    fakeDocument.dispatchEvent(new Event("prerenderingchange"));
    const { kv } = await opening;
    assert.ok((await kv.set(["a"], 1)).ok);
  });
});

describe("a page in the back/forward cache", () => {
  test("holds no worker, and has one again when it is needed", async (t) => {
    const { kv, workers } = await openFake(t);
    await kv.set(["a"], 1);
    transition("pagehide", true);
    assert.ok(workers.last.isTerminated);
    transition("pageshow", true);
    await settle();
    assert.equal(workers.all.length, 1);
    assert.equal((await kv.get(["a"])).value, 1);
    assert.equal(workers.all.length, 2);
  });

  test("leaves writes that were just sent to be finished, and asks about them", async (t) => {
    const { kv, workers } = await openFake(t);
    const set = kv.set(["a"], 1);
    transition("pagehide", true);
    assert.ok(!workers.last.isTerminated);
    await settle();
    assert.deepEqual(workers.last.said, [{ end: true }]);
    assert.ok(workers.last.isTerminated);
    assert.equal(workers.files.entries.size, 1);
    transition("pageshow", true);
    assert.ok((await set).ok);
    assert.deepEqual(
      workers.last.frames.map(({ resendOf }) => resendOf),
      [1],
    );
  });

  test("starts no worker for calls made there, but answers them afterwards", async (t) => {
    const { kv, workers } = await openFake(t);
    transition("pagehide", true);
    const set = kv.set(["a"], 1);
    await settle();
    assert.equal(workers.all.length, 1);
    transition("pageshow", true);
    assert.ok((await set).ok);
  });

  test("stays for longer than opening may take, and nothing is given up", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { kv, workers } = await openFake(t, { openTimeout: 20 });
    const reader = kv.watch<[number]>([["a"]]).getReader();
    await reader.read();
    transition("pagehide", true);
    const set = kv.set(["a"], 1);
    t.mock.timers.tick(60);
    await settle();
    transition("pageshow", true);
    assert.ok((await set).ok);
    assert.equal((await reader.read()).value?.[0].value, 1);
    assert.equal(workers.all.length, 2);
  });

  test("and is closed there does so when it comes back", async (t) => {
    const { kv, workers, name } = await openFake(t);
    await kv.set(["a"], 1);
    transition("pagehide", true);
    const set = kv.set(["a"], 2);
    const closing = kv.close();
    transition("pageshow", true);
    assert.ok((await set).ok);
    await closing;
    assert.ok(workers.last.isTerminated);
    const again = await openKv(name, { worker: workers.start });
    assert.equal((await again.get(["a"])).value, 2);
    await again.close();
  });

  test("has its watchers catch up when it comes back", async (t) => {
    const { kv, workers } = await openFake(t);
    const reader = kv.watch<[number]>([["a"]]).getReader();
    await reader.read();
    transition("pagehide", true);
    await settle();
    const entry = { versionstamp: "00000001000000000009", value: encodeValue(1) };
    workers.files.entries.set(hexOf(encodeKey(["a"])), entry);
    transition("pageshow", true);
    assert.equal((await reader.read()).value?.[0].value, 1);
  });

  test("stays there longer than opening may take, and opens when it comes back", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => {
      if (workers.all.length > 1) worker.opened();
    };
    const opening = openFake(t, { openTimeout: 20 }, workers);
    await settle();
    transition("pagehide", true);
    t.mock.timers.tick(60);
    await settle();
    transition("pageshow", true);
    assert.ok((await (await opening).kv.set(["a"], 1)).ok);
  });

  test("ends a worker that does not come to an end with what it was left with", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { kv, workers } = await openFake(t);
    const set = kv.set(["a"], 1);
    const { last } = workers;
    last.postMessage = () => undefined;
    transition("pagehide", true);
    t.mock.timers.tick(4_999);
    assert.ok(!last.isTerminated);
    t.mock.timers.tick(1);
    assert.ok(last.isTerminated);
    transition("pageshow", true);
    assert.ok((await set).ok);
  });

  test("keeps what is only in memory", async (t) => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => worker.opened("memory");
    const { kv } = await openFake(t, { storage: "memory" }, workers);
    await kv.set(["a"], 1);
    transition("pagehide", true);
    assert.ok(!workers.last.isTerminated);
    transition("pageshow", true);
    assert.equal((await kv.get(["a"])).value, 1);
  });

  test("gives up an open that is under way, and begins it again", async (t) => {
    const workers = new FakeWorkers();
    workers.behaviour.open = (worker) => {
      if (workers.all.length > 1) worker.opened();
    };
    const opening = openFake(t, {}, workers);
    await settle();
    transition("pagehide", true);
    assert.ok(workers.last.isTerminated);
    transition("pageshow", true);
    await (await opening).kv.set(["a"], 1);
    assert.equal(workers.all.length, 2);
  });
});

test("an engine's address is relative to what the document's others are", async (t) => {
  fakeDocument.baseURI = "https://example.com/app/";
  const workers = new FakeWorkers();
  let wasm: unknown;
  workers.behaviour.open = (worker, { open }) => {
    wasm = open.wasm;
    worker.opened();
  };
  await openFake(t, { wasm: "pkg/kvass.wasm" }, workers);
  assert.equal(wasm, "https://example.com/app/pkg/kvass.wasm");
});

test("what a page makes of the clock does not make its calls late", (t) => {
  t.mock.method(Date, "now", () => 0);
  assert.ok(browser.now() > 0);
});

test("a page whose databases are closed is not followed", async (t) => {
  const { kv, workers } = await openFake(t);
  await kv.close();
  transition("pagehide", false);
  await settle();
  assert.deepEqual(workers.last.said, [{ end: true }]);
});
