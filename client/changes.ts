/** Changes: the commits that touch some ranges, in order, for a reader that keeps up. */

import type { ByteWriter } from "./codec/bytes.ts";
import type { KeyRange } from "./codec/key.ts";
import type { Subscription } from "./connection.ts";
import { storedKey, storedValue, unexpected } from "./entry.ts";
import { tooLarge } from "./errors.ts";
import type { Limits } from "./limits.ts";
import { checkSelector, encodeSelector } from "./selector.ts";
import { type Feed, streamOf } from "./stream.ts";
import type { KvChange, KvChangeEvent, KvLagged, KvListSelector, KvStream } from "./types.ts";
import { REQUEST } from "./wire/request.ts";
import { type RawChange, type RawEvent, type Response, readChanges } from "./wire/response.ts";

/** A reader that has more commits than this before it is told that it missed them. */
const BUFFERED_MAX = 10_000;

type RawCommit = RawEvent & { type: "changes" };

/** A subscription to ranges and the stream of its commits, which are decoded when they are read. */
export class Changes implements Subscription {
  readonly stream: KvStream<KvChangeEvent>;
  readonly #feed: Feed;
  readonly #ranges: KeyRange[];
  /** What is not read yet begins at `#head`; before it are holes. */
  #buffer: (RawCommit | KvLagged | undefined)[] = [];
  #head = 0;
  /** The last commit heard of. */
  #last = "";

  /** @param cancelled called when the reader leaves */
  constructor(
    selector: KvListSelector | readonly KvListSelector[] | undefined,
    limits: Limits,
    cancelled: () => void,
  ) {
    const selectors = selector === undefined ? [{ prefix: [] }] : [selector].flat();
    if (selectors.length > limits.ranges) throw tooLarge(`Too many ranges (max ${limits.ranges})`);
    this.#ranges = selectors.map((one) => {
      checkSelector(one as KvListSelector);
      return encodeSelector(one as KvListSelector, limits).range;
    });
    const { stream, feed } = streamOf({ take: () => this.#take(), cancel: cancelled });
    this.stream = stream;
    this.#feed = feed;
  }

  write(w: ByteWriter, id: number): void {
    w.u8(REQUEST.changes);
    w.varint(id);
    w.varint(this.#ranges.length);
    for (const { start, end } of this.#ranges) {
      w.sized(start);
      w.sized(end);
    }
  }

  subscribed(response: Response): void {
    if (response.type !== "committed") throw unexpected(response);
    const { versionstamp } = response;
    // Another host took over, and there may have been commits in between.
    if (this.#last !== "" && versionstamp > this.#last) {
      this.#buffer.push({ type: "lagged", versionstamp, missed: null });
      this.#feed.offer();
    }
    this.#last = versionstamp;
  }

  event(event: RawEvent): void {
    if (event.type !== "changes") return;
    this.#last = event.versionstamp;
    this.#buffer.push(event);
    if (this.#buffer.length - this.#head > BUFFERED_MAX) this.#collapse(event.versionstamp);
    this.#feed.offer();
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
    this.#head = 0;
  }

  #take(): KvChangeEvent | undefined {
    const next = this.#buffer[this.#head];
    if (next === undefined) return undefined;
    this.#buffer[this.#head++] = undefined;
    if (this.#head === this.#buffer.length || this.#head > BUFFERED_MAX) {
      this.#buffer.splice(0, this.#head);
      this.#head = 0;
    }
    if (next.type === "lagged") return next;
    const { versionstamp, changes, count } = next;
    return { type: "commit", versionstamp, changes: readChanges(changes, count).map(changeOf) };
  }
}

function changeOf(raw: RawChange): KvChange {
  const key = storedKey(raw.key);
  if (raw.type === "set") return { type: "set", key, value: storedValue(raw.value) };
  return { type: raw.type, key };
}
