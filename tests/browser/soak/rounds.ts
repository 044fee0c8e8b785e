/**
 * The soak: many tabs of one browser share a database under load, while again and again the one
 * that hosts it is closed, crashed, killed or frozen. In the end everything must add up.
 */

import type { Browser, CDPSession, Page } from "playwright-core";
import { CHROMIUM_FLAGS } from "../../../scripts/lib/browser.mjs";
import type { Random } from "../../codec/support/random.ts";
import { Visitor } from "../harness/browser.ts";
import type { Account, Orders } from "./tab.ts";

/** What a soak is to do. */
export interface Plan {
  readonly storage: "opfs" | "indexeddb";
  readonly tabs: number;
  readonly rounds: number;
  /** How hosts end, by turns: keys of ENDS. */
  readonly ends: readonly string[];
  /** How long each lane of a tab rests after a commit, in milliseconds. */
  readonly restMs: number;
  /** Entries that are there before. */
  readonly entries: number;
  readonly random: Random;
  readonly log: (line: string) => void;
}

/** What was found. */
export interface Result {
  readonly problems: string[];
  readonly acknowledged: number;
  readonly marks: number;
  /** How often each kind of end was brought about. */
  readonly ends: Record<string, number>;
  /** How often calls failed, by code. */
  readonly outcomes: Record<string, number>;
  /** The longest time after each end in which no commit was acknowledged, in milliseconds. */
  readonly takeovers: Record<string, number[]>;
}

/** A tab, and what it said. */
class Tab {
  readonly page: Page;
  readonly session: CDPSession;
  /** The process of its page; undefined where that could not be told. */
  readonly pid: number | undefined;
  readonly number: number;
  acknowledged: [mark: string, at: number][] = [];
  problems: string[] = [];
  outcomes: Record<string, number> = {};
  /** Whether it was stopped for a while: it may be told then that it missed commits. */
  stoodStill = false;

  constructor(number: number, page: Page, session: CDPSession, pid: number | undefined) {
    this.number = number;
    this.page = page;
    this.session = session;
    this.pid = pid;
  }
}

/** Longer than clients wait for a host that does not answer. */
const FREEZE_MS = 6_000;
/** How long the others have to go on after an end: far longer than it takes. */
const GO_ON_MS = 60_000;

/** Ways for a host to end, or to stand still. The tab is gone afterwards where they return true. */
export const ENDS: Record<string, (tab: Tab) => Promise<boolean>> = {
  async close({ page }) {
    await page.close();
    return true;
  },
  async navigate({ page }) {
    await page.goto("about:blank");
    await page.close();
    return true;
  },
  async crash({ page, session }) {
    const crashed = page.waitForEvent("crash");
    session.send("Page.crash").catch(() => undefined);
    await crashed;
    await page.close();
    return true;
  },
  async kill({ page, pid }) {
    if (pid === undefined) return false;
    const crashed = page.waitForEvent("crash");
    process.kill(pid, "SIGKILL");
    await crashed;
    await page.close();
    return true;
  },
  async freeze({ pid }) {
    if (pid === undefined) return false;
    process.kill(pid, "SIGSTOP");
    setTimeout(() => process.kill(pid, "SIGCONT"), FREEZE_MS);
    return false;
  },
};

export class Soak {
  readonly #plan: Plan;
  readonly #visitor: Visitor;
  #tabs: Tab[] = [];
  /** Tabs that ended. */
  readonly #gone: Tab[] = [];
  readonly #ends: Record<string, number> = {};
  readonly #takeovers: Record<string, number[]> = {};
  readonly #problems: string[] = [];
  #lastTab = 0;

  constructor(plan: Plan, visitor: Visitor) {
    this.#plan = plan;
    this.#visitor = visitor;
  }

  async run(): Promise<Result> {
    const { tabs, rounds, ends, entries, random } = this.#plan;
    if (entries > 0) await this.#fill(entries);
    for (let i = 0; i < tabs; i++) await this.#open();
    for (let round = 0; round < rounds; round++) {
      await this.#round(ends[(round + random.below(2)) % ends.length] as string);
    }
    await this.#settle();
    return this.#account();
  }

  get #orders(): Omit<Orders, "tab"> {
    const { storage, restMs } = this.#plan;
    return { name: `soak-${storage}`, storage, restMs };
  }

  async #fill(entries: number): Promise<void> {
    const page = await this.#visitor.visit();
    await page.evaluate(
      async ([orders, entries]) => {
        const kv = await kvass.openKv(orders.name, { storage: orders.storage });
        for (let i = 0; i < entries; i += 1_000) {
          const batch = Array.from({ length: 1_000 }, (_, j) => kv.set(["entry", i + j], i + j));
          await Promise.all(batch);
        }
        await kv.close();
      },
      [this.#orders, entries] as const,
    );
    await page.close();
  }

  async #open(): Promise<Tab> {
    const before = new Set(await this.#renderers());
    const page = await this.#visitor.visit();
    const session = await this.#visitor.context.newCDPSession(page);
    const added = (await this.#renderers()).filter((pid) => !before.has(pid));
    const tab = new Tab(this.#lastTab++, page, session, added.length === 1 ? added[0] : undefined);
    session.on("Runtime.bindingCalled", ({ payload }) => {
      const { acknowledged, problems, outcomes } = JSON.parse(payload);
      tab.acknowledged.push(...acknowledged);
      tab.problems = problems;
      tab.outcomes = outcomes;
    });
    await session.send("Runtime.enable");
    await session.send("Runtime.addBinding", { name: "report" });
    this.#tabs.push(tab);
    const orders: Orders = { ...this.#orders, tab: tab.number };
    await page.evaluate((orders) => soak.begin(orders), orders);
    return tab;
  }

  /** The processes of the browser's pages. */
  async #renderers(): Promise<number[]> {
    const browser = this.#visitor.context.browser() as Browser;
    const session = await browser.newBrowserCDPSession();
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    await session.detach();
    return processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  }

  /** Ends the host, waits until the others go on, and puts another tab in its place. */
  async #round(kind: string): Promise<void> {
    const host = await this.#host();
    const others = this.#tabs.filter((tab) => tab !== host);
    const start = Date.now();
    const isGone = (await ENDS[kind]?.(host)) ?? false;
    this.#ends[kind] = (this.#ends[kind] ?? 0) + 1;
    host.stoodStill ||= kind === "freeze";
    if (isGone) {
      this.#tabs = others;
      this.#gone.push(host);
    }
    await sleep(isGone ? 700 : FREEZE_MS + 1_000);
    let took = longestPause(others, start);
    for (; took === undefined && Date.now() - start < GO_ON_MS; await sleep(100)) {
      took = longestPause(others, start);
    }
    if (took === undefined) this.#problems.push(`nobody went on after ${kind}`);
    else this.#takeovers[kind] = [...(this.#takeovers[kind] ?? []), took];
    this.#plan.log(`${this.#plan.storage}: ${kind}, on after ${took?.toFixed(0)} ms`);
    if (isGone) await this.#open();
  }

  /** The tab that is the host, as it says itself. */
  async #host(): Promise<Tab> {
    for (;;) {
      for (const tab of this.#tabs) {
        if (await tab.page.evaluate(() => soak.isHost())) return tab;
      }
    }
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#tabs.map(({ page }) => page.evaluate(() => soak.stop())));
    await sleep(200);
  }

  async #account(): Promise<Result> {
    const problems = this.#problems;
    const [first] = this.#tabs as [Tab];
    const last = "the end";
    await first.page.evaluate((last) => soak.finish(last), last);
    const { count, marks } = await first.page.evaluate(() => soak.contents());
    const there = new Set(marks.map(([, mark]) => mark));
    if (count !== there.size) problems.push(`the count is ${count} of ${there.size} marks`);
    const all = [...this.#tabs, ...this.#gone];
    for (const tab of all) {
      for (const [mark] of tab.acknowledged) {
        if (!there.has(mark)) problems.push(`${mark} was acknowledged and is lost`);
      }
      problems.push(...tab.problems);
    }
    for (const tab of this.#tabs) {
      const orders = [last, count] as const;
      const account = await tab.page.evaluate(([last, count]) => soak.account(last, count), orders);
      problems.push(...account.problems.slice(tab.problems.length));
      const wrong = gaps(account, marks, tab.stoodStill);
      problems.push(...wrong.map((what) => `tab ${tab.number}: ${what}`));
    }
    const outcomes: Record<string, number> = {};
    for (const tab of all) {
      for (const [code, times] of Object.entries(tab.outcomes)) {
        outcomes[code] = (outcomes[code] ?? 0) + times;
      }
    }
    const acknowledged = all.reduce((sum, tab) => sum + tab.acknowledged.length, 0);
    const [ends, takeovers] = [this.#ends, this.#takeovers];
    return { problems, acknowledged, marks: there.size, ends, outcomes, takeovers };
  }
}

/** The longest time after `start` without a commit; undefined where there was none any more. */
function longestPause(tabs: Tab[], start: number): number | undefined {
  const times = tabs.flatMap(({ acknowledged }) => acknowledged.map(([, at]) => at));
  const after = times.filter((at) => at >= start).sort((a, b) => a - b);
  if (after.length === 0) return undefined;
  return Math.max(...after.map((at, i) => at - (after[i - 1] ?? start)));
}

/**
 * What is wrong with what a reader of changes was told. From the first mark it heard of, it must be
 * all of them, each once and in order; one of a tab that stood still may be told instead how many
 * it missed, which must add up, or at last that the history is gone.
 */
function gaps(account: Account, marks: [string, string][], stoodStill: boolean): string[] {
  const { heard, gone } = account;
  const after = (stamp: string) => {
    const place = marks.findIndex(([versionstamp]) => versionstamp > stamp);
    return place < 0 ? marks.length : place;
  };
  const missing = heard.flatMap((one, i) => (typeof one === "string" ? [] : [{ i, ...one }]));
  if ((gone !== undefined || missing.length > 0) && !stoodStill) {
    const what = gone ?? JSON.stringify(missing);
    return [`changes() told a tab that never stood still: ${what}; after ${heard.length} commits`];
  }
  let place = marks.findIndex(([, mark]) => mark === heard[0]);
  for (const [i, one] of heard.entries()) {
    if (typeof one === "string") {
      const expected = marks[place]?.[1];
      if (one !== expected) {
        const at = marks.findIndex(([, mark]) => mark === one);
        const before = JSON.stringify(heard.slice(Math.max(i - 3, 0), i));
        const [stamp, due] = [marks[at]?.[0], marks[place]?.[0]];
        const still = stoodStill ? "that stood still " : "";
        return [
          `changes() ${still}heard ${one} of ${stamp} at ${i} after ${before}, ${at - place} ` +
            `commits too early: it was the turn of ${expected} of ${due}`,
        ];
      }
      place++;
    } else {
      const end = after(one.versionstamp);
      // Where it is the first that is heard, nobody knows where the reader began.
      const missed = place < 0 ? one.missed : end - place;
      if (one.missed !== null && one.missed !== missed) {
        return [`changes() missed ${missed} at ${i} and was told of ${one.missed}`];
      }
      place = end;
    }
  }
  if (place === marks.length || gone !== undefined) return [];
  return [`changes() heard ${heard.length} commits, up to ${place} of ${marks.length}`];
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs a soak in a browser of its own. */
export async function runSoak(plan: Plan): Promise<Result> {
  // Without a process to spare, the one that is new after a tab was opened is the tab's.
  const args = [...CHROMIUM_FLAGS, "--disable-features=SpareRendererForSitePerProcess"];
  const visitor = await Visitor.arrive({ args });
  try {
    return await new Soak(plan, visitor).run();
  } finally {
    await visitor.leave();
  }
}
