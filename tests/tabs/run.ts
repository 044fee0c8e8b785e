/** One run of the simulation: tabs that work, faults that hit them, and checks at the end. */

import type { KvassError } from "../../client/errors.ts";
import { Random } from "../codec/support/random.ts";
import { SimBrowser, stackOf } from "./browser.ts";
import { Deletion } from "./deletion.ts";
import { type FaultKind, Faults } from "./faults.ts";
import { replaceGlobals } from "./globals.ts";
import { Oracle } from "./oracle.ts";
import {
  drawScenario,
  type Focus,
  type Habits,
  type Length,
  lengthOf,
  type Scenario,
} from "./scenario.ts";
import { OPEN_TIMEOUT_MS, type Rare, Tab, type World } from "./tab.ts";

/** No call waits for longer, while nothing goes wrong and no files are being opened. */
const SETTLED_MS = 5_000;
/** How often that is looked at, while something happens. */
const LOOK_MS = 250;
/** How much longer than usual tabs wait while all that happens is that time passes. */
const LEISURE = 6;
/** How long things may take to come to rest. */
const REST_MS = 60_000;
/** How often a write is tried that is refused after all faults, and when again. */
const TRIES_MAX = 5;
const TRY_AGAIN_MS = 4_000;
/** Steps of a run that never comes to its end. */
const STEPS_MAX = 500_000;

/** What came of a run. */
export interface Outcome {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly trace: readonly string[];
  /** A number for all that happened. */
  readonly hash: number;
  readonly steps: number;
  readonly commits: number;
  readonly hosts: number;
  readonly steals: number;
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly met: Readonly<Partial<Record<Rare, number>>>;
}

/** What of a run is not left to its seed. */
export interface About {
  readonly length?: Length | undefined;
  readonly focus?: Focus | undefined;
}

/** Runs a seed. */
export async function run(
  seed: number,
  { length = lengthOf(seed), focus }: About = {},
  isTraced = false,
): Promise<Outcome> {
  const random = new Random(seed);
  const restore = replaceGlobals(new Random(seed ^ 0x5eed), isTraced);
  const simulation = new Simulation(random, drawScenario(random, length, focus));
  if (isTraced) simulation.browser.trace = [];
  try {
    await simulation.run();
  } catch (error) {
    simulation.browser.violate(`the simulation stopped: ${stackOf(error)}`);
  } finally {
    restore();
  }
  const { browser, oracle, errors, met, faults } = simulation;
  return {
    seed,
    violations: browser.violations,
    trace: browser.trace ?? [],
    hash: browser.scheduler.hash,
    steps: browser.scheduler.steps,
    commits: oracle.commits,
    hosts: browser.hosts,
    steals: browser.locks.steals,
    faults: faults.counts,
    errors,
    met,
  };
}

class Simulation implements World {
  readonly browser: SimBrowser;
  readonly oracle: Oracle;
  readonly tabs: Tab[] = [];
  readonly errors: Record<string, number> = {};
  readonly met: Partial<Record<Rare, number>> = {};
  readonly faults: Faults;
  readonly habits: Habits;
  leisure: number;
  readonly #random: Random;
  readonly #scenario: Scenario;
  #isOver = false;
  #deletion: Promise<void> | undefined;
  readonly #deletions: Deletion[] = [];
  #lookedAt = 0;
  /** What the story waits for. */
  #awaited: { isSo(): boolean; goOn(): void } | undefined;

  constructor(random: Random, scenario: Scenario) {
    this.#random = random;
    this.#scenario = scenario;
    this.habits = scenario.habits;
    this.leisure = scenario.leisure;
    this.browser = new SimBrowser(random, scenario);
    this.browser.files.kept = scenario.kept;
    this.oracle = new Oracle(this.browser.files, (what) => this.browser.violate(what));
    this.faults = new Faults(this.browser, this.tabs, this);
  }

  async run(): Promise<void> {
    const { scheduler, trace, violations } = this.browser;
    scheduler.after(0, () => {
      this.#direct().then(
        () => {
          this.#isOver = true;
        },
        (error) => {
          this.browser.violate(`the simulation failed: ${stackOf(error)}`);
          this.#isOver = true;
        },
      );
    });
    await scheduler.run(() => {
      if (scheduler.steps > STEPS_MAX) throw new Error(`${STEPS_MAX} steps and no end`);
      this.#observe();
      // Where nobody looks at the trace nothing is asked but whether it fails.
      return this.#isOver || (trace === undefined && violations.length > 0);
    });
    if (this.#isOver || violations.length > 0) return;
    this.browser.violate("nothing happens any more, and it is not over");
  }

  openTab(): void {
    const isPage = this.tabs.length === 0 || this.#random.below(12) > 0;
    const tab = new Tab(this, isPage);
    this.tabs.push(tab);
    tab.start(1 + this.#random.below(2), this.#random.below(3));
  }

  deleteDatabase(): boolean {
    if (this.#deletion !== undefined) return false;
    const { browser, oracle, faults } = this;
    const deletion = new Deletion(browser, this.tabs);
    const deleted = () => {
      this.met.deleted = (this.met.deleted ?? 0) + 1;
      this.#checkCounts();
      oracle.deleted();
    };
    const over = () => {
      this.#deletions.push(deletion);
      this.#deletion = undefined;
      this.openTab();
    };
    this.#deletion = deletion.run(deleted).then(over, (error: unknown) => {
      const isHeld = (error as KvassError).code === "Busy" && faults.mayBeHeld(deletion.since);
      if (!isHeld) browser.violate(`it could not be deleted: ${stackOf(error)}`);
      over();
    });
    return true;
  }

  /** The story of a run. */
  async #direct(): Promise<void> {
    const { browser, tabs, faults } = this;
    const random = this.#random;
    const { deletesAt, kinds, span, ...scenario } = this.#scenario;
    for (let i = 0; i < scenario.tabs; i++) {
      this.openTab();
      await this.#pass(random.next() * random.pick([1, 50, 500]));
    }
    for (let i = 0; i < scenario.faults; i++) {
      // Some faults come as one.
      await this.#pass(random.next() * random.pick([5, 50, span, span]));
      faults.strike(i === deletesAt ? ["delete"] : kinds);
    }
    await this.#pass(random.next() * span);
    // Little more comes of many calls while all that happens is that time passes.
    this.leisure = Math.max(this.leisure, LEISURE);
    await this.#pass(scenario.brokenMs);
    faults.repair();
    await this.#deletion;
    for (const tab of tabs) tab.isBusy = false;
    await this.#until(() => tabs.every((tab) => tab.isIdle), "answers");
    await this.#writeOnce();
    await this.#pass(3_000);
    this.#check();
    await this.#closeAll();
    browser.note(() => "over");
  }

  /** Lets time pass. */
  #pass(ms: number): Promise<void> {
    return new Promise((resolve) => this.browser.scheduler.after(ms, resolve));
  }

  #until(isSo: () => boolean, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const awaited = { isSo, goOn: resolve };
      this.#awaited = awaited;
      this.browser.scheduler.after(REST_MS, () => {
        if (this.#awaited === awaited) reject(new Error(`no ${what} after ${REST_MS} ms`));
      });
    });
  }

  /** Called between two things that happen: takes no time of its own. */
  #observe(): void {
    const { now } = this.browser.scheduler;
    if (now - this.#lookedAt >= LOOK_MS) {
      this.#lookedAt = now;
      this.#look();
    }
    const awaited = this.#awaited;
    if (awaited?.isSo() !== true) return;
    this.#awaited = undefined;
    awaited.goOn();
  }

  /** Looks for calls that wait for too long. */
  #look(): void {
    const { now } = this.browser.scheduler;
    const settled = SETTLED_MS + this.faults.openMs;
    for (const { agent, name, pending } of this.tabs) {
      if (!agent.isRunning) continue;
      for (const call of pending) {
        // A worker that is loaded slowly is waited for.
        const bound = call.what === "open" ? OPEN_TIMEOUT_MS + LOOK_MS : settled;
        if (now - Math.max(call.since, this.faults.lastAt) < bound) continue;
        pending.delete(call);
        this.browser.violate(`${name} ${call.what} is not settled after ${bound} ms`);
      }
    }
  }

  get #open(): Tab[] {
    const { life } = this.oracle;
    return this.tabs.filter((tab) => tab.agent.isAlive && !tab.isOver && tab.life === life);
  }

  /** Whether somebody is left who can be the host. */
  get #isServed(): boolean {
    return this.#open.some(({ isPage }) => isPage);
  }

  /** After all faults every tab can write. */
  async #writeOnce(): Promise<void> {
    if (!this.#isServed) return;
    const writing = new Set(this.#open);
    for (const tab of writing) {
      tab.run(async () => {
        await this.#write(tab);
        writing.delete(tab);
      });
    }
    await this.#until(() => [...writing].every(({ agent }) => !agent.isAlive), "last writes");
  }

  async #write(tab: Tab): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const stamp = await tab.sum();
      if (stamp !== undefined || tab.isOver) return;
      await tab.wait(TRY_AGAIN_MS);
    }
    if (this.#isServed) this.browser.violate(`${tab.name} can't write any more`);
  }

  #check(): void {
    const { browser, oracle, faults } = this;
    oracle.checkCommits();
    this.#checkCounts();
    for (const deletion of this.#deletions) deletion.check();
    const clients = browser.engine?.clients ?? 0;
    const tabs = this.tabs.filter(({ agent }) => agent.isAlive).length;
    if (clients > tabs) browser.violate(`the host has ${clients} clients in ${tabs} tabs`);
    for (const { readers } of this.#isServed ? this.#open : []) {
      for (const reader of readers) reader.check();
    }
    if (faults.areMild && browser.hosts > 1) browser.violate(`${browser.hosts} hosts for nothing`);
    const stealsMax = 2 * faults.total + 1;
    const { steals } = browser.locks;
    if (steals > stealsMax) browser.violate(`${steals} steals after ${faults.total} faults`);
  }

  #checkCounts(): void {
    const { browser } = this;
    for (const [name, value, applied] of Tab.countsOf(browser)) {
      if (value !== applied) browser.violate(`${name} is ${value} after ${applied} increments`);
    }
  }

  /** Closes everything; nothing is left then. */
  async #closeAll(): Promise<void> {
    const { browser, tabs } = this;
    const left = tabs.filter(({ agent }) => agent.isAlive);
    for (const tab of left) {
      if (!tab.isClosing) tab.run(() => tab.close());
      await this.#pass(this.#random.below(2) * 5);
    }
    await this.#until(() => left.every(({ isClosed, isDone }) => isClosed && isDone), "close");
    await this.#pass(2_000);
    for (const { agent } of left) {
      if (agent.timers > 0) browser.violate(`${agent.name} has ${agent.timers} timers left`);
      const ports = agent.ports.filter(({ isOpen }) => isOpen).length;
      if (ports > 0) browser.violate(`${agent.name} has ${ports} ports left`);
    }
    for (const { agent } of browser.workers) {
      if (agent.isAlive) browser.violate(`${agent.name} is left`);
    }
    const { held, waiting } = browser.locks;
    for (const name of [...held.keys(), ...waiting.keys()]) {
      browser.violate(`the lock ${name} is left`);
    }
    for (const name of browser.broadcasts.channels.keys()) {
      browser.violate(`the channel ${name} is left`);
    }
    if (browser.files.owner !== undefined) browser.violate("the files are left open");
  }
}
