/**
 * Agents: the pages and workers of a simulated browser. One runs, stands still for a while (frozen,
 * or its process stopped), or has ended. What happens to one that stands still waits; once it goes
 * on, all of it comes soon and in any order, but for what came by the same lane.
 */

import type { Random } from "../codec/support/random.ts";
import type { Scheduler } from "./scheduler.ts";

/** What keeps its order: messages of one sender to one receiver, or the timers of an agent. */
export interface Lane {
  /** When the last of it happens. */
  last: number;
}

export const newLane = (): Lane => ({ last: 0 });

/** How long an agent that goes on takes for each thing that has waited, in milliseconds. */
const DRAIN_MS = 0.5;

export class Agent {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** What is to be done about an exception that nobody catches. */
  onError: (error: unknown) => void = (error) => {
    throw error;
  };
  /** Messages that it sent after this time are lost. */
  lostAfter = Number.POSITIVE_INFINITY;
  /** The epochs of the hosts that have taken it up, each as often as they have. */
  readonly welcomes: number[] = [];
  /** The ports that it was given. */
  readonly ports: { readonly isOpen: boolean }[] = [];
  /** Called when it has ended. */
  readonly ended: (() => void)[] = [];
  /** When it last began to go on. */
  thawedAt = 0;
  readonly #timers = new Map<number, () => void>();
  readonly #timerLane = newLane();
  #lastTimer = 0;
  #state: "running" | "still" | "ended" = "running";
  readonly #backlog = new Map<Lane, (() => void)[]>();
  #freezes = 0;
  #thaws = 0;

  constructor(name: string, scheduler: Scheduler, random: Random) {
    this.name = name;
    this.scheduler = scheduler;
    this.random = random;
  }

  get isAlive(): boolean {
    return this.#state !== "ended";
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  get timers(): number {
    return this.#timers.size;
  }

  /** Has something happen to the agent at `time`, unless it has ended by then. */
  at(time: number, lane: Lane, run: () => void): void {
    this.scheduler.at(time, () => this.#happen(lane, run));
  }

  /** As `at`, after all that comes by this lane already. */
  follow(lane: Lane, delay: number, run: () => void): void {
    lane.last = Math.max(lane.last, this.scheduler.now + delay);
    this.at(lane.last, lane, run);
  }

  setTimer(run: () => void, ms: number): number {
    const timer = ++this.#lastTimer;
    this.#timers.set(timer, run);
    this.at(this.scheduler.now + Math.max(ms, 0), this.#timerLane, () => {
      if (this.#timers.delete(timer)) run();
    });
    return timer;
  }

  clearTimer(timer: unknown): void {
    this.#timers.delete(timer as number);
  }

  /** Stands still until `thaw` was called as often. */
  freeze(): void {
    if (this.#state === "ended") return;
    this.#state = "still";
    this.#freezes++;
  }

  thaw(): void {
    if (this.#state !== "still" || --this.#freezes > 0) return;
    this.#state = "running";
    this.thawedAt = this.scheduler.now;
    this.#drain(++this.#thaws);
  }

  /** Ends. What it holds is for others to free. */
  end(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#timers.clear();
    this.#backlog.clear();
    for (const run of this.ended.splice(0)) run();
  }

  #happen(lane: Lane, run: () => void): void {
    if (this.#state === "ended") return;
    const waiting = this.#backlog.get(lane);
    if (waiting !== undefined) waiting.push(run);
    else if (this.#state === "still") this.#backlog.set(lane, [run]);
    else this.#try(run);
  }

  #drain(thaw: number): void {
    if (this.#state !== "running" || thaw !== this.#thaws || this.#backlog.size === 0) return;
    const [lane, waiting] = this.random.pick([...this.#backlog]);
    const run = waiting.shift() as () => void;
    if (waiting.length === 0) this.#backlog.delete(lane);
    this.scheduler.after(this.random.next() * DRAIN_MS, () => this.#drain(thaw));
    this.#try(run);
  }

  #try(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.onError(error);
    }
  }
}
