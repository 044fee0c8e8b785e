/**
 * A tab with the database open, and what it does with it: several things at a time, each after a
 * while the next. All that comes of it is told to the oracle.
 */

import { Connection } from "../../client/connection.ts";
import { KvassError } from "../../client/errors.ts";
import { Handle } from "../../client/kv.ts";
import { LARGE_VALUE_BYTES, LIMITS } from "../../client/limits.ts";
import type { KvCommitError, KvCommitResult, KvEntryMaybe, KvKey } from "../../client/types.ts";
import { KvU64 } from "../../client/u64.ts";
import { numberOf } from "../client/support/memory-host.ts";
import { type Agent, newLane } from "./agent.ts";
import { type SimBrowser, stackOf } from "./browser.ts";
import type { Faults } from "./faults.ts";
import { hexOfKey, type Intent, type Moment, type Oracle, seen, VALUES } from "./oracle.ts";
import { ChangesReader, type Reader, WatchReader } from "./readers.ts";
import type { Habits } from "./scenario.ts";

/** Keys that many write. */
const KEYS = 4;
const COUNTERS = 2;
export const OPEN_TIMEOUT_MS = 30_000;

const ENCODER = new TextEncoder();

/** What calls may be refused with when something goes wrong. */
const EXCUSED = ["OutcomeUnknown", "HostLost", "Timeout", "Busy", "NoHost", "Io"];

/** A call that is not over. */
export interface Pending {
  readonly what: string;
  readonly since: number;
}

/** What is to happen in some runs at least. */
export type Rare = "lagged" | "large" | "deleted";

/** What a tab lives in. */
export interface World {
  readonly browser: SimBrowser;
  readonly oracle: Oracle;
  readonly faults: Faults;
  readonly errors: Record<string, number>;
  /** How often what is rare has happened. */
  readonly met: Partial<Record<Rare, number>>;
  readonly habits: Habits;
  /** How much longer than usual tabs wait between what they do. */
  readonly leisure: number;
}

export class Tab {
  readonly browser: SimBrowser;
  readonly oracle: Oracle;
  readonly agent: Agent;
  /** Whether it can have a worker: a service worker can't. */
  readonly isPage: boolean;
  readonly connection: Connection;
  readonly handle: Handle;
  readonly pending = new Set<Pending>();
  readonly readers: Reader[] = [];
  /** What its calls were refused with, by code. */
  readonly errors: Record<string, number>;
  /** Whether it goes on to ask for things. */
  isBusy = true;
  isClosing = false;
  isClosed = false;
  /** How often the database was deleted before it was opened. */
  readonly life: number;
  /** Whether the page was told that it is frozen or cached. */
  isSuspended = false;
  suspensions = 0;
  readonly #world: World;
  #serial = 0;
  /** What it does that is not over. */
  #doing = 0;

  constructor(world: World, isPage: boolean) {
    const { browser, oracle, errors } = world;
    this.browser = browser;
    this.#world = world;
    this.isPage = isPage;
    this.oracle = oracle;
    this.life = oracle.life;
    this.errors = errors;
    this.agent = browser.newAgent(isPage ? "tab" : "service");
    const options = {
      name: "db",
      storage: browser.options.storage,
      history: { bytes: 1, ms: 1 },
      salvage: false,
      wasm: undefined,
      openTimeout: OPEN_TIMEOUT_MS,
    } as const;
    this.connection = new Connection(options, browser.tabPlatformOf(this.agent, isPage));
    this.handle = new Handle(this.connection, LIMITS.kvass, "relaxed", () => {
      return this.connection.close();
    });
  }

  get name(): string {
    return this.agent.name;
  }

  get habits(): Habits {
    return this.#world.habits;
  }

  /** Takes note of something that is rare. */
  met(what: Rare): void {
    const { met } = this.#world;
    met[what] = (met[what] ?? 0) + 1;
  }

  /** Whether it has no database any more, because it closed it or because it was deleted. */
  get isOver(): boolean {
    return this.isClosing || this.connection.isClosed;
  }

  /** Whether no call of it is under way. */
  get isIdle(): boolean {
    return !this.agent.isAlive || this.pending.size === 0;
  }

  /** Whether nothing is under way, reading included. */
  get isDone(): boolean {
    return this.isIdle && (!this.agent.isAlive || this.#doing === 0);
  }

  /** Does several things at a time, until it is not to be busy any more. */
  start(actors: number, readers: number): void {
    this.run(async () => {
      await this.call("open", () => this.connection.connect());
      for (let i = 0; i < actors; i++) this.run(() => this.#act());
      for (let i = 0; i < readers; i++) this.#read();
    });
  }

  /** Has the tab do something that takes long, and tells of what goes wrong with it. */
  run(act: () => Promise<void>): void {
    this.#doing++;
    act().then(
      () => this.#doing--,
      (error) => {
        this.#doing--;
        this.browser.violate(`${this.name} failed: ${stackOf(error)}`);
      },
    );
  }

  /** Runs something in the page, where it may be frozen. */
  soon(run: () => void): void {
    this.agent.follow(newLane(), 0, run);
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.agent.setTimer(resolve, ms);
    });
  }

  /** Awaits a call, whose error is undefined. */
  async call<T>(what: string, run: () => Promise<T>): Promise<T | undefined> {
    const pending = { what, since: this.browser.scheduler.now };
    this.pending.add(pending);
    try {
      const result = await run();
      this.browser.note(() => `${this.name} ${what}: done`);
      return result;
    } catch (error) {
      this.#refused(pending, error);
      return undefined;
    } finally {
      this.pending.delete(pending);
    }
  }

  #refused({ what, since }: Pending, error: unknown): void {
    const { browser } = this;
    const code = error instanceof KvassError ? error.code : stackOf(error);
    browser.note(() => `${this.name} ${what}: ${code} ${(error as Error).message}`);
    this.errors[code] = (this.errors[code] ?? 0) + 1;
    const isDeleted = this.life < this.oracle.life || this.connection.isClosed;
    const isExcused =
      (this.#world.faults.excuse(this, since) && EXCUSED.includes(code)) ||
      (isDeleted && [...EXCUSED, "Closed"].includes(code));
    if (!isExcused && !this.isClosing) {
      browser.violate(`${this.name} ${what} was refused: ${stackOf(error)}`);
    }
  }

  async #act(): Promise<void> {
    const { random } = this.browser;
    while (this.isBusy && !this.isOver) {
      const pause = random.next() ** 2 * random.pick([5, 1_000, 2_000]);
      await this.wait(this.#world.leisure * pause);
      if (!this.isBusy || this.isOver) return;
      await this.#step();
    }
  }

  #step(): Promise<unknown> {
    const { random } = this.browser;
    if (random.below(this.habits.together) === 0) {
      return Promise.all([this.#set(), this.sum(), this.#get(), this.#set()]);
    }
    switch (random.below(9)) {
      case 0:
      case 1:
        return this.sum();
      case 2:
      case 3:
        return this.#set();
      case 4:
        return this.#swap();
      case 5:
        return this.#getMany();
      case 6:
        return this.#list();
      default:
        return this.#get();
    }
  }

  /**
   * Makes a commit, which sets the key `marker` too; returns its versionstamp if it is
   * acknowledged.
   */
  async commit(
    what: string,
    send: (marker: readonly [string, string, number]) => Promise<KvCommitResult | KvCommitError>,
    value?: string | Uint8Array,
  ): Promise<string | undefined> {
    const serial = ++this.#serial;
    const intent: Intent = this.oracle.intend(this.name, serial);
    if (value !== undefined) intent.value = value;
    const pending = { what: `${what} ${serial}`, since: this.browser.scheduler.now };
    this.pending.add(pending);
    this.browser.note(() => `${this.name} calls ${what} ${serial}`);
    try {
      const result = await send(["m", this.name, serial]);
      this.browser.note(() => `${this.name} ${what} ${serial}: ${JSON.stringify(result)}`);
      if (result.ok) this.oracle.acknowledged(intent, result.versionstamp);
      else intent.state = "refused";
      return result.ok ? result.versionstamp : undefined;
    } catch (error) {
      const isUnknown = (error as KvassError).code === "OutcomeUnknown";
      intent.state = isUnknown ? "unknown" : "refused";
      this.#refused(pending, error);
      return undefined;
    } finally {
      this.pending.delete(pending);
    }
  }

  /** Adds to a counter. */
  sum(): Promise<string | undefined> {
    const counter = ["n", this.browser.random.below(COUNTERS)];
    return this.commit("sum", (marker) =>
      this.handle.atomic().sum(counter, 1n).set(marker, 1).commit(),
    );
  }

  #key(): readonly [string, number] {
    return [VALUES, this.browser.random.below(KEYS)];
  }

  /** A value that nobody else writes. */
  #value(): string | Uint8Array {
    const text = `${this.name} ${this.#serial}`;
    const { random } = this.browser;
    if (random.below(this.habits.large) > 0) return text;
    this.met("large");
    const bytes = new Uint8Array(LARGE_VALUE_BYTES + random.below(3 * LARGE_VALUE_BYTES));
    ENCODER.encodeInto(text, bytes);
    return bytes;
  }

  async #set(): Promise<void> {
    const key = this.#key();
    if (this.browser.random.below(5) === 0) {
      await this.commit("delete", (marker) =>
        this.handle.atomic().set(marker, 1).delete(key).commit(),
      );
      return;
    }
    const value = this.#value();
    const set = (marker: KvKey) => this.handle.atomic().set(marker, 1).set(key, value).commit();
    await this.commit("set", set, value);
  }

  /** Reads and then writes only what is still as it was. */
  async #swap(): Promise<void> {
    const key = this.#key();
    const entry = await this.call("get", () => this.handle.get(key));
    if (entry === undefined || this.isOver) return;
    const { versionstamp } = entry;
    const value = this.#value();
    const swap = (marker: KvKey) =>
      this.handle.atomic().check({ key, versionstamp }).set(key, value).set(marker, 1).commit();
    await this.commit("swap", swap, value);
  }

  async #get(): Promise<void> {
    const key = this.#key();
    const { present } = this.oracle;
    const entry = await this.call("get", () => this.handle.get(key));
    if (entry !== undefined) this.#saw(present, [entry], "get");
  }

  async #getMany(): Promise<void> {
    const keys = [this.#key(), this.#key(), ["n", 0]];
    const { present } = this.oracle;
    const entries = await this.call("getMany", () => this.handle.getMany(keys));
    if (entries !== undefined) this.#saw(present, entries, "getMany");
  }

  #saw(since: Moment, entries: readonly KvEntryMaybe[], how: string): void {
    const what = `a ${how} of ${this.name}`;
    this.oracle.saw(since, entries.map(seen), what);
    for (const entry of entries) this.oracle.holds(since.life, entry, what);
  }

  async #list(): Promise<void> {
    const { present } = this.oracle;
    const prefix = [this.browser.random.pick([VALUES, "n"])];
    const what = `a list of ${this.name}`;
    const found = await this.call("list", async () => {
      const stamps = new Map<string, string>();
      for await (const entry of this.handle.list({ prefix }, { batchSize: 2 })) {
        this.oracle.holds(present.life, entry, what);
        stamps.set(hexOfKey(entry.key), entry.versionstamp);
      }
      return stamps;
    });
    if (found === undefined) return;
    this.oracle.listed(present, hexOfKey(prefix), found, what);
  }

  /** Reads changes or a watch, at its own pace. */
  #read(): void {
    const { random } = this.browser;
    const reader =
      random.below(2) === 0
        ? new WatchReader(this, [this.#key(), ["n", 0]])
        : new ChangesReader(this, random.pick(["m", VALUES]), random.below(2) === 0);
    this.readers.push(reader);
    this.run(() => reader.run());
  }

  /** Closes the handle. */
  async close(): Promise<void> {
    if (this.isClosing) return;
    this.isClosing = true;
    await this.call("close", () => this.handle.close());
    this.isClosed = true;
  }

  /** Counters as they must be by what was applied. */
  static countsOf(browser: SimBrowser): [string, bigint, bigint][] {
    const { entries, log } = browser.files.state;
    return Array.from({ length: COUNTERS }, (_, i) => {
      const key = hexOfKey(["n", i]);
      const applied = log.filter(({ changes }) => changes.some(([, changed]) => changed === key));
      const bytes = entries.get(key)?.value;
      const value = bytes === undefined ? 0n : numberOf(bytes);
      return [`n/${i}`, value, new KvU64(BigInt(applied.length)).value];
    });
  }
}
