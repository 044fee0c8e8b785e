/** Values of up to 64 MiB: whole, in pieces through the engine's memory, and gone when deleted. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { DURABLE, Visitor } from "./harness/browser.ts";

const MIB = 1 << 20;

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive();
});
after(() => visitor.leave());

/** Leaves an open database behind as `kv`. History would keep the values that it tells of. */
const open = (page: Page, storage: (typeof DURABLE)[number], name: string) =>
  page.evaluate(
    async ([storage, name]) => {
      globalThis.kv = await kvass.openKv(name, { storage, history: { bytes: 0 } });
    },
    [storage, name] as const,
  );

for (const storage of DURABLE) {
  test(`${storage}: a value of 64 MiB comes back and costs no memory`, async () => {
    const page = await visitor.visit();
    await open(page, storage, "largest");
    const found = await page.evaluate(async () => {
      const length = 64 * large.MIB;
      await kv.set(["small"], "readable");
      const { memoryBytes } = await kv.stats();
      await kv.set(["largest"], large.bytesOf(1, length));
      const asWritten = large.isWhole((await kv.get(["largest"])).value, 1, length);
      await kv.set(["largest"], large.bytesOf(2, length), { durability: "strict" });
      const asOverwritten = large.isWhole((await kv.get(["largest"])).value, 2, length);
      const listed = await kv.list({ start: ["largest"], end: ["m"] }).next();
      const asListed = large.isWhole(listed.value?.value, 2, length);
      const grown = (await kv.stats()).memoryBytes - memoryBytes;
      await kv.close();
      return { asWritten, asOverwritten, asListed, grown };
    });
    assert.ok(found.asWritten && found.asOverwritten && found.asListed, JSON.stringify(found));
    assert.ok(found.grown <= 4 * MIB, `it has grown by ${found.grown} bytes`);

    await open(page, storage, "largest");
    const after = await page.evaluate(async () => {
      const isWhole = large.isWhole((await kv.get(["largest"])).value, 2, 64 * large.MIB);
      const { damaged } = await kv.verify();
      await kv.delete(["largest"]);
      const diskBytes = await large.shrink(kv, large.MIB);
      const { value } = await kv.get(["largest"]);
      const small = (await kv.get(["small"])).value;
      await kv.close();
      return { isWhole, damaged, value, small, diskBytes };
    });
    assert.ok(after.diskBytes < MIB, `${after.diskBytes} bytes are left`);
    const { isWhole, damaged, value, small } = after;
    assert.deepEqual(
      { isWhole, damaged, value, small },
      {
        isWhole: true,
        damaged: 0,
        value: null,
        small: "readable",
      },
    );
    await page.close();
  });

  test(`${storage}: a value of a byte more is TooLarge, and changes nothing`, async () => {
    const page = await visitor.visit();
    await open(page, storage, "larger");
    const found = await page.evaluate(async () => {
      const value = new Uint8Array(64 * large.MIB + 1);
      const commit = async () => kv.atomic().set(["small"], 1).set(["larger"], value).commit();
      const error = await commit().catch((error) => error);
      const entries = await kv.getMany([["small"], ["larger"]]);
      await kv.close();
      return [error.code, ...entries.map((entry) => entry.value)];
    });
    assert.deepEqual(found, ["TooLarge", null, null]);
    await page.close();
  });

  test(`${storage}: a kill leaves large values whole and no space behind`, async () => {
    const length = 2 * MIB;
    let last = -1;
    for (let round = 0; round < 3; round++) {
      const page = await visitor.visit();
      const session = await visitor.context.newCDPSession(page);
      const enough = new Promise<void>((resolve) => {
        let heard = 0;
        session.on("Runtime.bindingCalled", ({ payload }) => {
          last = Number(payload);
          if (++heard === 5 + round) resolve();
        });
      });
      await session.send("Runtime.enable");
      await session.send("Runtime.addBinding", { name: "report" });
      await open(page, storage, "killed");
      const writing = page.evaluate(
        ([first, length]) => {
          const { report } = globalThis as unknown as { report: (n: string) => void };
          return large.write(kv, first, length, report);
        },
        [last + 1, length] as const,
      );
      writing.catch(() => undefined);
      await enough;
      const crashed = page.waitForEvent("crash");
      session.send("Page.crash").catch(() => undefined);
      await crashed;
      await page.close();
    }

    const page = await visitor.visit();
    await open(page, storage, "killed");
    const found = await page.evaluate(async (length) => {
      const whole: boolean[] = [];
      for await (const { key, value } of kv.list({ prefix: ["large"] })) {
        whole.push(key[1] === whole.length && large.isWhole(value, whole.length, length));
      }
      const { damaged } = await kv.verify();
      await Promise.all(whole.map((_, n) => kv.delete(["large", n])));
      const diskBytes = await large.shrink(kv, 10 * large.MIB);
      await kv.close();
      return { whole, damaged, diskBytes };
    }, length);
    assert.ok(found.whole.length > last, `${found.whole.length} values, and ${last} was the last`);
    assert.ok(found.whole.every(Boolean), found.whole.join());
    assert.equal(found.damaged, 0);
    // The file that is written to stays.
    assert.ok(found.diskBytes < 10 * MIB, `${found.diskBytes} bytes are left`);
    await page.close();
  });
}
