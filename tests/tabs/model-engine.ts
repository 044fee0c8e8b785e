/**
 * An engine as hosts see it (worker/engine.ts), over files in memory: it answers each commit once,
 * in the order in which they come, and tells its subscribers. On OPFS it answers at once and has
 * the files for itself; on IndexedDB it takes its time, and may find that another one writes.
 */

import type { FrameMessage } from "../../client/wire/request.ts";
import type { Engine, EngineCallbacks, Frame } from "../../worker/engine.ts";
import { BUSY, CLOSED, failure } from "../../worker/failure.ts";
import { Client, MemoryHost, writeOutcome } from "../client/support/memory-host.ts";
import {
  type Hex,
  hexOf,
  type Request,
  type RequestFrame,
  ResponseWriter,
  readRequests,
  welcome,
} from "../client/support/wire.ts";
import { type Agent, newLane } from "./agent.ts";
import type { Files, Owner, State } from "./files.ts";

/** The length of a hello of no build. */
const HELLO_BYTES = 29;
const MALFORMED = 9;
const OUTCOME_UNKNOWN = 11;
const TIMEOUT = 15;

class Connected extends Client {
  readonly id: Hex;

  constructor(id: Hex) {
    super(new ResponseWriter());
    this.id = id;
  }
}

/** Where things can go wrong in an engine, for a run to choose. */
export interface EngineFaults {
  /** Milliseconds until the storage answers. */
  storageMs(): number;
  /** Whether a part of a frame is answered before the rest, where the storage takes its time. */
  splits(): boolean;
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
  #host: MemoryHost;
  #isClosed = false;
  /** What it knows of; once another one has the files, that is what they were then. */
  #state: State;
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
    this.#state = files.state;
    this.#host = new MemoryHost(files.state, 0);
    this.#faults = faults;
    this.#now = now;
    this.#callbacks = callbacks;
  }

  deposed(was: State): void {
    this.#state = this.#host.data = was;
  }

  get epoch(): number {
    return this.#host.epoch;
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
    this.#state = this.#files.state;
    this.#host = new MemoryHost(this.#state, ++this.#state.epoch);
  }

  connect(connection: number, hello: Uint8Array): Uint8Array {
    const isHello = Buffer.from(hello.subarray(0, 4)).toString() === "KVSH";
    if (!isHello || hello.length < HELLO_BYTES) throw failure(MALFORMED, "this is no hello");
    this.disconnect(connection);
    const connected = new Connected(hexOf(hello.subarray(12, 28)));
    this.#connections.set(connection, connected);
    this.#host.clients.add(connected);
    return new Uint8Array(welcome(this.epoch));
  }

  disconnect(connection: number): void {
    const connected = this.#connections.get(connection);
    if (connected === undefined) return;
    this.#connections.delete(connection);
    this.#host.clients.delete(connected);
  }

  stall(connection: number, isStalled: boolean): void {
    const connected = this.#connections.get(connection);
    if (connected === undefined) return;
    this.#host.stall(connected, isStalled);
    this.#postAll();
  }

  frame(connection: number, bytes: Uint8Array, large: Uint8Array[]): Frame | undefined {
    const connected = this.#connections.get(connection);
    if (connected === undefined) throw failure(MALFORMED, "a frame before the hello");
    const frame = this.#read([bytes, ...large]);
    if (frame.client !== connected.id) throw failure(MALFORMED, "another client's name");
    if (frame.epoch !== 0 && frame.epoch !== this.epoch) return undefined;
    if (this.storage === "opfs") {
      this.#answer(connected, frame);
      const reply = connected.out.isEmpty ? undefined : this.#take(connected);
      this.#postAll();
      return reply;
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

  #read(parts: Uint8Array[]): RequestFrame {
    try {
      return readRequests(parts.map(({ buffer }) => buffer) as unknown as FrameMessage);
    } catch (error) {
      throw failure(MALFORMED, String(error));
    }
  }

  #take({ out }: Connected): Frame {
    const parts = out.take(this.epoch).map((buffer) => new Uint8Array(buffer));
    return parts.length === 1 ? (parts[0] as Uint8Array) : parts;
  }

  #postAll(): void {
    for (const [connection, connected] of this.#connections) {
      if (!connected.out.isEmpty) this.#callbacks.send(connection, this.#take(connected));
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
      if (i > 0 && this.storage === "indexeddb" && this.#faults.splits()) this.#postAll();
      const sequence = frame.first + i;
      if (this.#isClosed) {
        out.error(sequence, CLOSED, "the database was closed");
      } else if (deadline !== 0 && deadline < this.#now()) {
        out.error(sequence, TIMEOUT, "too late");
      } else if (request.type === "commit") {
        this.#commit(connected, frame, sequence, request);
      } else {
        if (request.type === "close") this.#forget(connected);
        this.#host.answer(connected, sequence, request);
      }
    });
    this.#faults.panic(true);
  }

  /** A client leaves, and is forgotten if it has heard every answer. */
  #forget({ id, watches, changes }: Connected): void {
    const { sessions } = this.#state;
    if (sessions.get(id)?.outcomes.size === 0) sessions.delete(id);
    watches.clear();
    changes.clear();
  }

  #commit(
    { out }: Connected,
    { client, ackedThrough }: RequestFrame,
    sequence: number,
    commit: Request & { type: "commit" },
  ): void {
    if (this.isDeposed) {
      out.error(sequence, BUSY, "another tab or worker has taken over the database");
      this.#callbacks.deposed();
      return;
    }
    const { sessions } = this.#state;
    let session = sessions.get(client);
    const known = session?.outcomes.get(sequence);
    if (known !== undefined) {
      writeOutcome(out, sequence, known);
    } else if (sequence <= Math.max(session?.through ?? 0, ackedThrough)) {
      out.error(sequence, OUTCOME_UNKNOWN, "what came of it is not known any more");
    } else {
      const outcome = this.#host.commit(commit);
      this.#state.keep(this.#files.kept);
      session ??= { through: ackedThrough, outcomes: new Map() };
      session.outcomes.set(sequence, outcome);
      sessions.set(client, session);
      writeOutcome(out, sequence, outcome);
    }
  }
}
