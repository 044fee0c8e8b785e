/**
 * A host that keeps its entries in a Map: for tests of the client without an engine, and for the
 * simulation of many tabs (tests/tabs/).
 */

import {
  bytesOf,
  type Entry,
  type Hex,
  hexOf,
  type Mutation,
  type Request,
  type ResponseWriter,
  writeKey,
  writeMaybe,
  writeStamp,
  writeValue,
} from "./wire.ts";

const MALFORMED = 9;
const SNAPSHOT_EXPIRED = 10;
const HISTORY_GONE = 16;
/** The time of all snapshots. */
const TIME_MS = 1_700_000_000_000;
/** Commits that a subscription which catches up is sent at a time. */
const PAGE = 2;

/** A change as it is told: its kind, the key, and a value or the end of a range. */
export type Change = [kind: number, key: Hex, value?: Uint8Array];

/** A commit in the log. */
export interface Logged {
  readonly stamp: string;
  readonly changes: readonly Change[];
}

/** What came of a commit: its versionstamp, or the check that failed. */
export type Outcome = string | number;

/** The entries of a database and its commits, which outlive its hosts. */
export class Data {
  entries = new Map<Hex, Entry>();
  log: Logged[] = [];
  /** The snapshots of lists, by their versionstamps, as long as they can be read. */
  snapshots = new Map<string, [Hex, Entry][]>();
  /** The commits through this one are not kept any more. */
  gone = "";
}

interface Missed {
  stamp: string;
  count: number;
}

interface Subscribed {
  ranges: [Hex, Hex][];
  /** The last commit that it was sent of those that it catches up with. */
  after: string | undefined;
}

/** What a host knows of a client. */
export class Client {
  /** Where its replies and events go. */
  out: ResponseWriter;
  readonly watches = new Map<number, Hex[]>();
  readonly changes = new Map<number, Subscribed>();
  readonly leases = new Set<number>();
  /** What its subscriptions were not told of, while it does not keep up. */
  missed: Map<number, Missed> | undefined;

  constructor(out: ResponseWriter) {
    this.out = out;
  }
}

function isTouched(key: Hex, [type, start, bytes]: Change): boolean {
  return type === 3 ? start <= key && key < hexOf(bytes as Uint8Array) : key === start;
}

export class MemoryHost {
  readonly epoch: number;
  data: Data;
  readonly clients = new Set<Client>();
  #counter = 0;
  /** The versionstamp of the last commit. */
  #stamp: string;
  #lastLease = 0;

  constructor(data: Data, epoch: number) {
    this.data = data;
    this.epoch = epoch;
    this.#stamp = epoch.toString(16).padStart(8, "0") + "0".repeat(12);
  }

  /** Begins the next commit, and returns its versionstamp. */
  #begin(): string {
    const counter = (++this.#counter).toString(16).padStart(12, "0");
    this.#stamp = this.epoch.toString(16).padStart(8, "0") + counter;
    return this.#stamp;
  }

  answer(client: Client, sequence: number, request: Request): void {
    const { entries } = this.data;
    const { out } = client;
    switch (request.type) {
      case "get":
        writeMaybe(out.reply(sequence, 1), entries.get(request.key));
        return;
      case "getMany": {
        const w = out.reply(sequence, 2);
        w.varint(request.keys.length);
        for (const key of request.keys) writeMaybe(w, entries.get(key));
        return;
      }
      case "list":
        this.#list(client, sequence, request);
        return;
      case "commit":
        writeOutcome(out, sequence, this.commit(request));
        return;
      case "watch":
        client.watches.set(request.id, request.keys);
        out.reply(sequence, 6);
        out.watch(
          request.id,
          this.#stamp,
          request.keys.map((key, place) => [place, entries.get(key)]),
        );
        return;
      case "changes":
        client.changes.set(request.id, { ranges: request.ranges, after: request.since });
        this.#catchUp(client, sequence, request.id);
        return;
      case "more":
        this.#catchUp(client, sequence, request.id);
        return;
      case "count": {
        const within = [...entries.keys()].filter(
          (key) => request.start <= key && key < request.end,
        );
        out.reply(sequence, 10).varint(within.length);
        return;
      }
      case "stats":
      case "status":
      case "verify":
        this.#tellFigures(client, sequence, request.type);
        return;
      case "release":
        client.leases.delete(request.lease);
        break;
      case "unsubscribe":
        client.watches.delete(request.id);
        client.changes.delete(request.id);
    }
    out.reply(sequence, 6);
  }

  #tellFigures({ out }: Client, sequence: number, what: "stats" | "status" | "verify"): void {
    if (what === "stats") {
      const w = out.reply(sequence, 7);
      const levels = 0;
      const { size } = this.data.entries;
      for (const figure of [size, 1, 2, 3, 4, 5, 6, 7, 8, levels, 9]) w.varint(figure);
    } else if (what === "status") {
      const w = out.reply(sequence, 8);
      w.text("opfs");
      w.u8(0);
      w.varint(this.epoch);
      w.varint(1);
      w.u8(0);
      w.u8(0);
    } else {
      const w = out.reply(sequence, 9);
      const damage = 0;
      for (const figure of [1, 2, 0, damage]) w.varint(figure);
    }
  }

  #catchUp({ changes, out }: Client, sequence: number, id: number): void {
    const subscribed = changes.get(id);
    if (subscribed === undefined) {
      out.error(sequence, MALFORMED, "there is no such subscription");
      return;
    }
    const { after } = subscribed;
    if (after !== undefined) {
      const { log, gone } = this.data;
      if (after < gone) {
        changes.delete(id);
        out.error(sequence, HISTORY_GONE, "not kept any more");
        return;
      }
      let next = log.length;
      while (next > 0 && (log[next - 1] as Logged).stamp > after) next--;
      for (const { stamp, changes } of log.slice(next, next + PAGE)) {
        const touched = touching(subscribed, changes);
        if (touched.length > 0) out.changes(id, stamp, touched);
        subscribed.after = stamp;
      }
      if (next + PAGE < log.length) {
        out.reply(sequence, 6);
        return;
      }
      subscribed.after = undefined;
    }
    writeStamp(out.reply(sequence, 4), this.#stamp);
  }

  #list({ leases, out }: Client, sequence: number, list: Request & { type: "list" }): void {
    const { start, end, lease } = list;
    const { entries, snapshots } = this.data;
    const versionstamp = lease?.versionstamp ?? this.#stamp;
    const snapshot = lease ? snapshots.get(versionstamp) : [...entries].sort(byKey);
    if (snapshot === undefined) {
      out.error(sequence, SNAPSHOT_EXPIRED, "the snapshot is gone");
      return;
    }
    const within = snapshot.filter(([key]) => start <= key && key < end);
    if (list.reverse) within.reverse();
    const page = within.slice(0, list.limit);
    const isDone = page.length === within.length;
    const isKept = list.keep && !isDone;
    let id = lease?.id ?? 0;
    if (!isKept) {
      leases.delete(id);
    } else {
      // That of an earlier host is not known to this one.
      if (!leases.has(id)) id = this.epoch * 1_000 + ++this.#lastLease;
      leases.add(id);
      snapshots.set(versionstamp, snapshot);
    }
    const w = out.reply(sequence, 3);
    w.u8(isDone ? 1 : 0);
    w.u8(isKept ? 1 : 0);
    if (isKept) {
      w.varint(id);
      writeStamp(w, versionstamp);
      w.varint(TIME_MS);
    }
    w.varint(page.length);
    const attached = w.attachments.length;
    const rows = w.beginSized();
    for (const [key, { versionstamp, value }] of page) {
      writeKey(w, key);
      writeStamp(w, versionstamp);
      if (!list.keysOnly) writeValue(w, value);
    }
    w.endSized(rows);
    const large = w.attachments.slice(attached);
    w.varint(large.length);
    for (const { byteLength } of large) w.varint(byteLength);
  }

  /** Applies a commit, unless a check fails. */
  commit(commit: Request & { type: "commit" }): Outcome {
    const { entries } = this.data;
    const failed = commit.checks.findIndex(
      ({ key, versionstamp }) => (entries.get(key)?.versionstamp ?? null) !== versionstamp,
    );
    if (failed >= 0) return failed;
    const versionstamp = this.#begin();
    const changes: Change[] = [];
    for (const mutation of commit.mutations) {
      const key = mutation.stampKey ? this.#stamped(mutation.key) : mutation.key;
      if (mutation.type === "delete") {
        entries.delete(key);
        changes.push([1, key]);
      } else if (mutation.type === "deleteRange") {
        const end = mutation.end as Hex;
        const within = [...entries.keys()].filter((one) => key <= one && one < end);
        for (const one of within) entries.delete(one);
        changes.push([3, key, bytesOf(end)]);
      } else {
        const value = computed(mutation, entries.get(key)?.value);
        entries.set(key, { versionstamp, value });
        changes.push([0, key, value]);
      }
    }
    this.#tell(changes);
    return versionstamp;
  }

  #stamped(key: Hex): Hex {
    return `${key}02${hexOf(new TextEncoder().encode(this.#stamp))}00`;
  }

  /** A commit of the host's own: the key expires. */
  expire(key: Hex): void {
    this.#begin();
    this.data.entries.delete(key);
    this.#tell([[2, key]]);
  }

  #tell(changes: Change[]): void {
    const stamp = this.#stamp;
    this.data.log.push({ stamp, changes });
    for (const client of this.clients) {
      const { watches, changes: subscribed, out } = client;
      for (const [id, keys] of watches) {
        const touched: [number, Entry | undefined][] = [];
        for (const [place, key] of keys.entries()) {
          if (!changes.some((change) => isTouched(key, change))) continue;
          touched.push([place, this.data.entries.get(key)]);
        }
        if (touched.length > 0 && !isMissed(client, id, stamp)) out.watch(id, stamp, touched);
      }
      for (const [id, one] of subscribed) {
        if (one.after !== undefined) continue;
        const touched = touching(one, changes);
        if (touched.length > 0 && !isMissed(client, id, stamp)) out.changes(id, stamp, touched);
      }
    }
  }

  /** Tells a client of no commits, or again of those that follow and how many there were. */
  stall(client: Client, isStalled: boolean): void {
    const { missed, watches, changes, out } = client;
    client.missed = isStalled ? new Map() : undefined;
    for (const [id, { stamp, count }] of missed ?? []) {
      if (watches.has(id) || changes.has(id)) out.lagged(id, stamp, count);
    }
  }
}

/** Digits are ordered as the bytes that they stand for. */
const byKey = ([a]: [Hex, Entry], [b]: [Hex, Entry]) => (a < b ? -1 : 1);

/** Whether a client that does not keep up is not told of a commit, which is counted then. */
function isMissed({ missed }: Client, id: number, stamp: string): boolean {
  if (missed === undefined) return false;
  missed.set(id, { stamp, count: (missed.get(id)?.count ?? 0) + 1 });
  return true;
}

/** The changes that a subscriber wants to hear of. */
function touching({ ranges }: Subscribed, changes: readonly Change[]): Change[] {
  return changes.filter(([type, key, bytes]) =>
    ranges.some(([start, end]) =>
      type === 3 ? start < hexOf(bytes as Uint8Array) && key < end : start <= key && key < end,
    ),
  );
}

/** Answers a commit. */
export function writeOutcome(out: ResponseWriter, sequence: number, outcome: Outcome): void {
  if (typeof outcome === "number") out.reply(sequence, 5).varint(outcome);
  else writeStamp(out.reply(sequence, 4), outcome);
}

/** What a mutation leaves; of the computing ones, those on u64 only. */
function computed({ type, value = new Uint8Array() }: Mutation, before?: Uint8Array): Uint8Array {
  if (type === "set" || before === undefined) return value;
  const [a, b] = [numberOf(before), numberOf(value)];
  const [low, high] = a < b ? [a, b] : [b, a];
  const result = { sum: a + b, min: low, max: high, delete: 0n, deleteRange: 0n }[type];
  const bytes = new Uint8Array(9).fill(2);
  new DataView(bytes.buffer).setBigUint64(1, BigInt.asUintN(64, result), true);
  return bytes;
}

/** The number that a value stands for. */
export function numberOf({ buffer, byteOffset }: Uint8Array): bigint {
  return new DataView(buffer, byteOffset).getBigUint64(1, true);
}
