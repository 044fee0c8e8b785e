/** How long a tab waits for a host, and what it makes of what is said in the lobby. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Membership, type MembershipListener } from "../../client/membership.ts";
import { doorOf, lobbyOf } from "../../tabs/messages.ts";
import { ManualTab } from "./support/manual-tab.ts";

/** Joins; `late` is what the tab was told of calls that wait too long, `closed` of its end. */
function join(tab: ManualTab, isWaiting = true) {
  const late: number[] = [];
  const closed: string[] = [];
  const listener: MembershipListener = {
    linked: () => undefined,
    unlinked: () => undefined,
    frame: () => undefined,
    absent: (_, before) => late.push(before),
    failed: (error) => assert.fail(error),
    closed: ({ code }) => closed.push(code),
    isWaiting: () => isWaiting,
  };
  new Membership(tab.options, new Uint8Array(16), listener, tab).join();
  return { late, closed };
}

test("a call takes as long as it takes while the host says that it is there", async () => {
  const tab = new ManualTab("here");
  const { late } = join(tab);
  await tab.pass(60_000);
  assert.ok(tab.pings > 0, "it is asked");
  assert.deepEqual(late, [], "no call is late");
  assert.equal(tab.ended, 0);
});

test("a host that does not answer is given time to, then its calls are given up", async () => {
  const tab = new ManualTab("here");
  const { late } = join(tab);
  await tab.pass(10_000);
  tab.isAwake = false;
  await tab.pass(1_000);
  assert.deepEqual([late, tab.ended], [[], 0]);
  await tab.pass(1_500);
  const [before = 0] = late;
  assert.ok(before > 6_000 && before < 8_000, `calls older than ${before} are given up`);
  assert.equal(tab.ended, 1, "and another worker is started");
});

/** What a tab that has no host, and no worker of its own, does when something is said. */
async function greetedAfter(data: unknown): Promise<string[]> {
  const tab = new ManualTab("elsewhere");
  tab.isAwake = false;
  join(tab, false);
  await tab.pass(60_000);
  tab.greeted = [];
  tab.overhear(data);
  return tab.greeted;
}

test("a host that has a door is greeted there, and one that has none in the lobby", async () => {
  assert.deepEqual(await greetedAfter({ host: 7, door: true }), [doorOf("db", 7)]);
  assert.deepEqual(await greetedAfter({ host: 8 }), [lobbyOf("db")]);
});

test("what is no door is not gone to: nobody would hear the hello", async () => {
  for (const door of [false, 0, "", null, "no", 1, 9, {}, []]) {
    const greeted = await greetedAfter({ host: 7, door });
    assert.deepEqual(greeted, [lobbyOf("db")], `door: ${JSON.stringify(door)}`);
  }
});

const [FORMER, PRESENT] = ["01".repeat(16), "02".repeat(16)];

test("a tab that finds another database in the files tells those who have the former", async () => {
  const tab = new ManualTab("both");
  tab.database = FORMER;
  const { closed } = join(tab);
  await tab.pass(250);
  assert.deepEqual([closed, tab.said], [[], []]);
  tab.hostHere(PRESENT);
  assert.deepEqual(closed, ["Closed"]);
  assert.deepEqual(tab.said, [{ gone: FORMER }]);
});

test("a tab that hears that its database is gone closes, and no other does", async () => {
  const tab = new ManualTab("elsewhere");
  tab.isAwake = false;
  const { closed } = join(tab);
  await tab.pass(250);
  tab.overhear({ gone: FORMER });
  assert.deepEqual(closed, [], "it knows of none");
  tab.database = FORMER;
  tab.isAwake = true;
  tab.overhear({ host: 1 });
  await tab.pass(250);
  for (const gone of ["", PRESENT, 5, null]) tab.overhear({ gone });
  assert.deepEqual(closed, []);
  tab.overhear({ gone: FORMER });
  assert.deepEqual(closed, ["Closed"]);
});
