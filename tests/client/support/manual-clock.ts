/** A clock that is moved by hand, with its timers. */
export class ManualClock {
  #now = 0;
  #timers: { due: number; run: () => void }[] = [];

  /** How far the clock is set from where it was: timers don't go by it. */
  skew = 0;

  now(): number {
    return this.#now + this.skew;
  }

  /** How many timers wait. */
  get timers(): number {
    return this.#timers.length;
  }

  // As those of a browser they may be called alone.
  readonly setTimer = (run: () => void, ms: number): unknown => {
    const timer = { due: this.#now + ms, run };
    this.#timers.push(timer);
    return timer;
  };

  readonly clearTimer = (timer: unknown): void => {
    this.#timers = this.#timers.filter((one) => one !== timer);
  };

  /** Lets time pass, with all that is due, each when it is. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const next = this.#timers.sort((a, b) => a.due - b.due)[0];
      if (next === undefined || next.due > end) break;
      this.#timers.shift();
      this.#now = next.due;
      next.run();
    }
    this.#now = end;
  }

  /** Lets time pass as for one who stands still: what was due is run when all of it has gone by. */
  async standStill(ms: number): Promise<void> {
    this.#now += ms;
    const due = this.#timers.filter((timer) => timer.due <= this.#now);
    this.#timers = this.#timers.filter((timer) => timer.due > this.#now);
    for (const { run } of due) run();
    await settled();
  }
}

/** Over when what was said has come, and what follows from it. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));
