/**
 * Changes: the commits that touch some ranges, in order.
 *
 * After a loss of the host the next one is asked for the commits since the last one heard of, so
 * there is no gap. A reader that named a commit to begin with misses nothing at all: what it has no
 * room for, or the host did not send it, is asked for again when it gets there, and what is gone by
 * then is an error. Others are told that they missed some.
 */

import type { ByteWriter } from "./codec/bytes.ts";
import type { KeyRange } from "./codec/key.ts";
import type { Subscription } from "./connection.ts";
import { storedKey, storedSelector, storedValue, unexpected } from "./entry.ts";
import { KvassError, tooLarge } from "./errors.ts";
import type { Limits } from "./limits.ts";
import { checkSelector, encodeSelector } from "./selector.ts";
import { type Feed, streamOf } from "./stream.ts";
import type { KvChange, KvChangeEvent, KvLagged, KvListSelector, KvStream } from "./types.ts";
import { parseVersionstamp, writeVersionstamp } from "./versionstamp.ts";
import { REQUEST } from "./wire/request.ts";
import { type RawChange, type RawEvent, type Response, readChanges } from "./wire/response.ts";

/** The most commits that wait for a reader, and bytes of them before another one has to. */
const BUFFERED_MAX = 10_000;
const BUFFERED_BYTES = 128 * 1024 * 1024;
/** Of a frame so many bytes may wait with a commit that are not about it. */
const SPARE_BYTES = 4096;

type RawCommit = RawEvent & { type: "changes" };

/** What a subscription asks of those who made it. */
interface Owner {
  /** The reader left. */
  cancelled(): void;
  /** Sends the subscription again, under another number. */
  restart(): void;
  /** Asks the host for the next page of what the subscription `id` catches up with. */
  more(id: number): void;
}

/** A subscription to ranges and the stream of its commits, which are decoded when they are read. */
export class Changes implements Subscription {
  readonly stream: KvStream<KvChangeEvent>;
  readonly #feed: Feed;
  readonly #ranges: KeyRange[];
  readonly #owner: Owner;
  /** What is not read yet begins at `#head`; before it are holes. */
  #buffer: (RawCommit | KvLagged | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  #id = 0;
  /** The last commit heard of: where to go on; "" for the present. */
  #last: string;
  /** The commit of the last event that was taken in. */
  #lastEvent = "";
  /** Whether the reader must not miss any commit. */
  readonly #isGapless: boolean;
  /** Whether the host has more that it is to be asked for. */
  #isBehind = false;
  /** Whether commits after `#last` were left out, here or by the host, to be asked for again. */
  #isFull = false;
  /** Whether commits are gone that the reader is to be told of. */
  #hasGap = false;

  constructor(
    selector: KvListSelector | readonly KvListSelector[] | undefined,
    since: string | undefined,
    limits: Limits,
    owner: Owner,
  ) {
    const selectors = selector === undefined ? [{ prefix: [] }] : [selector].flat();
    if (selectors.length > limits.ranges) throw tooLarge(`Too many ranges (max ${limits.ranges})`);
    this.#ranges = selectors.map((one) => {
      checkSelector(one as KvListSelector);
      return encodeSelector(one as KvListSelector, limits).range;
    });
    this.#isGapless = since !== undefined;
    this.#last = since === undefined ? "" : parseVersionstamp(since);
    this.#owner = owner;
    const cancel = () => owner.cancelled();
    const { stream, feed } = streamOf({ take: () => this.#take(), cancel });
    this.stream = stream;
    this.#feed = feed;
  }

  write(w: ByteWriter, id: number): void {
    this.#id = id;
    this.#isBehind = false;
    this.#isFull = false;
    w.u8(REQUEST.changes);
    w.varint(id);
    w.varint(this.#ranges.length);
    for (const { start, end } of this.#ranges) {
      w.sized(start);
      w.sized(end);
    }
    w.u8(this.#last === "" ? 0 : 1);
    if (this.#last !== "") writeVersionstamp(w, this.#last);
  }

  subscribed(response: Response): void {
    if (response.type === "done") {
      this.#isBehind = true;
      // Once the events are here that this answer came with.
      queueMicrotask(() => this.#feed.offer());
      return;
    }
    if (response.type !== "committed") throw unexpected(response);
    const { versionstamp } = response;
    if (this.#hasGap) {
      this.#hasGap = false;
      this.#buffer.push({ type: "lagged", versionstamp, missed: null });
      this.#feed.offer();
    }
    // The events that this answer came with are taken first: there may be no room for them.
    queueMicrotask(() => {
      if (!this.#isFull) this.#heard(versionstamp);
    });
  }

  refused(error: unknown): boolean {
    const isGone = error instanceof KvassError && error.code === "HistoryGone";
    if (!isGone || this.#isGapless) return false;
    this.#last = "";
    this.#hasGap = true;
    return true;
  }

  lost(): void {
    // It begins later than it was to, and nobody knows what came in between.
    this.#hasGap ||= this.#last === "";
    this.#owner.restart();
  }

  get hasHeard(): boolean {
    return this.#lastEvent !== "";
  }

  event(event: RawEvent): void {
    if (event.type === "watch" || this.#isFull) return;
    // A subscription that was sent again, since nobody had answered it, begins where it began.
    if (event.versionstamp <= this.#lastEvent) return;
    const waiting = this.#buffer.length - this.#head;
    const isFull = waiting >= BUFFERED_MAX || this.#bytes > BUFFERED_BYTES;
    if (this.#isGapless && (isFull || event.type === "lagged")) {
      this.#isFull = true;
    } else {
      this.#heard(event.versionstamp);
      if (event.type === "changes") this.#lastEvent = event.versionstamp;
      this.#buffer.push(event.type === "lagged" ? laggedOf(event) : apart(event));
      this.#bytes += sizeOf(event);
      if (isFull) this.#collapse(event.versionstamp);
    }
    this.#feed.offer();
  }

  #heard(versionstamp: string): void {
    if (versionstamp > this.#last) this.#last = versionstamp;
  }

  end(error?: unknown): void {
    this.#feed.end(error);
  }

  /** Drops all that is not read, and leaves word of it. */
  #collapse(versionstamp: string): void {
    let missed: number | null = 0;
    for (const one of this.#buffer.slice(this.#head) as (RawCommit | KvLagged)[]) {
      const more = one.type === "lagged" ? one.missed : 1;
      missed = missed === null || more === null ? null : missed + more;
    }
    this.#buffer = [{ type: "lagged", versionstamp, missed }];
    this.#head = this.#bytes = 0;
  }

  #take(): KvChangeEvent | undefined {
    const next = this.#buffer[this.#head];
    if (next === undefined) {
      if (this.#isFull) this.#owner.restart();
      else if (this.#isBehind) this.#owner.more(this.#id);
      this.#isBehind = false;
      return undefined;
    }
    this.#buffer[this.#head++] = undefined;
    this.#bytes -= sizeOf(next);
    if (this.#head === this.#buffer.length || this.#head > BUFFERED_MAX) {
      this.#buffer.splice(0, this.#head);
      this.#head = 0;
    }
    if (next.type === "lagged") return next;
    const { versionstamp } = next;
    return { type: "commit", versionstamp, changes: readChanges(next).map(changeOf) };
  }
}

/** A commit that keeps of its frame what is about it: there may be answers too, of megabytes. */
function apart(event: RawCommit): RawCommit {
  const { bytes, start, end } = event.changes;
  const size = end - start;
  if (bytes.byteLength < size + SPARE_BYTES) return event;
  return { ...event, changes: { bytes: bytes.slice(start, end), start: 0, end: size } };
}

/** The bytes that wait with a commit. */
function sizeOf(event: RawEvent | KvLagged): number {
  if (event.type !== "changes") return 0;
  const { changes, attached } = event;
  return attached.reduce((sum, { byteLength }) => sum + byteLength, changes.end - changes.start);
}

/** Word of what the host did not send, because this page was too slow to take it in. */
function laggedOf({ versionstamp, missed }: RawEvent & { type: "lagged" }): KvLagged {
  return { type: "lagged", versionstamp, missed };
}

function changeOf(raw: RawChange): KvChange {
  if (raw.type === "deleteRange") {
    return { type: "deleteRange", selector: storedSelector(raw.start, raw.end) };
  }
  const key = storedKey(raw.key);
  if (raw.type === "set") return { type: "set", key, value: storedValue(raw.value) };
  return { type: raw.type, key };
}
