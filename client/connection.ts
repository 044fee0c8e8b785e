/**
 * The connection of a tab to the host of one database.
 *
 * - All calls of one microtask travel as one frame, which is posted when the microtasks before it
 *   have run, or earlier once it is large. A host is sent only so much ahead of its answers.
 * - Calls made while there is no host wait for the next one.
 * - When there is another host, it is sent again what is not answered: writes under their old
 *   sequences, by which a host knows those that were applied, and subscriptions from where they
 *   are. Only after several hosts have ended on a call is it given up.
 */

import type { TabPlatform } from "../tabs/platform.ts";
import { type Call, Calls } from "./calls.ts";
import type { HostOptions } from "./candidate.ts";
import type { ByteWriter } from "./codec/bytes.ts";
import { codeOf, errorOf, KvassError, shown, tooLarge } from "./errors.ts";
import { type Link, Membership, type MembershipListener } from "./membership.ts";
import type { KvStorage } from "./types.ts";
import { type Addressed, type Make, Unanswered } from "./unanswered.ts";
import {
  type Frame,
  type FrameMessage,
  messageOf,
  REQUEST,
  RequestFrame,
  type RequestHeader,
} from "./wire/request.ts";
import { type RawEvent, type Response, type ResponseSink, readFrame } from "./wire/response.ts";

/** A frame is posted early once it has this many bytes, so that the host begins meanwhile. */
const FRAME_BYTES = 512 * 1024;
/** How long the host may take to flush and close, in milliseconds. */
const CLOSE_TIMEOUT_MS = 10_000;
/** After so long a host in another tab does not begin with what it was sent, in milliseconds. */
const DEADLINE_MS = 10_000;
/** The longest that a timer can wait; one asked for more than that fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** A request to hear of events, which outlives the host that it was sent to. */
export interface Subscription {
  /** Writes the request that subscribes under the number `id`. */
  write(w: ByteWriter, id: number): void;
  /** A host took it up; the first one, or another after that was lost. */
  subscribed(response: Response): void;
  /** A host refused it. Returns whether it is to be asked again, for something else. */
  refused(error: unknown): boolean;
  /** What was asked for it will not be answered, though the host may be there: it begins anew. */
  lost(): void;
  /** Whether it goes on from what it has heard of, and not from where its request was written. */
  readonly hasHeard: boolean;
  event(event: RawEvent): void;
  /** There will be no more events, because of an error if there is one. */
  end(error?: unknown): void;
}

/** The connection to one database, shared by the handles of a page. */
export class Connection {
  /** Grows with every host: what the one before knew, such as subscriptions, is lost with it. */
  generation = 0;
  readonly #options: HostOptions;
  readonly #platform: TabPlatform;
  readonly #membership: Membership;
  readonly #client: Uint8Array = crypto.getRandomValues(new Uint8Array(16));
  readonly #calls = new Calls();
  readonly #frame = new RequestFrame();
  /** When its first call was made, in the time of `Membership.awakeMs`. */
  #frameSince = 0;
  readonly #unanswered = new Unanswered();
  /** Sequences below this one were posted to some host. */
  #posted = 1;
  #isScheduled = false;
  #link: Link | undefined;
  #connecting: Pending | undefined;
  #openTimer: unknown;
  /** Whether the page is frozen or in the back/forward cache: there is to be no host then. */
  #isSuspended = false;
  /** Why the connection is closed. */
  #closed: KvassError | undefined;
  readonly #subscriptions = new Map<number, { subscription: Subscription; sequence: number }>();
  #lastSubscription = 0;

  constructor(options: HostOptions, platform: TabPlatform) {
    this.#options = options;
    this.#platform = platform;
    this.#membership = new Membership(options, this.#client, this.#listener, platform);
  }

  /** The storage that the host obtained, while there is one. */
  get storage(): KvStorage | undefined {
    return this.#link?.storage;
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** Whether this tab's own worker is the host. */
  get role(): "host" | "client" {
    return this.#link?.role ?? "client";
  }

  /** Sees to it that there is a host. @throws KvassError */
  connect(): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (this.#link !== undefined) return Promise.resolve();
    const { promise } = this.#connecting ?? this.#connect();
    return promise;
  }

  #connect(): Pending {
    const pending = new Pending(() => this.#platform.clearTimer(this.#openTimer));
    // Who waits for it hears of it, and there may be nobody.
    pending.promise.catch(() => undefined);
    this.#connecting = pending;
    if (!this.#isSuspended) this.#seek();
    return pending;
  }

  /** Looks for a host, but not for ever. */
  #seek(): void {
    const { name, openTimeout } = this.#options;
    const late = () => {
      const error = new KvassError("Timeout", `opening "${name}" took over ${openTimeout} ms`);
      // One that was there may come back; before that there is nothing to wait for.
      if (this.generation > 0) this.#giveUp(error);
      else this.#lose(error);
    };
    this.#openTimer = this.#platform.setTimer(late, Math.min(openTimeout, TIMER_MS_MAX));
    try {
      this.#membership.join();
    } catch (error) {
      this.#lose(error as Error);
    }
  }

  /**
   * Adds a call to the current frame. Everything that `write` or `read` throws rejects the promise;
   * if `write` throws, nothing is sent.
   */
  call<T>(
    write: (w: ByteWriter) => void,
    read: (response: Response) => T,
    isWrite = false,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const answer = (response: Response) => {
        try {
          if (response.type === "error") reject(failureOf(response));
          else resolve(read(response));
        } catch (error) {
          reject(error);
        }
      };
      this.#add(write, { isWrite, isPassing: false, answer, fail: reject });
    });
  }

  /** Sends a request whose answer nobody waits for, unless there is no host to hear it. */
  tell(write: (w: ByteWriter) => void): void {
    if (this.#link === undefined || this.#closed !== undefined) return;
    this.#addPassing(write, () => undefined);
  }

  /** Sends a subscription's request and returns its number, for `unsubscribe`. */
  subscribe(subscription: Subscription): number {
    const id = ++this.#lastSubscription;
    this.#sendSubscription(id, subscription);
    return id;
  }

  /** Ends a subscription, of which nothing more is heard. */
  unsubscribe(id: number): void {
    if (this.#subscriptions.delete(id)) this.#tellUnsubscribed(id);
  }

  /** Asks for the next events of a subscription that catches up. */
  more(id: number): void {
    const subscription = this.#subscriptions.get(id)?.subscription;
    if (subscription === undefined || this.#link === undefined) return;
    const { generation } = this;
    const write = (w: ByteWriter) => {
      w.u8(REQUEST.more);
      w.varint(id);
    };
    const answer = (response: Response) => {
      // Another host was asked for the whole subscription.
      if (generation === this.generation) this.#subscribed(id, subscription, response);
    };
    this.#addPassing(write, answer, () => this.#lost(id));
  }

  #tellUnsubscribed(id: number): void {
    this.tell((w) => {
      w.u8(REQUEST.unsubscribe);
      w.varint(id);
    });
  }

  /** Posts the current frame now, or has it wait for its turn. */
  flush(): void {
    this.#isScheduled = false;
    const { count, size } = this.#frame;
    if (count === 0) return;
    const first = this.#calls.next - count;
    const link = this.#link;
    if (link === undefined) {
      // It can take more while there is nobody to send it to.
      if (size > FRAME_BYTES) {
        const frame = this.#takeFrame(first, count);
        if (frame !== undefined) this.#unanswered.wait(first, frame, this.#frameSince);
      }
      this.connect().catch(() => undefined);
      return;
    }
    const frame = this.#takeFrame(first, count);
    if (frame === undefined) return;
    if (this.#unanswered.hasRoom) {
      this.#unanswered.sent(first, frame, this.#frameSince, link.epoch);
      this.#postTo(link, () => messageOf(frame), first, count);
      this.#posted = first + count;
      this.#membership.watch();
    } else {
      this.#unanswered.wait(first, frame, this.#frameSince);
    }
  }

  /** The current frame; undefined where there is no memory for it: then its calls have failed. */
  #takeFrame(first: number, count: number): Frame | undefined {
    try {
      return this.#frame.take(this.#header(first));
    } catch (cause) {
      this.#frame.clear();
      this.#failAll(first, count, cause);
      return undefined;
    }
  }

  #header(first: number, resendOf = 0): RequestHeader {
    const { epoch = 0, role } = this.#link ?? {};
    const { ackedThrough } = this.#calls;
    // What was sent before may be applied already: it is never too late to say so.
    const isNew = role === "client" && resendOf === 0;
    const deadline = isNew ? this.#platform.now() + DEADLINE_MS : 0;
    return { client: this.#client, epoch, deadline, ackedThrough, resendOf, first };
  }

  /** Has the host flush its files, because the page is hidden. */
  hide(): void {
    this.flush();
    this.#membership.hide();
  }

  /** The page ends: its worker is the host no more. */
  leave(): void {
    this.hide();
    this.#membership.sayLeaving();
  }

  /**
   * Ends the worker because the page is frozen or goes into the back/forward cache, where it must
   * not hold the database. A worker that still has writes to read is left to finish them and end
   * by itself; what it does not answer is sent again afterwards.
   */
  suspend(): void {
    if (this.#link?.storage === "memory" || this.#isSuspended) return;
    this.flush();
    this.#isSuspended = true;
    this.#platform.clearTimer(this.#openTimer);
    this.#membership.leave(this.#calls.hasWrites);
    this.#link = undefined;
  }

  /** Allows a host again after `suspend`; one is sought if there are calls or subscriptions. */
  resume(): void {
    if (!this.#isSuspended) return;
    this.#isSuspended = false;
    const isNeeded = this.#isWaiting || this.#subscriptions.size > 0;
    if (this.#closed !== undefined || !isNeeded) return;
    if (this.#connecting === undefined) this.connect().catch(() => undefined);
    else this.#seek();
  }

  /** Flushes and closes the database, and ends the host if it is this tab's. */
  async close(): Promise<void> {
    // Calls that are not answered yet come first; if there is no host for them, they say so.
    if (this.#calls.isWaiting) await this.connect().catch(() => undefined);
    try {
      if (this.#link !== undefined) {
        const done = this.call(
          (w) => w.u8(REQUEST.close),
          () => undefined,
        );
        await this.#within(CLOSE_TIMEOUT_MS, done);
        await this.#within(CLOSE_TIMEOUT_MS, this.#membership.close());
      }
    } finally {
      this.#shut(new KvassError("Closed", "the database was closed"));
    }
  }

  #shut(error: KvassError): void {
    this.#closed ??= error;
    this.#lose(error);
  }

  /** There is no host and nothing waits for one; the next call begins anew. */
  #lose(error: Error): void {
    this.#membership.leave(false);
    this.#link = undefined;
    this.#giveUp(error);
    const subscriptions = [...this.#subscriptions.values()];
    this.#subscriptions.clear();
    for (const { subscription } of subscriptions) subscription.end(error);
  }

  #add(write: (w: ByteWriter) => void, call: Parameters<Calls["add"]>[0]): void {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#frame.count === 0) this.#frameSince = this.#membership.awakeMs;
    this.#frame.add(write);
    this.#calls.add(call);
    if (this.#frame.size > FRAME_BYTES) {
      this.flush();
    } else if (!this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(() => this.flush());
    }
  }

  /** Adds a call that is not sent to another host: who cares asks that in another way. */
  #addPassing(
    write: (w: ByteWriter) => void,
    answer: (response: Response) => void,
    fail = () => {},
  ): void {
    this.#add(write, { isWrite: false, isPassing: true, answer, fail });
  }

  #sendSubscription(id: number, subscription: Subscription): void {
    const write = (w: ByteWriter) => subscription.write(w, id);
    // It is known before it is sent: that may fail at once.
    this.#subscriptions.set(id, { subscription, sequence: this.#calls.next });
    try {
      // Until it is answered it keeps its place among the calls: it begins before those after it.
      this.#add(write, {
        isWrite: false,
        isPassing: false,
        answer: (response) => this.#subscribed(id, subscription, response),
        fail: () => this.#lost(id),
      });
    } catch (error) {
      this.#subscriptions.delete(id);
      throw error;
    }
  }

  /** A request of a subscription was given up. The next host is asked for it anyhow. */
  #lost(id: number): void {
    if (this.#link !== undefined) this.#subscriptions.get(id)?.subscription.lost();
  }

  #subscribed(id: number, subscription: Subscription, response: Response): void {
    if (!this.#subscriptions.has(id)) {
      this.#tellUnsubscribed(id);
    } else if (response.type !== "error") {
      subscription.subscribed(response);
    } else if (codeOf(response.failure.code) === "Timeout") {
      subscription.lost();
    } else if (subscription.refused(failureOf(response))) {
      this.#sendSubscription(id, subscription);
    } else {
      this.#subscriptions.delete(id);
      subscription.end(failureOf(response));
    }
  }

  get #isWaiting(): boolean {
    return this.#calls.isWaiting || this.#connecting !== undefined;
  }

  readonly #listener: MembershipListener = {
    linked: (link) => this.#linked(link),
    unlinked: () => {
      this.#link = undefined;
    },
    frame: (frame) => this.#receive(frame),
    // Opening may take longer than a call; it has a bound of its own.
    absent: (error, late, isSilent) => {
      this.#giveUpBefore(late, error);
      if (!isSilent) return;
      this.#connecting?.reject(error);
      this.#connecting = undefined;
    },
    failed: (error) => this.#lose(error),
    closed: (error) => this.#shut(error),
    isWaiting: () => this.#isWaiting,
  };

  /** There is a host that has heard nothing yet. */
  #linked(link: Link): void {
    const isRepeated = this.#posted > 1;
    this.#link = link;
    this.generation++;
    this.#connecting?.resolve();
    this.#connecting = undefined;
    if (isRepeated) this.#repeat(link.epoch);
    this.#pump();
    this.flush();
    this.#membership.watch();
  }

  /** Tells a host again what those before were told. */
  #repeat(epoch: number): void {
    const posted = this.#posted;
    for (const [sequence] of this.#calls.takeBelow(posted, ({ isPassing }) => isPassing)) {
      this.#unanswered.answered(sequence);
    }
    for (const { subscription, sequence } of this.#subscriptions.values()) {
      if (sequence < posted && subscription.hasHeard) this.#take(sequence);
    }
    this.#unanswered.resend(
      epoch,
      (sequence) => this.#calls.get(sequence) !== undefined,
      (host) => !this.#membership.hasLeft(host),
      this.#post,
      (sequence) => this.#fail(sequence, hostsEnded()),
    );
    for (const [id, { subscription, sequence }] of this.#subscriptions) {
      const isSent = this.#calls.get(sequence) !== undefined;
      if (sequence < posted && !isSent) this.#sendSubscription(id, subscription);
    }
  }

  /** Posts what waits, as far as the host may have it. */
  #pump(): void {
    const link = this.#link;
    if (link === undefined) return;
    const next = this.#unanswered.pump(link.epoch, this.#post);
    this.#posted = next ?? this.#calls.next - this.#frame.count;
  }

  readonly #post = ({ first, resendOf, count }: Addressed, make: Make) => {
    const message = () => make(this.#header(first, resendOf));
    if (this.#link !== undefined) this.#postTo(this.#link, message, first, count);
  };

  /** Posts a frame. If that can't be done, for want of memory, its calls fail: nobody answers. */
  #postTo(link: Link, message: () => FrameMessage, first: number, count: number): void {
    try {
      link.post(message());
    } catch (cause) {
      this.#failAll(first, count, cause);
    }
  }

  /** Fails calls that can't be sent. They are not asked for again, which might go on for ever. */
  #failAll(first: number, count: number, cause: unknown): void {
    const error = notSent(cause);
    const end = first + count;
    for (const [id, { subscription, sequence }] of this.#subscriptions) {
      if (sequence < first || sequence >= end) continue;
      this.#subscriptions.delete(id);
      subscription.end(error);
    }
    for (let sequence = first; sequence < end; sequence++) this.#fail(sequence, error);
  }

  #receive(frame: FrameMessage): void {
    try {
      readFrame(frame, this.#sink);
    } catch (error) {
      const message = `a frame of the host could not be read: ${(error as Error).message}`;
      this.#lose(new KvassError("MalformedFrame", message, { cause: error }));
    }
    this.#pump();
  }

  readonly #sink: ResponseSink = {
    // What a host says that was deposed counts for nothing.
    epoch: (epoch) => epoch === this.#link?.epoch,
    reply: (sequence, response) => {
      this.#take(sequence)?.answer(response);
    },
    event: (event) => this.#subscriptions.get(event.id)?.subscription.event(event),
  };

  /** The call of a sequence, if it waits still: it does not any more, and is not sent again. */
  #take(sequence: number): Call | undefined {
    const call = this.#calls.take(sequence);
    if (call !== undefined) this.#unanswered.answered(sequence);
    return call;
  }

  #fail(sequence: number, error: Error): void {
    const call = this.#take(sequence);
    call?.fail(call.isWrite && sequence < this.#posted ? unknownOutcome(error) : error);
  }

  /** Those who wait are told that they need not. Subscriptions stay. */
  #giveUp(error: Error): void {
    this.#giveUpBefore(Number.POSITIVE_INFINITY, error);
    const connecting = this.#connecting;
    this.#connecting = undefined;
    connecting?.reject(error);
  }

  /** The same for the calls of frames that were put together before `time`. */
  #giveUpBefore(time: number, error: Error): void {
    const left = this.#unanswered.forgetBefore(time);
    let { count } = this.#frame;
    if (count > 0 && this.#frameSince < time) {
      this.#frame.clear();
      count = 0;
    }
    const end = left ?? this.#calls.next - count;
    const posted = this.#posted;
    for (const [sequence, call] of this.#calls.takeBelow(end)) {
      call.fail(call.isWrite && sequence < posted ? unknownOutcome(error) : error);
    }
    this.#posted = Math.max(this.#posted, end);
  }

  /** Waits for a promise, but not for ever. */
  async #within<T>(ms: number, promise: Promise<T>): Promise<T> {
    let timer: unknown;
    const timeout = new Promise<never>((_, reject) => {
      const message = `closing the database took over ${ms} ms`;
      const late = () => reject(new KvassError("Timeout", message));
      timer = this.#platform.setTimer(late, ms);
    });
    try {
      return await Promise.race([promise, timeout]);
    } finally {
      this.#platform.clearTimer(timer);
    }
  }
}

/** A promise and what settles it. */
class Pending {
  readonly promise: Promise<void>;
  resolve!: () => void;
  reject!: (error: Error) => void;

  constructor(settled: () => void) {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = () => {
        settled();
        resolve();
      };
      this.reject = (error) => {
        settled();
        reject(error);
      };
    });
  }
}

function failureOf({ failure }: Response & { type: "error" }): Error {
  return errorOf(failure.code, failure.message);
}

function unknownOutcome(cause: Error): KvassError {
  const message = `the write may or may not have been applied: ${cause.message}`;
  return new KvassError("OutcomeUnknown", message, { cause });
}

function notSent(cause: unknown): TypeError {
  return Object.assign(tooLarge(`the calls could not be sent: ${shown(cause)}`), { cause });
}

function hostsEnded(): KvassError {
  return new KvassError("HostLost", "several workers ended while they were at it");
}
