/** How long a tab waits for a host, and what it makes of what is said in the lobby. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { KvassError } from "../../client/errors.ts";
import { Membership, type MembershipListener } from "../../client/membership.ts";
import { doorOf, lobbyOf } from "../../tabs/messages.ts";
import { EPOCH, ManualTab } from "./support/manual-tab.ts";

/**
 * Joins; `late` is what the tab was told of calls that wait too long, with the codes in `absent`,
 * `links` of its hosts, `closed` of its end.
 */
function join(tab: ManualTab, isWaiting: boolean | (() => boolean) = true) {
  const late: number[] = [];
  const absent: unknown[] = [];
  const links: string[] = [];
  const closed: string[] = [];
  const listener: MembershipListener = {
    linked: ({ role }) => links.push(role),
    unlinked: () => links.push("none"),
    frame: () => undefined,
    absent: (error, before) => {
      late.push(before);
      absent.push((error as KvassError).code);
    },
    failed: (error) => assert.fail(error),
    closed: ({ code }) => closed.push(code),
    isWaiting: () => (typeof isWaiting === "boolean" ? isWaiting : isWaiting()),
  };
  new Membership(tab.options, new Uint8Array(16), listener, tab).join();
  return { late, absent, links, closed };
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

test("time that a tab has slept through is not held against its host", async () => {
  const tab = new ManualTab("elsewhere");
  const { late } = join(tab);
  await tab.pass(1_000);
  tab.isAwake = false;
  await tab.standStill(3_600_000);
  assert.deepEqual(late, []);
  await tab.pass(3_000);
  assert.ok(late.length > 0, "time that it was awake for is");
});

test("a host that does not answer is noticed though the clock was set back", async () => {
  const tab = new ManualTab("elsewhere");
  const { late } = join(tab);
  await tab.pass(1_000);
  tab.isAwake = false;
  tab.skew = -3_600_000;
  await tab.pass(3_000);
  assert.ok(late.length > 0);
});

test("who can't reach a host hears why: it is not there, not heard, or not any more", async () => {
  const nowhere = new ManualTab("elsewhere");
  nowhere.isAwake = false;
  const mute = new ManualTab("both");
  mute.isAwake = false;
  const lost = new ManualTab("both");
  const codes: unknown[] = [];
  for (const tab of [nowhere, mute, lost]) {
    const { absent } = join(tab);
    // The own worker could be the host, where it has the lock.
    if (tab.startWorker !== undefined) tab.sayHere({ waiting: true });
    await tab.pass(1_000);
    tab.isAwake = false;
    await tab.pass(5_000);
    codes.push(absent[0]);
  }
  assert.deepEqual(codes, ["NoHost", "Busy", "Timeout"]);
});

test("of announcements a few are answered in a second, however many there are", async () => {
  const tab = new ManualTab("elsewhere");
  tab.isAwake = false;
  join(tab, false);
  await tab.pass(60_000);
  tab.greeted = [];
  for (let epoch = 7; epoch < 107; epoch++) tab.overhear({ host: epoch });
  assert.equal(tab.greeted.length, 5);
  await tab.pass(1_001);
  tab.overhear({ host: 107 });
  assert.equal(tab.greeted.length, 6);
});

test("the own worker hears where another host has the database, and later ones too", async () => {
  const tab = new ManualTab("both");
  join(tab);
  await tab.pass(0);
  assert.deepEqual(tab.told, [{ storage: "opfs" }]);
  tab.sayHere({ fatal: { code: 14, message: "unreachable" } });
  const storages = tab.opened.map(({ storage }) => storage);
  assert.deepEqual(storages, ["auto", "opfs"]);
});

test("a database stays known where a host of an older version does not say it", async () => {
  const tab = new ManualTab("elsewhere");
  const { closed } = join(tab);
  for (const [epoch, database] of [FORMER, "", PRESENT].entries()) {
    tab.database = database as string;
    tab.overhear({ host: epoch + 1 });
    await tab.pass(250);
    assert.deepEqual(closed, database === PRESENT ? ["Closed"] : []);
  }
});

test("a worker whose lock is free has ended, whatever it said, and is replaced once", async () => {
  for (const saysSo of [false, true]) {
    const tab = new ManualTab("both");
    tab.isAwake = false;
    join(tab, false);
    // Here a lock is free as soon as it is asked for.
    tab.sayHere({ waiting: true, lock: "kvass-worker:1" });
    await tab.pass(99);
    if (saysSo) tab.sayHere({ fatal: { code: 14, message: "unreachable" } });
    assert.equal(tab.opened.length, saysSo ? 2 : 1, "its last words may be on their way");
    await tab.pass(1);
    assert.deepEqual([tab.opened.length, tab.ended], [2, 1]);
  }
});

test("calls do not wait for another tab's host once the own worker has the lock", async () => {
  const tab = new ManualTab("both");
  const { links } = join(tab);
  await tab.pass(0);
  tab.sayHere({ waiting: true });
  assert.deepEqual(links, ["client"]);
  // There is no other host any more: nobody would answer.
  tab.sayHere({ waiting: false });
  assert.deepEqual(links, ["client", "none"]);
  tab.hostHere("");
  assert.deepEqual(links, ["client", "none", "host"]);
});

test("a host is told of what was heard from itself, and not from the one before", async () => {
  const tab = new ManualTab("elsewhere");
  join(tab);
  const hear = (bytes: number) => tab.sayAsHost(new ArrayBuffer(bytes - 256));
  await tab.pass(0);
  for (let i = 0; i < 3; i++) hear(100_000);
  assert.deepEqual(tab.told, [{ heard: 300_000 }]);
  hear(262_144);
  assert.equal(tab.told.length, 1);
  hear(300);
  assert.deepEqual(tab.told[1], { heard: 562_444 });
  tab.overhear({ host: 2 });
  await tab.pass(0);
  hear(262_144);
  hear(300);
  assert.deepEqual(
    tab.told.filter((told) => "heard" in (told as object)),
    [{ heard: 300_000 }, { heard: 562_444 }, { heard: 262_444 }],
  );
});

test("a worker that others say is silent is asked, and ended if it does not answer", async () => {
  for (const isAwake of [true, false]) {
    const tab = new ManualTab("both");
    tab.isAwake = false;
    // Nobody waits for it here.
    join(tab, false);
    tab.hostHere("");
    await tab.pass(60_000);
    tab.isAwake = isAwake;
    tab.overhear({ silent: EPOCH + 1 });
    assert.equal(tab.pings, 0, "that is another one");
    tab.overhear({ silent: EPOCH });
    assert.equal(tab.pings, 1);
    await tab.pass(3_000);
    assert.equal(tab.ended, isAwake ? 0 : 1);
    assert.equal(tab.opened.length, isAwake ? 1 : 2, "and another one is started");
  }
});

test("what the host before was asked is not held against the next one", async () => {
  const tab = new ManualTab("both");
  let isWaiting = true;
  const { links } = join(tab, () => isWaiting);
  await tab.pass(250);
  tab.isAwake = false;
  await tab.pass(1_000);
  assert.ok(tab.pings > 0, "it is asked, and does not answer");
  tab.sayHere({ waiting: false });
  tab.hostHere("");
  assert.deepEqual(links, ["client", "none", "host"]);
  // It has answered all there was, and is at something that takes long.
  isWaiting = false;
  await tab.pass(5_000);
  assert.deepEqual([tab.ended, tab.timers], [0, 0]);
});
