/** Firefox, driven over WebDriver BiDi. */

import { type Browser, launch } from "puppeteer-core";
import { findFirefox } from "../../../scripts/lib/others.mjs";
import { HANG_MS } from "./profile.ts";
import { openHarness, type Site } from "./site.ts";
import { type Guest, NAME_HELPER, type Tab } from "./tab.ts";

/** Switches off its calls home. */
const QUIET = {
  "app.normandy.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "toolkit.telemetry.enabled": false,
};

/** Why it can't be had; undefined if it can. */
export const NO_FIREFOX =
  findFirefox() === undefined ? "no Firefox: npm run setup -- --browsers" : undefined;

/** A function as puppeteer takes it. */
type Run = (...args: unknown[]) => unknown;

/** A Firefox with a fresh profile. */
export class Firefox implements Guest {
  /** What pages threw and nobody caught. */
  readonly complaints: string[] = [];
  readonly #site: Site;
  readonly #browser: Browser;

  private constructor(site: Site, browser: Browser) {
    this.#site = site;
    this.#browser = browser;
  }

  /** Opens site and browser; `isPrivate` has all windows be private. */
  static async arrive({ isPrivate = false } = {}): Promise<Firefox> {
    const site = await openHarness(["page"]);
    const browser = await launch({
      browser: "firefox",
      executablePath: findFirefox() as string,
      headless: true,
      timeout: HANG_MS,
      protocolTimeout: HANG_MS,
      extraPrefsFirefox: { ...QUIET, "browser.privatebrowsing.autostart": isPrivate },
    });
    return new Firefox(site, browser);
  }

  async visit(): Promise<Tab> {
    const page = await this.#browser.newPage();
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.setDefaultTimeout(HANG_MS);
    await page.evaluateOnNewDocument(NAME_HELPER);
    await page.goto(this.#site.url);
    return {
      evaluate: (run, ...args) => page.evaluate(run as Run, ...args) as Promise<never>,
      reload: async () => void (await page.reload()),
      close: () => page.close(),
    };
  }

  async leave(): Promise<void> {
    await this.#browser.close();
    await this.#site.close();
  }
}
