/**
 * An engine as hosts see it (worker/engine.ts), over files in memory: it answers each commit once,
 * in the order in which they come, and tells its subscribers. On OPFS it answers at once and has
 * the files for itself; on IndexedDB it takes its time, and may find that another one writes.
 */

import { writeVersionstamp } from "../../client/versionstamp.ts";
import type { FrameMessage } from "../../client/wire/request.ts";
import type { Engine, EngineCallbacks, Frame } from "../../worker/engine.ts";
import { BUSY, CLOSED, failure } from "../../worker/failure.ts";
import { computed } from "../client/support/memory-host.ts";
import {
  bytesOf,
  type Entry,
  type Hex,
  hexOf,
  type Request,
  type RequestFrame,
  ResponseWriter,
  readRequests,
  welcome,
  writeMaybe,
} from "../client/support/wire.ts";
import { type Agent, newLane } from "./agent.ts";
import type { Change, Files, Owner, State } from "./files.ts";

const MALFORMED = 9;
const SNAPSHOT_EXPIRED = 10;
const OUTCOME_UNKNOWN = 11;
const TIMEOUT = 15;
const HISTORY_GONE = 16;
/** Commits that a subscription which catches up is sent at a time. */
const PAGE = 3;

interface Subscribed {
  readonly ranges: readonly [Hex, Hex][];
  /** The last commit that it was sent of those that it catches up with. */
  after: string | undefined;
}

class Connected {
  readonly client: Hex;
  readonly out = new ResponseWriter();
  readonly watches = new Map<number, Hex[]>();
  readonly changes = new Map<number, Subscribed>();

  constructor(client: Hex) {
    this.client = client;
  }
}

/** Where things can go wrong in an engine, for a run to choose. */
export interface EngineFaults {
  /** Milliseconds until the storage answers. */
  storageMs(): number;
  /** Called where the engine may panic: it throws then. */
  panic(isApplied: boolean): void;
}

export class ModelEngine implements Engine, Owner {
  readonly storage: "opfs" | "indexeddb";
  readonly agent: Agent;
  readonly #files: Files;
  readonly #faults: EngineFaults;
  readonly #callbacks: EngineCallbacks;
  readonly #now: () => number;
  readonly #connections = new Map<number, Connected>();
  epoch = 0;
  #counter = 0;
  #lastLease = 0;
  #isClosed = false;
  /** What it knows of once another one has the files. */
  #stale: State | undefined;
  readonly #work = newLane();
  readonly #answers = newLane();
  #underWay = 0;

  constructor(
    files: Files,
    agent: Agent,
    faults: EngineFaults,
    now: () => number,
    callbacks: EngineCallbacks,
  ) {
    this.storage = files.storage;
    this.agent = agent;
    this.#files = files;
    this.#faults = faults;
    this.#now = now;
    this.#callbacks = callbacks;
  }

  get #state(): State {
    return this.#stale ?? this.#files.state;
  }

  deposed(was: State): void {
    this.#stale = was;
  }

  /** How many clients are connected. */
  get clients(): number {
    return this.#connections.size;
  }

  /** Whether another one has the files. */
  get isDeposed(): boolean {
    return this.#files.owner !== this;
  }

  /** Begins a new epoch, as the owner. */
  begin(): void {
    this.epoch = ++this.#files.epoch;
  }

  connect(connection: number, hello: Uint8Array): Uint8Array {
    const client = hexOf(hello.subarray(12, 28));
    this.#connections.set(connection, new Connected(client));
    return new Uint8Array(welcome(this.epoch));
  }

  disconnect(connection: number): void {
    this.#connections.delete(connection);
  }

  stall(): void {
    // Too little is sent here for that.
  }

  frame(connection: number, bytes: Uint8Array, large: Uint8Array[]): Frame | undefined {
    const connected = this.#connections.get(connection);
    if (connected === undefined) throw failure(MALFORMED, "a frame before the hello");
    const message = [bytes, ...large].map(({ buffer }) => buffer as ArrayBuffer);
    const frame = readRequests(message as unknown as FrameMessage);
    if (frame.client !== connected.client) throw failure(MALFORMED, "another client's name");
    if (frame.epoch !== 0 && frame.epoch !== this.epoch) return undefined;
    if (this.storage === "opfs") {
      this.#answer(connected, frame);
      const reply = connected.out.isEmpty ? undefined : connected.out.take(this.epoch);
      this.#postAll();
      return reply && new Uint8Array(reply);
    }
    this.#underWay++;
    this.agent.follow(this.#work, this.#faults.storageMs(), () => {
      this.#answer(connected, frame);
      this.agent.follow(this.#answers, this.#faults.storageMs(), () => {
        this.#underWay--;
        this.#postAll();
      });
    });
    return undefined;
  }

  #postAll(): void {
    for (const [connection, { out }] of this.#connections) {
      if (!out.isEmpty) this.#callbacks.send(connection, new Uint8Array(out.take(this.epoch)));
    }
  }

  async flush(): Promise<void> {
    await this.#idle();
  }

  async close(): Promise<void> {
    await this.#idle();
    this.#isClosed = true;
    this.#files.release(this);
  }

  /** Over when what has begun is done. */
  async #idle(): Promise<void> {
    while (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.agent.follow(newLane(), this.#faults.storageMs(), resolve);
      });
    }
  }

  #answer(connected: Connected, frame: RequestFrame): void {
    const { client, ackedThrough, deadline } = frame;
    const { out } = connected;
    const session = this.#state.sessions.get(client);
    if (session !== undefined && session.through < ackedThrough) {
      session.through = ackedThrough;
      for (const sequence of session.outcomes.keys()) {
        if (sequence <= ackedThrough) session.outcomes.delete(sequence);
      }
    }
    this.#faults.panic(false);
    frame.requests.forEach((request, i) => {
      const sequence = frame.first + i;
      if (this.#isClosed) out.error(sequence, CLOSED, "the database was closed");
      else if (deadline !== 0 && deadline < this.#now()) out.error(sequence, TIMEOUT, "too late");
      else if (request.type === "commit") this.#commit(connected, frame, sequence, request);
      else this.#read(connected, sequence, request);
    });
    this.#faults.panic(true);
  }

  #read(connected: Connected, sequence: number, request: Request): void {
    const { entries } = this.#state;
    const { out } = connected;
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
        this.#list(connected, sequence, request);
        return;
      case "watch":
        connected.watches.set(request.id, request.keys);
        out.reply(sequence, 6);
        out.watch(
          request.id,
          this.#stamp,
          request.keys.map((key, place) => [place, entries.get(key)]),
        );
        return;
      case "changes":
        connected.changes.set(request.id, { ranges: request.ranges, after: request.since });
        this.#catchUp(connected, sequence, request.id);
        return;
      case "more":
        this.#catchUp(connected, sequence, request.id);
        return;
      case "release":
        break;
      case "unsubscribe":
        connected.watches.delete(request.id);
        connected.changes.delete(request.id);
        break;
      case "close":
        this.#forget(connected.client);
        for (const one of [connected.watches, connected.changes]) one.clear();
        break;
      case "flush":
        break;
      default:
        throw new Error(`the model does not know ${request.type}`);
    }
    out.reply(sequence, 6);
  }

  /** Drops a client that has heard every answer. */
  #forget(client: Hex): void {
    const { sessions } = this.#state;
    if (sessions.get(client)?.outcomes.size === 0) sessions.delete(client);
  }

  get #stamp(): string {
    const counter = this.#counter.toString(16).padStart(12, "0");
    return this.epoch.toString(16).padStart(8, "0") + counter;
  }

  #commit(
    connected: Connected,
    { client, ackedThrough }: RequestFrame,
    sequence: number,
    commit: Request & { type: "commit" },
  ): void {
    const { out } = connected;
    if (this.isDeposed) {
      out.error(sequence, BUSY, "another tab or worker has taken over the database");
      this.#callbacks.deposed();
      return;
    }
    const { sessions } = this.#state;
    let session = sessions.get(client);
    const known = session?.outcomes.get(sequence);
    if (known !== undefined) {
      answer(out, sequence, known);
    } else if (sequence <= Math.max(session?.through ?? 0, ackedThrough)) {
      out.error(sequence, OUTCOME_UNKNOWN, "what came of it is not known any more");
    } else {
      const outcome = this.#apply(commit);
      session ??= { through: ackedThrough, outcomes: new Map() };
      session.outcomes.set(sequence, outcome);
      sessions.set(client, session);
      answer(out, sequence, outcome);
    }
  }

  #apply(commit: Request & { type: "commit" }): string | number {
    const { entries, log } = this.#state;
    const failed = commit.checks.findIndex(
      ({ key, versionstamp }) => (entries.get(key)?.versionstamp ?? null) !== versionstamp,
    );
    if (failed >= 0) return failed;
    this.#counter++;
    const versionstamp = this.#stamp;
    const changes = commit.mutations.map((mutation): Change => {
      const { type, key } = mutation;
      if (type === "delete") {
        entries.delete(key);
        return [1, key];
      }
      const value = computed(mutation, entries.get(key)?.value);
      entries.set(key, { versionstamp, value });
      return [0, key, value];
    });
    log.push({ stamp: versionstamp, changes });
    this.#tell(changes);
    return versionstamp;
  }

  #tell(changes: readonly Change[]): void {
    for (const { watches, changes: subscribed, out } of this.#connections.values()) {
      for (const [id, keys] of watches) {
        const touched = keys.flatMap((key, place): [number, Entry | undefined][] =>
          changes.some(([, changed]) => changed === key)
            ? [[place, this.#state.entries.get(key)]]
            : [],
        );
        if (touched.length > 0) out.watch(id, this.#stamp, touched);
      }
      for (const [id, one] of subscribed) {
        if (one.after === undefined) sendChanges(out, id, one, this.#stamp, changes);
      }
    }
  }

  #catchUp({ changes, out }: Connected, sequence: number, id: number): void {
    const subscribed = changes.get(id);
    if (subscribed === undefined) {
      out.error(sequence, MALFORMED, "there is no such subscription");
      return;
    }
    const { after } = subscribed;
    if (after !== undefined) {
      const { log } = this.#state;
      const lost = log[log.length - this.#files.kept - 1];
      if (lost !== undefined && after < lost.stamp) {
        changes.delete(id);
        out.error(sequence, HISTORY_GONE, "not kept any more");
        return;
      }
      let next = log.length;
      while (next > 0 && (log[next - 1]?.stamp ?? "") > after) next--;
      for (const { stamp, changes } of log.slice(next, next + PAGE)) {
        sendChanges(out, id, subscribed, stamp, changes);
        subscribed.after = stamp;
      }
      if (next + PAGE < log.length) {
        out.reply(sequence, 6);
        return;
      }
      subscribed.after = undefined;
    }
    writeVersionstamp(out.reply(sequence, 4), this.#stamp);
  }

  #list({ out }: Connected, sequence: number, list: Request & { type: "list" }): void {
    const { start, end, lease } = list;
    const { snapshots } = this.#files;
    const versionstamp = lease?.versionstamp ?? this.#stamp;
    const snapshot = lease
      ? snapshots.get(versionstamp)
      : [...this.#state.entries].filter(([key]) => key >= start && key < end).sort(byKey);
    if (snapshot === undefined) {
      out.error(sequence, SNAPSHOT_EXPIRED, "the snapshot is gone");
      return;
    }
    const within = snapshot.filter(([key]) => key >= start && key < end);
    if (list.reverse) within.reverse();
    const page = within.slice(0, list.limit);
    const isDone = page.length === within.length;
    const isKept = list.keep && !isDone;
    const w = out.reply(sequence, 3);
    w.u8(isDone ? 1 : 0);
    w.u8(isKept ? 1 : 0);
    if (isKept) {
      if (!snapshots.has(versionstamp)) {
        snapshots.set(versionstamp, [...this.#state.entries].sort(byKey));
      }
      w.varint(lease?.id ?? ++this.#lastLease);
      writeVersionstamp(w, versionstamp);
      w.varint(0); // Nothing expires here.
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
}

/** Digits are ordered as the bytes that they stand for. */
const byKey = ([a]: [Hex, Entry], [b]: [Hex, Entry]) => (a < b ? -1 : 1);

function answer(out: ResponseWriter, sequence: number, outcome: string | number): void {
  if (typeof outcome === "number") out.reply(sequence, 5).varint(outcome);
  else writeVersionstamp(out.reply(sequence, 4), outcome);
}

function sendChanges(
  out: ResponseWriter,
  id: number,
  { ranges }: Subscribed,
  stamp: string,
  changes: readonly Change[],
): void {
  const touched = changes.filter(([, key]) =>
    ranges.some(([start, end]) => start <= key && key < end),
  );
  if (touched.length > 0) out.changes(id, stamp, touched);
}
