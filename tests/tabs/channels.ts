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
   * Whether buffers are copied and moved as a browser does it, which takes long here. Otherwise
   * sender and receiver have the same, which makes no difference unless one of them changes it.
   */
  readonly areBuffersMoved: boolean;
}

/** A copy of a message, as structured cloning makes one of what the tabs say. */
function copyOf(value: unknown, isShared: boolean, moved?: ReadonlyMap<unknown, unknown>): unknown {
  if (typeof value !== "object" || value === null) {
    if (typeof value === "function" || typeof value === "symbol") throw cloneError(value);
    return value;
  }
  const known = moved?.get(value);
  if (known !== undefined) return known;
  if (value instanceof ArrayBuffer) return isShared ? value : value.slice(0);
  if (Array.isArray(value)) return value.map((item) => copyOf(item, isShared, moved));
  if (Object.getPrototypeOf(value) !== Object.prototype) throw cloneError(value);
  const copy: Record<string, unknown> = { ...value };
  for (const key of Object.keys(copy)) {
    const field = copy[key];
    const isPlain = typeof field === "string" || typeof field === "number";
    if (!isPlain) copy[key] = copyOf(field, isShared, moved);
  }
  return copy;
}

function cloneError(value: unknown): Error {
  return new DOMException(`${String(value)} could not be cloned.`, "DataCloneError");
}

/** Moves what is transferred with a message, of which the sender keeps nothing. */
function moved(transfer: readonly unknown[], isShared: boolean): Map<unknown, unknown> | undefined {
  if (transfer.length === 0) return undefined;
  const moves = new Map<unknown, unknown>();
  for (const one of transfer) {
    if (one instanceof ArrayBuffer) {
      moves.set(one, isShared ? one : structuredClone(one, { transfer: [one] }));
    } else if (one instanceof SimPort) moves.set(one, one.move());
    else throw cloneError(one);
  }
  return moves;
}

/** Sends a message, which may be lost with its sender and is with its receiver. */
function send(
  delays: Delays,
  [from, to]: readonly [Agent, Agent],
  lane: Lane,
  message: unknown,
  take: () => void,
): void {
  const sentAt = from.scheduler.now;
  to.follow(lane, delays.message(), () => {
    if (sentAt > from.lostAfter) return;
    delays.came(from, to, message);
    take();
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

  constructor(all: Broadcasts, agent: Agent, name: string, ends: Set<BroadcastEnd>) {
    this.#all = all;
    this.agent = agent;
    this.#name = name;
    this.#ends = ends;
  }

  postMessage(message: unknown): void {
    if (this.#isClosed) throw new DOMException("the channel is closed", "InvalidStateError");
    for (const end of this.#ends) {
      if (end === this) continue;
      const data = copyOf(message, !this.#all.delays.areBuffersMoved);
      const lane = this.#lanes.get(end) ?? newLane();
      this.#lanes.set(end, lane);
      send(this.#all.delays, [this.agent, end.agent], lane, data, () => end.#deliver(data));
    }
  }

  #deliver(data: unknown): void {
    if (!this.#isClosed) this.onmessage?.({ data });
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
  readonly #queue: { from: Agent; data: unknown }[] = [];
  readonly #lane = newLane();

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
    const isShared = !this.#delays.areBuffersMoved;
    const data = copyOf(message, isShared, moved(transfer, isShared));
    if (this.#isClosed || peer === undefined || this.agent === undefined) return;
    if (peer.#isStarted) peer.#expect(this.agent, data);
    else peer.#queue.push({ from: this.agent, data });
  }

  #expect(from: Agent, data: unknown): void {
    if (this.agent === undefined) return;
    send(this.#delays, [from, this.agent], this.#lane, data, () => {
      if (this.#isClosed) return;
      adopt(data, this.agent as Agent);
      this.#handler?.({ data });
    });
  }

  start(): void {
    if (this.#isStarted || this.#isClosed) return;
    this.#isStarted = true;
    for (const { from, data } of this.#queue.splice(0)) this.#expect(from, data);
  }

  close(): void {
    this.#isClosed = true;
  }
}

/** Gives the ports in a message to the agent that it has come to. */
function adopt(data: unknown, agent: Agent): void {
  if (typeof data !== "object" || data === null || data instanceof ArrayBuffer) return;
  if (data instanceof SimPort) {
    data.agent = agent;
    agent.ports.push(data);
    return;
  }
  for (const value of Object.values(data)) adopt(value, agent);
}

/** One direction between a page and its worker. */
export class Pipe {
  readonly #from: Agent;
  readonly #to: Agent;
  readonly #delays: Delays;
  readonly lane = newLane();
  readonly #take: (data: unknown) => void;

  constructor(from: Agent, to: Agent, delays: Delays, take: (data: unknown) => void) {
    this.#from = from;
    this.#to = to;
    this.#delays = delays;
    this.#take = take;
  }

  post(message: unknown, transfer: readonly unknown[] = []): void {
    const isShared = !this.#delays.areBuffersMoved;
    const data = copyOf(message, isShared, moved(transfer, isShared));
    send(this.#delays, [this.#from, this.#to], this.lane, data, () => {
      adopt(data, this.#to);
      this.#take(data);
    });
  }
}
