/** A host whose clients leave, or can't be told, at the worst moment. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { FRAME_BYTES_MAX } from "../../client/limits.ts";
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
  /** What the engine was sent, by connection, and whom it forgot. */
  readonly frames: [connection: number, bytes: number][] = [];
  readonly forgotten: number[] = [];

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

  /** Turns that wait, where a test takes them itself. */
  turns: (() => void)[] | undefined;

  turn(run: () => void): void {
    if (this.turns === undefined) setImmediate(run);
    else this.turns.push(run);
  }

  async host(): Promise<Host> {
    const engine: Engine = {
      storage: "indexeddb",
      connect: () => new Uint8Array(welcome(1)),
      disconnect: (connection) => this.forgotten.push(connection),
      stall: () => undefined,
      frame: (connection, { length }) => {
        this.frames.push([connection, length]);
        return undefined;
      },
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
  async greet(id = OTHER, line = "1"): Promise<Closable> {
    const client = idOf(id);
    this.channel(lobbyOf(NAME)).hear({ hello: encodeHello(id), client, line });
    await settled();
    return this.channel(lineOf(client, line));
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

const failedOf = (line: Closable) => fieldsOf<{ failed?: { code: number } }>(line.said[0]).failed;

test("a hello in the name of another client is not answered, and takes no line away", async () => {
  const place = new Place();
  await place.host();
  const line = await place.greet();
  const stranger = encodeHello(new Uint8Array(16).fill(9));
  for (const [hello, client] of [
    [stranger, idOf(OTHER)],
    [encodeHello(OTHER), idOf(CLIENT)],
  ]) {
    place.channel(lobbyOf(NAME)).hear({ hello, client, line: "2" });
    assert.ok(!place.channels.has(lineOf(client as string, "2")));
  }
  assert.deepEqual(place.forgotten, []);
  line.hear(new ArrayBuffer(3));
  assert.deepEqual(place.frames, [[2, 3]]);
});

test("more tabs than a host takes are told that it is busy, until one is gone", async () => {
  const place = new Place();
  await place.host();
  const idAt = (i: number) => Uint8Array.from([i >> 8, i & 255, ...new Array(14).fill(1)]);
  // The own tab is one of the thousand.
  const lines: Closable[] = [];
  for (let i = 1; i < 1_000; i++) lines.push(await place.greet(idAt(i)));
  assert.ok(lines.every((line) => failedOf(line) === undefined));
  assert.equal(failedOf(await place.greet(idAt(1_000)))?.code, 1);
  lines[0]?.hear({ bye: true });
  assert.equal(failedOf(await place.greet(idAt(1_001))), undefined);
  assert.deepEqual(place.deaths, []);
});

test("a client that says hello again is one, and what it was before is forgotten", async () => {
  const place = new Place();
  await place.host();
  const first = await place.greet();
  const second = await place.greet(OTHER, "2");
  assert.deepEqual(place.forgotten, [2]);
  assert.equal(first.onmessage, null);
  second.hear(new ArrayBuffer(3));
  assert.deepEqual(place.frames, [[3, 3]]);
});

test("a frame of more bytes than there may be is refused before anything is done", async () => {
  const place = new Place();
  await place.host();
  const line = await place.greet();
  line.hear(new ArrayBuffer(FRAME_BYTES_MAX));
  assert.equal(place.frames.length, 1);
  const next = await place.greet(OTHER, "2");
  next.hear(new ArrayBuffer(FRAME_BYTES_MAX + 1));
  assert.equal(place.frames.length, 1);
  assert.deepEqual(fieldsOf<{ failed?: { code: number } }>(next.said[1]).failed?.code, 8);
  assert.deepEqual(place.deaths, []);
});

test("a client that asks for much waits for those that ask for little", async () => {
  const place = new Place();
  place.turns = [];
  await place.host();
  const [much, little] = [await place.greet(), await place.greet(new Uint8Array(16).fill(9))];
  for (let i = 0; i < 6; i++) much.hear(new ArrayBuffer(200_000));
  little.hear(new ArrayBuffer(7));
  const [big, small] = [
    [2, 200_000],
    [3, 7],
  ];
  assert.deepEqual(place.frames, [big, big, small]);
  // What arrives during a turn is served before the rest of what was there.
  place.turns.shift()?.();
  await settled();
  assert.deepEqual(place.frames.slice(3), [big, big]);
  little.hear(new ArrayBuffer(7));
  while (place.turns.length > 0) place.turns.shift()?.();
  assert.deepEqual(place.frames.slice(5), [small, big, big]);
});

test("of clients that all ask for much one frame of each is served by turns", async () => {
  const place = new Place();
  place.turns = [];
  await place.host();
  const lines = [await place.greet(), await place.greet(new Uint8Array(16).fill(9))];
  for (const line of lines) for (let i = 0; i < 4; i++) line.hear(new ArrayBuffer(200_000));
  place.frames.length = 0;
  place.turns.shift()?.();
  assert.deepEqual(
    place.frames.map(([connection]) => connection),
    [2, 3, 2, 3],
  );
});

/** A port, which is heard once it is started. */
class Offered extends Closable {
  isStarted = false;

  start(): void {
    this.isStarted = true;
  }
}

test("a port is for the line that it was offered for, and closed where that is gone", async () => {
  const place = new Place();
  const host = await place.host();
  const broker = new Offered();
  host.attend(broker);
  const line = await place.greet(OTHER, "2");
  const [stale, present] = [new Offered(), new Offered()];
  const client = idOf(OTHER);
  broker.hear({ client, line: "1", port: stale });
  broker.hear({ client: "00", line: "2", port: stale });
  assert.equal(line.said.length, 1, "nothing is said of it");
  assert.throws(() => stale.postMessage(0), { name: "InvalidStateError" });
  broker.hear({ client, line: "2", port: present });
  line.hear({ upgrade: true });
  assert.deepEqual(line.said.slice(1), [{ port: true }, { upgraded: true }]);
  assert.ok(present.isStarted);
  present.hear({ bye: true });
  assert.throws(() => present.postMessage(0), { name: "InvalidStateError" });
});

test("a port that a client does not move to is closed when it leaves", async () => {
  const place = new Place();
  const host = await place.host();
  const broker = new Offered();
  host.attend(broker);
  const line = await place.greet();
  const port = new Offered();
  broker.hear({ client: idOf(OTHER), line: "1", port });
  line.hear({ bye: true });
  assert.throws(() => port.postMessage(0), { name: "InvalidStateError" });
});

test("other tabs hear of a host soon, also where its own has asked for nothing", async () => {
  const place = new Place();
  await place.host();
  const lobby = place.channel(lobbyOf(NAME));
  assert.deepEqual(lobby.said, []);
  await place.pass(20);
  assert.deepEqual(lobby.said, [{ host: 1, door: true }]);
});
