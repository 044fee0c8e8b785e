/**
 * The connection of a page to the host of one database.
 *
 * - All calls of one microtask travel as one frame, which is posted when the microtasks before it
 *   have run, or earlier once it is large.
 * - Calls made while there is no host wait for the next one; the first of them starts it.
 * - When the host is lost, the calls it was sent fail, those it was not sent are sent to the next
 *   one, and so are the subscriptions.
 */

import { Calls } from "./calls.ts";
import type { ByteWriter } from "./codec/bytes.ts";
import { errorOf, KvassError } from "./errors.ts";
import { type HostListener, type HostOptions, HostWorker } from "./host-worker.ts";
import type { KvStorage } from "./types.ts";
import { type FrameMessage, REQUEST, RequestFrame } from "./wire/request.ts";
import { type RawEvent, type Response, type ResponseSink, readFrame } from "./wire/response.ts";

/** A frame is posted early once it has this many bytes, so that the host begins meanwhile. */
const FRAME_BYTES = 512 * 1024;
/** After this many crashes in a row, with no call answered in between, no host is started. */
const CRASHES_MAX = 3;
/** But it is tried again after this many milliseconds. */
const CRASH_ROW_MS = 10_000;
/** How long the host may take to flush and close, in milliseconds. */
const CLOSE_TIMEOUT_MS = 10_000;

/** A request to hear of events, which outlives the host that it was sent to. */
export interface Subscription {
  /** Writes the request that subscribes under the number `id`. */
  write(w: ByteWriter, id: number): void;
  /** A host took it up; the first one, or another after that was lost. */
  subscribed(response: Response): void;
  /** A host refused it. Returns whether it is to be asked again, for something else. */
  refused(error: unknown): boolean;
  event(event: RawEvent): void;
  /** There will be no more events, because of an error if there is one. */
  end(error?: unknown): void;
}

/** The connection to one database, shared by the handles of a page. */
export class Connection {
  /** Grows whenever a host is lost: what it knew, such as leases, is lost with it. */
  generation = 0;
  readonly #options: HostOptions;
  readonly #client: Uint8Array = crypto.getRandomValues(new Uint8Array(16));
  readonly #calls = new Calls();
  readonly #frame = new RequestFrame();
  /** Frames that were full before there was a host. */
  #waiting: FrameMessage[] = [];
  /** Sequences below this one were posted. */
  #posted = 1;
  #isScheduled = false;
  #host: HostWorker | undefined;
  #connecting: Promise<void> | undefined;
  #epoch = 0;
  #crashes = 0;
  #crashedAt = Number.NEGATIVE_INFINITY;
  #lastCrash: KvassError | undefined;
  /** Ends an attempt to open a host. */
  #opening: AbortController | undefined;
  /** Pending while the page is in the back/forward cache: no host is started until then. */
  #suspension: { over: Promise<void>; end: () => void } | undefined;
  #isClosed = false;
  readonly #subscriptions = new Map<number, { subscription: Subscription; sequence: number }>();
  #lastSubscription = 0;

  constructor(options: HostOptions) {
    this.#options = options;
  }

  /** The storage that the host obtained, while there is one. */
  get storage(): KvStorage | undefined {
    return this.#host?.storage;
  }

  /** Sees to it that there is a host. @throws KvassError */
  connect(): Promise<void> {
    if (this.#host !== undefined) return Promise.resolve();
    this.#connecting ??= this.#connect();
    return this.#connecting;
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
        this.#crashes = 0;
        try {
          if (response.type === "error") reject(failureOf(response));
          else resolve(read(response));
        } catch (error) {
          reject(error);
        }
      };
      this.#add(write, { isWrite, answer, fail: reject });
    });
  }

  /** Sends a request whose answer nobody waits for, unless there is no host to hear it. */
  tell(write: (w: ByteWriter) => void): void {
    if (this.#host === undefined || this.#isClosed) return;
    const ignore = () => undefined;
    this.#add(write, { isWrite: false, answer: ignore, fail: ignore });
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
    if (subscription === undefined || this.#host === undefined) return;
    const { generation } = this;
    const answer = (response: Response) => {
      // Another host was asked for the whole subscription.
      if (generation === this.generation) this.#subscribed(id, subscription, response);
    };
    const write = (w: ByteWriter) => {
      w.u8(REQUEST.more);
      w.varint(id);
    };
    this.#add(write, { isWrite: false, answer, fail: () => undefined });
  }

  #tellUnsubscribed(id: number): void {
    this.tell((w) => {
      w.u8(REQUEST.unsubscribe);
      w.varint(id);
    });
  }

  /** Posts the current frame now. */
  flush(): void {
    this.#isScheduled = false;
    if (this.#frame.count === 0) return;
    const first = this.#calls.next - this.#frame.count;
    const { ackedThrough } = this.#calls;
    const resendOf = 0;
    // A frame for the host of an epoch is nothing to the next one.
    const epoch = this.#host === undefined ? 0 : this.#epoch;
    const header = { client: this.#client, epoch, ackedThrough, resendOf, first };
    if (this.#host !== undefined) {
      this.#posted = this.#calls.next;
      this.#host.post(this.#frame.take(header));
      return;
    }
    if (this.#frame.size > FRAME_BYTES) this.#waiting.push(this.#frame.take(header));
    // The calls fail with the connection if that does.
    this.connect().catch(() => undefined);
  }

  /** Has the host flush its files, because the page is hidden or frozen. */
  hide(): void {
    this.flush();
    this.#host?.hide();
  }

  /**
   * Ends the host because the page goes into the back/forward cache, where it must not hold the
   * database. A worker that still has writes to read is left to finish them and end by itself.
   */
  suspend(): void {
    const host = this.#host;
    if (host?.storage === "memory" || this.#suspension !== undefined) return;
    let end = () => {};
    const over = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.#suspension = { over, end };
    this.#opening?.abort();
    this.flush();
    if (host === undefined) return;
    const hasWrites = this.#calls.hasWrites;
    this.#lose(new KvassError("HostLost", "the page went into the back/forward cache"), false);
    if (hasWrites) host.finish();
    else host.terminate();
  }

  /** Allows a host again after `suspend`; one is started if there are calls or subscriptions. */
  resume(): void {
    this.#suspension?.end();
    this.#suspension = undefined;
  }

  /** Flushes and closes the database, and ends the host. */
  async close(): Promise<void> {
    // Calls that were not sent yet come first; if there is no host for them, they say so.
    if (this.#frame.count > 0) await this.connect().catch(() => undefined);
    try {
      if (this.#host !== undefined) {
        const done = this.call(
          (w) => w.u8(REQUEST.close),
          () => undefined,
        );
        await within(CLOSE_TIMEOUT_MS, done, "closing the database");
      }
    } finally {
      this.#isClosed = true;
      this.#host?.terminate();
      this.#host = undefined;
      this.#failAll(new KvassError("Closed", "the database was closed"));
    }
  }

  #add(write: (w: ByteWriter) => void, call: Parameters<Calls["add"]>[0]): void {
    if (this.#isClosed) throw new KvassError("Closed", "the database was closed");
    this.#frame.add(write);
    this.#calls.add(call);
    if (this.#frame.size > FRAME_BYTES) {
      this.flush();
    } else if (!this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(() => this.flush());
    }
  }

  #sendSubscription(id: number, subscription: Subscription): void {
    const answer = (response: Response) => this.#subscribed(id, subscription, response);
    // If the host is lost it is sent again, and if that fails it is ended with all others.
    const fail = () => undefined;
    this.#add((w) => subscription.write(w, id), { isWrite: false, answer, fail });
    this.#subscriptions.set(id, { subscription, sequence: this.#calls.next - 1 });
  }

  #subscribed(id: number, subscription: Subscription, response: Response): void {
    if (!this.#subscriptions.has(id)) {
      this.#tellUnsubscribed(id);
    } else if (response.type !== "error") {
      subscription.subscribed(response);
    } else if (subscription.refused(failureOf(response))) {
      this.#sendSubscription(id, subscription);
    } else {
      this.#subscriptions.delete(id);
      subscription.end(failureOf(response));
    }
  }

  async #connect(): Promise<void> {
    try {
      const host = await this.#open();
      this.#host = host;
      this.#epoch = host.welcome.epoch;
    } catch (error) {
      this.#connecting = undefined;
      this.#failAll(error);
      throw error;
    }
    this.#connecting = undefined;
    for (const frame of this.#waiting.splice(0)) this.#host.post(frame);
    this.#posted = this.#calls.next - this.#frame.count;
    this.flush();
  }

  /** Opens a host, again if it crashes, but not for ever. */
  async #open(): Promise<HostWorker> {
    for (;;) {
      if (this.#crashes >= CRASHES_MAX && performance.now() - this.#crashedAt < CRASH_ROW_MS) {
        throw new KvassError(
          "HostLost",
          `the database's worker crashed ${this.#crashes} times in a row`,
          { cause: this.#lastCrash },
        );
      }
      if (this.#suspension !== undefined) await this.#suspension.over;
      const opening = new AbortController();
      this.#opening = opening;
      try {
        return await HostWorker.open(this.#options, this.#client, this.#listener, opening.signal);
      } catch (error) {
        if (opening.signal.aborted) continue;
        if (!(error instanceof KvassError) || error.code !== "HostLost") throw error;
        this.#countCrash(error);
      }
    }
  }

  readonly #listener: HostListener = {
    frame: (frame) => this.#receive(frame),
    lost: (error) => this.#lose(error, true),
  };

  #countCrash(error: KvassError): void {
    const now = performance.now();
    this.#crashes = now - this.#crashedAt < CRASH_ROW_MS ? this.#crashes + 1 : 1;
    this.#crashedAt = now;
    this.#lastCrash = error;
  }

  #receive(frame: FrameMessage): void {
    try {
      readFrame(frame, this.#sink);
    } catch (error) {
      const message = `a frame of the host could not be read: ${(error as Error).message}`;
      this.#host?.terminate();
      this.#lose(new KvassError("MalformedFrame", message, { cause: error }), true);
    }
  }

  readonly #sink: ResponseSink = {
    epoch: (epoch) => {
      this.#epoch = epoch;
    },
    reply: (sequence, response) => this.#calls.take(sequence)?.answer(response),
    event: (event) => this.#subscriptions.get(event.id)?.subscription.event(event),
  };

  /** The host is gone: fails what it was sent, and finds another one if there is more to do. */
  #lose(error: KvassError, isCrash: boolean): void {
    if (isCrash) this.#countCrash(error);
    this.generation++;
    this.#host = undefined;
    for (const call of this.#calls.takeBelow(this.#posted)) {
      call.fail(call.isWrite ? unknownOutcome(error) : error);
    }
    for (const [id, { subscription, sequence }] of this.#subscriptions) {
      if (sequence < this.#posted) this.#sendSubscription(id, subscription);
    }
  }

  #failAll(error: unknown): void {
    this.#frame.clear();
    this.#waiting = [];
    this.#posted = this.#calls.next;
    for (const call of this.#calls.takeBelow(this.#calls.next)) call.fail(error);
    const subscriptions = [...this.#subscriptions.values()];
    this.#subscriptions.clear();
    for (const { subscription } of subscriptions) subscription.end(error);
  }
}

function failureOf({ failure }: Response & { type: "error" }): Error {
  return errorOf(failure.code, failure.message);
}

function unknownOutcome(cause: KvassError): KvassError {
  const message = `the write may or may not have been applied: ${cause.message}`;
  return new KvassError("OutcomeUnknown", message, { cause });
}

/** Waits for a promise, but not for ever. */
async function within<T>(ms: number, promise: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new KvassError("Timeout", `${what} took over ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
