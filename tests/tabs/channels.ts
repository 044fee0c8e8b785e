/**
 * Messages between agents: BroadcastChannels, MessagePorts, and workers. Each sender's messages to
 * a receiver come in their order, after any delay; between channels there is no order. What a
 * message holds is copied, and what is transferred is gone where it was.
 */

import type { Channel, Port } from "../../tabs/platform.ts";
import { type Agent, type Lane, newLane } from "./agent.ts";

type Handler = ((event: { readonly data: unknown }) => void) | null;

/** What a run decides about messages, and hears of them. */
export interface Delays {
  /** How long the next message takes, in milliseconds. */
  message(): number;
  /** A message comes. */
  came(from: Agent, to: Agent, message: unknown): void;
  /**
   * Whether messages and buffers are copied and moved as a browser does it, which takes long here.
   * Otherwise sender and receiver have the same, which makes no difference unless one of them
   * changes it.
   */
  readonly areCopied: boolean;
}

/** What comes of a message: its data, and the ports in it, which are the receiver's then. */
interface Parcel {
  readonly data: unknown;
  readonly ports: readonly SimPort[];
}

const NO_PORTS: readonly SimPort[] = [];

/** Puts a message together, and takes from its sender what is transferred. */
function pack(message: unknown, transfer: readonly unknown[], delays: Delays): Parcel {
  const { areCopied } = delays;
  const hasPorts = transfer.some((one) => one instanceof SimPort);
  if (!areCopied && !hasPorts) {
    check(message);
    for (const one of transfer) if (!(one instanceof ArrayBuffer)) throw cloneError(one);
    return { data: message, ports: NO_PORTS };
  }
  const moves = moved(transfer, areCopied);
  const ports = [...moves.values()].filter((one) => one instanceof SimPort);
  return { data: copyOf(message, areCopied, moves), ports };
}

/** Throws where structured cloning does, for what the tabs say. */
function check(value: unknown): void {
  if (typeof value !== "object" || value === null) {
    if (typeof value === "function" || typeof value === "symbol") throw cloneError(value);
    return;
  }
  if (value instanceof ArrayBuffer) return;
  if (Array.isArray(value)) {
    for (const item of value) check(item);
    return;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) throw cloneError(value);
  for (const key in value) check((value as Record<string, unknown>)[key]);
}

/** A copy of a message, as structured cloning makes one of what the tabs say. */
function copyOf(value: unknown, areCopied: boolean, moved: ReadonlyMap<unknown, unknown>): unknown {
  if (typeof value !== "object" || value === null) {
    if (typeof value === "function" || typeof value === "symbol") throw cloneError(value);
    return value;
  }
  const known = moved.get(value);
  if (known !== undefined) return known;
  if (value instanceof ArrayBuffer) return areCopied ? value.slice(0) : value;
  if (Array.isArray(value)) return value.map((item) => copyOf(item, areCopied, moved));
  if (Object.getPrototypeOf(value) !== Object.prototype) throw cloneError(value);
  const copy: Record<string, unknown> = {};
  for (const key in value) {
    copy[key] = copyOf((value as Record<string, unknown>)[key], areCopied, moved);
  }
  return copy;
}

function cloneError(value: unknown): Error {
  return new DOMException(`${String(value)} could not be cloned.`, "DataCloneError");
}

/** Moves what is transferred with a message, of which the sender keeps nothing. */
function moved(transfer: readonly unknown[], areCopied: boolean): Map<unknown, unknown> {
  const moves = new Map<unknown, unknown>();
  for (const one of transfer) {
    if (one instanceof ArrayBuffer) {
      moves.set(one, areCopied ? structuredClone(one, { transfer: [one] }) : one);
    } else if (one instanceof SimPort) moves.set(one, one.move());
    else throw cloneError(one);
  }
  return moves;
}

/** Sends a message, which may be lost with its sender and is with its receiver. */
function send(
  delays: Delays,
  from: Agent,
  to: Agent,
  lane: Lane,
  parcel: Parcel,
  take: (parcel: Parcel) => void,
): void {
  const sentAt = from.scheduler.now;
  to.follow(lane, delays.message(), () => {
    if (sentAt > from.lostAfter) return;
    delays.came(from, to, parcel.data);
    take(parcel);
  });
}

/** The BroadcastChannels of an origin. */
export class Broadcasts {
  /** How many are open. */
  readonly channels = new Map<string, Set<BroadcastEnd>>();
  readonly delays: Delays;

  constructor(delays: Delays) {
    this.delays = delays;
  }

  /** Who listens to a channel. */
  agentsOf(name: string): Set<Agent> {
    return new Set([...(this.channels.get(name) ?? [])].map(({ agent }) => agent));
  }

  open(agent: Agent, name: string): Channel {
    const ends = this.channels.get(name) ?? new Set();
    this.channels.set(name, ends);
    const end = new BroadcastEnd(this, agent, name, ends);
    ends.add(end);
    agent.ended.push(() => end.close());
    return end;
  }
}

class BroadcastEnd implements Channel {
  onmessage: Handler = null;
  readonly #all: Broadcasts;
  readonly agent: Agent;
  readonly #name: string;
  readonly #ends: Set<BroadcastEnd>;
  /** By the receiving end. */
  readonly #lanes = new Map<BroadcastEnd, Lane>();
  #isClosed = false;
  readonly #deliver = ({ data }: Parcel) => {
    if (!this.#isClosed) this.onmessage?.({ data });
  };

  constructor(all: Broadcasts, agent: Agent, name: string, ends: Set<BroadcastEnd>) {
    this.#all = all;
    this.agent = agent;
    this.#name = name;
    this.#ends = ends;
  }

  postMessage(message: unknown): void {
    if (this.#isClosed) throw new DOMException("the channel is closed", "InvalidStateError");
    const { delays } = this.#all;
    for (const end of this.#ends) {
      if (end === this) continue;
      let lane = this.#lanes.get(end);
      if (lane === undefined) {
        lane = newLane();
        this.#lanes.set(end, lane);
      }
      send(delays, this.agent, end.agent, lane, pack(message, [], delays), end.#deliver);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#ends.delete(this);
    if (this.#ends.size === 0) this.#all.channels.delete(this.#name);
  }
}

/** One end of a MessageChannel. */
export class SimPort implements Port {
  readonly #delays: Delays;
  /** Where it is; undefined while it is on its way. */
  agent: Agent | undefined;
  #peer: SimPort | undefined;
  #handler: Handler = null;
  #isStarted = false;
  #isClosed = false;
  /** What arrives before it is started. */
  readonly #queue: { from: Agent; parcel: Parcel }[] = [];
  readonly #lane = newLane();
  readonly #take = ({ data, ports }: Parcel) => {
    if (this.#isClosed) return;
    for (const port of ports) port.adopt(this.agent as Agent);
    this.#handler?.({ data });
  };

  private constructor(agent: Agent, delays: Delays) {
    this.agent = agent;
    this.#delays = delays;
  }

  static pair(agent: Agent, delays: Delays): [SimPort, SimPort] {
    const ports: [SimPort, SimPort] = [new SimPort(agent, delays), new SimPort(agent, delays)];
    [ports[0].#peer, ports[1].#peer] = [ports[1], ports[0]];
    return ports;
  }

  get isOpen(): boolean {
    return !this.#isClosed && this.agent?.isAlive === true;
  }

  get onmessage(): Handler {
    return this.#handler;
  }

  set onmessage(handler: Handler) {
    this.#handler = handler;
    this.start();
  }

  /** The port as its receiver has it, once `agent` is set. */
  move(): SimPort {
    if (this.#isStarted) throw new Error("a port is moved before it is started, or never");
    const port = new SimPort(this.agent as Agent, this.#delays);
    port.agent = undefined;
    port.#peer = this.#peer;
    if (port.#peer !== undefined) port.#peer.#peer = port;
    port.#queue.push(...this.#queue.splice(0));
    this.#isClosed = true;
    return port;
  }

  postMessage(message: unknown, transfer: readonly unknown[] = []): void {
    const peer = this.#peer;
    const parcel = pack(message, transfer, this.#delays);
    if (this.#isClosed || peer === undefined || this.agent === undefined) return;
    if (peer.#isStarted) peer.#expect(this.agent, parcel);
    else peer.#queue.push({ from: this.agent, parcel });
  }

  #expect(from: Agent, parcel: Parcel): void {
    if (this.agent === undefined) return;
    send(this.#delays, from, this.agent, this.#lane, parcel, this.#take);
  }

  /** The port has come to an agent. */
  adopt(agent: Agent): void {
    this.agent = agent;
    agent.ports.push(this);
  }

  start(): void {
    if (this.#isStarted || this.#isClosed) return;
    this.#isStarted = true;
    for (const { from, parcel } of this.#queue.splice(0)) this.#expect(from, parcel);
  }

  close(): void {
    this.#isClosed = true;
  }
}

/** One direction between a page and its worker. */
export class Pipe {
  readonly #from: Agent;
  readonly #to: Agent;
  readonly #delays: Delays;
  readonly lane = newLane();
  readonly #take: (parcel: Parcel) => void;

  constructor(from: Agent, to: Agent, delays: Delays, take: (data: unknown) => void) {
    this.#from = from;
    this.#to = to;
    this.#delays = delays;
    this.#take = ({ data, ports }) => {
      for (const port of ports) port.adopt(to);
      take(data);
    };
  }

  post(message: unknown, transfer: readonly unknown[] = []): void {
    const parcel = pack(message, transfer, this.#delays);
    send(this.#delays, this.#from, this.#to, this.lane, parcel, this.#take);
  }
}
