/**
 * Virtual time: what is to happen when, one thing at a time, and all microtasks between two of
 * them. The order depends on nothing but the times that were asked for.
 */

/** What is to happen. */
interface Event {
  readonly time: number;
  readonly order: number;
  readonly run: () => void;
}

/**
 * Runs all microtasks, and those that they ask for. Node exposes it for its own sake; to wait for a
 * tick instead, after each step, takes as long as many a step does.
 */
const runMicrotasks = (process as unknown as { _tickCallback(): void })._tickCallback;

export class Scheduler {
  /** Milliseconds since the simulation began. */
  now = 0;
  /** How many things have happened. */
  steps = 0;
  /** A binary heap, by time and then by order. */
  readonly #heap: Event[] = [];
  #order = 0;
  #hash = 0;

  /** A number for all that has happened, when, and for what `note` was told. */
  get hash(): number {
    return this.#hash >>> 0;
  }

  /** Takes something into the hash. */
  note(number: number): void {
    this.#hash = Math.imul(this.#hash ^ number, 0x01000193) ^ (this.#hash >>> 15);
  }

  /** Has `run` happen after `delay` milliseconds. */
  after(delay: number, run: () => void): void {
    this.at(this.now + delay, run);
  }

  /** Has `run` happen at `time`, after all that is to happen then already. */
  at(time: number, run: () => void): void {
    const heap = this.#heap;
    const event: Event = { time: Math.max(time, this.now), order: this.#order++, run };
    let place = heap.length;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = heap[parent] as Event;
      if (!isBefore(event, above)) break;
      heap[place] = above;
      place = parent;
    }
    heap[place] = event;
  }

  /** Lets everything happen until `isOver`, or until nothing is left; stops at an exception. */
  run(isOver: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      // Microtasks can be run only from where none is running.
      setImmediate(() => {
        try {
          this.#runAll(isOver);
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #runAll(isOver: () => boolean): void {
    while (!isOver()) {
      const event = this.#take();
      if (event === undefined) return;
      this.now = event.time;
      this.steps++;
      this.note(event.time * 1024);
      event.run();
      runMicrotasks();
    }
  }

  #take(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) {
        child++;
      }
      if (!isBefore(heap[child] as Event, last)) break;
      heap[place] = heap[child] as Event;
      place = child;
    }
    heap[place] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order);
}
