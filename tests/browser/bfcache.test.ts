/** A page with an open database may enter the back/forward cache, and works when it comes back. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DURABLE, Visitor } from "./harness/browser.ts";

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
});
after(() => visitor.leave());

for (const storage of DURABLE) {
  test(`${storage}: a page comes back from the back/forward cache with its database`, async () => {
    const page = await visitor.visit();
    await page.evaluate(async (storage) => {
      globalThis.kv = await kvass.openKv("cached", { storage });
      await kv.set(["n"], 1);
      const states = kv.watch<[number]>([["n"]]).getReader();
      await states.read();
      Object.assign(globalThis, { states, returned: false });
      addEventListener("pageshow", (event) => {
        Object.assign(globalThis, { returned: event.persisted });
      });
      // Sent, and not waited for: the page goes away meanwhile.
      kv.set(["n"], 2).catch(() => undefined);
    }, storage);
    await page.goto(`${visitor.url}/?elsewhere`);
    const elsewhere = await page.evaluate(async (storage) => {
      const other = await kvass.openKv("cached", { storage });
      const { value } = await other.get(["n"]);
      await other.set(["n"], 3);
      await other.close();
      return value;
    }, storage);
    await page.goBack({ waitUntil: "commit" });
    const found = await page.evaluate(async () => {
      const { states } = globalThis as unknown as {
        states: ReadableStreamDefaultReader<[{ value: number }]>;
      };
      const { value } = await kv.get(["n"]);
      let state: number | undefined;
      while (state !== 3) state = (await states.read()).value?.[0].value;
      await kv.set(["n"], 4);
      while (state !== 4) state = (await states.read()).value?.[0].value;
      await kv.close();
      // Now, for this may have begun before the page was told.
      const { returned } = globalThis as unknown as { returned: boolean };
      return { returned, value };
    });
    assert.deepEqual({ elsewhere, ...found }, { elsewhere: 2, returned: true, value: 3 });
    await page.close();
  });

  test(`${storage}: a page whose database was made anew meanwhile is told`, async () => {
    const page = await visitor.visit();
    await page.evaluate(async (storage) => {
      globalThis.kv = await kvass.openKv("anew", { storage });
      await kv.set(["n"], 1);
    }, storage);
    await page.goto(`${visitor.url}/?elsewhere`);
    await page.evaluate(async (storage) => {
      await kvass.deleteKv("anew");
      // Its epoch gets as high as that of the one before, and higher.
      for (let i = 0; i < 3; i++) await (await kvass.openKv("anew", { storage })).close();
    }, storage);
    await page.goBack({ waitUntil: "commit" });
    const codes = await page.evaluate(async () => {
      const codeOf = (promise: Promise<unknown>) =>
        promise.then(
          () => "went on",
          (error) => error.code as string,
        );
      return [await codeOf(kv.get(["n"])), await codeOf(kv.set(["n"], 2))];
    });
    assert.deepEqual(codes, ["Closed", "Closed"]);
    await page.evaluate(() => kvass.deleteKv("anew"));
    await page.close();
  });
}
