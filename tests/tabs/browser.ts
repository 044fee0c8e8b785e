/**
 * A simulated browser: the platform of its pages and workers, and the one database of its origin.
 * The code of client/ and worker/ runs in it as it is; all that it touches is made up here.
 */

import { decodeWelcome } from "../../client/wire/hello.ts";
import { fieldsOf } from "../../tabs/messages.ts";
import type { Channel, Platform, Port, TabPlatform, WorkerLike } from "../../tabs/platform.ts";
import { Broker } from "../../worker/broker.ts";
import { Candidate } from "../../worker/candidate.ts";
import type { Engine, Engines } from "../../worker/engine.ts";
import { BUSY, failure, IO } from "../../worker/failure.ts";
import type { Random } from "../codec/support/random.ts";
import { Agent, newLane } from "./agent.ts";
import { Broadcasts, type Delays, Pipe, SimPort } from "./channels.ts";
import { Files } from "./files.ts";
import { LockManager } from "./locks.ts";
import { type EngineFaults, ModelEngine } from "./model-engine.ts";
import { Scheduler } from "./scheduler.ts";

/** When the simulations begin, in milliseconds since 1970. */
const EPOCH_MS = 1_700_000_000_000;

/** Who is awake for so long has answered, and is not deposed. */
const AWAKE_MS = 4_000;
/** After so long others have heard of one that has the lock. */
const KNOWN_MS = 300;

/** What kind of browser it is. */
export interface BrowserOptions {
  readonly storage: "opfs" | "indexeddb";
  readonly hasBroker: boolean;
  /** How long a message takes at the most when things are slow, in milliseconds. */
  readonly delayMax: number;
  /** Whether messages are copied: see `Delays`. */
  readonly areCopied: boolean;
}

export class SimBrowser {
  readonly scheduler = new Scheduler();
  readonly random: Random;
  readonly options: BrowserOptions;
  readonly files: Files;
  readonly broadcasts: Broadcasts;
  readonly locks: LockManager;
  readonly workers: SimWorker[] = [];
  broker: Agent | undefined;
  /** How many hosts there were. */
  hosts = 0;
  /** How far the clock on the wall is off, in milliseconds. */
  clockOffset = 0;
  /** Whether the next frame has its engine panic, before or after it is applied. */
  panic: "before" | "after" | undefined;
  /** Called when something fails that was to fail. */
  failed: (how: "panicInFrame" | "openFails") => void = () => undefined;
  /** What has happened that must not. */
  readonly violations: string[] = [];
  /** What has happened, if somebody wants to know. */
  trace: string[] | undefined;
  readonly delays: Delays;
  readonly faults: EngineFaults = {
    storageMs: () => this.#delay() + this.random.next(),
    splits: () => this.random.below(2) === 0,
    panic: (isApplied) => {
      if (this.panic !== (isApplied ? "after" : "before")) return;
      this.panic = undefined;
      this.failed("panicInFrame");
      throw new Error("unreachable");
    },
  };
  #agents = 0;

  constructor(random: Random, options: BrowserOptions) {
    this.random = random;
    this.options = options;
    this.delays = {
      areCopied: options.areCopied,
      message: () => this.#delay(),
      came: (from, to, message) => {
        if (!(message instanceof ArrayBuffer)) {
          const { welcome } = fieldsOf<{ welcome?: unknown }>(message);
          if (welcome instanceof ArrayBuffer) to.welcomes.push(decodeWelcome(welcome).epoch);
        }
        if (this.trace === undefined) return;
        this.note(() => `${from.name} > ${to.name}: ${summaryOf(message)}`);
      },
    };
    this.files = new Files(options.storage);
    this.broadcasts = new Broadcasts(this.delays);
    this.locks = new LockManager(this.delays);
    this.locks.stolen = (from, since) => {
      const { now } = this.scheduler;
      const isAwake = from.isRunning && from.thawedAt < now - AWAKE_MS && since < now - KNOWN_MS;
      if (isAwake) this.violate(`${from.name} is awake, and lost its lock`);
    };
  }

  #delay(): number {
    const { random } = this;
    const slow = random.below(100);
    if (slow === 0) return random.next() * this.options.delayMax;
    return random.next() * (slow < 10 ? 5 : 0.3);
  }

  note(text: () => string): void {
    this.trace?.push(`${this.scheduler.now.toFixed(2).padStart(10)}  ${text()}`);
  }

  violate(what: string): void {
    this.violations.push(`${this.scheduler.now.toFixed(2)} ms: ${what}`);
    this.note(() => `VIOLATION ${what}`);
  }

  newAgent(kind: string): Agent {
    const agent = new Agent(`${kind}${++this.#agents}`, this.scheduler, this.random);
    agent.onError = (error) => this.violate(`${agent.name} threw ${stackOf(error)}`);
    return agent;
  }

  platformOf(agent: Agent): Platform {
    return {
      locks: this.locks.of(agent),
      openChannel: (name) => this.broadcasts.open(agent, name),
      now: () => Math.floor(EPOCH_MS + this.scheduler.now + this.clockOffset),
      setTimer: (run, ms) => agent.setTimer(run, ms),
      clearTimer: (timer) => agent.clearTimer(timer),
      turn: (run) => agent.follow(newLane(), 0.01, run),
    };
  }

  tabPlatformOf(agent: Agent, hasWorkers: boolean): TabPlatform {
    const start = () => {
      const worker = new SimWorker(this, agent);
      this.workers.push(worker);
      return worker;
    };
    return {
      ...this.platformOf(agent),
      startWorker: hasWorkers ? start : undefined,
      openBroker: () => (hasWorkers ? this.#openBroker(agent) : undefined),
      openPorts: () => SimPort.pair(agent, this.delays) as [Port, Port],
    };
  }

  #openBroker(agent: Agent): Channel | undefined {
    if (!this.options.hasBroker) return undefined;
    if (this.broker?.isAlive !== true) this.broker = this.newAgent("broker");
    const broker = this.broker as Agent & { broker?: Broker };
    broker.broker ??= new Broker();
    const served = broker.broker;
    const [near, far] = SimPort.pair(agent, this.delays);
    agent.ports.push(near);
    const port = far.move();
    port.agent = broker;
    broker.follow(newLane(), 5 * this.delays.message(), () => {
      served.connect(port as unknown as MessagePort);
    });
    return near;
  }

  /** The engine that has the files. */
  get engine(): ModelEngine | undefined {
    const { owner } = this.files;
    return owner instanceof ModelEngine ? owner : undefined;
  }

  /** Its worker. */
  get host(): SimWorker | undefined {
    const owner = this.engine;
    if (owner === undefined) return undefined;
    return this.workers.find(({ agent }) => agent === owner.agent && agent.isAlive);
  }

  /** Ends an agent: its locks and files are free a little later. */
  end(agent: Agent, isLossy = false): void {
    if (!agent.isAlive) return;
    this.note(() => `${agent.name} ends`);
    if (isLossy) agent.lostAfter = this.scheduler.now - this.random.next() * 3;
    agent.end();
    this.scheduler.after(10 * this.delays.message(), () => this.locks.free(agent));
    this.scheduler.after(10 * this.delays.message(), () => {
      if (this.engine?.agent === agent) this.files.release(this.engine);
    });
  }

  enginesOf(agent: Agent, now: () => number): Engines {
    const wait = (ms: number) =>
      new Promise<void>((resolve) => {
        agent.follow(newLane(), ms, resolve);
      });
    return {
      load: () => wait(this.random.next() * 20),
      practise: async () => undefined,
      open: async (_, callbacks): Promise<Engine> => {
        const { files } = this;
        await wait(this.delays.message());
        const engine = new ModelEngine(files, agent, this.faults, now, callbacks);
        if (!files.take(engine)) throw failure(BUSY, "another worker has the files");
        if (files.storage === "indexeddb") callbacks.taken();
        this.note(() => `${agent.name} opens the files`);
        await wait(this.random.next() * 20 + files.openMs);
        if (engine.isDeposed) throw failure(BUSY, "another worker has taken the database");
        if (files.failures > 0) {
          files.failures--;
          this.failed("openFails");
          files.release(engine);
          throw failure(IO, "the storage failed, as planned");
        }
        engine.begin();
        this.hosts++;
        this.note(() => `${agent.name} is the host of epoch ${engine.epoch}`);
        return engine;
      },
    };
  }
}

export class SimWorker implements WorkerLike {
  onmessage: Channel["onmessage"] = null;
  onerror: WorkerLike["onerror"] = null;
  onmessageerror: (() => void) | null = null;
  readonly agent: Agent;
  readonly page: Agent;
  candidate: Candidate | undefined;
  readonly #browser: SimBrowser;
  readonly #toWorker: Pipe;

  constructor(browser: SimBrowser, page: Agent) {
    this.#browser = browser;
    this.page = page;
    this.agent = browser.newAgent("worker");
    browser.note(() => `${page.name} starts ${this.agent.name}`);
    const { agent, page: tab } = this;
    const toPage = new Pipe(agent, tab, browser.delays, (data) => this.onmessage?.({ data }));
    const scope: Channel = {
      onmessage: null,
      postMessage: (message, transfer) => toPage.post(message, transfer),
      close: () => browser.end(agent),
    };
    const platform = browser.platformOf(agent);
    const engines = browser.enginesOf(agent, platform.now);
    this.#toWorker = new Pipe(tab, agent, browser.delays, (data) => {
      if (this.candidate !== undefined) scope.onmessage?.({ data });
      else this.candidate = new Candidate(platform, engines, scope, data as never);
    });
    this.#toWorker.lane.last = browser.scheduler.now + 10 * browser.delays.message();
    agent.onError = (error) => {
      const isPlanned = (error as Error).message === "unreachable";
      if (!isPlanned) browser.violate(`${agent.name} threw ${stackOf(error)}`);
      this.candidate?.die(error);
    };
  }

  postMessage(message: unknown, transfer: Transferable[]): void {
    this.#toWorker.post(message, transfer);
  }

  terminate(): void {
    const { agent } = this;
    const browser = this.#browser;
    browser.note(() => `${agent.name} is terminated`);
    browser.scheduler.after(browser.delays.message(), () => browser.end(agent));
  }

  /** Ends without a word of its own; the page is told by the browser. */
  crash(): void {
    this.#browser.end(this.agent);
    this.page.follow(newLane(), 10 * this.#browser.delays.message(), () => {
      this.onerror?.({ message: "out of memory" });
    });
  }
}

/** A message for people. */
function summaryOf(message: unknown): string {
  if (message instanceof ArrayBuffer) return `frame of ${message.byteLength} bytes`;
  return JSON.stringify(message, (_, value) => {
    if (value instanceof ArrayBuffer) return `${value.byteLength} bytes`;
    if (typeof value === "bigint") return String(value);
    return value instanceof SimPort ? "a port" : value;
  });
}

export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
