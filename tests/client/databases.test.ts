/** What there is besides databases that are open: without a browser, what it says is made up. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { deleteKv, listKv, openKv } from "../../client/index.ts";
import { directoryOf } from "../../tabs/directory.ts";
import { FakeWorkers, settle } from "./support/fake-worker.ts";

type Global = "indexedDB" | "navigator" | "BroadcastChannel";

function pretend(t: TestContext, name: Global, value: object) {
  const own = Object.getOwnPropertyDescriptor(globalThis, name);
  Object.defineProperty(globalThis, name, { configurable: true, value });
  t.after(() => {
    Reflect.deleteProperty(globalThis, name);
    if (own !== undefined) Object.defineProperty(globalThis, name, own);
  });
}

test("a deletion that has used up its time in OPFS does not wait for IndexedDB", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const directory = { removeEntry: async () => t.mock.timers.tick(5_000) };
  const root = { getDirectoryHandle: async () => directory };
  const request = async (_name: string, _options: object, granted: () => unknown) => granted();
  pretend(t, "navigator", { locks: { request }, storage: { getDirectory: async () => root } });
  // Another tab has it open, and never closes it.
  pretend(t, "indexedDB", { deleteDatabase: () => ({}) });
  await assert.rejects(deleteKv("held"), { name: "KvassError", code: "Busy" });
});

test("a list of databases that the browser refuses is an error of ours", async (t) => {
  const refusal = new DOMException("access is denied in this context", "SecurityError");
  for (const databases of [
    () => Promise.reject(refusal),
    () => {
      throw refusal;
    },
  ]) {
    pretend(t, "indexedDB", { databases });
    await assert.rejects(listKv(), {
      name: "KvassError",
      code: "Io",
      message: /SecurityError: access is denied/,
      cause: refusal,
    });
  }
});

test("where the browser denies channels nothing is opened or deleted, and says so", async (t) => {
  const refusal = new DOMException("The operation is insecure.", "SecurityError");
  const denied = class {
    constructor() {
      throw refusal;
    }
  };
  pretend(t, "BroadcastChannel", denied);
  pretend(t, "indexedDB", {});
  pretend(t, "navigator", { locks: { request: () => Promise.reject(refusal) } });
  const message = /SecurityError: The operation is insecure/;
  const expected = { name: "KvassError", code: "Unsupported", message, cause: refusal };
  const { start: worker, all } = new FakeWorkers();
  await assert.rejects(openKv("denied", { worker }), expected);
  await assert.rejects(openKv("denied", { worker }), expected);
  assert.equal(all.length, 0);
  await assert.rejects(deleteKv("denied"), expected);
});

test("every name has a directory of its own, where A is a and in no other's", () => {
  const names = ["", "%", "a", "A", "%41", "a/b", "..", ".", "ü", "u\u0308", "default", "a b"];
  const directories = names.map((name) => directoryOf(name));
  assert.equal(new Set(directories.map((name) => name.toLowerCase())).size, names.length);
  for (const directory of directories) assert.match(directory, /^[a-z0-9_%-]+$/);
  assert.deepEqual(directories.slice(0, 4), ["%", "%25", "a", "%41"]);
});

/** A file system with the directories of databases, which may refuse to remove them. */
function pretendOpfs(t: TestContext, names: string[], refuse: (name: string) => unknown) {
  const directory = {
    removeEntry: async (name: string) => {
      const refusal = refuse(name);
      if (refusal !== undefined) throw refusal;
    },
    async *keys() {
      yield* names;
    },
  };
  const root = { getDirectoryHandle: async () => directory };
  const request = async (_name: string, _options: object, granted: () => unknown) => granted();
  pretend(t, "navigator", { locks: { request }, storage: { getDirectory: async () => root } });
}

/** An IndexedDB that deletes what it is told to, or fails. */
function pretendIndexedDb(t: TestContext, error?: DOMException) {
  const deleted: string[] = [];
  const deleteDatabase = (name: string) => {
    deleted.push(name);
    const request = { error, onsuccess: () => undefined, onerror: () => undefined };
    queueMicrotask(() => (error === undefined ? request.onsuccess() : request.onerror()));
    return request;
  };
  const databases = async () => [{ name: "kvass:b" }, { name: "others" }, {}];
  pretend(t, "indexedDB", { deleteDatabase, databases });
  return deleted;
}

test("databases are listed by name, and nothing else that the origin has", async (t) => {
  // Another letter case, a lone percent sign and a letter that needs no escape are not ours.
  const others = ["A", "%zz", "100%", "%61"];
  pretendOpfs(t, ["b", "%", ...others, "%c3%bc", "a"], () => undefined);
  pretendIndexedDb(t);
  assert.deepEqual(await listKv(), [
    { name: "", storage: "opfs" },
    { name: "a", storage: "opfs" },
    { name: "b", storage: "opfs" },
    { name: "b", storage: "indexeddb" },
    { name: "ü", storage: "opfs" },
  ]);
});

test("where there is no OPFS those in IndexedDB are listed", async (t) => {
  pretendIndexedDb(t);
  for (const name of ["NotFoundError", "SecurityError", "UnknownError"]) {
    const getDirectory = () => Promise.reject(new DOMException("no", name));
    pretend(t, "navigator", { storage: { getDirectory } });
    assert.deepEqual(await listKv(), [{ name: "b", storage: "indexeddb" }], name);
  }
  const getDirectory = () => Promise.reject(new DOMException("no", "DataError"));
  pretend(t, "navigator", { storage: { getDirectory } });
  await assert.rejects(listKv(), { name: "KvassError", code: "Io", message: /DataError/ });
});

test("a deletion finds a database in either storage, or in none", async (t) => {
  const removed: string[] = [];
  let refusal: unknown;
  pretendOpfs(t, [], (name) => {
    removed.push(name);
    return refusal;
  });
  const deleted = pretendIndexedDb(t);
  await deleteKv("ü");
  refusal = new DOMException("no such directory", "NotFoundError");
  await deleteKv("b");
  assert.deepEqual(removed, ["%c3%bc", "b"]);
  assert.deepEqual(deleted, ["kvass:ü", "kvass:b"]);
});

test("a deletion waits for files that are in use for a moment, but not for ever", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let refusals = 3;
  let tries = 0;
  const refusal = new DOMException("in use", "NoModificationAllowedError");
  pretendOpfs(t, [], () => {
    tries++;
    // What waits for the next attempt waits no longer once this is over.
    setImmediate(() => t.mock.timers.tick(50));
    return refusals-- > 0 ? refusal : undefined;
  });
  pretendIndexedDb(t);
  await deleteKv("used");
  assert.equal(tries, 4);
  refusals = 1_000;
  tries = 0;
  await assert.rejects(deleteKv("used"), { name: "KvassError", code: "Busy" });
  assert.ok(tries >= 100 && tries < 110, `tried ${tries} times in five seconds`);
  await settle();
});

test("a deletion that the browser refuses is an error of ours", async (t) => {
  const refusal = new DOMException("the disk is gone", "UnknownError");
  const expected = { name: "KvassError", code: "Io", cause: refusal };
  pretendOpfs(t, [], () => refusal);
  const deleted = pretendIndexedDb(t, refusal);
  await assert.rejects(deleteKv("b"), expected);
  assert.deepEqual(deleted, []);
  pretendOpfs(t, [], () => undefined);
  await assert.rejects(deleteKv("b"), expected);
});

test("nobody becomes the host of a database that is deleted, nothing is left after", async (t) => {
  const said: unknown[] = [];
  const open = new Set<Lobby>();
  class Lobby {
    onmessage: ((event: { data: unknown }) => void) | null = null;
    constructor() {
      open.add(this);
    }
    postMessage(message: unknown) {
      said.push(message);
    }
    close() {
      open.delete(this);
    }
  }
  pretend(t, "BroadcastChannel", Lobby);
  pretendIndexedDb(t);
  let refusal: unknown;
  pretendOpfs(t, [], () => {
    // Who is about to depose a host that does not answer asks around first.
    for (const { onmessage } of open) onmessage?.({ data: { who: true } });
    return refusal;
  });
  await deleteKv("a");
  assert.deepEqual(said, [{ deleting: true }, { opening: true }]);
  assert.equal(open.size, 0);
  refusal = new DOMException("the disk is gone", "UnknownError");
  await assert.rejects(deleteKv("a"), { code: "Io" });
  assert.equal(open.size, 0);
});
