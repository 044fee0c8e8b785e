/**
 * The frames of a client that are not answered in full: those that a host was sent, in case that it
 * ends, and those that wait until it has answered enough of the former.
 */

import { type Frame, type FrameMessage, type RequestHeader, reframed } from "./wire/request.ts";

/** Bytes that a host is sent ahead of its answers. */
const WINDOW_BYTES = 1024 * 1024;
/** How many hosts may end on a frame: what it asks for may be the cause. */
const DEATHS_MAX = 2;

/** A frame and what is known of its answers. */
class Entry {
  readonly first: number;
  readonly frame: Frame;
  /** When it was put together. */
  readonly since: number;
  /** Requests that are not answered. */
  open: number;
  /** The epochs of the hosts that it was sent to first and last; 0 for none. */
  firstHost = 0;
  lastHost = 0;
  deaths = 0;

  constructor(first: number, frame: Frame, since: number) {
    this.first = first;
    this.frame = frame;
    this.since = since;
    this.open = this.count;
  }

  get count(): number {
    return this.frame.starts.length - 1;
  }

  get size(): number {
    const { bytes, attachments } = this.frame;
    return attachments.reduce((sum, { byteLength }) => sum + byteLength, bytes.byteLength);
  }
}

/** What of the header of a frame is known when it is sent, and how many requests it has. */
export type Addressed = Pick<RequestHeader, "epoch" | "resendOf" | "first"> & { count: number };

export class Unanswered {
  /** Oldest first. */
  #sent: Entry[] = [];
  #waiting: Entry[] = [];
  #sentBytes = 0;

  /** Whether one more frame may be sent at once. */
  get hasRoom(): boolean {
    return this.#waiting.length === 0 && this.#mayFollow();
  }

  #mayFollow(): boolean {
    return this.#sent.length === 0 || this.#sentBytes < WINDOW_BYTES;
  }

  /** Adds a frame that was just sent to the host of `epoch`. */
  sent(first: number, frame: Frame, since: number, epoch: number): void {
    const entry = new Entry(first, frame, since);
    entry.firstHost = entry.lastHost = epoch;
    this.#sent.push(entry);
    this.#sentBytes += entry.size;
  }

  /** Adds a frame that has to wait. */
  wait(first: number, frame: Frame, since: number): void {
    this.#waiting.push(new Entry(first, frame, since));
  }

  /**
   * Forgets the frames that were put together before `time`.
   * @returns the sequence of the first request that is left, or undefined where none is
   */
  forgetBefore(time: number): number | undefined {
    const isLeft = ({ since }: Entry) => since >= time;
    this.#sent = this.#sent.filter(isLeft);
    this.#waiting = this.#waiting.filter(isLeft);
    this.#sentBytes = this.#sent.reduce((sum, { size }) => sum + size, 0);
    return (this.#sent[0] ?? this.#waiting[0])?.first;
  }

  /** A request was answered, or is not waited for any more. */
  answered(sequence: number): void {
    const place = this.#sent.findIndex(({ first, count }) => sequence < first + count);
    const entry = this.#sent[place];
    if (entry === undefined || sequence < entry.first || --entry.open > 0) return;
    this.#sent.splice(place, 1);
    this.#sentBytes -= entry.size;
  }

  /**
   * Has `post` send what waits, as far as it may follow what is sent.
   * @returns the sequence of the first request that waits on, or undefined where none does
   */
  pump(epoch: number, post: (header: Addressed, make: Make) => void): number | undefined {
    while (this.#waiting.length > 0 && this.#mayFollow()) {
      const entry = this.#waiting.shift() as Entry;
      entry.firstHost = entry.lastHost = epoch;
      this.#sent.push(entry);
      this.#sentBytes += entry.size;
      const { first, frame, count } = entry;
      post({ epoch, resendOf: 0, first, count }, (header) => reframed(frame, header, 0, count));
    }
    return this.#waiting[0]?.first;
  }

  /**
   * Has `post` send everything again that was sent and not answered, to the host of `epoch`. What
   * several hosts ended on is not sent again but given up.
   *
   * @param isOpen whether a request still waits for its answer
   * @param isDeath whether the host of an epoch ended for a reason that nobody knows
   */
  resend(
    epoch: number,
    isOpen: (sequence: number) => boolean,
    isDeath: (epoch: number) => boolean,
    post: (header: Addressed, make: Make) => void,
    giveUp: (sequence: number) => void,
  ): void {
    for (const entry of [...this.#sent]) {
      const { first, frame, count, lastHost } = entry;
      if (lastHost !== epoch && isDeath(lastHost)) entry.deaths++;
      entry.lastHost = epoch;
      const isKiller = entry.deaths >= DEATHS_MAX;
      for (let from = 0; from < count; ) {
        let to = from;
        while (to < count && isOpen(first + to)) to++;
        if (isKiller) for (let i = from; i < to; i++) giveUp(first + i);
        else if (to > from) {
          const [start, end] = [from, to];
          const those = { epoch, count: end - start, first: first + from };
          const header = { ...those, resendOf: entry.firstHost };
          post(header, (whole) => reframed(frame, whole, start, end));
        }
        from = to + 1;
      }
    }
  }
}

/** Makes the message of a frame under a header. */
export type Make = (header: RequestHeader) => FrameMessage;
