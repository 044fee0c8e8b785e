/** How long a tab waits for a host: for ever where it says that it is there, not long where not. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Membership, type MembershipListener } from "../../client/membership.ts";
import { ManualTab } from "./support/manual-tab.ts";

/** A tab whose own worker is the host; `late` is what it was told of calls that wait too long. */
function join() {
  const tab = new ManualTab("here");
  const late: number[] = [];
  const listener: MembershipListener = {
    linked: () => undefined,
    unlinked: () => undefined,
    frame: () => undefined,
    absent: (_, before) => late.push(before),
    failed: (error) => assert.fail(error),
    closed: () => undefined,
    isWaiting: () => true,
  };
  new Membership(tab.options, new Uint8Array(16), listener, tab).join();
  return { tab, late };
}

test("a call takes as long as it takes while the host says that it is there", async () => {
  const { tab, late } = join();
  await tab.pass(60_000);
  assert.ok(tab.pings > 0, "it is asked");
  assert.deepEqual(late, [], "no call is late");
  assert.equal(tab.ended, 0);
});

test("a host that does not answer is given time to, then its calls are given up", async () => {
  const { tab, late } = join();
  await tab.pass(10_000);
  tab.isAwake = false;
  await tab.pass(1_000);
  assert.deepEqual([late, tab.ended], [[], 0]);
  await tab.pass(1_500);
  const [before = 0] = late;
  assert.ok(before > 6_000 && before < 8_000, `calls older than ${before} are given up`);
  assert.equal(tab.ended, 1, "and another worker is started");
});
