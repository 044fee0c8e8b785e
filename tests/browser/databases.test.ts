/** The databases of an origin are listed, and deleted with all they have, also while open. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { DURABLE, Visitor } from "./harness/browser.ts";

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive();
});
after(() => visitor.leave());

const list = (page: Page) => page.evaluate(() => kvass.listKv());

test("nothing is listed where nothing was stored", async () => {
  const page = await visitor.visit();
  assert.deepEqual(await list(page), []);
  await page.evaluate(() => kvass.deleteKv("never there"));
  await page.close();
});

/** A module that imports of its glue what that has not. */
const OTHER_BUILD = [
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0],
  ...[2, 10, 1, 1, 0x24, 4, 0x6e, 0x6f, 0x6e, 0x65, 0, 0],
];

test("a database that can't be opened says why", async () => {
  const page = await visitor.visit();
  await page
    .context()
    .route("**/other-build.wasm", (route) =>
      route.fulfill({ contentType: "application/wasm", body: Buffer.from(OTHER_BUILD) }),
    );
  const refusals = await page.evaluate(async () => {
    const refusal = (name: string, options: object) =>
      kvass.openKv(name, { storage: "opfs", ...options }).then(
        () => undefined,
        ({ name, code, message }) => ({ name, code, message }),
      );
    return [
      await refusal("x".repeat(300), {}),
      // As a server does that answers with its index page whatever it is asked for.
      await refusal("no engine", { wasm: "/index.html" }),
      // As a cache may have it that was not asked for all files of the package.
      await refusal("another engine", { wasm: "/other-build.wasm" }),
    ];
  });
  const [long, wasm, other] = refusals;
  assert.deepEqual([long?.name, long?.code], ["TypeError", "TooLarge"]);
  assert.deepEqual([wasm?.name, wasm?.code], ["KvassError", "Unsupported"]);
  assert.match(wasm?.message, /index\.html is none: .*expected magic word/);
  assert.deepEqual([other?.name, other?.code], ["KvassError", "VersionMismatch"]);
  assert.match(other?.message, /other-build\.wasm is of another version than its worker: LinkErr/);
  await page.close();
});

for (const storage of DURABLE) {
  test(`${storage}: databases are listed by their names, whatever these are`, async () => {
    const page = await visitor.visit();
    const names = ["", "A", "a", "a/b", "kvass:x", "ü %", "日本"];
    await page.evaluate(
      async ([names, storage]) => {
        for (const name of names) await (await kvass.openKv(name, { storage })).close();
      },
      [names, storage] as const,
    );
    assert.deepEqual(
      await list(page),
      names.map((name) => ({ name, storage })),
    );
    await page.evaluate(async (names) => {
      for (const name of names) await kvass.deleteKv(name);
    }, names);
    assert.deepEqual(await list(page), []);
    await page.close();
  });

  test(`${storage}: a deleted database is closed in all tabs and then empty`, async () => {
    const pages = [await visitor.visit(), await visitor.visit(), await visitor.visit()];
    for (const page of pages) {
      await page.evaluate(async (storage) => {
        globalThis.kv = await kvass.openKv("doomed", { storage });
        await kv.set(["n"], 1);
        const states = kv.watch([["n"]]).getReader();
        await states.read();
        Object.assign(globalThis, { states });
      }, storage);
    }
    const told = pages.slice(0, 2).map((page) =>
      page.evaluate(async () => {
        const codeOf = (promise: Promise<unknown>) =>
          promise.then(
            () => "went on",
            (error) => error.code as string,
          );
        const { states } = globalThis as unknown as {
          states: ReadableStreamDefaultReader;
        };
        while (await states.read().catch(() => false));
        const watched = await codeOf(states.read());
        return [watched, await codeOf(kv.get(["n"])), await codeOf(kv.set(["n"], 2))];
      }),
    );
    const third = pages[2] as Page;
    const after = await third.evaluate(async (storage) => {
      await kv.get(["n"]);
      await kvass.deleteKv("doomed");
      const code = await kv.get(["n"]).catch((error) => error.code as string);
      const anew = await kvass.openKv("doomed", { storage });
      const { value } = await anew.get(["n"]);
      await anew.set(["n"], 3);
      return [code, value];
    }, storage);
    assert.deepEqual(await Promise.all(told), [
      ["Closed", "Closed", "Closed"],
      ["Closed", "Closed", "Closed"],
    ]);
    assert.deepEqual(after, ["Closed", null]);
    await third.evaluate(() => kvass.deleteKv("doomed"));
    await Promise.all(pages.map((page) => page.close()));
  });
}

test("what does not let go of its files is Busy, and stays", async () => {
  const page = await visitor.visit();
  const code = await page.evaluate(async () => {
    await (await kvass.openKv("held", { storage: "opfs" })).close();
    const holder = new Worker("/holder.js", { type: "module" });
    await new Promise((resolve) => {
      holder.onmessage = resolve;
      holder.postMessage("held");
    });
    const outcome = kvass.deleteKv("held").then(
      () => "deleted",
      (error) => error.code as string,
    );
    const code = await outcome;
    holder.terminate();
    return code;
  });
  assert.equal(code, "Busy");
  assert.deepEqual(await list(page), [{ name: "held", storage: "opfs" }]);
  await page.evaluate(() => kvass.deleteKv("held"));
  await page.close();
});

test("no page threw what nobody caught", () => {
  assert.deepEqual(visitor.complaints, []);
});
