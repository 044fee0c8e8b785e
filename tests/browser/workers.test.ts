/** Workers of a page open databases as pages do; a service worker is a client of pages. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Visitor } from "./harness/browser.ts";

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive();
});
after(() => visitor.leave());

test("a service worker shares the database of a page, or has NoHost", async () => {
  const page = await visitor.visit();
  const found = await page.evaluate(async () => {
    const { serviceWorker } = navigator;
    await serviceWorker.register("/service-worker.js", { type: "module" });
    const { active } = await serviceWorker.ready;
    const ask = (name: string) =>
      new Promise((resolve) => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = ({ data }) => resolve(data);
        active?.postMessage(name, [port2]);
      });
    const kv = await kvass.openKv("served");
    await kv.set(["n"], 7);
    const answers = [await ask("served"), await ask("served")];
    const { value } = await kv.get<bigint>(["count"]);
    await kv.close();
    return { answers, count: Number(value), alone: await ask("served") };
  });
  const answer = { value: 7, ok: true, role: "client" };
  assert.deepEqual(found, { answers: [answer, answer], count: 2, alone: "NoHost" });
  await page.close();
});

test("a dedicated worker shares the database of its page, and hosts it after that", async () => {
  const page = await visitor.visit();
  const found = await page.evaluate(async () => {
    const kv = await kvass.openKv("with-worker");
    await kv.set(["n"], 1);
    const worker = new Worker("/user-worker.js", { type: "module" });
    const ask = (what: string) =>
      new Promise((resolve) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.postMessage(what);
      });
    const shared = await ask("with-worker");
    await kv.close();
    const alone = await ask("with-worker");
    worker.terminate();
    return { shared, alone };
  });
  assert.deepEqual(found, { shared: ["client", 1], alone: ["host", 2] });
  await page.close();
});

test("no page threw what nobody caught", () => {
  assert.deepEqual(visitor.complaints, []);
});
