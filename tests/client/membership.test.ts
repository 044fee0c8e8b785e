/** What a tab makes of what is said in the lobby. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Membership, type MembershipListener } from "../../client/membership.ts";
import { doorOf, lobbyOf } from "../../tabs/messages.ts";
import type { Channel, Locks, TabPlatform } from "../../tabs/platform.ts";

const OPTIONS = {
  name: "db",
  storage: "opfs",
  history: { bytes: 1, ms: 1 },
  salvage: false,
  wasm: undefined,
  openTimeout: 30_000,
} as const;

const LISTENER: MembershipListener = {
  linked: () => undefined,
  unlinked: () => undefined,
  frame: () => undefined,
  absent: () => undefined,
  failed: () => undefined,
  closed: () => undefined,
  isWaiting: () => false,
};

/** A tab that has no worker of its own, alone in its lobby. */
class LonelyTab {
  /** The names of the channels where it said hello since. */
  greeted: string[] = [];
  #lobby: Channel | undefined;
  #now = 0;

  /** Joins, with its lock granted. */
  async join(): Promise<void> {
    const locks: Locks = {
      request: async (_, __, granted) => granted({}),
      query: async () => ({}),
    };
    const platform: TabPlatform = {
      locks,
      openChannel: (name) => this.#open(name),
      now: () => this.#now,
      setTimer: () => undefined,
      clearTimer: () => undefined,
      turn: () => undefined,
      startWorker: undefined,
      openBroker: () => undefined,
      openPorts: () => assert.fail("there is no broker"),
    };
    new Membership(OPTIONS, new Uint8Array(16), LISTENER, platform).join();
    await Promise.resolve();
  }

  #open(name: string): Channel {
    const postMessage = (message: unknown) => {
      if (Object.hasOwn(message as object, "hello")) this.greeted.push(name);
    };
    const channel: Channel = { onmessage: null, postMessage, close: () => undefined };
    if (name === lobbyOf("db")) this.#lobby = channel;
    return channel;
  }

  /** Somebody says something in the lobby, a while after the last time. */
  hear(data: unknown): void {
    this.#now += 60_000;
    this.greeted = [];
    this.#lobby?.onmessage?.({ data });
  }
}

test("a host that has a door is greeted there, and one that has none in the lobby", async () => {
  const tab = new LonelyTab();
  await tab.join();
  tab.hear({ host: 7, door: true });
  assert.deepEqual(tab.greeted, [doorOf("db", 7)]);
  tab.hear({ host: 8 });
  assert.deepEqual(tab.greeted, [lobbyOf("db")]);
});

test("what is no door is not gone to: nobody would hear the hello", async () => {
  const tab = new LonelyTab();
  await tab.join();
  for (const door of [false, 0, "", null, "no", 1, 9, {}, []]) {
    tab.hear({ host: 7, door });
    assert.deepEqual(tab.greeted, [lobbyOf("db")], `door: ${JSON.stringify(door)}`);
  }
});
