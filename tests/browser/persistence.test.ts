/** Data outlives the page and the browser, in the storage where it was put. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { DURABLE, Visitor } from "./harness/browser.ts";

const ENTRIES = 3000;

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive();
});
after(() => visitor.leave());

/** Writes entries without closing anything: the page just goes away. */
const fill = (page: Page, storage: (typeof DURABLE)[number], name: string) =>
  page.evaluate(
    async ([storage, name, count]) => {
      const kv = await kvass.openKv(name, { storage });
      const writes = Array.from({ length: count }, (_, i) =>
        kv.set(["n", i], { i, at: new Date(i), bytes: new Uint8Array([i, i >> 8]) }),
      );
      await Promise.all(writes);
    },
    [storage, name, ENTRIES] as const,
  );

/** Opens the database, counts the entries that are as `fill` wrote them, and closes it. */
const count = (page: Page, storage: "auto" | (typeof DURABLE)[number], name: string) =>
  page.evaluate(
    async ([storage, name]) => {
      const kv = await kvass.openKv(name, { storage });
      let right = 0;
      type Value = { i: number; at: Date; bytes: Uint8Array };
      for await (const { key, value } of kv.list<Value>({ prefix: ["n"] })) {
        const isSame =
          key[1] === value.i &&
          value.i === right &&
          value.at.getTime() === value.i &&
          value.bytes[1] === value.i >> 8;
        right += Number(isSame);
      }
      await kv.close();
      return right;
    },
    [storage, name] as const,
  );

/** The code of the error with which a page fails to open the database; undefined if it opens. */
const openingFails = (page: Page, storage: "auto" | (typeof DURABLE)[number], name: string) =>
  page.evaluate(
    ([storage, name]) =>
      kvass.openKv(name, { storage }).then(
        (kv) => kv.close(),
        (error) => error.code as string,
      ),
    [storage, name] as const,
  );

for (const storage of DURABLE) {
  test(`${storage}: a deleted range stays deleted after a reload`, async () => {
    const page = await visitor.visit();
    const name = `ranges-${storage}`;
    await fill(page, storage, name);
    await page.evaluate(
      async ([storage, name]) => {
        const kv = await kvass.openKv(name, { storage });
        await kv.deleteRange({ prefix: ["n"], start: ["n", 100] });
      },
      [storage, name] as const,
    );
    await page.reload();
    assert.equal(await count(page, storage, name), 100);
  });

  test(`${storage}: changes go on after a reload, with no gap and no repeat`, async () => {
    const page = await visitor.visit();
    const name = `changes-${storage}`;
    const written = await page.evaluate(
      async ([storage, name]) => {
        const kv = await kvass.openKv(name, { storage });
        const sets = Array.from({ length: 500 }, (_, n) => kv.set(["n"], n));
        return (await Promise.all(sets)).map(({ versionstamp }) => versionstamp);
      },
      [storage, name] as const,
    );
    await page.reload();
    const [added, heard] = await page.evaluate(
      async ([storage, name, since]) => {
        const kv = await kvass.openKv(name, { storage });
        const reader = kv.changes({ prefix: [] }, { since }).getReader();
        const sets = Array.from({ length: 10 }, (_, n) => kv.set(["later"], n));
        const added = (await Promise.all(sets)).map(({ versionstamp }) => versionstamp);
        const heard: string[] = [];
        while (heard.at(-1) !== added.at(-1)) {
          const { value: event } = await reader.read();
          heard.push(event?.versionstamp ?? "");
        }
        await kv.close();
        return [added, heard] as const;
      },
      [storage, name, written[99] as string] as const,
    );
    assert.deepEqual(heard, [...written.slice(100), ...added]);
    await page.close();
  });
}

for (const storage of DURABLE) {
  test(`${storage}: everything acknowledged is there after a reload`, async () => {
    const page = await visitor.visit();
    await fill(page, storage, "reloaded");
    await page.reload();
    assert.equal(await count(page, storage, "reloaded"), ENTRIES);
    await page.close();
  });

  test(`${storage}: data is there after the browser was restarted`, async () => {
    await fill(await visitor.visit(), storage, "restarted");
    await visitor.restart();
    const page = await visitor.visit();
    assert.equal(await count(page, storage, "restarted"), ENTRIES);
    await page.close();
  });

  test(`${storage}: databases of different names are apart, whatever the names are`, async () => {
    const page = await visitor.visit();
    const found = await page.evaluate(async (storage) => {
      const names = [
        "a",
        "A",
        "a/b",
        "../a",
        ".",
        "",
        " ",
        "%61",
        "ä",
        "\u{1f37a}",
        "con",
        "kvass",
      ];
      const handles = await Promise.all(names.map((name) => kvass.openKv(name, { storage })));
      await Promise.all(handles.map((kv, i) => kv.set(["name"], names[i])));
      await Promise.all(handles.map((kv) => kv.close()));
      const again = await Promise.all(names.map((name) => kvass.openKv(name, { storage })));
      const values = await Promise.all(again.map(async (kv) => (await kv.get(["name"])).value));
      await Promise.all(again.map((kv) => kv.close()));
      return values.map((value, i) => value === names[i]);
    }, storage);
    assert.deepEqual(
      found,
      found.map(() => true),
    );
    await page.close();
  });
}

test("memory is gone with the page", async () => {
  const page = await visitor.visit();
  const write = () =>
    page.evaluate(async () => {
      const kv = await kvass.openKv("gone", { storage: "memory" });
      const before = await kv.get(["a"]);
      await kv.set(["a"], 1);
      return [before.value, (await kv.status()).storage];
    });
  assert.deepEqual(await write(), [null, "memory"]);
  await page.reload();
  assert.deepEqual(await write(), [null, "memory"]);
  await page.close();
});

test("auto takes OPFS, and says so", async () => {
  const page = await visitor.visit();
  const status = await page.evaluate(async () => {
    const kv = await kvass.openKv("auto");
    const status = await kv.status();
    await kv.close();
    return status;
  });
  assert.equal(status.storage, "opfs");
  assert.equal(status.durability, "relaxed");
  assert.ok((status.quota ?? 0) > 0);
  await page.close();
});

test("auto stays with OPFS and gets Busy where another one holds the files", async () => {
  const first = await visitor.visit();
  const second = await visitor.visit();
  await fill(first, "opfs", "auto-busy");
  await first.reload();
  await first.evaluate(async () => {
    const holder = new Worker("/holder.js", { type: "module" });
    await new Promise((resolve) => {
      holder.onmessage = resolve;
      holder.postMessage("auto-busy");
    });
  });
  assert.equal(await openingFails(second, "auto", "auto-busy"), "Busy");
  await first.close();
  assert.equal(await count(second, "auto", "auto-busy"), ENTRIES);
  await second.close();
});

test("auto takes IndexedDB where there are no sync access handles, and says so", async () => {
  const page = await visitor.visit();
  const open = () =>
    page.evaluate(async () => {
      const kv = await kvass.openKv("no-handles", { worker: "/no-sync-handles.js" });
      const { value } = await kv.get<number>(["opens"]);
      await kv.set(["opens"], (value ?? 0) + 1);
      const { storage } = await kv.status();
      await kv.close();
      return [value, storage];
    });
  assert.deepEqual(await open(), [null, "indexeddb"]);
  await page.reload();
  assert.deepEqual(await open(), [1, "indexeddb"]);
  const only = await page.evaluate(() =>
    kvass.openKv("x", { storage: "opfs", worker: "/no-sync-handles.js" }).then(
      () => "opened",
      (error) => error.code as string,
    ),
  );
  assert.equal(only, "Unsupported");
  await page.close();
});

test("no page threw what nobody caught", () => assert.deepEqual(visitor.complaints, []));
