/** The conformance suite against pkg/ in a browser, on every storage. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Page } from "playwright-core";
import { chapters } from "../conformance/index.ts";
import { Visitor } from "./harness/browser.ts";

let visitor: Visitor;
let page: Page;
before(async () => {
  visitor = await Visitor.arrive();
  page = await visitor.visit();
});
after(() => visitor.leave());

for (const storage of ["opfs", "indexeddb", "memory"] as const) {
  for (const [chapter, suite] of Object.entries(chapters)) {
    describe(`${storage}: ${chapter}`, () => {
      for (const title of Object.keys(suite)) {
        test(title, () =>
          page.evaluate(([storage, chapter, title]) => runCase(storage, chapter, title), [
            storage,
            chapter,
            title,
          ] as const),
        );
      }
    });
  }
}

test("no page threw what nobody caught", () => assert.deepEqual(visitor.complaints, []));
