/** Databases that builds of every format wrote, opened by the package in a browser. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { at } from "../../scripts/lib/paths.mjs";
import { Visitor } from "./harness/browser.ts";

let visitor: Visitor;
let page: Page;
before(async () => {
  visitor = await Visitor.arrive();
  page = await visitor.visit();
});
after(() => visitor.leave());

/** The lines of the text beside a database, of the entries that have not expired by now. */
function expected(text: string): string[] {
  const entries = text.trimEnd().split("\n").slice(2);
  const fields = entries.map((line) => line.split(" "));
  const alive = fields.filter(([, , expires]) => expires === "0" || Number(expires) > Date.now());
  return alive.map(([key, versionstamp, , value]) => `${key} ${versionstamp} ${value}`);
}

for (const format of readdirSync(at("tests", "golden")).filter((name) => /^\d+$/.test(name))) {
  const folder = at("tests", "golden", format);
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".kvass"))) {
    const database = file.slice(0, -".kvass".length);

    test(`format ${format}: ${database} is read whole, written to and opened again`, async () => {
      const name = `golden-${format}-${database}`;
      const image = [...readFileSync(at("tests", "golden", format, file))];
      const text = readFileSync(at("tests", "golden", format, `${database}.txt`), "utf8");
      const found = await page.evaluate(
        async ([name, image]) => {
          await golden.place(name, image);
          const kv = await kvass.openKv(name, { storage: "opfs" });
          const before = await golden.contents(kv);
          await kv.set([true], "written");
          await kv.close();
          const again = await kvass.openKv(name, { storage: "opfs" });
          const { value } = await again.get([true]);
          await again.delete([true]);
          const after = await golden.contents(again);
          await again.close();
          return { before, value, after };
        },
        [name, image] as const,
      );
      assert.deepEqual(found.before, expected(text));
      assert.equal(found.value, "written");
      assert.deepEqual(found.after, expected(text));
    });
  }
}

test("no page threw what nobody caught", () => assert.deepEqual(visitor.complaints, []));
