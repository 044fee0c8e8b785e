/**
 * One client of the host: the tab of the host's own worker, or another one.
 *
 * Frames wait here for the turn of their client (worker/host.ts). What is posted is counted until
 * the client says that it has it, so that events for one that does not keep up don't pile up.
 */

import { costOf, type HostMessage, type WorkerMessage } from "../tabs/messages.ts";
import type { Channel } from "../tabs/platform.ts";
import type { Frame } from "./engine.ts";

/** What a client may ask for in one turn, in bytes of its frames. */
const TURN_BYTES = 256 * 1024;
/** Bytes that may be on their way to a client before events for it are left out. */
const POSTED_MAX = 4 * 1024 * 1024;

/** A frame of a client: a buffer, or one and those of the large values. */
export type Request = ArrayBuffer | ArrayBuffer[];

export class Guest {
  /** Its number in the engine. */
  readonly connection: number;
  /** The client's id, in hex, and which of its lines this is. */
  readonly client: string;
  readonly name: string;
  /** Frames that wait, oldest first. */
  readonly queue: Request[] = [];
  /** Bytes of the frames that wait. */
  queued = 0;
  /** Bytes that it may still ask for in this turn. */
  credit = TURN_BYTES;
  isStalled = false;
  /** Called when it is forgotten. */
  readonly gone = new AbortController();
  #line: Channel;
  /** What takes the place of the line, once both sides have said so. */
  #next: Channel | undefined;
  #posted = 0;
  #heard = 0;

  constructor(connection: number, client: string, name: string, line: Channel) {
    this.connection = connection;
    this.client = client;
    this.name = name;
    this.#line = line;
  }

  /** Whether too much is on its way to the client. */
  get isBehind(): boolean {
    return this.#posted - this.#heard > POSTED_MAX;
  }

  /** A turn begins. */
  renew(): void {
    this.credit = TURN_BYTES;
  }

  /** The client has got `bytes` in all; more than was posted where others spoke on its line. */
  heard(bytes: number): void {
    const isMore = typeof bytes === "number" && bytes > this.#heard;
    if (isMore) this.#heard = Math.min(bytes, this.#posted);
  }

  /** Says something, unless it was left: a channel that is closed would refuse it. */
  say(message: HostMessage | WorkerMessage): void {
    if (!this.gone.signal.aborted) this.#line.postMessage(message);
  }

  /** Posts a frame. */
  post(frame: Frame): void {
    const parts = Array.isArray(frame) ? frame : [frame];
    const buffers = parts.map(({ buffer }) => buffer as ArrayBuffer);
    this.#posted += costOf(buffers);
    this.#line.postMessage(buffers.length === 1 ? buffers[0] : buffers, buffers);
  }

  /** Keeps a port to move to. */
  offer(port: Channel): void {
    this.#next?.close();
    this.#next = port;
    this.say({ port: true });
  }

  /** Moves to the port; returns it, or undefined where there is none. */
  upgrade(): Channel | undefined {
    const port = this.#next;
    if (port === undefined) return undefined;
    this.#next = undefined;
    this.say({ upgraded: true });
    this.#line.close();
    this.#line = port;
    return port;
  }

  /** Hears and says nothing any more. */
  leave(): void {
    this.gone.abort();
    this.#line.onmessage = null;
    this.#line.close();
    this.#next?.close();
    this.queue.length = 0;
  }
}
