/** How long a tab waits for a host: for ever where it says that it is there, not long where not. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Link, Membership, type MembershipListener } from "../../client/membership.ts";
import type { TabPlatform, WorkerLike } from "../../tabs/platform.ts";
import { welcome } from "./support/wire.ts";

const OPTIONS = {
  name: "db",
  storage: "memory",
  history: { bytes: 1, ms: 1 },
  salvage: false,
  wasm: undefined,
  openTimeout: 30_000,
} as const;

/** A tab whose own worker is the host, and a clock that is moved by hand. */
class OwnHost {
  /** Whether it answers when it is asked whether it is there. */
  isAwake = true;
  pings = 0;
  ended = 0;
  /** What the tab was told of calls that wait too long: older than this. */
  late: number[] = [];
  readonly membership: Membership;
  #now = 0;
  #timers: { due: number; run: () => void }[] = [];

  constructor() {
    const platform: TabPlatform = {
      locks: undefined,
      openChannel: () => assert.fail("there is nobody else"),
      now: () => this.#now,
      setTimer: (run, ms) => {
        const timer = { due: this.#now + ms, run };
        this.#timers.push(timer);
        return timer;
      },
      clearTimer: (timer) => {
        this.#timers = this.#timers.filter((one) => one !== timer);
      },
      turn: () => undefined,
      startWorker: () => this.#start(),
      openBroker: () => undefined,
      openPorts: () => assert.fail("there is no broker"),
    };
    const listener: MembershipListener = {
      linked: (_: Link) => undefined,
      unlinked: () => undefined,
      frame: () => undefined,
      absent: (_, late) => this.late.push(late),
      failed: (error) => assert.fail(error),
      closed: () => undefined,
      isWaiting: () => true,
    };
    this.membership = new Membership(OPTIONS, new Uint8Array(16), listener, platform);
    this.membership.join();
  }

  #start(): WorkerLike {
    const worker: WorkerLike = {
      onmessage: null,
      onerror: null,
      onmessageerror: null,
      postMessage: (message) => {
        const { open, ping } = message as { open?: unknown; ping?: number };
        const answer = (data: unknown) => worker.onmessage?.({ data });
        if (open !== undefined) {
          const said = { welcome: welcome(1), storage: "memory", salvage: false };
          queueMicrotask(() => answer(said));
        } else if (ping !== undefined) {
          this.pings++;
          if (this.isAwake) queueMicrotask(() => answer({ pong: ping }));
        }
      },
      terminate: () => {
        this.ended++;
      },
    };
    return worker;
  }

  /** Lets time pass, with all that is due. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      // What was said has come by then.
      await Promise.resolve();
      await Promise.resolve();
      const next = this.#timers.sort((a, b) => a.due - b.due)[0];
      if (next === undefined || next.due > end) break;
      this.#timers.shift();
      this.#now = next.due;
      next.run();
    }
    this.#now = end;
  }
}

test("a call takes as long as it takes while the host says that it is there", async () => {
  const tab = new OwnHost();
  await tab.pass(60_000);
  assert.ok(tab.pings > 0, "it is asked");
  assert.deepEqual(tab.late, [], "no call is late");
  assert.equal(tab.ended, 0);
});

test("a host that does not answer is given time to, then its calls are, and then itself", async () => {
  const tab = new OwnHost();
  await tab.pass(10_000);
  tab.isAwake = false;
  await tab.pass(1_000);
  assert.deepEqual([tab.late, tab.ended], [[], 0]);
  await tab.pass(1_500);
  const [late = 0] = tab.late;
  assert.ok(late > 6_000 && late < 8_000, `calls older than ${late} are given up`);
  assert.equal(tab.ended, 1, "and another worker is started");
});
