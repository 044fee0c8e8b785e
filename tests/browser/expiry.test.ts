/** Entries that expire are told of once and in time, and many at once keep no request waiting. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DURABLE, Visitor } from "./harness/browser.ts";

const CROWD = { opfs: 100_000, indexeddb: 40_000 };
/** No commit of expired entries has more; see `ROWS_MAX` in src/db/expire.rs. */
const COMMIT_MAX = 512;
const ALONE = 10;

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive();
});
after(() => visitor.leave());

for (const storage of DURABLE) {
  describe(storage, () => {
    test("requests are answered while many entries expire at once", async (t) => {
      const page = await visitor.visit();
      const seen = await page.evaluate(([storage, count]) => crowd.expire(storage, count), [
        storage,
        CROWD[storage],
      ] as const);
      const { problems, ...figures } = seen;
      t.diagnostic(JSON.stringify(figures));
      assert.deepEqual(problems, []);
      assert.ok(seen.largest <= COMMIT_MAX, `${seen.largest} entries in one commit`);
      assert.ok(seen.answers >= 10, `${seen.answers} requests were answered meanwhile`);
      await page.close();
    });

    test("the event of an expiry comes after its time", async (t) => {
      const page = await visitor.visit();
      const delays = await page.evaluate(([storage, count]) => crowd.expireAlone(storage, count), [
        storage,
        ALONE,
      ] as const);
      t.diagnostic(`after ${delays.join(", ")} ms`);
      assert.equal(delays.length, ALONE);
      await page.close();
    });
  });
}

test("no page threw what nobody caught", () => assert.deepEqual(visitor.complaints, []));
