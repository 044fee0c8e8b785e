/**
 * Calls that wait for their answers, by sequence: a ring, because sequences follow on and answers
 * come nearly in order.
 */

import type { Response } from "./wire/response.ts";

/** One call. Exactly one of its methods is called, once. */
export interface Call {
  /** Whether it may change the database: if its answer is lost, its outcome is unknown. */
  readonly isWrite: boolean;
  /** Whether it is for one host only, and not sent again to another one. */
  readonly isPassing: boolean;
  /** Takes the answer of the host, which may be an error. */
  answer(response: Response): void;
  /** Takes the reason why there will be no answer. */
  fail(error: unknown): void;
}

/** The calls of one connection. */
export class Calls {
  /** The sequence of the next call. */
  next = 1;
  /** The highest sequence for which it and all below are answered. */
  ackedThrough = 0;
  #ring: (Call | undefined)[] = new Array(64);

  /** Whether a call that may change the database waits. */
  get hasWrites(): boolean {
    return this.#ring.some((call) => call?.isWrite);
  }

  add(call: Call): void {
    const size = this.#ring.length;
    if (this.next - this.ackedThrough > size) this.#grow(size * 2);
    this.#ring[this.next & (this.#ring.length - 1)] = call;
    this.next++;
  }

  #grow(size: number): void {
    const ring: (Call | undefined)[] = new Array(size);
    for (let i = this.ackedThrough + 1; i < this.next; i++) {
      ring[i & (size - 1)] = this.#ring[i & (this.#ring.length - 1)];
    }
    this.#ring = ring;
  }

  /** The call of a sequence, if it waits. */
  get(sequence: number): Call | undefined {
    if (sequence <= this.ackedThrough || sequence >= this.next) return undefined;
    return this.#ring[sequence & (this.#ring.length - 1)];
  }

  /** Whether any call waits. */
  get isWaiting(): boolean {
    return this.ackedThrough + 1 < this.next;
  }

  /** Removes a call whose answer is there; undefined if none of this sequence waits. */
  take(sequence: number): Call | undefined {
    if (sequence <= this.ackedThrough || sequence >= this.next) return undefined;
    const ring = this.#ring;
    const mask = ring.length - 1;
    const call = ring[sequence & mask];
    ring[sequence & mask] = undefined;
    while (
      this.ackedThrough + 1 < this.next &&
      ring[(this.ackedThrough + 1) & mask] === undefined
    ) {
      this.ackedThrough++;
    }
    return call;
  }

  /** Removes the calls below `end` that wait and that `isTaken`, in order. */
  takeBelow(end: number, isTaken: (call: Call) => boolean = () => true): [number, Call][] {
    const taken: [number, Call][] = [];
    for (let i = this.ackedThrough + 1; i < end; i++) {
      const call = this.get(i);
      if (call === undefined || !isTaken(call)) continue;
      this.take(i);
      taken.push([i, call]);
    }
    return taken;
  }
}
