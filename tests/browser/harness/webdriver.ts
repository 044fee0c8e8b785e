/** The few commands of WebDriver (w3.org/TR/webdriver2) that the tests need. */

import { setTimeout as sleep } from "node:timers/promises";
import { HANG_MS } from "./profile.ts";

/**
 * A session: one browser. Its first window stays open and empty, because the browser goes with the
 * last one. Commands take turns, because each is for the window that was chosen last.
 */
export class WebDriver {
  readonly #address: string;
  readonly #first: string;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(address: string, first: string) {
    this.#address = address;
    this.#first = first;
  }

  /** Begins a session with the server at `url`, once it listens. */
  static async start(url: string): Promise<WebDriver> {
    const begun = performance.now();
    while (!(await isReady(url))) {
      if (performance.now() - begun > HANG_MS) throw new Error(`nothing listens at ${url}`);
      await sleep(50);
    }
    const timeouts = { script: HANG_MS, pageLoad: HANG_MS };
    const capabilities = { alwaysMatch: { timeouts } };
    const session = await ask<{ sessionId: string }>("POST", `${url}/session`, { capabilities });
    const address = `${url}/session/${session.sessionId}`;
    return new WebDriver(address, await ask("GET", `${address}/window`));
  }

  /** Opens a tab and waits until its page has loaded; returns its handle. */
  async open(url: string): Promise<string> {
    const created = await this.#in(this.#first, "POST", "/window/new", { type: "tab" });
    const { handle } = created as { handle: string };
    await this.#load(handle, "/url", { url });
    return handle;
  }

  /** Runs a function's body in a tab and waits for its result. */
  run(tab: string, script: string, args: unknown[]): Promise<unknown> {
    return this.#in(tab, "POST", "/execute/sync", { script, args });
  }

  /** Loads a tab's page again and waits until it has. */
  async reload(tab: string): Promise<void> {
    await this.#load(tab, "/refresh", {});
  }

  /** Closes a tab. */
  async close(tab: string): Promise<void> {
    await this.#in(tab, "DELETE", "/window");
  }

  /** Ends browser and session. */
  async end(): Promise<void> {
    await ask("DELETE", this.#address);
  }

  /**
   * Gives a command that loads a page, and waits until it has loaded: on a busy machine WebKit's
   * driver answers while the new document is still "interactive", before its modules have run.
   */
  async #load(tab: string, path: string, body: object): Promise<void> {
    await this.run(tab, "document.isLeft = true", []);
    await this.#in(tab, "POST", path, body);
    const begun = performance.now();
    const isLoaded = "return !document.isLeft && document.readyState === 'complete'";
    while (!(await this.run(tab, isLoaded, []))) {
      if (performance.now() - begun > HANG_MS) throw new Error(`no page loads: ${path}`);
      await sleep(20);
    }
  }

  #in(handle: string, method: string, path: string, body?: object): Promise<unknown> {
    return this.#turn(async () => {
      await ask("POST", `${this.#address}/window`, { handle });
      return ask(method, this.#address + path, body);
    });
  }

  #turn<T>(command: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(command, command);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

async function isReady(url: string): Promise<boolean> {
  try {
    return (await ask<{ ready: boolean }>("GET", `${url}/status`)).ready;
  } catch {
    return false;
  }
}

async function ask<T>(method: string, url: string, body?: object): Promise<T> {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  const response = await fetch(url, init);
  const { value } = (await response.json()) as { value: T & { error?: string; message?: string } };
  if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
  return value;
}
