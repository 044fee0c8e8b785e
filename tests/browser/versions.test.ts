/**
 * After a deploy old and new pages are open side by side: they share a database, or say that they
 * can't.
 */

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import type * as kvassPackage from "../../client/index.ts";
import { Visitor } from "./harness/browser.ts";
import { buildNext, buildPages } from "./harness/versions.ts";

let visitor: Visitor;
const folders: Record<string, string> = {};
before(async () => {
  folders["/next/"] = await buildNext();
  folders["/future/"] = await buildPages({ oldest: 9, newest: 9 });
  folders["/past/"] = await buildPages({ oldest: 2, newest: 2 });
  visitor = await Visitor.arrive({}, folders);
});
after(async () => {
  await visitor.leave();
  for (const folder of Object.values(folders)) rmSync(folder, { recursive: true, force: true });
});

type Build = "/pkg/" | "/next/" | "/future/" | "/past/";

/** Opens a database with a build of the package; returns what became of it. */
async function open(page: Page, build: Build, name: string): Promise<string> {
  return page.evaluate(
    async ([build, name]) => {
      const { openKv }: typeof kvassPackage = await import(`${build}index.js`);
      const worker = build === "/next/" ? "/next/worker.js" : "/pkg/worker.js";
      try {
        globalThis.kv = await openKv(name, { worker });
        return (await kv.status()).role;
      } catch (error) {
        const { code, message } = error as kvassPackage.KvassError;
        return `${code}: ${message}`;
      }
    },
    [build, name] as const,
  );
}

/** Waits until a tab hosts the database: one that is closed still serves it for a moment. */
const untilHost = (page: Page) =>
  page.evaluate(async () => {
    while ((await kv.status()).role !== "host");
  });

const add = (page: Page) =>
  page.evaluate(async () => {
    await kv.atomic().sum(["count"], 1n).commit();
    return Number((await kv.get<bigint>(["count"])).value);
  });

for (const [first, second] of [
  ["/pkg/", "/next/"],
  ["/next/", "/pkg/"],
] as const) {
  test(`${first} hosts ${second}, which takes over`, async () => {
    const name = `from ${first}`;
    const [host, client] = [await visitor.visit(), await visitor.visit()];
    assert.equal(await open(host, first, name), "host");
    assert.equal(await open(client, second, name), "client");
    assert.deepEqual([await add(host), await add(client)], [1, 2]);
    await host.close();
    await untilHost(client);
    assert.equal(await add(client), 3);
    await client.close();
  });
}

for (const [build, advice] of [
  ["/future/", /^VersionMismatch: .*older kvass than this/],
  ["/past/", /^VersionMismatch: .*reload it/],
] as const) {
  test(`${build} is told so by a host that it has no protocol in common with`, async () => {
    const [host, client] = [await visitor.visit(), await visitor.visit()];
    assert.equal(await open(host, "/pkg/", "apart"), "host");
    assert.match(await open(client, build, "apart"), advice);
    const again = await host.evaluate(async () => (await kv.set(["n"], 1)).ok);
    assert.equal(again, true);
    await Promise.all([host.close(), client.close()]);
  });
}
