/** Visiting the page of app/ in headless Chromium, and what it has to find there. */
import assert from "node:assert/strict";
import type { BrowserContext } from "playwright-core";
import { Profile } from "../browser/harness/profile.ts";

const RYE = { of: "rye", percent: 1 };
const LISTED = [
  [["drinks", "kvass"], RYE],
  [["drinks", "mead"], { of: "honey", percent: 12 }],
];

/** Run `work` in a browser with a profile of its own. */
export async function withBrowser(work: (context: BrowserContext) => Promise<void>) {
  const profile = new Profile();
  const context = await profile.launch();
  try {
    await work(context);
  } finally {
    await context.close();
    await profile.remove();
  }
}

/**
 * Open the page, and load it again: the first time the database is empty, the second time what
 * was set is there. Anything that the page or its workers complain about fails the test.
 */
export async function keepsItsData(context: BrowserContext, url: string): Promise<void> {
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    const { url } = message.location();
    if (message.type() === "error" && !url.endsWith("/favicon.ico")) {
      complaints.push(`${message.text()} ${url}`);
    }
  });
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url()}`));

  const result = async () => {
    const body = page.locator("body[data-result], body[data-error]");
    await body.waitFor({ state: "attached" }).catch((error) => {
      throw new Error([...complaints, error.message].join("\n"));
    });
    const error = await body.getAttribute("data-error");
    assert.equal(error, null, `${error}\n${complaints.join("\n")}`);
    return JSON.parse((await body.getAttribute("data-result")) ?? "");
  };
  await page.goto(url);
  assert.deepEqual(await result(), { before: null, after: RYE, listed: LISTED });
  await page.reload();
  assert.deepEqual(await result(), { before: RYE, after: RYE, listed: LISTED });
  assert.deepEqual(complaints, []);
  await page.close();
}
