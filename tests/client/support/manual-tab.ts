/**
 * A platform for one tab, with a clock that is moved by hand, and a host that says only what a test
 * has it say: the tab's own worker, or one in another tab.
 */

import assert from "node:assert/strict";
import type { FrameMessage } from "../../../client/wire/request.ts";
import { fieldsOf, isFrame, lineOf, lobbyOf, type OpenMessage } from "../../../tabs/messages.ts";
import type { Channel, Locks, TabPlatform, WorkerLike } from "../../../tabs/platform.ts";
import { ManualClock } from "./manual-clock.ts";
import { type RequestFrame, type ResponseWriter, readRequests, welcome } from "./wire.ts";

export const EPOCH = 1;

export class ManualTab extends ManualClock implements TabPlatform {
  readonly name = "db";
  readonly startWorker: TabPlatform["startWorker"];
  readonly locks: Locks | undefined;
  readonly #storage: "memory" | "opfs";
  /** Whether the host answers when it is asked whether it is there. */
  isAwake = true;
  pings = 0;
  /** Frames that the host was sent since they were last taken. */
  #frames: RequestFrame[] = [];
  /** What workers were to open, in the order in which they were started. */
  readonly opened: OpenMessage[] = [];
  /** What else workers were told that is no frame, and no question whether they are there. */
  readonly told: unknown[] = [];
  /** Workers that were terminated. */
  ended = 0;
  /** Where each hello since was said: names of channels. */
  greeted: string[] = [];
  /** What else was said in the lobby. */
  said: unknown[] = [];
  /** Which database the host in another tab has. */
  database = "";
  #lobby: Channel | undefined;
  readonly #lines = new Map<string, Channel>();
  /** Says something to the tab as its host does. */
  #say: (data: unknown) => void = () => assert.fail("there is no host");
  #sayHere: (data: unknown) => void = () => assert.fail("there is no worker");

  /**
   * With the host in the tab's own worker, or in another tab: then it has no worker, or one that
   * becomes the host when it is told to.
   */
  constructor(where: "here" | "elsewhere" | "both") {
    super();
    this.startWorker = where === "elsewhere" ? undefined : () => this.#start();
    this.#storage = where === "here" ? "memory" : "opfs";
    if (where === "here") return;
    this.locks = { request: async (_, __, granted) => granted({}), query: async () => ({}) };
  }

  get options() {
    const history = { bytes: 1, ms: 1 };
    const { name } = this;
    const rest = { salvage: false, wasm: undefined, openTimeout: 30_000 };
    const storage = this.#storage === "memory" ? "memory" : "auto";
    return { name, storage, history, ...rest } as const;
  }

  turn(): void {
    assert.fail("a tab takes no turns");
  }

  openBroker(): undefined {
    return undefined;
  }

  openPorts(): never {
    assert.fail("there is no broker");
  }

  openChannel(name: string): Channel {
    const postMessage = (data: unknown) => {
      const { hello, client, line } = fieldsOf<{ hello: unknown; client: string; line: string }>(
        data,
      );
      if (hello === undefined) {
        if (this.#lines.has(name)) this.#hear(data);
        else this.said.push(data);
        return;
      }
      this.greeted.push(name);
      const channel = this.#lines.get(lineOf(client, line));
      this.#say = (said) => channel?.onmessage?.({ data: said });
      if (this.isAwake) this.#welcome();
    };
    const close = () => {
      this.#lines.delete(name);
    };
    const channel: Channel = { onmessage: null, postMessage, close };
    if (name === lobbyOf(this.name)) this.#lobby = channel;
    else this.#lines.set(name, channel);
    return channel;
  }

  #start(): WorkerLike {
    const worker: WorkerLike = {
      onmessage: null,
      onerror: null,
      onmessageerror: null,
      postMessage: (message) => this.#hear(message),
      terminate: () => {
        this.ended++;
      },
    };
    this.#sayHere = (data) => worker.onmessage?.({ data });
    if (this.locks === undefined) this.#say = this.#sayHere;
    return worker;
  }

  #welcome(): void {
    const said = this.#welcomeTo(this.database);
    queueMicrotask(() => this.#say(said));
  }

  #welcomeTo(database: string) {
    return { welcome: welcome(EPOCH, 1, database), storage: this.#storage, salvage: false };
  }

  /** The host says something, or sends a frame. */
  sayAsHost(data: unknown): void {
    this.#say(data);
  }

  /** The own worker says something. */
  sayHere(data: unknown): void {
    this.#sayHere(data);
  }

  /** Has the own worker be the host of a database. */
  hostHere(database: string): void {
    this.#say = this.#sayHere;
    this.#sayHere(this.#welcomeTo(database));
  }

  #hear(message: unknown): void {
    if (isFrame(message)) {
      this.#frames.push(readRequests(message as FrameMessage));
      return;
    }
    const { open, ping } = fieldsOf<{ open?: OpenMessage; ping?: number }>(message);
    if (open !== undefined) {
      this.opened.push(open);
      if (this.locks === undefined) this.#welcome();
    }
    if (ping === undefined) {
      if (open === undefined) this.told.push(message);
      return;
    }
    this.pings++;
    if (this.isAwake) queueMicrotask(() => this.#say({ pong: ping }));
  }

  /** Has the host send what was written. */
  send(out: ResponseWriter): void {
    const parts = out.take(EPOCH);
    this.#say(parts.length === 1 ? parts[0] : parts);
  }

  /** Something that the host in another tab has said can't be read. */
  garble(): void {
    for (const line of this.#lines.values()) line.onmessageerror?.();
  }

  /** The frames that the host was sent since the last time. */
  takeFrames(): RequestFrame[] {
    return this.#frames.splice(0);
  }

  /** Their requests, with their sequences. */
  takeRequests() {
    return this.takeFrames().flatMap(({ first, requests }) => {
      return requests.map((request, i) => ({ sequence: first + i, ...request }));
    });
  }

  /** Somebody says something in the lobby. */
  overhear(data: unknown): void {
    this.#lobby?.onmessage?.({ data });
  }
}
