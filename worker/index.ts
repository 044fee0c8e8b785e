/**
 * The host worker: runs the engine of one database for the page that started it. It is the only
 * one to have the database open, which the Web Lock `kvass:NAME` sees to; the lock and the files
 * are free again when the worker ends, however it ends. client/host-worker.ts has the messages.
 */

import init, { Host } from "kvass-wasm";
import { BUSY, type Failure, failure, HOST_LOST, isFailure, UNSUPPORTED } from "./failure.ts";
import { openIndexedDb } from "./indexeddb/files.ts";

declare const self: DedicatedWorkerGlobalScope;

/** The number of the only connection. */
const PAGE = 1;
/** How long a page that was just closed or reloaded may hold on to the database. */
const BUSY_MS = 1000;
const BUSY_RETRY_MS = 50;

type Storage = "auto" | "opfs" | "indexeddb" | "memory";

interface Open {
  open: {
    name: string;
    storage: Storage;
    durability: "relaxed" | "strict";
    history: { bytes: number; ms: number };
    salvage: boolean;
    wasm?: string;
  };
  hello: ArrayBuffer;
}

type Message = ArrayBuffer | ArrayBuffer[] | Open | { hide: true } | { end: true };

let host: Host | undefined;

self.onmessage = ({ data }: MessageEvent<Message>) => {
  if (data instanceof ArrayBuffer) {
    answer(data, []);
  } else if (Array.isArray(data)) {
    const [frame, ...large] = data;
    answer(frame as ArrayBuffer, large.map(toBytes));
  } else if ("open" in data) {
    start(data).catch(fail);
  } else if ("hide" in data) {
    // The engine tells of a failed flush by status(), and by the next commit.
    void host?.flush();
  } else {
    const closed = host?.close() ?? Promise.resolve();
    closed.then(() => self.close(), die);
  }
};

// A panic in a task of the engine's own; the instance is dead then.
self.onerror = (event) => die(event);
self.onunhandledrejection = (event: PromiseRejectionEvent) => die(event.reason);

function toBytes(buffer: ArrayBuffer): Uint8Array {
  return new Uint8Array(buffer);
}

function answer(frame: ArrayBuffer, large: Uint8Array[]): void {
  try {
    const reply = host?.frame(PAGE, toBytes(frame), large);
    if (reply !== undefined) post(reply);
  } catch (error) {
    fail(error);
  }
}

/** Posts a frame and the large values beside it, whose buffers are not used by anything else. */
function post(frame: Uint8Array | Uint8Array[]): void {
  if (Array.isArray(frame)) {
    const parts = frame.map(({ buffer }) => buffer as ArrayBuffer);
    self.postMessage(parts, parts);
  } else {
    self.postMessage(frame.buffer, [frame.buffer as ArrayBuffer]);
  }
}

async function start({ open, hello }: Open): Promise<void> {
  const locked = open.storage === "memory" ? undefined : lock(`kvass:${open.name}`);
  await Promise.all([loadEngine(open.wasm), locked]);
  host = await openHost(open);
  const welcome = host.connect(PAGE, new Uint8Array(hello));
  const { buffer } = welcome;
  self.postMessage({ opened: { storage: host.storage }, welcome: buffer }, [buffer as ArrayBuffer]);
}

async function loadEngine(wasm: string | undefined): Promise<void> {
  // Bundlers look for these very words.
  const url = wasm ?? new URL("./kvass.wasm", import.meta.url);
  const response = await fetch(url);
  if (!response.ok) {
    throw failure(UNSUPPORTED, `the engine could not be loaded: ${response.status} ${url}`);
  }
  await init({ module_or_path: response });
}

/** Takes a lock for as long as the worker lives. */
function lock(name: string): Promise<void> {
  if (navigator.locks === undefined) {
    throw failure(UNSUPPORTED, "kvass needs a secure context (https or localhost) to store data");
  }
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(BUSY_MS);
    const granted = () => {
      resolve();
      return new Promise<never>(() => undefined);
    };
    navigator.locks.request(name, { signal }, granted).catch((error) => {
      const isBusy = signal.aborted;
      reject(isBusy ? failure(BUSY, "another tab or worker holds the database") : error);
    });
  });
}

/** Opens the database; files may stay in use for a moment after the lock is free. */
async function openHost(open: Open["open"]): Promise<Host> {
  const { name, storage, durability, history, salvage } = open;
  const send = (_connection: number, frame: Uint8Array | Uint8Array[]) => post(frame);
  const callbacks = { send, openIndexedDb };
  const isStrict = durability === "strict";
  const { bytes, ms } = history;
  const start = performance.now();
  for (;;) {
    try {
      return await Host.open(name, storage, isStrict, bytes, ms, salvage, callbacks);
    } catch (error) {
      const isBusy = (error as Partial<Failure>)?.code === BUSY;
      if (!isBusy || performance.now() - start > BUSY_MS) throw error;
      await new Promise((resolve) => setTimeout(resolve, BUSY_RETRY_MS));
    }
  }
}

/**
 * Opening did not work, or a frame made no sense: nobody can say what its calls were. What the
 * engine throws has a code; anything else is a crash.
 */
function fail(error: unknown): void {
  if (!isFailure(error)) {
    die(error);
    return;
  }
  self.postMessage({ failed: { code: error.code, message: error.message } });
  self.close();
}

/** The engine can't go on: ends the worker, so that another one can have the database. */
function die(error: unknown): void {
  const code = isFailure(error) ? error.code : HOST_LOST;
  const message = String((error as Partial<Error>)?.message ?? error);
  self.postMessage({ fatal: { code, message } });
  self.close();
}
