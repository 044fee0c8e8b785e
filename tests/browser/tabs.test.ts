/** Many tabs share one database, whatever becomes of the one that hosts it. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Page, Route } from "playwright-core";
import type { KvChangeEvent } from "../../client/index.ts";
import { DURABLE, Visitor } from "./harness/browser.ts";

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive();
});
after(() => visitor.leave());

type Storage = (typeof DURABLE)[number];

/** A tab that has the database open as `kv`. */
async function join(name: string, storage: Storage): Promise<Page> {
  const page = await visitor.visit();
  await page.evaluate(
    async ([name, storage]) => {
      globalThis.kv = await kvass.openKv(name, { storage });
    },
    [name, storage] as const,
  );
  return page;
}

/** Has a tab do nothing at all until the function that is returned is called. */
async function standStill(page: Page): Promise<() => Promise<void>> {
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const asked = new Promise<void>((resolve) => {
    const answer = async (route: Route) => {
      resolve();
      await ended;
      await route.fulfill();
    };
    void page.route("**/stand-still", answer);
  });
  const standing = page.evaluate(() => {
    const request = new XMLHttpRequest();
    request.open("GET", "/stand-still", false);
    request.send();
  });
  await asked;
  return () => {
    end();
    return standing;
  };
}

const roleOf = (page: Page) => page.evaluate(async () => (await kv.status()).role);

/** Ways in which a tab that hosts the database goes. */
const ENDS: Record<string, (page: Page) => Promise<unknown>> = {
  "is closed": (page) => page.close(),
  "goes elsewhere": (page) => page.goto("about:blank"),
  "closes the database": (page) => page.evaluate(() => kv.close()),
  crashes: async (page) => {
    const session = await page.context().newCDPSession(page);
    await Promise.race([
      session.send("Page.crash" as never).catch(() => undefined),
      page.waitForEvent("crash"),
    ]);
  },
};

for (const storage of DURABLE) {
  describe(storage, () => {
    test("a second tab finds what the first one wrote, and hears of it", async () => {
      const name = `two-${storage}`;
      const first = await join(name, storage);
      const second = await join(name, storage);
      assert.deepEqual([await roleOf(first), await roleOf(second)], ["host", "client"]);
      await first.evaluate(() => kv.set(["n"], 1));
      const heard = await second.evaluate(async () => {
        const events = kv.changes().getReader();
        const { value } = await kv.get(["n"]);
        await kv.set(["n"], 2);
        const event = (await events.read()).value;
        return [value, event?.type === "commit" && event.changes];
      });
      assert.deepEqual(heard, [1, [{ type: "set", key: ["n"], value: 2 }]]);
      assert.equal(await first.evaluate(async () => (await kv.get(["n"])).value), 2);
      await Promise.all([first.close(), second.close()]);
    });

    test("a tab that stands still is told how much it missed, and goes on from there", async () => {
      const name = `slow-${storage}`;
      const host = await join(name, storage);
      const slow = await join(name, storage);
      const started = await slow.evaluate(async () => {
        const events = kv.changes({ prefix: ["big"] }).getReader();
        const states = kv.watch<[number]>([["last"]]).getReader();
        await states.read();
        Object.assign(globalThis, { events, states });
        return kv.get(["big", 0]);
      });
      assert.equal(started.value, null);
      const goOn = await standStill(slow);
      await host.evaluate(async () => {
        for (let i = 0; i < 400; i++) await kv.set(["big", i], new Uint8Array(30_000).fill(i));
        await kv.set(["last"], 1);
      });
      await goOn();
      const heard = await slow.evaluate(async () => {
        const { events, states } = globalThis as unknown as {
          events: ReadableStreamDefaultReader<KvChangeEvent>;
          states: ReadableStreamDefaultReader<[{ value: number }]>;
        };
        while ((await states.read()).value?.[0].value !== 1);
        await kv.set(["big", "after"], 1);
        const heard: (string | number | null)[] = [];
        while (heard.at(-1) !== "after") {
          const { value } = await events.read();
          if (value?.type === "lagged") heard.push(value.missed);
          for (const change of value?.type === "commit" ? value.changes : []) {
            heard.push("key" in change && change.key[1] === "after" ? "after" : "commit");
          }
        }
        return heard;
      });
      const missed = heard.filter((one) => typeof one === "number");
      const commits = heard.filter((one) => one === "commit").length;
      assert.equal(missed.length, 1, `${missed.length} times`);
      assert.equal(commits + Number(missed[0]), 400);
      await Promise.all([host.close(), slow.close()]);
    });

    test("a tab that sends without waiting holds up nobody and loses nothing", async () => {
      const name = `busy-${storage}`;
      const host = await join(name, storage);
      const [busy, calm] = [await join(name, storage), await join(name, storage)];
      const flood = busy.evaluate(async () => {
        const value = new Uint8Array(4_000);
        await Promise.all(Array.from({ length: 10_000 }, (_, i) => kv.set(["flood", i], value)));
        await kv.set(["over"], true);
        return kv.count({ prefix: ["flood"] });
      });
      const turns = await calm.evaluate(async () => {
        let turns = 0;
        while ((await kv.get(["over"])).value !== true) turns++;
        return turns;
      });
      assert.equal(await flood, 10_000);
      assert.ok(turns >= 20, `it was answered ${turns} times meanwhile`);
      await Promise.all([host.close(), busy.close(), calm.close()]);
    });

    test("nonsense from another tab changes nothing and disturbs nobody", async () => {
      const name = `hostile-${storage}`;
      const host = await join(name, storage);
      const client = await join(name, storage);
      const hostile = await visitor.visit();
      await hostile.evaluate((name) => {
        const hellos = { count: 0 };
        const heard = new BroadcastChannel(`kvass-lobby:${name}`);
        heard.onmessage = ({ data }) => {
          const isHello = data?.hello instanceof ArrayBuffer && data.hello.byteLength < 60;
          if (isHello && !String(data.client).startsWith("0000")) hellos.count++;
        };
        Object.assign(globalThis, { hellos });
      }, name);
      const flood = hostile.evaluate(async (name) => {
        const lobby = new BroadcastChannel(`kvass-lobby:${name}`);
        const odd = { toString: 1 };
        const hello = new ArrayBuffer(60);
        const nonsense = [null, 5, "hello", [], {}, { hello: 1e12 }, { hello: null, line: {} }];
        for (const message of [
          { hello, client: odd, line: "1" },
          { hello, client: "1", line: odd },
          { host: odd },
          { host: 5n },
          { leaving: 5n },
          { leaving: Number.NaN },
        ]) {
          lobby.postMessage(message);
        }
        for (const message of [...nonsense, { who: 1 }, { silent: "x" }, { opening: [] }]) {
          lobby.postMessage(message);
        }
        // Announced by nobody: the two tabs greet it a few times each, and go on with theirs.
        for (let i = 0; i < 1_000; i++) lobby.postMessage({ host: 1_000 + (i % 7) });
        for (let i = 0; i < 300; i++) {
          const client = i.toString(16).padStart(32, "0");
          const hello = crypto.getRandomValues(new Uint8Array(i % 64));
          if (i % 3 === 0)
            hello.set([75, 86, 83, 72, 3, 0, 3, 0, 2, 0, 2, 0].slice(0, hello.length));
          const line = new BroadcastChannel(`kvass-line:${client}:1`);
          lobby.postMessage({ hello: hello.buffer, client, line: "1" });
          for (const message of nonsense) line.postMessage(message);
          line.postMessage(crypto.getRandomValues(new Uint8Array(200)).buffer);
          line.postMessage([new ArrayBuffer(3), "x"]);
          line.postMessage({ heard: "much" });
          line.postMessage({ heard: odd });
          line.postMessage({ heard: 0n });
          line.postMessage({ upgrade: true });
          if (i % 16 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }, name);
      const counts = [host, client].map((page) =>
        page.evaluate(async () => {
          for (let i = 0; i < 200; i++) await kv.atomic().sum(["count"], 1n).commit();
        }),
      );
      await Promise.all([flood, ...counts]);
      const found = await client.evaluate(async () => {
        const { value } = await kv.get<bigint>(["count"]);
        let entries = 0;
        for await (const _ of kv.list({ start: [], end: [true] })) entries++;
        return { count: Number(value), entries, epoch: (await kv.status()).epoch };
      });
      assert.deepEqual(found, { count: 400, entries: 1, epoch: 1 });
      const hellos = await hostile.evaluate(
        () => (globalThis as unknown as { hellos: { count: number } }).hellos.count,
      );
      // Were each announcement answered, it would be 2,000; a machine that is slow hears them late.
      assert.ok(hellos > 0 && hellos < 1_000, `${hellos} hellos to hosts that there are not`);
      await Promise.all([host.close(), client.close(), hostile.close()]);
    });

    for (const [how, end] of Object.entries(ENDS)) {
      test(`when the host's tab ${how}, another takes over and nothing is lost`, async () => {
        const name = `end-${storage}-${how}`;
        const host = await join(name, storage);
        const others = [await join(name, storage), await join(name, storage)];
        assert.equal(await roleOf(host), "host");
        const running = others.map((page, tab) =>
          page.evaluate(async (tab) => {
            const seen: string[] = [];
            const reader = kv.changes({ prefix: ["unique"] }).getReader();
            let acknowledged = 0;
            const until = Date.now() + 1500;
            while (Date.now() < until) {
              const sum = kv.atomic().sum(["count"], 1n).set(["unique", tab, acknowledged], 1);
              await sum.commit();
              acknowledged++;
            }
            await kv.set(["unique", "end", tab], 1);
            const ends = new Set<unknown>();
            while (ends.size < 2) {
              const { value } = await reader.read();
              if (value?.type !== "commit") throw new Error("commits were left out");
              for (const change of value.changes) {
                if (!("key" in change)) continue;
                if (change.key[1] === "end") ends.add(change.key[2]);
                seen.push(`${value.versionstamp} ${change.key.join()}`);
              }
            }
            return { acknowledged, seen };
          }, tab),
        );
        await new Promise((resolve) => setTimeout(resolve, 500));
        await end(host);
        const [one, two] = await Promise.all(running);
        const { count, entries } = await (others[0] as Page).evaluate(async () => {
          const { value } = await kv.get<bigint>(["count"]);
          return { count: Number(value), entries: await kv.count({ prefix: ["unique"] }) };
        });
        const total = (one?.acknowledged ?? 0) + (two?.acknowledged ?? 0);
        assert.equal(count, total);
        assert.equal(entries, total + 2);
        for (const { seen } of [one, two] as { seen: string[] }[]) {
          assert.deepEqual(seen, [...new Set(seen)].sort(), "each commit once, in order");
        }
        await Promise.all(others.map((page) => page.close()));
      });
    }
  });
}
