/** Watches: the latest state of some keys, for a reader at its own pace. */

import type { ByteWriter } from "./codec/bytes.ts";
import { copyKey, copyKeys, type KvKey } from "./codec/key.ts";
import type { Subscription } from "./connection.ts";
import { entryOf } from "./entry.ts";
import { tooLarge } from "./errors.ts";
import { writeFullKey } from "./fields.ts";
import type { Limits } from "./limits.ts";
import { type Feed, streamOf } from "./stream.ts";
import type { KvEntryMaybe, KvStream } from "./types.ts";
import { REQUEST } from "./wire/request.ts";
import type { RawEntry, RawEvent } from "./wire/response.ts";

/** What a watch asks of those who made it. */
interface Owner {
  /** The reader left. */
  cancelled(): void;
  /** Sends the subscription again, under another number. */
  restart(): void;
}

/** A watch and the stream of its states. */
export class Watch implements Subscription {
  readonly stream: KvStream<KvEntryMaybe[]>;
  readonly #feed: Feed;
  readonly #keys: KvKey[];
  readonly #limits: Limits;
  readonly #owner: Owner;
  /** What is at each key; undefined before the first event. */
  #states: (RawEntry | null)[] | undefined;
  /** Whether the reader has not seen the states yet. */
  #isNew = false;

  constructor(keys: readonly KvKey[], limits: Limits, owner: Owner) {
    const { watchKeys } = limits;
    this.#keys = copyKeys(keys);
    if (this.#keys.length > watchKeys) throw tooLarge(`Too many keys (max ${watchKeys})`);
    this.#limits = limits;
    this.#owner = owner;
    const cancel = () => owner.cancelled();
    const { stream, feed } = streamOf({ take: () => this.#take(), cancel });
    this.stream = stream;
    this.#feed = feed;
  }

  write(w: ByteWriter, id: number): void {
    w.u8(REQUEST.watch);
    w.varint(id);
    w.varint(this.#keys.length);
    for (const key of this.#keys) writeFullKey(w, key, this.#limits);
  }

  subscribed(): void {
    // The first event has everything.
  }

  refused(): boolean {
    return false;
  }

  lost(): void {
    this.#owner.restart();
  }

  get hasHeard(): boolean {
    return false;
  }

  event(event: RawEvent): void {
    // The states are not known any more: they come again, all of them.
    if (event.type === "lagged") this.#owner.restart();
    if (event.type !== "watch") return;
    const isFirst = this.#states === undefined;
    this.#states ??= this.#keys.map(() => null);
    this.#isNew ||= isFirst;
    for (const { place, entry } of event.entries) {
      const before = this.#states[place];
      // After a change of hosts the first event has much that was known before.
      if (before === undefined || before?.versionstamp === entry?.versionstamp) continue;
      this.#states[place] = entry;
      this.#isNew = true;
    }
    if (this.#isNew) this.#feed.offer();
  }

  end(error?: unknown): void {
    this.#feed.end(error);
  }

  #take(): KvEntryMaybe[] | undefined {
    if (!this.#isNew || this.#states === undefined) return undefined;
    this.#isNew = false;
    return this.#states.map((state, i) => entryOf(copyKey(this.#keys[i] as KvKey), copied(state)));
  }
}

/** Large bytes are given out in the buffer that they are in: it is the reader's from then on. */
function copied(state: RawEntry | null): RawEntry | null {
  if (state === null || !("payload" in state.value)) return state;
  const { kind, payload } = state.value;
  return { ...state, value: { kind, payload: payload.slice(0) } };
}
