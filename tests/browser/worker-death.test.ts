/** The worker that runs the engine dies: another one does what was under way, and no more. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { DURABLE, Visitor } from "./harness/browser.ts";

let visitor: Visitor;
let page: Page;
before(async () => {
  visitor = await Visitor.arrive();
  page = await visitor.visit();
});
after(() => visitor.leave());

/** Terminates the workers of a database that two tabs have open, the host's last. */
const silence = async (storage: (typeof DURABLE)[number]) => {
  const pages = [await visitor.visit(), await visitor.visit()];
  const open = (page: Page) =>
    page.evaluate(async (storage) => {
      const workers: Worker[] = [];
      let isLoaded = () => {};
      const loaded = new Promise<void>((resolve) => {
        isLoaded = resolve;
      });
      const worker = () => {
        const started = new Worker("/mortal-worker.js", { type: "module" });
        started.addEventListener("message", ({ data }) => "waiting" in data && isLoaded());
        workers.push(started);
        return started;
      };
      globalThis.kv = await kvass.openKv(`silent-${storage}`, { storage, worker });
      await Promise.all([loaded, kv.set(["n"], 0)]);
      Object.assign(globalThis, { workers });
    }, storage);
  for (const page of pages) await open(page);
  const [host, client] = pages as [Page, Page];
  /** Ends the worker without a word; returns once there is another. */
  const end = (page: Page) =>
    page.evaluate(async () => {
      const { workers } = globalThis as unknown as { workers: Worker[] };
      const before = workers.length;
      workers.at(-1)?.terminate();
      while (workers.length === before) await new Promise((resolve) => setTimeout(resolve, 10));
    });
  await end(client);
  await end(host);
  await client.evaluate(() => kv.set(["n"], 1));
  const { value } = await host.evaluate(() => kv.get<number>(["n"]));
  await Promise.all(pages.map((page) => page.close()));
  return value;
};

/** What a page finds when the worker dies with calls under way. */
const live = (storage: (typeof DURABLE)[number]) =>
  page.evaluate(async (storage) => {
    const workers: Worker[] = [];
    const worker = () => {
      const started = new Worker("/mortal-worker.js", { type: "module" });
      workers.push(started);
      return started;
    };
    const outcome = (promise: Promise<unknown>) =>
      promise.then(
        () => "done",
        (error) => error.code as string,
      );

    const kv = await kvass.openKv(`mortal-${storage}`, { storage, worker });
    const states = kv.watch<[number]>([["n"]]).getReader();
    const events = kv.changes().getReader();
    await states.read();
    await kv.set(["n"], 1);
    await events.read();

    workers[0]?.postMessage("panic");
    const inFlight = await Promise.all([
      outcome(kv.set(["n"], 2)),
      outcome(kv.atomic().set(["n"], 3).commit()),
      outcome(kv.get(["n"])),
      outcome(kv.list({ prefix: [] }).next()),
      outcome(kv.flush()),
    ]);

    const { value } = await kv.get<number>(["n"]);
    await kv.set(["n"], 4);
    let state: number | null | undefined;
    while (state !== 4) state = (await states.read()).value?.[0].value;
    const { versionstamp } = await kv.set(["other"], 5);
    const heard: unknown[] = [];
    let stamp = "";
    while (stamp !== versionstamp) {
      const { value: event } = await events.read();
      stamp = event?.versionstamp ?? versionstamp;
      const change = event?.type === "commit" ? event.changes[0] : undefined;
      heard.push(change !== undefined && "key" in change && change.key[0]);
    }
    const { epoch } = await kv.status();
    await kv.close();
    return { inFlight, value, heard, workers: workers.length, epoch };
  }, storage);

for (const storage of DURABLE) {
  test(`${storage}: a worker that ends without a word is noticed`, async () => {
    assert.equal(await silence(storage), 1);
  });
}

for (const storage of DURABLE) {
  test(`${storage}: what was under way is done once, and watchers go on`, async () => {
    const found = await live(storage);
    assert.deepEqual(found.inFlight, ["done", "done", "done", "done", "done"]);
    assert.equal(found.value, 3);
    assert.deepEqual(found.heard, ["n", "n", "n", "other"]);
    assert.equal(found.workers, 2);
    assert.equal(found.epoch, 2);
  });
}

test("a worker that dies again and again ends in HostLost, not in a loop", async () => {
  const { codes, started } = await page.evaluate(async () => {
    let started = 0;
    const worker = () => {
      started += 1;
      return new Worker("/mortal-worker.js#stillborn", { type: "module" });
    };
    const codes: string[] = [];
    for (const _ of [1, 2]) {
      await kvass.openKv("stillborn", { storage: "opfs", worker }).catch((error) => {
        codes.push(error.code);
      });
    }
    return { codes, started };
  });
  assert.deepEqual(codes, ["HostLost", "HostLost"]);
  assert.ok(started <= 6, `${started} workers`);
});

test("a worker that can't be loaded is Unsupported", async () => {
  const code = await page.evaluate(() =>
    kvass.openKv("absent", { worker: "/absent.js" }).then(
      () => "opened",
      (error) => error.code as string,
    ),
  );
  assert.equal(code, "Unsupported");
});

test("an engine that can't be loaded is a typed error", async () => {
  const error = await page.evaluate(() =>
    kvass.openKv("no-engine", { wasm: "/absent.wasm" }).then(
      () => undefined,
      (error) => [error.name, error.code] as const,
    ),
  );
  assert.deepEqual(error, ["KvassError", "Unsupported"]);
});

test("no page threw what nobody caught", () => assert.deepEqual(visitor.complaints, []));
