/** Web Locks, for the agents of one origin: requests and answers take their time. */

import { hostLockOf } from "../../tabs/messages.ts";
import type { LockOptions, Locks } from "../../tabs/platform.ts";
import { type Agent, type Lane, newLane } from "./agent.ts";
import type { Delays } from "./channels.ts";

const HOST_LOCK = hostLockOf("db");
/** How long it takes at the most until one hears that its lock was stolen, in milliseconds. */
const STOLEN_MS = 8;

interface Request {
  readonly agent: Agent;
  readonly name: string;
  readonly isShared: boolean;
  readonly isIfAvailable: boolean;
  /** The way of answers. */
  readonly lane: Lane;
  isAborted: boolean;
  /** When it was granted. */
  since: number;
  granted(isGranted: boolean): void;
  stolen(): void;
}

/** What all agents of an origin ask for locks. */
export class LockManager {
  /** Those who have a lock, and those who wait for one, by its name and in their order. */
  readonly held = new Map<string, Request[]>();
  readonly waiting = new Map<string, Request[]>();
  /** How often a host's lock was taken from it. */
  steals = 0;
  /** Called when one is taken from an agent that has it since then. */
  stolen: (from: Agent, since: number) => void = () => undefined;
  readonly #delays: Delays;

  constructor(delays: Delays) {
    this.#delays = delays;
  }

  /** What one agent has of it. */
  of(agent: Agent): Locks {
    const lane = newLane();
    // An agent that ends tells nobody any more; `free` is called for it.
    const ask = (run: () => void) => {
      lane.last = Math.max(lane.last, agent.scheduler.now + this.#delays.message());
      agent.scheduler.at(lane.last, () => {
        if (agent.isAlive) run();
      });
    };
    const answers = newLane();
    return {
      request: <T>(
        name: string,
        options: LockOptions,
        granted: (lock: unknown) => T | PromiseLike<T>,
      ) =>
        new Promise<T>((resolve, reject) => {
          const { signal, steal = false } = options;
          if (signal?.aborted) return reject(signal.reason);
          const request: Request = {
            agent,
            name,
            isShared: options.mode === "shared",
            isIfAvailable: options.ifAvailable === true,
            lane: answers,
            isAborted: false,
            since: 0,
            granted: (isGranted) => {
              signal?.removeEventListener("abort", abort);
              const result = Promise.resolve(isGranted ? { name } : null).then(granted);
              result.then(resolve, reject);
              const release = () => ask(() => this.#release(request));
              if (isGranted) result.then(release, release);
            },
            stolen: () => reject(new DOMException("the lock was stolen", "AbortError")),
          };
          const abort = () => {
            request.isAborted = true;
            ask(() => this.#release(request));
            reject(signal?.reason);
          };
          signal?.addEventListener("abort", abort, { once: true });
          ask(() => (steal ? this.#steal(request) : this.#enter(request)));
        }),
      query: () =>
        new Promise((resolve) => {
          ask(() => {
            const snapshot: { name: string; clientId: string }[] = [];
            for (const [name, requests] of this.held) {
              for (const { agent } of requests) snapshot.push({ name, clientId: agent.name });
            }
            agent.follow(answers, this.#delays.message(), () => resolve({ held: snapshot }));
          });
        }),
    };
  }

  /** Frees what an agent has that has ended, and forgets what it asked for. */
  free(agent: Agent): void {
    for (const requests of [this.held, this.waiting]) {
      const its: Request[] = [];
      for (const some of requests.values()) {
        for (const one of some) if (one.agent === agent) its.push(one);
      }
      for (const one of its) this.#release(one);
    }
  }

  #enter(request: Request): void {
    const { name, agent, lane } = request;
    if (request.isAborted) return;
    if (!request.isIfAvailable) {
      put(this.waiting, request);
      this.#grant(name);
    } else if (this.#isFree(request) && !this.waiting.has(name)) {
      this.#give(request);
    } else {
      agent.follow(lane, this.#delays.message(), () => request.granted(false));
    }
  }

  #steal(request: Request): void {
    const former = this.held.get(request.name) ?? [];
    this.held.delete(request.name);
    // A client takes its own anew whenever it looks for a host.
    if (request.name === HOST_LOCK) this.steals += former.length;
    for (const one of former) {
      const { agent } = one;
      this.stolen(agent, one.since);
      // One that stood still hears other things first.
      agent.follow(newLane(), this.#delays.message(), () => {
        agent.follow(newLane(), agent.random.next() * STOLEN_MS, one.stolen);
      });
    }
    this.#give(request);
  }

  #isFree({ name, isShared }: Request): boolean {
    const held = this.held.get(name) ?? [];
    return held.length === 0 || (isShared && held.every((one) => one.isShared));
  }

  #give(request: Request): void {
    put(this.held, request);
    request.since = request.agent.scheduler.now;
    request.agent.follow(request.lane, this.#delays.message(), () => {
      if (!request.isAborted) request.granted(true);
    });
  }

  #release(request: Request): void {
    drop(this.held, request);
    drop(this.waiting, request);
    this.#grant(request.name);
  }

  #grant(name: string): void {
    for (;;) {
      const next = this.waiting.get(name)?.[0];
      if (next === undefined || !this.#isFree(next)) return;
      drop(this.waiting, next);
      this.#give(next);
    }
  }
}

function put(requests: Map<string, Request[]>, request: Request): void {
  const of = requests.get(request.name);
  if (of === undefined) requests.set(request.name, [request]);
  else of.push(request);
}

function drop(requests: Map<string, Request[]>, request: Request): void {
  const of = requests.get(request.name);
  const place = of?.indexOf(request) ?? -1;
  if (of === undefined || place < 0) return;
  if (of.length > 1) of.splice(place, 1);
  else requests.delete(request.name);
}
