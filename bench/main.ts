/**
 * The side-by-side benchmark: kvass on OPFS and on IndexedDB beside raw IndexedDB and a bare
 * echo of a worker, in headless Chromium, from the page.
 *
 *     npm run bench                       the table and the targets
 *     npm run bench -- --quick            the same with little work, to see that it runs
 *     npm run bench -- --rounds 5         more rounds; the table has their medians
 *     npm run bench -- --json             the medians as JSON on the last line
 *     npm run bench -- --profile FILE     a trace with CPU profiles, for DevTools, and the
 *                                         functions that took the most time of each thread
 *
 * The stores take turns, each round on new databases in a new page, so that whatever else the
 * machine does meets all of them. Every value that is read is compared byte by byte.
 */

import { parseArgs } from "node:util";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { at } from "../scripts/lib/paths.mjs";
import { entry } from "../scripts/lib/run.mjs";
import { Profile } from "../tests/browser/harness/profile.ts";
import { openSite } from "../tests/browser/harness/site.ts";
import type { StoreName, Times } from "./page.ts";
import { report } from "./report.ts";
import { printHotspots, TRACE_CATEGORIES } from "./trace.ts";
import type { Sizes } from "./workload.ts";

const FULL: Sizes = { awaited: 10_000, entries: 100_000, batch: 1000, keys: 100, calls: 100 };
const QUICK: Sizes = { awaited: 50, entries: 400, batch: 100, keys: 10, calls: 5 };

const NAMES: readonly StoreName[] = ["kvass opfs", "kvass indexeddb", "indexeddb"];

/** How often a page is reloaded in one round. */
const RELOADS = 3;

/** A browser on the benchmark's site. */
class Bench {
  readonly #context: BrowserContext;
  readonly #url: string;

  constructor(context: BrowserContext, url: string) {
    this.#context = context;
    this.#url = url;
  }

  /** All figures of a store, each from new databases. */
  async round(kind: StoreName, name: string, sizes: Sizes): Promise<Times> {
    const times = await this.#inPage((page) =>
      page.evaluate(([kind, name, sizes]) => bench.measure(kind, name, sizes), [
        kind,
        name,
        sizes,
      ] as const),
    );
    times["first get"] = await this.#firstGet(kind, name, sizes);
    return times;
  }

  /** From the start of a reload to the answer of a get; the median of a few. */
  async #firstGet(store: string, name: string, { entries }: Sizes): Promise<number> {
    const task = new URLSearchParams({ store, name, entry: String(entries >> 1) });
    const url = `${this.#url}/?${task}`;
    return this.#inPage(async (page) => {
      const times: number[] = [];
      await page.goto(url);
      await answer(page);
      for (let i = 0; i < RELOADS; i++) {
        await page.reload();
        times.push(await answer(page));
      }
      return median(times);
    });
  }

  async #inPage<T>(work: (page: Page) => Promise<T>): Promise<T> {
    const page = await this.#context.newPage();
    try {
      await page.goto(this.#url);
      return await work(page);
    } finally {
      await page.close();
    }
  }
}

/** What a page that gives its answer by itself has to say. */
async function answer(page: Page): Promise<number> {
  const body = page.locator("body[data-time], body[data-error]");
  await body.waitFor({ state: "attached" });
  const error = await body.getAttribute("data-error");
  if (error !== null) throw new Error(error);
  return Number(await body.getAttribute("data-time"));
}

/** The middle of some numbers; the mean of the two in the middle of an even count. */
function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const [low, high] = [(sorted.length - 1) >> 1, sorted.length >> 1];
  return ((sorted[low] ?? Number.NaN) + (sorted[high] ?? Number.NaN)) / 2;
}

/** All rounds; returns the median of every figure, by store. */
async function rounds(bench: Bench, count: number, sizes: Sizes): Promise<Record<string, Times>> {
  const runs = new Map<string, Times[]>(NAMES.map((name) => [name, []]));
  for (let round = 0; round < count; round++) {
    const turn = [...NAMES.slice(round % NAMES.length), ...NAMES.slice(0, round % NAMES.length)];
    for (const name of turn) {
      process.stderr.write(`round ${round + 1} of ${count}: ${name}\n`);
      runs.get(name)?.push(await bench.round(name, `round-${round}`, sizes));
    }
  }
  return Object.fromEntries([...runs].map(([name, times]) => [name, medians(times)]));
}

function medians(runs: readonly Times[]): Times {
  const works = Object.keys(runs[0] ?? {});
  return Object.fromEntries(works.map((work) => [work, median(runs.map((run) => run[work] ?? 0))]));
}

/** Runs `work` in a Chromium with a profile of its own. */
async function withBench(work: (bench: Bench, browser: Browser) => Promise<void>): Promise<void> {
  const site = await openSite({
    page: at("bench", "page.ts"),
    "echo-worker": at("bench", "stores", "echo-worker.ts"),
  });
  const profile = new Profile();
  const context = await profile.launch();
  try {
    // The TypeScript loader wraps functions in calls of this helper, page.evaluate's among them.
    await context.addInitScript("globalThis.__name = (named) => named");
    await work(new Bench(context, site.url), context.browser() as Browser);
  } finally {
    await context.close();
    await site.close();
    await profile.remove();
  }
}

await entry(import.meta.url, async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      rounds: { type: "string", default: "3" },
      profile: { type: "string" },
    },
  });
  const sizes = values.quick ? QUICK : FULL;
  const count = values.quick ? 1 : Number(values.rounds);
  await withBench(async (bench, browser) => {
    if (values.profile !== undefined) {
      const trace = { path: values.profile, categories: TRACE_CATEGORIES };
      await browser.startTracing(undefined, trace);
      await bench.round("kvass opfs", "profile", sizes);
      printHotspots(await browser.stopTracing());
      return;
    }
    const times = await rounds(bench, count, sizes);
    report(times, sizes);
    if (values.json) console.log(JSON.stringify(times));
  });
});
