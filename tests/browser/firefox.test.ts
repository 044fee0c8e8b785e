/** Firefox: OPFS, and IndexedDB in private windows. Skipped where it is not installed. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Firefox, NO_FIREFOX } from "./harness/firefox.ts";
import { checkValues, takeOver, writeAndReload } from "./harness/trials.ts";

for (const [window, storage] of [
  ["a window", "opfs"],
  ["a private window", "indexeddb"],
] as const) {
  describe(`Firefox, ${window}: ${storage}`, { skip: NO_FIREFOX }, () => {
    let firefox: Firefox;
    before(async () => {
      firefox = await Firefox.arrive({ isPrivate: window === "a private window" });
    });
    after(() => firefox.leave());

    test("what was written is there after a reload, and status says where", () =>
      writeAndReload(firefox, storage));

    test("values of every kind come back", () => checkValues(firefox, storage));

    test("a second tab reads, and goes on when the first is closed", () => takeOver(firefox));

    test("no page threw what nobody caught", () => assert.deepEqual(firefox.complaints, []));
  });
}
