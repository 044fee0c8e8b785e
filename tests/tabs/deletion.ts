/** A page that deletes the database, whoever has it open. */

import { deleteFrom } from "../../client/databases.ts";
import type { Agent } from "./agent.ts";
import type { SimBrowser } from "./browser.ts";
import type { Tab } from "./tab.ts";

const NAME = "db";
const RETRY_MS = 50;

export class Deletion {
  readonly #browser: SimBrowser;
  /** Those who are told that it is deleted. */
  readonly #told: readonly { readonly tab: Tab; readonly suspensions: number }[];
  /** When it began. */
  readonly since: number;

  constructor(browser: SimBrowser, tabs: readonly Tab[]) {
    this.#browser = browser;
    const listening = browser.broadcasts.agentsOf(`kvass-lobby:${NAME}`);
    this.#told = tabs
      .filter(({ agent }) => listening.has(agent))
      .map((tab) => ({ tab, suspensions: tab.suspensions }));
    this.since = browser.scheduler.now;
  }

  /**
   * Deletes it.
   * @param deleted called when nothing is left of it
   * @throws KvassError `Busy` where a tab does not let go of it
   */
  async run(deleted: () => void): Promise<void> {
    const browser = this.#browser;
    const page = browser.newAgent("deleter");
    try {
      await deleteFrom(browser.platformOf(page), NAME, async (signal) => {
        await this.#free(page, signal);
        deleted();
        browser.files.clear();
      });
    } finally {
      browser.end(page);
    }
  }

  /** Waits until nobody has the files, or until `signal` aborts. */
  async #free(page: Agent, signal: AbortSignal): Promise<void> {
    const { files, options } = this.#browser;
    for (;;) {
      // A connection to IndexedDB is told, and closes, unless its worker stands still.
      const isTold = options.storage === "indexeddb" && this.#browser.host?.agent.isRunning;
      if (isTold) files.depose();
      if (files.owner === undefined) return;
      if (signal.aborted) throw new DOMException("in use", "NoModificationAllowedError");
      await new Promise<void>((resolve) => {
        page.setTimer(resolve, RETRY_MS);
      });
    }
  }

  /** Checks that those who were told have let go of it. A page in the cache hears nothing. */
  check(): void {
    for (const { tab, suspensions } of this.#told) {
      const { agent, name, connection } = tab;
      if (agent.isRunning && tab.suspensions === suspensions && !connection.isClosed) {
        this.#browser.violate(`${name} goes on with a database that was deleted`);
      }
    }
  }
}
