/** Subscriptions whose requests are not answered, though the host is there: they go on. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Changes } from "../../client/changes.ts";
import type { ByteWriter } from "../../client/codec/bytes.ts";
import { encodeKey } from "../../client/codec/key.ts";
import { Connection } from "../../client/connection.ts";
import { LIMITS } from "../../client/limits.ts";
import type { KvChangeEvent } from "../../client/types.ts";
import { writeVersionstamp } from "../../client/versionstamp.ts";
import { REQUEST } from "../../client/wire/request.ts";
import { EPOCH, ManualTab } from "./support/manual-tab.ts";
import { hexOf, ResponseWriter } from "./support/wire.ts";

/** Numbers of the wire: an answer, and the code of an error. */
const DONE = 6;
const COMMITTED = 4;
const MALFORMED = 9;
const TIMEOUT = 15;

const stampOf = (counter: number) =>
  EPOCH.toString(16).padStart(8, "0") + `${counter}`.padStart(12, "0");

/** A tab that reads changes from a host in another tab. */
class Reading {
  readonly tab = new ManualTab("elsewhere");
  readonly connection = new Connection(this.tab.options, this.tab);
  readonly heard: string[] = [];
  readonly #changes: Changes;
  #id = 0;

  constructor(since: string | undefined) {
    const subscribe = () => {
      this.#id = this.connection.subscribe(this.#changes);
    };
    this.#changes = new Changes(undefined, since, LIMITS.kvass, {
      cancelled: () => undefined,
      restart: () => {
        this.connection.unsubscribe(this.#id);
        subscribe();
      },
      more: (id) => this.connection.more(id),
    });
    subscribe();
    void this.#read();
  }

  async #read(): Promise<void> {
    for await (const event of this.#changes.stream as AsyncIterable<KvChangeEvent>) {
      this.heard.push(event.type === "lagged" ? "lagged" : event.versionstamp);
    }
  }

  /** The only request that the host was sent since the last time. */
  async request() {
    await this.tab.pass(0);
    const [request, ...others] = this.tab.takeRequests();
    assert.ok(request !== undefined && others.length === 0, JSON.stringify(others));
    return request;
  }

  /** Has the host say that the only request came too late; returns the one for changes after it. */
  async tooLate() {
    const { sequence } = await this.request();
    const refusal = new ResponseWriter();
    refusal.error(sequence, TIMEOUT, "the deadline has passed");
    this.tab.send(refusal);
    await this.tab.pass(0);
    return this.tab.takeRequests().find(({ type }) => type === "changes");
  }

  /** Has the host tell of a commit, beside what is written. */
  tell(id: number, counter: number, out = new ResponseWriter()): void {
    const change = [1, hexOf(encodeKey(["key"]))] as [number, string];
    out.changes(id, stampOf(counter), [change]);
    this.tab.send(out);
  }
}

test("a reader that catches up goes on where its question was given up", async () => {
  const reading = new Reading(stampOf(1));
  const first = await reading.request();
  assert.ok(first.type === "changes" && first.since === stampOf(1));
  const page = new ResponseWriter();
  page.reply(first.sequence, DONE);
  reading.tell(first.id, 2, page);
  const more = await reading.request();
  assert.ok(more.type === "more" && more.id === first.id);

  // It is busy for long, and then says nothing for as long as calls are waited for.
  await reading.tab.pass(5_000);
  reading.tab.isAwake = false;
  await reading.tab.pass(1_400);
  reading.tab.isAwake = true;
  await reading.tab.pass(5_000);
  const again = reading.tab.takeRequests().findLast(({ type }) => type === "changes");
  assert.ok(again?.type === "changes", "it is asked for anew");
  assert.notEqual(again.id, first.id, "what the host still says of the first is another matter");
  assert.equal(again.since, stampOf(2));
  reading.tell(again.id, 3);
  await reading.tab.pass(0);
  assert.deepEqual(reading.heard, [stampOf(2), stampOf(3)]);
});

test("a reader whose request came too late for the host asks again", async () => {
  const reading = new Reading(stampOf(1));
  const again = await reading.tooLate();
  assert.ok(again?.type === "changes" && again.since === stampOf(1));
});

test("a reader of the present that begins late is told that it may have missed some", async () => {
  const reading = new Reading(undefined);
  const again = await reading.tooLate();
  assert.ok(again?.type === "changes" && again.since === undefined);
  const begun = new ResponseWriter();
  writeVersionstamp(begun.reply(again.sequence, COMMITTED), stampOf(5));
  reading.tell(again.id, 6, begun);
  await reading.tab.pass(0);
  assert.deepEqual(reading.heard, ["lagged", stampOf(6)]);
});

test("a question that reaches another host than it was for ends no reader", async () => {
  const reading = new Reading(stampOf(1));
  const first = await reading.request();
  const page = new ResponseWriter();
  page.reply(first.sequence, DONE);
  const { tab } = reading;
  // The question for more is asked as the answer comes, and has not left when the host is gone.
  tab.send(page);
  await Promise.resolve();
  tab.overhear({ host: EPOCH + 1 });
  await tab.pass(0);
  const out = new ResponseWriter();
  const requests = tab.takeRequests();
  for (const { sequence, type } of requests) {
    if (type === "more") out.error(sequence, MALFORMED, "there is no such subscription");
  }
  assert.ok(!out.isEmpty, JSON.stringify(requests));
  const again = requests.find(({ type }) => type === "changes");
  assert.ok(again?.type === "changes");
  reading.tell(again.id, 2, out);
  await tab.pass(0);
  assert.deepEqual(reading.heard, [stampOf(2)]);
});

test("a reader of the present goes on from what it has heard of with another host", async () => {
  const reading = new Reading(undefined);
  const first = await reading.request();
  assert.ok(first.type === "changes" && first.since === undefined);
  // The answer is still to come, and the host ends.
  reading.tell(first.id, 7);
  await reading.tab.pass(0);
  reading.tab.overhear({ host: EPOCH + 1 });
  const again = await reading.request();
  assert.ok(again.type === "changes");
  assert.equal(again.since, stampOf(7), "what is committed meanwhile is not the past");
});

test("calls are given up where a host's message can't be read, and go on anew", async () => {
  const tab = new ManualTab("elsewhere");
  const connection = new Connection(tab.options, tab);
  await connection.connect();
  const write = (w: ByteWriter) => w.u8(REQUEST.flush);
  const calls = [true, false].map((isWrite) => connection.call(write, () => undefined, isWrite));
  const outcomes = Promise.allSettled(calls);
  await tab.pass(0);
  assert.equal(tab.takeRequests().length, 2);
  // The host answers others, and that it is there: nobody else would end the wait.
  tab.garble();
  const codes = (await outcomes).map((one) => one.status === "rejected" && one.reason.code);
  assert.deepEqual(codes, ["OutcomeUnknown", "MalformedFrame"]);
  const next = connection.call(write, () => undefined);
  await tab.pass(0);
  const [{ sequence } = { sequence: 0 }] = tab.takeRequests();
  const out = new ResponseWriter();
  out.reply(sequence, DONE);
  tab.send(out);
  await next;
});
