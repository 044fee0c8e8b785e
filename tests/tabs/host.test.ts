/** A host whose clients leave, or can't be told, at the worst moment. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeHello } from "../../client/wire/hello.ts";
import { fieldsOf, hostLockOf, idOf, lineOf, lobbyOf } from "../../tabs/messages.ts";
import type { Channel, LockOptions, Locks, Platform } from "../../tabs/platform.ts";
import type { Engine } from "../../worker/engine.ts";
import { Holder } from "../../worker/holder.ts";
import { Host } from "../../worker/host.ts";
import { ManualClock, settled } from "../client/support/manual-clock.ts";
import { welcome } from "../client/support/wire.ts";

const NAME = "db";
const CLIENT = new Uint8Array(16).fill(7);
const OTHER = new Uint8Array(16).fill(8);
/** After so long without a message a host on IndexedDB makes sure that it still is the host. */
const SLEPT_MS = 1_500;

/** A channel that refuses to be spoken on once it is closed, as a BroadcastChannel does. */
class Closable implements Channel {
  onmessage: Channel["onmessage"] = null;
  onmessageerror: (() => void) | null = null;
  readonly said: unknown[] = [];
  #isClosed = false;

  postMessage(message: unknown): void {
    if (this.#isClosed) throw new DOMException("the channel is closed", "InvalidStateError");
    this.said.push(message);
  }

  close(): void {
    this.#isClosed = true;
  }

  hear(data: unknown): void {
    this.onmessage?.({ data });
  }
}

/** The platform of a host that has its lock. */
class Place extends ManualClock implements Platform {
  readonly locks: Locks;
  readonly channels = new Map<string, Closable>();
  readonly own = new Closable();
  /** Why the host died. */
  readonly deaths: unknown[] = [];

  constructor() {
    super();
    const request = async (
      name: string,
      _: LockOptions,
      granted: (lock: unknown) => unknown,
    ): Promise<unknown> => {
      // The locks of clients are theirs.
      return name.startsWith("kvass-client") ? new Promise(() => undefined) : granted({});
    };
    this.locks = {
      request: request as Locks["request"],
      query: async () => ({ held: [{ name: hostLockOf(NAME), clientId: undefined as never }] }),
    };
  }

  openChannel(name: string): Closable {
    const channel = new Closable();
    this.channels.set(name, channel);
    return channel;
  }

  turn(run: () => void): void {
    setImmediate(run);
  }

  async host(): Promise<Host> {
    const engine: Engine = {
      storage: "indexeddb",
      connect: () => new Uint8Array(welcome(1)),
      disconnect: () => undefined,
      stall: () => undefined,
      frame: () => undefined,
      flush: async () => undefined,
      close: async () => undefined,
    };
    const holder = await Holder.of(this.locks, NAME);
    const own = { client: idOf(CLIENT), hello: encodeHello(CLIENT), line: this.own };
    const options = { name: NAME, salvage: false };
    return new Host(this, engine, holder, options, own, (error) => this.deaths.push(error));
  }

  channel(name: string): Closable {
    const channel = this.channels.get(name);
    assert.ok(channel, name);
    return channel;
  }

  /** Says hello for another tab; returns its line. */
  async greet(): Promise<Closable> {
    const client = idOf(OTHER);
    this.channel(lobbyOf(NAME)).hear({ hello: encodeHello(OTHER), client, line: "1" });
    await settled();
    return this.channel(lineOf(client, "1"));
  }
}

test("a host goes on where a client leaves while it makes sure that it is the host", async () => {
  const place = new Place();
  await place.host();
  const line = await place.greet();
  assert.equal(line.said.length, 1);
  await place.pass(SLEPT_MS);
  line.hear({ ping: 1 });
  line.hear({ bye: true });
  await settled();
  assert.deepEqual(place.deaths, []);
});

test("a host that is about to end says nothing any more, and does not die of it", async () => {
  const place = new Place();
  const host = await place.host();
  await place.pass(SLEPT_MS);
  place.channel(lobbyOf(NAME)).hear({ who: true });
  host.leave();
  await settled();
  assert.deepEqual(place.deaths, []);
});

test("a host that can't send an answer dies, so that the next one is asked", async () => {
  const place = new Place();
  const host = await place.host();
  const error = new DOMException("out of memory", "DataCloneError");
  place.own.postMessage = () => {
    throw error;
  };
  // Nobody else would notice: the host says that it is there whenever it is asked.
  host.send(1, new Uint8Array(8));
  assert.deepEqual(place.deaths, [error]);
});

test("a client whose message can't be read is told so, and is none any more", async () => {
  const place = new Place();
  await place.host();
  const line = await place.greet();
  line.onmessageerror?.();
  assert.deepEqual(fieldsOf<{ failed?: { code: number } }>(line.said[1]).failed?.code, 9);
  assert.equal(line.onmessage, null);
  assert.deepEqual(place.deaths, []);
});
