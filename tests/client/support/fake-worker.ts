/**
 * A worker in this very process, whose messages are cloned and delivered in tasks of their own, as
 * a real one's are. What it does beyond that is up to a test.
 */

import { type Kv, type OpenOptions, openKv } from "../../../client/index.ts";
import type { FrameMessage } from "../../../client/wire/request.ts";
import { Client, Data, MemoryHost } from "./memory-host.ts";
import {
  type Hex,
  type Request,
  type RequestFrame,
  ResponseWriter,
  readRequests,
  welcome,
} from "./wire.ts";

/** What a worker does; a test replaces the parts it is about. */
export interface Behaviour {
  /** Takes the first message. */
  open(worker: FakeWorker, message: { open: Record<string, unknown> }): void;
  /** Takes a request; by default the host in memory answers it. */
  request(worker: FakeWorker, sequence: number, request: Request, out: ResponseWriter): void;
}

const DEFAULT: Behaviour = {
  open: (worker) => worker.opened(),
  request: (worker, sequence, request, out) => worker.host.answer(sequence, request, out),
};

/** What a database has on disk. */
class Files extends Data {
  epoch = 0;
}

/** The host of one client. */
class OwnHost {
  readonly #files: Files;
  readonly #host: MemoryHost;
  readonly #client = new Client(new ResponseWriter());

  constructor(files: Files) {
    this.#files = files;
    this.#host = new MemoryHost(files, ++files.epoch);
    this.#host.clients.add(this.#client);
  }

  get epoch(): number {
    return this.#host.epoch;
  }

  /** How many snapshots lists hold. */
  get leases(): number {
    return this.#client.leases.size;
  }

  /** How many subscriptions there are. */
  get subscriptions(): number {
    return this.#client.watches.size + this.#client.changes.size;
  }

  expireLeases(): void {
    this.#client.leases.clear();
    this.#files.snapshots.clear();
  }

  answer(sequence: number, request: Request, out: ResponseWriter): void {
    this.#client.out = out;
    this.#host.answer(this.#client, sequence, request);
  }

  /** A commit of the host's own: the key expires. */
  expire(key: Hex, out: ResponseWriter): void {
    this.#client.out = out;
    this.#host.expire(key);
  }
}

/** The workers of one database, in the order they were started. */
export class FakeWorkers {
  readonly files = new Files();
  readonly all: FakeWorker[] = [];
  readonly behaviour: Behaviour = { ...DEFAULT };

  /** The worker started last. */
  get last(): FakeWorker {
    const worker = this.all.at(-1);
    if (worker === undefined) throw new Error("no worker was started");
    return worker;
  }

  readonly start = (): Worker => {
    const worker = new FakeWorker(this);
    this.all.push(worker);
    return worker as unknown as Worker;
  };
}

export class FakeWorker {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { message?: string }) => void) | null = null;
  onmessageerror: (() => void) | null = null;
  isTerminated = false;
  readonly host: OwnHost;
  readonly frames: RequestFrame[] = [];
  readonly messages: FrameMessage[] = [];
  /** Messages that are no frames, but for the first. */
  readonly said: unknown[] = [];
  readonly #workers: FakeWorkers;

  constructor(workers: FakeWorkers) {
    this.#workers = workers;
    this.host = new OwnHost(workers.files);
  }

  postMessage(message: unknown, transfer: ArrayBuffer[] = []): void {
    const data = structuredClone(message, { transfer });
    setImmediate(() => {
      if (!this.isTerminated) this.#take(data);
    });
  }

  #take(data: unknown): void {
    const { open, request } = this.#workers.behaviour;
    if (!(data instanceof ArrayBuffer || Array.isArray(data))) {
      if (typeof data === "object" && data !== null && "open" in data) {
        open(this, data as { open: Record<string, unknown> });
      } else {
        this.said.push(data);
        if (typeof data === "object" && data !== null && "end" in data) this.say({ ended: null });
      }
      return;
    }
    const message = data as FrameMessage;
    const frame = readRequests(message);
    this.frames.push(frame);
    this.messages.push(message);
    const out = new ResponseWriter();
    frame.requests.forEach((one, i) => {
      request(this, frame.first + i, one, out);
    });
    this.send(out);
  }

  terminate(): void {
    this.isTerminated = true;
  }

  /** Says something to the page. */
  say(data: unknown): void {
    setImmediate(() => {
      if (!this.isTerminated) this.onmessage?.({ data });
    });
  }

  send(out: ResponseWriter): void {
    if (out.isEmpty) return;
    const [frame, ...large] = out.take(this.host.epoch);
    this.say(large.length === 0 ? frame : [frame, ...large]);
  }

  opened(storage = "opfs"): void {
    this.say({ welcome: welcome(this.host.epoch), storage, salvage: false });
  }

  /** Ends as a worker whose engine panicked does. */
  crash(message = "unreachable"): void {
    this.say({ fatal: { code: 14, message } });
  }
}

let names = 0;

/** A database of its own in fake workers, closed when the test is over. */
export async function openFake(
  t: { after(run: () => Promise<void>): void },
  options: OpenOptions = {},
  workers = new FakeWorkers(),
): Promise<{ kv: Kv; workers: FakeWorkers; name: string }> {
  const name = `test ${++names}`;
  const kv = await openKv(name, { worker: workers.start, ...options });
  t.after(async () => kv[Symbol.asyncDispose]());
  return { kv, workers, name };
}

/** All items of an iterable, or what `map` makes of them. */
export async function collect<T, R = T>(
  items: AsyncIterable<T>,
  map: (item: T) => R = (item) => item as unknown as R,
): Promise<R[]> {
  const collected: R[] = [];
  for await (const item of items) collected.push(map(item));
  return collected;
}

/** Lets all tasks run that are ready, and those they make ready. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}
