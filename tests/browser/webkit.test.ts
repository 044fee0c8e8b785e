/** WebKitGTK: IndexedDB, because it has no access handles. Skipped where it is not installed. */

import { after, before, describe, test } from "node:test";
import { checkValues, takeOver, writeAndReload } from "./harness/trials.ts";
import { NO_WEBKIT, WebKit } from "./harness/webkit.ts";

describe("WebKitGTK: indexeddb", { skip: NO_WEBKIT }, () => {
  let webkit: WebKit;
  before(async () => {
    webkit = await WebKit.arrive();
  });
  after(() => webkit.leave());

  test("what was written is there after a reload, and status says where", () =>
    writeAndReload(webkit, "indexeddb"));

  test("values of every kind come back", () => checkValues(webkit, "indexeddb"));

  test("a second tab reads, and goes on when the first is closed", () => takeOver(webkit));
});
