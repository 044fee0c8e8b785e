/**
 * A full disk: a typed error, nothing of the commit, the database readable, deletes go through, and
 * writable again once there is room.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { DURABLE, Visitor } from "./harness/browser.ts";
import { HANG_MS } from "./harness/profile.ts";

/** What the origin may use. Above the memtable's 4 MiB, so that tables meet the limit too. */
const QUOTA_BYTES = 10 * (1 << 20);

/** Writes until that fails; what went wrong, and what can be read then. */
const fill = (page: Page) =>
  page.evaluate(async () => {
    await kv.set(["before"], "readable");
    // The browser may compress what it keeps, so these can't be compressed.
    const value = new Uint8Array(5 * 65_536);
    for (let at = 0; at < value.length; at += 65_536) {
      crypto.getRandomValues(value.subarray(at, at + 65_536));
    }
    for (let i = 0; ; i++) {
      try {
        await kv.atomic().set(["large", i], value).set(["count"], i).commit();
      } catch (error) {
        const { name, code, message } = error as Error & { code: string };
        const entries = await kv.getMany([["before"], ["large", i], ["count"]]);
        const values = entries.map((entry) => entry.value);
        return { i, name, code, message, values };
      }
    }
  });

for (const storage of DURABLE) {
  const skip = storage === "indexeddb" && "the browser gives its space back later";
  test(`${storage}: deletes on a full disk make room`, { skip }, async () => {
    const visitor = await Visitor.arrive();
    try {
      const page = await visitor.visit();
      const session = await visitor.context.newCDPSession(page);
      // Enough for a reserve that a full memtable can be written to.
      const quota = { origin: visitor.url, quotaSize: 5 * QUOTA_BYTES };
      await session.send("Storage.overrideQuotaForOrigin", quota);
      const orders = [storage, HANG_MS] as const;
      const [full, refused, left, room] = await page.evaluate(async ([storage, hangMs]) => {
        globalThis.kv = await kvass.openKv("quota", { storage, history: { bytes: 0 } });
        const value = crypto.getRandomValues(new Uint8Array(30_000));
        const fill = async () => {
          for (let i = 0; ; i++) {
            try {
              await kv.set(["k", i], value);
            } catch (error) {
              return [i, (error as { code: string }).code] as const;
            }
          }
        };
        const [full] = await fill();
        const [, code] = await fill();
        for (let i = 0; i < full; i += 2) await kv.delete(["k", i]);
        await kv.deleteRange({ prefix: ["k"] });
        const left = await kv.count({ prefix: ["k"] });
        // Upkeep goes on between requests.
        let room = false;
        const until = performance.now() + hangMs;
        while (!room && performance.now() < until) {
          await new Promise((resolve) => setTimeout(resolve, 50));
          room = await kv.set(["k", 0], value).then(
            () => true,
            () => false,
          );
        }
        return [full, code, left, room] as const;
      }, orders);
      assert.ok(full > 100, `${full} values`);
      assert.deepEqual([refused, left, room], ["QuotaExceeded", 0, true]);
      assert.deepEqual(visitor.complaints, []);
    } finally {
      await visitor.leave();
    }
  });

  test(`${storage}: a full quota is QuotaExceeded, and writing goes on after it`, async () => {
    const visitor = await Visitor.arrive();
    try {
      const page = await visitor.visit();
      const session = await visitor.context.newCDPSession(page);
      const quota = { origin: visitor.url, quotaSize: QUOTA_BYTES };
      await session.send("Storage.overrideQuotaForOrigin", quota);
      await page.evaluate(async (storage) => {
        globalThis.kv = await kvass.openKv("quota", { storage });
      }, storage);

      const full = await fill(page);
      assert.deepEqual([full.name, full.code], ["KvassError", "QuotaExceeded"], full.message);
      assert.ok(full.i > 1);
      assert.deepEqual(full.values, ["readable", null, full.i - 1]);

      await session.send("Storage.overrideQuotaForOrigin", { origin: visitor.url });
      const orders = [storage, HANG_MS] as const;
      const values = await page.evaluate(async ([storage, hangMs]) => {
        // A transaction that began before there was room may fail with what joins it.
        const until = performance.now() + hangMs;
        for (let isWritten = false; !isWritten && performance.now() < until; ) {
          isWritten = await kv.set(["after"], "written").then(
            () => true,
            () => new Promise((resolve) => setTimeout(resolve, 50, false)),
          );
        }
        await kv.close();
        const again = await kvass.openKv("quota", { storage });
        const entries = await again.getMany([["before"], ["after"], ["count"]]);
        let large = 0;
        for await (const _ of again.list({ prefix: ["large"] })) large += 1;
        await again.close();
        return [...entries.map((entry) => entry.value), large];
      }, orders);
      assert.deepEqual(values, ["readable", "written", full.i - 1, full.i]);
      assert.deepEqual(visitor.complaints, []);
    } finally {
      await visitor.leave();
    }
  });
}
