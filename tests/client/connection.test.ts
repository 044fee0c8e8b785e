/** How long calls, an open and a close wait, and what becomes of subscriptions meanwhile. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ByteWriter } from "../../client/codec/bytes.ts";
import { Connection, type Subscription } from "../../client/connection.ts";
import { REQUEST } from "../../client/wire/request.ts";
import { EPOCH, ManualTab } from "./support/manual-tab.ts";
import { ResponseWriter } from "./support/wire.ts";

/** The answer to a flush. */
const DONE = 6;

const flush = (w: ByteWriter) => w.u8(REQUEST.flush);

/** What has come of a promise so far: that it was kept, or the code of the error. */
function outcomeOf(promise: Promise<unknown>): { code: string } {
  const outcome = { code: "none yet" };
  promise.then(
    () => {
      outcome.code = "done";
    },
    (error) => {
      outcome.code = error.code;
    },
  );
  return outcome;
}

/** A connection to the own worker that is closed, and what comes of that. */
async function closed() {
  const tab = new ManualTab("here");
  const connection = new Connection(tab.options, tab);
  await connection.connect();
  return { tab, connection, closing: outcomeOf(connection.close()) };
}

/** Has the host answer all that it was sent. */
function answerAll(tab: ManualTab): void {
  const out = new ResponseWriter();
  for (const { sequence } of tab.takeRequests()) out.reply(sequence, DONE);
  if (!out.isEmpty) tab.send(out);
}

test("closing ends where the host is there and does not answer", async () => {
  const { tab, connection, closing } = await closed();
  await tab.pass(9_000);
  assert.deepEqual([closing.code, tab.ended], ["none yet", 0]);
  await tab.pass(2_000);
  assert.deepEqual([closing.code, tab.ended], ["Timeout", 1]);
  assert.ok(connection.isClosed);
});

test("closing ends where the worker has flushed and does not end", async () => {
  const { tab, closing } = await closed();
  await tab.pass(0);
  answerAll(tab);
  await tab.pass(9_000);
  assert.deepEqual([closing.code, tab.told], ["none yet", [{ end: true }]]);
  await tab.pass(2_000);
  assert.deepEqual([closing.code, tab.ended], ["Timeout", 1]);
});

test("closing tells how it went wrong: at the last flush, or that the worker crashed", async () => {
  for (const [last, code] of [
    [{ ended: { code: 5, message: "the disk is gone" } }, "Io"],
    [{ fatal: { code: 14, message: "unreachable" } }, "HostLost"],
  ] as const) {
    const { tab, closing } = await closed();
    await tab.pass(0);
    answerAll(tab);
    await tab.pass(0);
    tab.sayHere(last);
    await tab.pass(0);
    assert.deepEqual([closing.code, tab.opened.length], [code, 1]);
    assert.ok(tab.ended > 0);
  }
});

test("closing leaves no timer behind", async () => {
  const tab = new ManualTab("here");
  const connection = new Connection(tab.options, tab);
  await connection.connect();
  const closing = connection.close();
  await tab.pass(0);
  answerAll(tab);
  await tab.pass(0);
  tab.sayHere({ ended: null });
  await closing;
  await tab.pass(250);
  assert.equal(tab.timers, 0);
});

test("a call for a host in another tab says when it is late; sent again it never is", async () => {
  const tab = new ManualTab("elsewhere");
  const connection = new Connection(tab.options, tab);
  await connection.connect();
  connection.call(flush, () => undefined).catch(() => undefined);
  await tab.pass(0);
  const [first, ...others] = tab.takeFrames();
  assert.deepEqual([first?.deadline, others], [tab.now() + 10_000, []]);
  // The next host may have it as done: it must not be told that it came too late.
  tab.overhear({ host: EPOCH + 1 });
  await tab.pass(0);
  const [again] = tab.takeFrames();
  assert.deepEqual([again?.first, again?.resendOf, again?.deadline], [first?.first, EPOCH, 0]);
});

test("an open waits while somebody is about to be the host", async () => {
  const tab = new ManualTab("elsewhere");
  tab.isAwake = false;
  const connection = new Connection(tab.options, tab);
  const opening = outcomeOf(connection.connect());
  for (let ms = 0; ms < 20_000; ms += 250) {
    tab.overhear({ opening: true });
    await tab.pass(250);
  }
  assert.equal(opening.code, "none yet");
  tab.isAwake = true;
  tab.overhear({ host: EPOCH });
  await tab.pass(0);
  assert.equal(opening.code, "done");
});

test("an open of which nobody hears ends soon, one that is promised after its time", async () => {
  for (const [isPromised, code, ms] of [
    [false, "NoHost", 5_000],
    [true, "Timeout", 31_000],
  ] as const) {
    const tab = new ManualTab("elsewhere");
    tab.isAwake = false;
    const opening = outcomeOf(new Connection(tab.options, tab).connect());
    for (let passed = 0; passed < ms; passed += 250) {
      if (isPromised) tab.overhear({ opening: true });
      await tab.pass(250);
    }
    assert.equal(opening.code, code);
  }
});

/** A subscription that counts what it hears. */
function listening(): Subscription & { asked: number; ends: unknown[] } {
  const ends: unknown[] = [];
  return {
    asked: 0,
    ends,
    hasHeard: false,
    write(w, id) {
      this.asked++;
      w.u8(REQUEST.watch);
      w.varint(id);
      w.varint(0);
    },
    subscribed: () => undefined,
    refused: () => false,
    lost: () => undefined,
    event: () => undefined,
    end: (error) => ends.push(error),
  };
}

test("a subscription outlives a host that takes its time to be replaced", async () => {
  const tab = new ManualTab("elsewhere");
  const connection = new Connection(tab.options, tab);
  const subscription = listening();
  connection.subscribe(subscription);
  await tab.pass(0);
  answerAll(tab);
  tab.isAwake = false;
  tab.overhear({ host: EPOCH + 1 });
  const call = outcomeOf(connection.call(flush, () => undefined));
  // For longer than an open may take.
  for (let ms = 0; ms < 31_000; ms += 250) {
    tab.overhear({ opening: true });
    await tab.pass(250);
  }
  assert.deepEqual([call.code, subscription.ends], ["NoHost", []]);
  tab.isAwake = true;
  tab.overhear({ host: EPOCH + 2 });
  await tab.pass(0);
  assert.deepEqual(
    tab.takeRequests().map(({ type }) => type),
    ["watch"],
  );
});

test("calls that keep coming do not make those before them wait for a host for ever", async () => {
  const tab = new ManualTab("elsewhere");
  tab.isAwake = false;
  const connection = new Connection(tab.options, tab);
  const calls = [];
  for (let ms = 0; ms < 10_000; ms += 500) {
    calls.push(outcomeOf(connection.call(flush, () => undefined)));
    tab.overhear({ opening: true });
    await tab.pass(500);
  }
  assert.equal(calls[0]?.code, "NoHost");
  assert.equal(calls.at(-1)?.code, "none yet");
});

test("after crashes in a row a worker is started again ten seconds later", async () => {
  const tab = new ManualTab("both");
  tab.isAwake = false;
  const connection = new Connection(tab.options, tab);
  const crash = () => tab.sayHere({ fatal: { code: 14, message: "unreachable" } });
  const opening = outcomeOf(connection.connect());
  for (let i = 0; i < 3; i++) crash();
  await tab.pass(0);
  const early = outcomeOf(connection.connect());
  await tab.pass(9_000);
  assert.deepEqual([opening.code, early.code, tab.opened.length], ["HostLost", "HostLost", 3]);
  await tab.pass(1_000);
  const late = outcomeOf(connection.connect());
  assert.equal(tab.opened.length, 4);
  tab.hostHere("");
  await tab.pass(0);
  assert.equal(late.code, "done");
});

test("crashes that are far apart are no row", async () => {
  const tab = new ManualTab("both");
  tab.isAwake = false;
  const connection = new Connection(tab.options, tab);
  const opening = outcomeOf(connection.connect());
  for (let crashes = 1; crashes <= 3; crashes++) {
    tab.sayHere({ fatal: { code: 14, message: "unreachable" } });
    assert.equal(tab.opened.length, crashes + 1);
    for (let ms = 0; ms < 10_000 && crashes < 3; ms += 250) {
      tab.overhear({ opening: true });
      await tab.pass(250);
    }
  }
  assert.equal(opening.code, "none yet");
});

test("a tab whose page ends, or that closes, says that its host leaves", async () => {
  for (const leave of [
    (connection: Connection) => connection.leave(),
    (connection: Connection) => connection.suspend(),
    (connection: Connection) => void connection.close().catch(() => undefined),
  ]) {
    const tab = new ManualTab("both");
    tab.isAwake = false;
    const connection = new Connection(tab.options, tab);
    const opening = connection.connect();
    tab.hostHere("");
    await opening;
    await tab.pass(0);
    leave(connection);
    await tab.pass(0);
    answerAll(tab);
    await tab.pass(0);
    assert.deepEqual(tab.said, [{ leaving: EPOCH }]);
  }
});

test("a worker that was left to finish what it was sent is not listened to any more", async () => {
  const tab = new ManualTab("both");
  tab.isAwake = false;
  const connection = new Connection(tab.options, tab);
  const call = outcomeOf(connection.call(flush, () => undefined, true));
  await tab.pass(0);
  connection.suspend();
  assert.deepEqual(tab.told.at(-1), { end: true });
  tab.hostHere("");
  await tab.pass(0);
  assert.deepEqual([connection.storage, tab.takeFrames()], [undefined, []]);
  assert.equal(call.code, "none yet");
});
