/** How tabs reach their host: over a BroadcastChannel, and over a port where one can be had. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { Visitor } from "./harness/browser.ts";
import { HANG_MS } from "./harness/profile.ts";

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive();
});
after(() => visitor.leave());

const CALLS = 100;

/** A tab that counts what it says over the channel of its line. */
async function visit(prepare: () => void = () => {}): Promise<Page> {
  const page = await visitor.visit();
  await page.evaluate(() => {
    const { postMessage } = BroadcastChannel.prototype;
    Object.assign(globalThis, { said: 0 });
    BroadcastChannel.prototype.postMessage = function (message) {
      if (this.name.startsWith("kvass-line:")) (globalThis as unknown as { said: number }).said++;
      postMessage.call(this, message);
    };
  });
  await page.evaluate(prepare);
  return page;
}

const open = (page: Page, name: string) =>
  page.evaluate(async (name) => {
    globalThis.kv = await kvass.openKv(name);
    await kv.set(["opened"], true);
    return (await kv.status()).role;
  }, name);

/** Waits until a tab hosts the database: one that is closed still serves it for a moment. */
const untilHost = (page: Page) =>
  page
    .evaluate(async () => {
      while ((await kv.status()).role !== "host");
    })
    // The other tab of a race is closed while it waits.
    .catch(() => undefined);

/** Makes calls one after the other; returns how many messages went over the channel. */
const call = (page: Page) =>
  page.evaluate(async (count) => {
    const counter = globalThis as unknown as { said: number };
    const before = counter.said;
    for (let i = 0; i < count; i++) await kv.atomic().sum(["count"], 1n).commit();
    return counter.said - before;
  }, CALLS);

/** Calls until no more of them go over the channel. */
async function untilMoved(page: Page): Promise<boolean> {
  const until = performance.now() + HANG_MS;
  while (performance.now() < until) if ((await call(page)) === 0) return true;
  return false;
}

test("a line moves to a port that a SharedWorker hands over, with the next host too", async () => {
  const [host, first, second] = [await visit(), await visit(), await visit()];
  assert.equal(await open(host, "ports"), "host");
  for (const client of [first, second]) {
    assert.equal(await open(client, "ports"), "client");
    assert.ok(await untilMoved(client));
  }
  await host.close();
  await Promise.race([untilHost(first), untilHost(second)]);
  assert.ok((await untilMoved(first)) && (await untilMoved(second)));
  const tabs = [first, second];
  const roles = await Promise.all(tabs.map((tab) => tab.evaluate(async () => kv.status())));
  assert.deepEqual(roles.map(({ role }) => role).sort(), ["client", "host"]);
  await Promise.all(tabs.map((tab) => tab.close()));
});

test("where there is no SharedWorker all goes over the channel", async () => {
  const without = () => {
    Object.assign(globalThis, { SharedWorker: undefined });
  };
  const [host, client] = [await visit(without), await visit(without)];
  assert.equal(await open(host, "channels"), "host");
  assert.equal(await open(client, "channels"), "client");
  assert.ok((await call(client)) >= CALLS);
  assert.equal(await call(host), 0);
  await host.close();
  await untilHost(client);
  await call(client);
  const { count, role } = await client.evaluate(async () => {
    const { value } = await kv.get<bigint>(["count"]);
    return { count: Number(value), role: (await kv.status()).role };
  });
  assert.deepEqual({ count, role }, { count: 3 * CALLS, role: "host" });
  await client.close();
});

for (const who of ["either", "the other tab"]) {
  test(`a worker that hangs is ended by its tab, and another goes on: ${who} waits`, async () => {
    const name = `hung, ${who} waits`;
    const [host, client] = [await visit(), await visit()];
    await host.evaluate(async (name) => {
      const workers: Worker[] = [];
      const worker = () => {
        const started = new Worker("/mortal-worker.js", { type: "module" });
        workers.push(started);
        return started;
      };
      globalThis.kv = await kvass.openKv(name, { worker });
      await kv.set(["opened"], true);
      Object.assign(globalThis, { workers });
    }, name);
    assert.equal(await open(client, name), "client");
    await host.evaluate(() => {
      const { workers } = globalThis as unknown as { workers: Worker[] };
      workers[0]?.postMessage("hang");
    });
    // The browser takes two seconds to end a worker that hangs, a busy machine longer: calls may
    // have been told meanwhile.
    const write = (page: Page, who: string) =>
      page.evaluate(async (who) => {
        const codes: string[] = [];
        while (codes.length < 20 && codes.at(-1) !== "done") {
          const write = kv.set(["after", who], true);
          const code = await write.then(
            () => "done",
            (error) => error.code as string,
          );
          codes.push(code);
        }
        return codes;
      }, who);
    const writers = [write(client, "client")];
    // A tab that waits for nothing ends its worker because the others say that it is silent.
    if (who === "either") writers.push(write(host, "host"));
    for (const codes of await Promise.all(writers)) {
      assert.equal(codes.pop(), "done");
      assert.ok(codes.every((code) => code === "OutcomeUnknown" || code === "Timeout"));
    }
    assert.equal(await client.evaluate(() => kv.count({ prefix: ["after"] })), writers.length);
    await Promise.all([host.close(), client.close()]);
  });
}

test("persist asks the browser to keep the data, and status tells what it said", async () => {
  const page = await visitor.visit();
  const session = await visitor.context.newCDPSession(page);
  const persisted = (persist: boolean) =>
    page.evaluate(async (persist) => {
      const kv = await kvass.openKv("kept", { persist });
      await navigator.storage.persisted();
      const { persisted } = await kv.status();
      await kv.close();
      return persisted;
    }, persist);
  assert.equal(await persisted(false), false);
  await session.send("Browser.grantPermissions", { permissions: ["durableStorage"] });
  assert.equal(await persisted(true), true);
  await page.close();
});

test("no page threw what nobody caught", () => {
  assert.deepEqual(visitor.complaints, []);
});
