/** A host that keeps its entries in a Map, for tests of the client without an engine. */

import { compareBytes } from "../../../client/codec/bytes.ts";
import { writeVersionstamp } from "../../../client/versionstamp.ts";
import {
  bytesOf,
  type Entry,
  type Hex,
  hexOf,
  type Mutation,
  type Request,
  type ResponseWriter,
  writeMaybe,
} from "./wire.ts";

const byKey = (a: [Hex, Entry], b: [Hex, Entry]) => compareBytes(bytesOf(a[0]), bytesOf(b[0]));

type Change = [kind: number, key: Hex, value?: Uint8Array];

/** The time of all snapshots. */
const TIME_MS = 1_700_000_000_000;

/** Commits that a subscription which catches up is sent at a time. */
const PAGE = 2;

/** The entries of a database and its commits, which outlive its hosts. */
export class Files {
  readonly entries = new Map<Hex, Entry>();
  log: { stamp: string; changes: Change[] }[] = [];
  /** The snapshots of lists, by their versionstamps, as long as they can be read. */
  readonly snapshots = new Map<string, [Hex, Entry][]>();
  /** The commits through this one are not kept any more. */
  gone = "";
  epoch = 0;
}

interface Subscribed {
  ranges: [Hex, Hex][];
  /** The last commit that it was sent of those that it catches up with. */
  after: string | undefined;
}

function isTouched(key: Hex, [type, start, bytes]: Change): boolean {
  return type === 3 ? start <= key && key < hexOf(bytes as Uint8Array) : key === start;
}

export class MemoryHost {
  readonly epoch: number;
  readonly #files: Files;
  #counter = 0;
  readonly #leases = new Set<number>();
  #lastLease = 0;
  readonly #watches = new Map<number, Hex[]>();
  readonly #changes = new Map<number, Subscribed>();

  constructor(files: Files) {
    this.#files = files;
    this.epoch = ++files.epoch;
  }

  /** How many snapshots lists hold. */
  get leases(): number {
    return this.#leases.size;
  }

  /** How many subscriptions there are. */
  get subscriptions(): number {
    return this.#watches.size + this.#changes.size;
  }

  expireLeases(): void {
    this.#leases.clear();
    this.#files.snapshots.clear();
  }

  get #stamp(): string {
    const counter = this.#counter.toString(16).padStart(12, "0");
    return this.epoch.toString(16).padStart(8, "0") + counter;
  }

  answer(sequence: number, request: Request, out: ResponseWriter): void {
    const { entries } = this.#files;
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
        this.#list(sequence, request, out);
        return;
      case "commit":
        this.#commit(sequence, request, out);
        return;
      case "watch":
        this.#watches.set(request.id, request.keys);
        out.reply(sequence, 6);
        out.watch(
          request.id,
          this.#stamp,
          request.keys.map((key, place) => [place, entries.get(key)]),
        );
        return;
      case "changes":
        if (request.since !== undefined && request.since < this.#files.gone) {
          out.error(sequence, 16, "not kept any more");
          return;
        }
        this.#changes.set(request.id, { ranges: request.ranges, after: request.since });
        this.#catchUp(sequence, request.id, out);
        return;
      case "more":
        this.#catchUp(sequence, request.id, out);
        return;
      case "stats": {
        const w = out.reply(sequence, 7);
        const levels = 0;
        for (const figure of [entries.size, 1, 2, 3, 4, 5, 6, 7, 8, levels, 9]) w.varint(figure);
        return;
      }
      case "status": {
        const w = out.reply(sequence, 8);
        w.text("opfs");
        w.u8(0);
        w.varint(this.epoch);
        w.varint(1);
        w.u8(0);
        w.u8(0);
        return;
      }
      case "count": {
        const within = [...entries.keys()].filter(
          (key) => request.start <= key && key < request.end,
        );
        out.reply(sequence, 10).varint(within.length);
        return;
      }
      case "verify": {
        const w = out.reply(sequence, 9);
        const damage = 0;
        for (const figure of [1, 2, 0, damage]) w.varint(figure);
        return;
      }
      case "release":
        this.#leases.delete(request.lease);
        break;
      case "unsubscribe":
        this.#watches.delete(request.id);
        this.#changes.delete(request.id);
    }
    out.reply(sequence, 6);
  }

  #catchUp(sequence: number, id: number, out: ResponseWriter): void {
    const subscribed = this.#changes.get(id);
    const after = subscribed?.after;
    if (subscribed !== undefined && after !== undefined) {
      const left = this.#files.log.filter(({ stamp }) => stamp > after);
      for (const { stamp, changes } of left.splice(0, PAGE)) {
        this.#send(id, subscribed, stamp, changes, out);
        subscribed.after = stamp;
      }
      if (left.length > 0) {
        out.reply(sequence, 6);
        return;
      }
      subscribed.after = undefined;
    }
    writeVersionstamp(out.reply(sequence, 4), this.#stamp);
  }

  #list(sequence: number, list: Request & { type: "list" }, out: ResponseWriter): void {
    const [start, end] = [bytesOf(list.start), bytesOf(list.end)];
    const { snapshots } = this.#files;
    const versionstamp = list.lease?.versionstamp ?? this.#stamp;
    const snapshot = list.lease
      ? snapshots.get(versionstamp)
      : [...this.#files.entries].sort(byKey);
    if (snapshot === undefined) {
      out.error(sequence, 10, "the snapshot is gone");
      return;
    }
    const within = snapshot.filter(
      ([key]) => compareBytes(bytesOf(key), start) >= 0 && compareBytes(bytesOf(key), end) < 0,
    );
    if (list.reverse) within.reverse();
    const page = within.slice(0, list.limit);
    const done = page.length === within.length;
    const keeps = list.keep && !done;
    let id = list.lease?.id ?? 0;
    if (!keeps) {
      this.#leases.delete(id);
    } else {
      // That of an earlier host is not known to this one.
      if (!this.#leases.has(id)) id = this.epoch * 1_000 + ++this.#lastLease;
      this.#leases.add(id);
      snapshots.set(versionstamp, snapshot);
    }
    const w = out.reply(sequence, 3);
    w.u8(done ? 1 : 0);
    w.u8(keeps ? 1 : 0);
    if (keeps) {
      w.varint(id);
      writeVersionstamp(w, versionstamp);
      w.varint(TIME_MS);
    }
    w.varint(page.length);
    const rows = w.beginSized();
    for (const [key, { versionstamp, value }] of page) {
      w.sized(bytesOf(key));
      writeVersionstamp(w, versionstamp);
      if (!list.keysOnly) w.sized(value);
    }
    w.endSized(rows);
    w.varint(0); // Large values beside the frame.
  }

  #commit(sequence: number, commit: Request & { type: "commit" }, out: ResponseWriter): void {
    const { entries } = this.#files;
    const failed = commit.checks.findIndex(
      ({ key, versionstamp }) => (entries.get(key)?.versionstamp ?? null) !== versionstamp,
    );
    if (failed >= 0) {
      out.reply(sequence, 5).varint(failed);
      return;
    }
    this.#counter++;
    const versionstamp = this.#stamp;
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
    writeVersionstamp(out.reply(sequence, 4), versionstamp);
    this.#tell(changes, out);
  }

  #stamped(key: Hex): Hex {
    return `${key}02${hexOf(new TextEncoder().encode(this.#stamp))}00`;
  }

  /** A commit of the host's own: the key expires. */
  expire(key: Hex, out: ResponseWriter): void {
    this.#counter++;
    this.#files.entries.delete(key);
    this.#tell([[2, key]], out);
  }

  #tell(changes: Change[], out: ResponseWriter): void {
    this.#files.log.push({ stamp: this.#stamp, changes });
    for (const [id, keys] of this.#watches) {
      const touched = keys.flatMap((key, place): [number, Entry | undefined][] =>
        changes.some((change) => isTouched(key, change))
          ? [[place, this.#files.entries.get(key)]]
          : [],
      );
      if (touched.length > 0) out.watch(id, this.#stamp, touched);
    }
    for (const [id, subscribed] of this.#changes) {
      if (subscribed.after === undefined) this.#send(id, subscribed, this.#stamp, changes, out);
    }
  }

  #send(id: number, to: Subscribed, stamp: string, changes: Change[], out: ResponseWriter): void {
    const touched = changes.filter(([type, key, bytes]) =>
      to.ranges.some(([start, end]) =>
        type === 3 ? start < hexOf(bytes as Uint8Array) && key < end : start <= key && key < end,
      ),
    );
    if (touched.length > 0) out.changes(id, stamp, touched);
  }
}

/** What a mutation leaves; of the computing ones, those on u64 only. */
export function computed(
  { type, value = new Uint8Array() }: Mutation,
  before?: Uint8Array,
): Uint8Array {
  if (type === "set" || before === undefined) return value;
  const numbers = [before, value].map((bytes) => Buffer.from(bytes).readBigUInt64LE(1));
  const [a = 0n, b = 0n] = numbers;
  const [low = a, high = a] = a < b ? [a, b] : [b, a];
  const result = { sum: a + b, min: low, max: high, delete: 0n, deleteRange: 0n }[type];
  const bytes = Buffer.alloc(9, 2);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, result), 1);
  return new Uint8Array(bytes);
}
