/** A worker that has the lock: how it opens the files, serves its tab, and ends. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeHello } from "../../client/wire/hello.ts";
import { fieldsOf, hostLockOf, idOf, type OpenMessage } from "../../tabs/messages.ts";
import type { Channel, LockOptions, Locks, Platform } from "../../tabs/platform.ts";
import { Candidate } from "../../worker/candidate.ts";
import type { Engine, EngineCallbacks, Engines } from "../../worker/engine.ts";
import { BUSY, failure, IO } from "../../worker/failure.ts";
import { ManualClock, settled } from "../client/support/manual-clock.ts";
import { welcome } from "../client/support/wire.ts";

const NAME = "db";
const CLIENT = new Uint8Array(16).fill(7);
/** More than all pauses between two attempts to open files. */
const LONG_MS = 10_000;

function channel(): Channel {
  return { onmessage: null, postMessage: () => undefined, close: () => undefined };
}

/** A worker whose engine opens files as a test says. */
class Opening extends ManualClock implements Platform {
  readonly said: unknown[] = [];
  readonly tab: Channel = { ...channel(), postMessage: (message) => this.said.push(message) };
  readonly locks: Locks;
  /** Grants the lock of the host. */
  grant: () => void = () => assert.fail("the lock is not waited for");
  /** What it was to open, each time it tried. */
  readonly opened: OpenMessage[] = [];
  /** What its engine was called for. */
  readonly calls: string[] = [];
  /** Turns that wait to be taken. */
  readonly turns: (() => void)[] = [];
  readonly engine: Engine = {
    storage: "opfs",
    connect: () => new Uint8Array(welcome(1)),
    disconnect: () => undefined,
    stall: () => undefined,
    frame: (_, { length }) => {
      this.calls.push(`frame of ${length}`);
      return undefined;
    },
    flush: async () => {
      this.calls.push("flush");
    },
    close: async () => {
      this.calls.push("close");
    },
  };
  /** Over when it may hear who has which lock. */
  asks: () => Promise<void> = async () => undefined;
  /** Has it opened, or fail. */
  open: () => Promise<Engine> = async () => this.engine;

  constructor() {
    super();
    const request = async (
      name: string,
      _: LockOptions,
      granted: (lock: unknown) => unknown,
    ): Promise<unknown> => {
      if (name !== hostLockOf(NAME)) return granted({});
      await new Promise<void>((resolve) => {
        this.grant = resolve;
      });
      return granted({});
    };
    const held = [{ name: hostLockOf(NAME), clientId: undefined as never }];
    const query = async () => {
      await this.asks();
      return { held };
    };
    this.locks = { request: request as Locks["request"], query };
    const engines: Engines = {
      load: async () => undefined,
      practise: async () => undefined,
      open: (options: OpenMessage, _: EngineCallbacks) => {
        this.opened.push(options);
        return this.open();
      },
    };
    const history = { bytes: 1, ms: 1 };
    const open = { name: NAME, storage: "auto", history, salvage: false } as const;
    new Candidate(this, engines, this.tab, {
      open,
      hello: encodeHello(CLIENT),
      client: idOf(CLIENT),
    });
  }

  openChannel(): Channel {
    return channel();
  }

  turn(run: () => void): void {
    this.turns.push(run);
  }

  /** The tab says something. */
  hear(data: unknown): void {
    this.tab.onmessage?.({ data });
  }

  /** Lets it have the lock, once it waits for that. */
  async begin(): Promise<void> {
    await settled();
    this.grant();
    await settled();
  }

  /** What was said of this kind. */
  heard(kind: string): unknown[] {
    return this.said.filter((message) => kind in fieldsOf<object>(message));
  }
}

test("files that are busy are opened once they are free", async () => {
  const opening = new Opening();
  let isFree = false;
  opening.open = async () => {
    if (!isFree) throw failure(BUSY, "held");
    return opening.engine;
  };
  await opening.begin();
  await opening.pass(LONG_MS);
  assert.ok(opening.opened.length > 10, "it is tried again and again");
  assert.deepEqual([opening.heard("welcome"), opening.heard("fatal")], [[], []]);
  isFree = true;
  await opening.pass(LONG_MS);
  assert.equal(opening.heard("welcome").length, 1);
});

test("a worker that is to end gives files up that are busy", async () => {
  const opening = new Opening();
  opening.open = () => Promise.reject(failure(BUSY, "held"));
  await opening.begin();
  await opening.pass(LONG_MS);
  opening.hear({ end: true });
  await opening.pass(LONG_MS);
  const { length } = opening.opened;
  await opening.pass(LONG_MS);
  assert.equal(opening.opened.length, length);
  assert.deepEqual(opening.heard("ended"), [{ ended: null }]);
});

test("a worker that is to end closes files that are open by then, and is no host", async () => {
  const opening = new Opening();
  let opened: (engine: Engine) => void = () => assert.fail("nothing is opened");
  opening.open = () =>
    new Promise((resolve) => {
      opened = resolve;
    });
  await opening.begin();
  opening.hear({ end: true });
  await settled();
  opened(opening.engine);
  await settled();
  assert.deepEqual(opening.calls, ["close"]);
  assert.deepEqual(opening.heard("welcome"), []);
});

test("a worker that is to end while it makes sure of its lock is no host", async () => {
  const opening = new Opening();
  await settled();
  let answer: () => void = () => assert.fail("nobody asks who has the lock");
  opening.asks = () =>
    new Promise<void>((resolve) => {
      answer = resolve;
    });
  // Files of OPFS can't be another one's as well: they are opened meanwhile.
  opening.hear({ storage: "opfs" });
  await opening.begin();
  opening.engine.close = async () => {
    opening.calls.push("close");
    await new Promise(() => undefined);
  };
  opening.hear({ end: true });
  answer();
  await settled();
  assert.ok(opening.calls.includes("close"));
  assert.deepEqual(opening.heard("welcome"), []);
});

test("a worker opens the database where another host had it", async () => {
  const opening = new Opening();
  opening.hear({ storage: "indexeddb" });
  await opening.begin();
  assert.deepEqual(
    opening.opened.map(({ storage }) => storage),
    ["indexeddb"],
  );
});

test("a worker that waits says that it is there", async () => {
  const opening = new Opening();
  opening.hear({ ping: 5 });
  assert.deepEqual(opening.heard("pong"), [{ pong: 5 }]);
});

test("a host flushes when its tab is hidden; a flush that fails ends nothing", async () => {
  const opening = new Opening();
  await opening.begin();
  opening.hear({ hide: true });
  await settled();
  assert.deepEqual(opening.calls, ["flush"]);
  // It is told by status(), and by the next commit.
  opening.engine.flush = () => Promise.reject(failure(IO, "the disk is gone"));
  opening.hear({ hide: true });
  await settled();
  assert.deepEqual([opening.heard("fatal"), opening.heard("ended")], [[], []]);
});

test("a host that is to end does first what its tab has sent", async () => {
  const opening = new Opening();
  await opening.begin();
  // More than a turn's worth: the last one waits.
  for (const bytes of [200_000, 200_001, 7]) opening.hear(new ArrayBuffer(bytes));
  assert.deepEqual(opening.calls, ["frame of 200000", "frame of 200001"]);
  opening.hear({ end: true });
  await settled();
  assert.deepEqual(opening.calls.slice(2), ["frame of 7", "close"]);
  assert.deepEqual(opening.said.at(-1), { ended: null });
});

test("a host that can't close its files says what went wrong", async () => {
  const opening = new Opening();
  await opening.begin();
  opening.engine.close = () => Promise.reject(failure(IO, "the disk is gone"));
  opening.hear({ end: true });
  await settled();
  assert.deepEqual(opening.said.at(-1), { ended: { code: IO, message: "the disk is gone" } });
});

test("a host knows the broker that it was told of before it was the host", async () => {
  const opening = new Opening();
  const broker = { ...channel(), start: () => undefined };
  opening.hear({ broker });
  assert.equal(broker.onmessage, null);
  await opening.begin();
  assert.notEqual(broker.onmessage, null);
});
