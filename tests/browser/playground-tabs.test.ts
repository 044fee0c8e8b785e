/**
 * The playground's page of many tabs as a person uses it: three tabs count, the host is killed by
 * a button, and the counter goes on in all of them, every commit once.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { BrowserContext, Page } from "playwright-core";
import { serve } from "../../scripts/serve.mjs";
import { HANG_MS, Profile } from "./harness/profile.ts";

for (const [storage, title] of [
  ["opfs", "OPFS"],
  ["indexeddb", "IndexedDB"],
] as const) {
  describe(`the page of many tabs on ${title}`, () => {
    const profile = new Profile();
    let server: Awaited<ReturnType<typeof serve>>;
    let context: BrowserContext;
    const tabs: Page[] = [];
    /** Everything that a page had to complain about. */
    const complaints: string[] = [];

    before(async () => {
      server = await serve();
      context = await profile.launch();
      context.on("page", (page) => {
        page.on("console", (message) => complaints.push(`${message.type()}: ${message.text()}`));
        page.on("pageerror", (error) => complaints.push(String(error)));
      });
      const first = await context.newPage();
      await first.goto(`${server.url}/tabs.html?storage=${storage}`);
      tabs.push(first);
    });

    after(async () => {
      await context?.close();
      await server?.close();
      await profile.remove();
    });

    /** Waits until an element's text holds a text, in all tabs or in these. */
    const textOf = (selector: string, text: string, pages = tabs) =>
      Promise.all(
        pages.map((page) => page.locator(selector).filter({ hasText: text }).first().waitFor()),
      );

    const read = async (page: Page, selector: string) =>
      (await page.locator(selector).textContent()) ?? "";

    const countOf = async (page: Page) => Number((await read(page, "#count")).replaceAll(",", ""));

    /** Waits until the counter of every tab is higher than it is now in any. */
    const counting = async () => {
      const most = Math.max(...(await Promise.all(tabs.map(countOf))));
      await Promise.all(
        tabs.map((page) =>
          page.waitForFunction((most) => {
            const text = document.querySelector("#count")?.textContent ?? "";
            return Number(text.replaceAll(",", "")) > most;
          }, most),
        ),
      );
    };

    /** Waits until all tabs list all of them, and the same one as the host; returns that. */
    const agreed = async (): Promise<Page> => {
      for (;;) {
        const all = await Promise.all(tabs.map(seenBy));
        const host = all.find(({ name, role }) => role === "host" && name === all[0]?.host);
        const isAgreed = all.every((tab) => tab.open === tabs.length && tab.host === host?.name);
        if (host !== undefined && isAgreed) return host.page;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };

    /** What a tab says of itself and of the others. */
    const seenBy = async (page: Page) => {
      const selectors = ["#status-name", "#status-role", '#roster li[data-role="host"] .name'];
      const [name, role, host, open] = await page.evaluate(
        (selectors) => [
          ...selectors.map((selector) => document.querySelector(selector)?.textContent),
          document.querySelectorAll("#roster li").length,
        ],
        selectors,
      );
      return { page, name, role, host, open };
    };

    const audited = async () => {
      for (const page of tabs) {
        const answers = ["#verdict", "#missed", "#repeated"].map((id) => read(page, id));
        assert.deepEqual(await Promise.all(answers), ["yes", "0", "0"]);
      }
    };

    test("the first tab hosts the database, counts, and says what to do", async () => {
      await textOf("#status-storage", title);
      await textOf("#roster-note", "Only this one so far");
      await agreed();
      await counting();
    });

    test("tabs that are opened from it count with it", async () => {
      while (tabs.length < 3) {
        const opened = context.waitForEvent("page");
        await (tabs[0] as Page).locator("#open-tab").click();
        tabs.push(await opened);
      }
      await textOf("#roster-note", "3 tabs share one database");
      await agreed();
      await counting();
      const names = await Promise.all(tabs.map((page) => read(page, "#status-name")));
      assert.equal(new Set(names).size, 3);
    });

    test("when any tab kills the host, the counter goes on in all, every commit once", async () => {
      const epoch = Number(await read(tabs[0] as Page, "#status-epoch"));
      const host = await agreed();
      const name = await read(host, "#status-name");
      const killer = tabs.find((page) => page !== host) as Page;
      await killer.locator("#kill").click();
      await textOf("#takeover", `killed ${name}`);
      await textOf("#status-epoch", String(epoch + 1));
      assert.notEqual(await agreed(), host);
      await counting();
      await audited();
    });

    test("a host can kill itself", async () => {
      const host = await agreed();
      await host.locator("#kill").click();
      await textOf("#takeover", "killed its own worker");
      assert.notEqual(await agreed(), host);
      await counting();
      await audited();
    });

    test("when the host's tab is closed, it leaves the list and the counter goes on", async () => {
      const host = await agreed();
      const name = await read(host, "#status-name");
      await host.close();
      tabs.splice(tabs.indexOf(host), 1);
      await textOf("#takeover", `${name} let go`);
      await textOf("#roster-note", "2 tabs share one database");
      await agreed();
      await counting();
      await audited();
    });

    test("all show the same number once nobody counts", async () => {
      for (const page of tabs) await page.locator("#counting").uncheck();
      await textOf("#roster li:last-child", "paused");
      await textOf("#roster li:first-child", "paused");
      // What a tab has heard it shows a moment later.
      const until = performance.now() + HANG_MS;
      let [one, two] = await Promise.all(tabs.map(countOf));
      while (one !== two && performance.now() < until) {
        [one, two] = await Promise.all(tabs.map(countOf));
      }
      assert.equal(one, two);
    });

    test("a tab that was opened by the page closes itself", async () => {
      const opened = tabs.pop() as Page;
      const closed = opened.waitForEvent("close");
      // A click that waits for its end would wait for a page that is gone.
      await opened.evaluate(() => {
        setTimeout(() => document.querySelector<HTMLElement>("#close-tab")?.click());
      });
      await closed;
    });

    test("moves nothing that was there, and fits a screen of 360 pixels", async () => {
      const [page] = tabs as [Page];
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
      await page.setViewportSize({ width: 360, height: 740 });
      await page.reload();
      await counting();
      await page.locator("#kill").click();
      await textOf("#takeover", "killed", [page]);
      const { shift, width } = await page.evaluate(() => ({
        shift: Number(document.documentElement.dataset.shift ?? 0),
        width: document.documentElement.scrollWidth,
      }));
      assert.ok(shift < 0.02, `a layout shift of ${shift}`);
      assert.ok(width <= 360, `${width} pixels wide`);
    });

    test("left no word on the console and broke no policy", () => {
      assert.deepEqual(complaints, []);
    });
  });
}
