/** What goes wrong in a run. */

import type { Random } from "../codec/support/random.ts";
import type { SimBrowser, SimWorker } from "./browser.ts";
import { Stranger } from "./stranger.ts";
import type { Tab } from "./tab.ts";

export const KINDS = [
  "kill",
  "kill",
  "panic",
  "panicInFrame",
  "crash",
  "hang",
  "stop",
  "stall",
  "doze",
  "doze",
  "freeze",
  "cache",
  "leave",
  "hide",
  "close",
  "open",
  "openFails",
  "openSlow",
  "brokerEnds",
  "brokerStops",
  "clock",
  "stranger",
] as const;

/** Those above, and one after which little happens. */
export type FaultKind = (typeof KINDS)[number] | "delete";

/** Something stands still. On IndexedDB that is felt until another one is the host. */
const PAUSED: readonly FaultKind[] = ["hang", "stop", "stall", "doze", "freeze", "cache"];
const PAUSED_MS = 6_000;
/**
 * After these, too, calls may be refused, such as what was sent before the clock was set and is too
 * late after it. One fault of the other kinds is nothing that a caller hears of.
 */
const HARD: readonly FaultKind[] = ["openFails", "openSlow", "clock", "delete"];
/** Those that a database without a page of its own notices. */
const ENDS: readonly FaultKind[] = ["kill", "leave", "close"];
/** Nobody notices these. */
const MILD: readonly FaultKind[] = ["open", "hide", "stranger"];
/**
 * How long a fault is felt, in milliseconds: for ten seconds after crashes in a row no worker is
 * started, and as long may have passed between the last two.
 */
const FELT_MS = 20_000;

/** How long something stands still, in milliseconds, if it ever goes on. */
const PAUSES = [20, 300, 1_200, 2_500, 6_000, 20_000];
const OPEN_MS = 1_500;
/** How long a worker that loads is waited for. */
const LOADING_MS = 10_000;

/** What others do when a fault asks for it. */
export interface Acts {
  openTab(): void;
  /** Returns false where somebody is at it. */
  deleteDatabase(): boolean;
}

export class Faults {
  readonly counts: Partial<Record<FaultKind, number>> = {};
  total = 0;
  /** When something last went wrong, or right again. */
  lastAt = 0;
  /** How much longer opening takes at the most. */
  openMs = 0;
  readonly #struck: { kind: FaultKind; at: number }[] = [];
  readonly #browser: SimBrowser;
  readonly #random: Random;
  readonly #tabs: readonly Tab[];
  readonly #acts: Acts;
  /** What ends the pauses. */
  readonly #pauses = new Set<() => void>();

  constructor(browser: SimBrowser, tabs: readonly Tab[], acts: Acts) {
    this.#browser = browser;
    this.#random = browser.random;
    this.#tabs = tabs;
    this.#acts = acts;
    browser.failed = (kind) => this.#feel(kind);
  }

  /** Has something of these kinds go wrong. */
  strike(kinds: readonly FaultKind[]): void {
    const kind = this.#random.pick(kinds);
    const tab = this.#pickTab();
    this.#browser.note(() => `FAULT ${kind} ${tab?.name}`);
    if (!this.#strike(kind, tab)) return;
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    this.total++;
    this.#feel(kind);
  }

  #feel(kind: FaultKind): void {
    this.lastAt = this.#browser.scheduler.now;
    this.#struck.push({ kind, at: this.lastAt });
  }

  /** Whether a call of a tab that was made at `since` may be refused. */
  excuse(tab: Tab, since: number): boolean {
    // Others can't have the files of OPFS while their owner stands still.
    if (this.#pauses.size > 0 && this.#browser.options.storage === "opfs") return true;
    const felt = this.#struck.filter(({ at }) => at > since - FELT_MS);
    if (felt.some(({ kind }) => HARD.includes(kind))) return true;
    if (felt.some(({ kind, at }) => PAUSED.includes(kind) && at > since - PAUSED_MS)) return true;
    const hasPage = this.#tabs.some(({ agent, isPage, isOver, life }) => {
      return isPage && agent.isRunning && !isOver && life === tab.life;
    });
    if (!tab.isPage && (!hasPage || felt.some(({ kind }) => ENDS.includes(kind)))) return true;
    return felt.filter(({ kind }) => !(MILD.includes(kind) || PAUSED.includes(kind))).length > 1;
  }

  /** Whether what was asked for at `since` may be in the hands of one that stands still. */
  mayBeHeld(since: number): boolean {
    const harmless = [...MILD, ...ENDS, "delete"];
    const isFelt = ({ kind, at }: { kind: FaultKind; at: number }) => {
      return at > since - FELT_MS && !harmless.includes(kind);
    };
    return this.#pauses.size > 0 || this.#struck.some(isFelt);
  }

  /** Whether nothing has gone wrong that anybody could notice. */
  get areMild(): boolean {
    return this.#struck.every(({ kind }) => MILD.includes(kind));
  }

  /** Nothing is wrong any more. */
  repair(): void {
    for (const end of [...this.#pauses]) end();
    const { files } = this.#browser;
    files.failures = 0;
    this.#browser.panic = undefined;
    this.lastAt = this.#browser.scheduler.now;
  }

  /** A tab, often that of the host. */
  #pickTab(): Tab | undefined {
    const tabs = this.#tabs.filter(({ agent }) => agent.isAlive);
    const { host } = this.#browser;
    const hosting = tabs.find(({ agent }) => agent === host?.page);
    if (hosting !== undefined && this.#random.below(2) === 0) return hosting;
    return tabs.length === 0 ? undefined : this.#random.pick(tabs);
  }

  #workersOf({ agent }: Tab): SimWorker[] {
    return this.#browser.workers.filter((one) => one.page === agent && one.agent.isAlive);
  }

  #strike(kind: FaultKind, tab: Tab | undefined): boolean {
    const browser = this.#browser;
    const random = this.#random;
    switch (kind) {
      case "open":
        this.#acts.openTab();
        return true;
      case "delete":
        return this.#acts.deleteDatabase();
      case "openFails":
        browser.files.failures = 1 + random.below(2);
        return true;
      case "openSlow":
        browser.files.openMs = OPEN_MS * random.next();
        this.openMs = Math.max(this.openMs, OPEN_MS);
        return true;
      case "brokerEnds":
        if (browser.broker !== undefined) browser.end(browser.broker);
        return browser.broker !== undefined;
      case "brokerStops":
        browser.broker?.freeze();
        if (browser.broker !== undefined) this.#pause(() => browser.broker?.thaw());
        return browser.broker !== undefined;
      case "stranger":
        new Stranger(browser);
        return true;
      case "clock":
        browser.clockOffset += (random.next() - 0.5) * random.pick([1e3, 1e5, 1e8]);
        return true;
      case "doze":
        return tab !== undefined && this.#doze(tab);
      case "panicInFrame":
        browser.panic = random.pick(["before", "after"]);
        return true;
      default:
        return tab !== undefined && this.#strikeTab(kind, tab);
    }
  }

  #strikeTab(kind: FaultKind, tab: Tab): boolean {
    const workers = this.#workersOf(tab);
    const [worker] = workers;
    switch (kind) {
      case "kill":
        this.#kill(tab);
        return true;
      case "leave":
        tab.soon(() => tab.connection.leave());
        this.#browser.scheduler.after(this.#random.next() * 5, () => this.#kill(tab));
        return true;
      case "panic":
        worker?.candidate?.die(new Error("unreachable"));
        return worker?.candidate !== undefined;
      case "crash":
        worker?.crash();
        return worker !== undefined;
      case "hang":
        worker?.agent.freeze();
        // It may be about to load, and is waited for.
        this.openMs = Math.max(this.openMs, LOADING_MS);
        if (worker !== undefined) this.#pause(() => worker.agent.thaw());
        return worker !== undefined;
      case "stop":
        this.#freeze(tab, 0);
        return true;
      case "stall":
        tab.agent.freeze();
        this.#pause(() => tab.agent.thaw());
        return true;
      case "freeze":
      case "cache":
        return this.#suspend(tab);
      case "hide":
        tab.soon(() => tab.connection.hide());
        return true;
      default:
        tab.soon(() => tab.run(() => tab.close()));
        return true;
    }
  }

  #kill(tab: Tab): void {
    const { scheduler } = this.#browser;
    const isLossy = this.#random.below(2) === 0;
    this.#browser.end(tab.agent, isLossy);
    for (const { agent } of this.#workersOf(tab)) {
      scheduler.after(this.#random.next() * 20, () => this.#browser.end(agent, isLossy));
    }
  }

  /** All tabs but one stand still. */
  #doze(awake: Tab): boolean {
    const others = this.#tabs.filter((tab) => tab !== awake && tab.agent.isRunning);
    for (const tab of others) this.#freeze(tab, 0);
    return others.length > 0;
  }

  /** The tab stands still, its workers from a little later on. */
  #freeze(tab: Tab, delay: number, thawed = () => {}): void {
    const workers = this.#workersOf(tab);
    tab.agent.freeze();
    let still: SimWorker[] | undefined = [];
    this.#browser.scheduler.after(delay, () => {
      if (still === undefined) return;
      still = workers;
      for (const { agent } of still) agent.freeze();
    });
    this.#pause(() => {
      tab.agent.thaw();
      for (const { agent } of still ?? []) agent.thaw();
      still = undefined;
      thawed();
    });
  }

  /** The page is told before it stands still, and when it goes on. */
  #suspend(tab: Tab): boolean {
    if (tab.isSuspended || !tab.agent.isRunning || tab.isClosing) return false;
    tab.isSuspended = true;
    tab.suspensions++;
    tab.connection.suspend();
    // Its worker may have something to finish.
    this.#freeze(tab, 10 + this.#random.next() * 20, () => {
      tab.isSuspended = false;
      tab.soon(() => tab.connection.resume());
    });
    return true;
  }

  #pause(end: () => void): void {
    const once = () => {
      if (!this.#pauses.delete(once)) return;
      this.#feel("stop");
      end();
    };
    this.#pauses.add(once);
    this.#browser.scheduler.after(this.#random.pick(PAUSES) * (0.5 + this.#random.next()), once);
  }
}
