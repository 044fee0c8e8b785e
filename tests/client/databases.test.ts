/** What there is besides databases that are open: without a browser, what it says is made up. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { deleteKv, listKv, openKv } from "../../client/index.ts";
import { FakeWorkers } from "./support/fake-worker.ts";

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
