/** What there is besides databases that are open: without a browser, what it says is made up. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { listKv } from "../../client/index.ts";

test("a list of databases that the browser refuses is an error of ours", async (t) => {
  const refusal = new DOMException("access is denied in this context", "SecurityError");
  for (const databases of [
    () => Promise.reject(refusal),
    () => {
      throw refusal;
    },
  ]) {
    Object.defineProperty(globalThis, "indexedDB", { configurable: true, value: { databases } });
    t.after(() => Reflect.deleteProperty(globalThis, "indexedDB"));
    await assert.rejects(listKv(), {
      name: "KvassError",
      code: "Io",
      message: /SecurityError: access is denied/,
      cause: refusal,
    });
  }
});
