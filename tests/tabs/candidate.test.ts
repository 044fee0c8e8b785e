/** A candidate that asks around before it deposes a host. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hostLockOf, lobbyOf } from "../../tabs/messages.ts";
import type { Channel, LockOptions, Locks, Platform } from "../../tabs/platform.ts";
import { Candidate } from "../../worker/candidate.ts";
import type { Engines } from "../../worker/engine.ts";
import { UNSUPPORTED } from "../../worker/failure.ts";
import { ManualClock, settled } from "../client/support/manual-clock.ts";

const NAME = "db";
const LATE_MS = 10_000;

/** A worker that waits for a lock which another one has. */
class Waiting extends ManualClock implements Platform {
  readonly locks: Locks;
  /** How often the lock of the host was stolen. */
  stolen = 0;
  /** How often it asked who is there. */
  asked = 0;
  readonly tab: Channel = channel();
  #lobby: Channel | undefined;

  constructor(denied?: () => Promise<never>) {
    super();
    const request = async (
      name: string,
      options: LockOptions,
      granted: (lock: unknown) => unknown,
    ) => {
      await denied?.();
      if (name !== hostLockOf(NAME)) return granted({});
      if (options.steal) this.stolen++;
      return new Promise(() => undefined);
    };
    this.locks = { request: request as Locks["request"], query: async () => ({}) };
    const engines = { load: async () => undefined, practise: async () => undefined };
    const open = {
      name: NAME,
      storage: "opfs",
      history: { bytes: 1, ms: 1 },
      salvage: false,
    } as const;
    const start = { open, hello: new ArrayBuffer(0), client: "00" };
    new Candidate(this, engines as unknown as Engines, this.tab, start);
  }

  turn(): void {
    assert.fail("only a host takes turns");
  }

  openChannel(name: string): Channel {
    assert.equal(name, lobbyOf(NAME));
    this.#lobby = { ...channel(), postMessage: () => this.asked++ };
    return this.#lobby;
  }

  /** Something is said in the lobby. */
  hear(data: unknown): void {
    this.#lobby?.onmessage?.({ data });
  }

  /** It is told to take the place of a host that is silent. */
  async seize(): Promise<void> {
    await settled();
    this.tab.onmessage?.({ data: { seize: true } });
    await settled();
    assert.equal(this.asked, 1);
  }
}

function channel(): Channel {
  return { onmessage: null, postMessage: () => undefined, close: () => undefined };
}

test("a worker that can't read a message of its tab ends, and says why", async () => {
  const waiting = new Waiting();
  const said: unknown[] = [];
  waiting.tab.postMessage = (message) => said.push(message);
  waiting.tab.onmessageerror?.();
  const message = "a message of the tab could not be read";
  assert.deepEqual(said, [{ fatal: { code: 9, message } }]);
});

test("a host that does not say that it is there is deposed", async () => {
  const waiting = new Waiting();
  await waiting.seize();
  await waiting.pass(500);
  assert.equal(waiting.stolen, 1);
});

test("a host that says that it is there is not deposed", async () => {
  const waiting = new Waiting();
  await waiting.seize();
  waiting.hear({ host: 1 });
  await waiting.standStill(LATE_MS);
  assert.equal(waiting.stolen, 0);
});

test("a candidate that stood still while it asked hears what was answered meanwhile", async () => {
  const waiting = new Waiting();
  await waiting.seize();
  // Its timer is due before it takes the answer that has waited.
  await waiting.standStill(LATE_MS);
  assert.equal(waiting.stolen, 0);
  assert.equal(waiting.asked, 2);
  waiting.hear({ host: 1 });
  await waiting.standStill(LATE_MS);
  assert.equal(waiting.stolen, 0);
});

test("where the browser denies locks, opening is Unsupported and not tried again", async () => {
  const said: unknown[] = [];
  const waiting = new Waiting(async () => {
    throw new DOMException("The request was denied.", "SecurityError");
  });
  waiting.tab.postMessage = (message) => said.push(message);
  await settled();
  const message = "Web Locks can't be used here: SecurityError: The request was denied.";
  assert.deepEqual(said, [{ fatal: { code: UNSUPPORTED, message } }]);
});
