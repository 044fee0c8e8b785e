/** Chromium with a profile on disk, which outlives the browser. */

import type { BrowserContext, Page } from "playwright-core";
import { type Launch, Profile } from "./profile.ts";
import { openHarness, type Site } from "./site.ts";
import { NAME_HELPER } from "./tab.ts";

/** The storages that outlive a page. */
export const DURABLE = ["opfs", "indexeddb"] as const;

const SCRIPTS = [
  "page",
  "no-sync-handles",
  "mortal-worker",
  "holder",
  "service-worker",
  "user-worker",
];

/** A browser with a profile of its own that visits the tests' site. */
export class Visitor {
  /** What pages threw and nobody caught. */
  readonly complaints: string[] = [];
  readonly #profile = new Profile();
  readonly #launch: Launch;
  readonly #site: Site;
  #context: BrowserContext | undefined;

  private constructor(site: Site, launch: Launch) {
    this.#site = site;
    this.#launch = launch;
  }

  /** Opens site and browser. `folders` are served beside the site's own. */
  static async arrive(launch: Launch = {}, folders: Record<string, string> = {}): Promise<Visitor> {
    const site = await openHarness(SCRIPTS, folders);
    const visitor = new Visitor(site, launch);
    await visitor.#start();
    return visitor;
  }

  /** The site's address. */
  get url(): string {
    return this.#site.url;
  }

  /** The browser's only context. */
  get context(): BrowserContext {
    if (this.#context === undefined) throw new Error("the browser is closed");
    return this.#context;
  }

  /** A new tab on the site, with the package loaded. */
  async visit(): Promise<Page> {
    const page = await this.context.newPage();
    page.on("pageerror", (error) => this.complaints.push(error.stack ?? error.message));
    await page.goto(`${this.url}/`);
    return page;
  }

  /** Ends the browser and starts it again with the same profile. */
  async restart(): Promise<void> {
    await this.context.close();
    await this.#start();
  }

  /** Closes browser and site, and removes the profile. */
  async leave(): Promise<void> {
    await this.#context?.close();
    await this.#site.close();
    await this.#profile.remove();
  }

  async #start(): Promise<void> {
    this.#context = await this.#profile.launch(this.#launch);
    await this.#context.addInitScript(NAME_HELPER);
  }
}
