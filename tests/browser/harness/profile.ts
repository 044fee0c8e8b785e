/** A profile on disk, which outlives the Chromium that uses it. */

import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium } from "playwright-core";
import { launchOptions } from "../../../scripts/lib/browser.mjs";

/** Stops what hangs; no promise depends on it, and a machine that is busy or slow may take long. */
export const HANG_MS = 300_000;

/** How often removing it is tried, each time 100 ms later than the time before. */
const TRIES = 10;

/** Options of playwright's launch. */
export type Launch = Parameters<typeof chromium.launchPersistentContext>[1];

/** A folder for one browser at a time. */
export class Profile {
  readonly #folder = mkdtempSync(join(tmpdir(), "kvass-profile-"));

  /** Starts a browser. */
  async launch(launch: Launch = {}): Promise<BrowserContext> {
    const options = { ...launchOptions(), timeout: HANG_MS, ...launch };
    const context = await chromium.launchPersistentContext(this.#folder, options);
    context.setDefaultTimeout(HANG_MS);
    return context;
  }

  /** Removes the folder: processes of a browser that has ended may write to it for a moment. */
  remove(): Promise<void> {
    return rm(this.#folder, { recursive: true, force: true, maxRetries: TRIES });
  }
}
