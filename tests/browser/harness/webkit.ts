/** WebKitGTK's small browser, driven over WebDriver, on an X server that nobody sees. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { Readable } from "node:stream";
import { findWebKit } from "../../../scripts/lib/others.mjs";
import { openHarness, type Site } from "./site.ts";
import { type Guest, NAME_HELPER, type Tab } from "./tab.ts";
import { WebDriver } from "./webdriver.ts";

/** No GPU. */
const SOFTWARE = { LIBGL_ALWAYS_SOFTWARE: "1", WEBKIT_DISABLE_COMPOSITING_MODE: "1" };

/** A screen of its own choice of number, which it tells. */
const XVFB = ["-displayfd", "3", "-screen", "0", "1024x768x24", "-nolisten", "tcp"];

/** Why it can't be had; undefined if it can. */
export const NO_WEBKIT =
  findWebKit() === undefined ? "no WebKitGTK: npm run setup -- --browsers" : undefined;

/** A WebKit with a profile that ends with it. */
export class WebKit implements Guest {
  readonly #site: Site;
  readonly #driver: WebDriver;
  readonly #processes: ChildProcess[];

  private constructor(site: Site, driver: WebDriver, processes: ChildProcess[]) {
    this.#site = site;
    this.#driver = driver;
    this.#processes = processes;
  }

  /** Opens site and browser. */
  static async arrive(): Promise<WebKit> {
    const found = findWebKit() as NonNullable<ReturnType<typeof findWebKit>>;
    const processes: ChildProcess[] = [];
    try {
      const x = spawn(found.display, XVFB, { stdio: ["ignore", "ignore", "ignore", "pipe"] });
      processes.unshift(x);
      const [number] = await once(x.stdio[3] as Readable, "data");
      const env = { ...process.env, ...SOFTWARE, DISPLAY: `:${String(number).trim()}` };
      const port = await freePort();
      processes.unshift(spawn(found.driver, [`--port=${port}`], { stdio: "ignore", env }));
      const driver = await WebDriver.start(`http://127.0.0.1:${port}`);
      return new WebKit(await openHarness(["page"]), driver, processes);
    } catch (error) {
      await end(processes);
      throw error;
    }
  }

  async visit(): Promise<Tab> {
    const driver = this.#driver;
    const tab = await driver.open(this.#site.url);
    return {
      evaluate: (run, ...args) =>
        driver.run(tab, `${NAME_HELPER} return (${run})(...arguments)`, args) as Promise<never>,
      reload: () => driver.reload(tab),
      close: () => driver.close(tab),
    };
  }

  async leave(): Promise<void> {
    await this.#driver.end();
    await end(this.#processes);
    await this.#site.close();
  }
}

async function end(processes: ChildProcess[]): Promise<void> {
  for (const process of processes) {
    if (process.kill()) await once(process, "exit");
  }
}

/** A port that nobody listens at, or did so a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}
