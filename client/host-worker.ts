/**
 * The worker that runs the engine: how it is started, what is said to it, and how its end is
 * noticed. Messages after the first are whole frames, transferred, each alone or in an array with
 * the buffers of the large values that it speaks of:
 *
 *     page to worker   { open: { name, storage, durability, history, salvage, wasm? }, hello },
 *                      frames, { hide: true }: flush, { end: true }: flush and end
 *     worker to page   { opened: { storage }, welcome } or { failed: { code, message } }, frames,
 *                      { fatal: { code, message } }: it has ended
 */

import { codeOf, errorOf, KvassError } from "./errors.ts";
import type { HistoryOptions, KvDurability, KvStorage } from "./types.ts";
import { decodeWelcome, encodeHello, type Welcome } from "./wire/hello.ts";
import type { FrameMessage } from "./wire/request.ts";
import type { RawFailure } from "./wire/response.ts";

/** The longest that a timer can wait; one asked for more than that fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** What a worker needs to be told. */
export interface HostOptions {
  readonly name: string;
  readonly storage: "auto" | KvStorage;
  readonly durability: KvDurability;
  readonly history: Required<HistoryOptions>;
  readonly salvage: boolean;
  readonly worker: string | URL | (() => Worker) | undefined;
  readonly wasm: string | undefined;
  /** How long opening may take, in milliseconds. */
  readonly openTimeout: number;
}

/** What an open host tells. */
export interface HostListener {
  frame(frame: FrameMessage): void;
  /** It ended, or can't be understood; it is not to be used again. */
  lost(error: KvassError): void;
}

/** What a worker says besides frames. */
interface Message {
  opened?: { storage: KvStorage };
  welcome?: ArrayBuffer;
  failed?: RawFailure;
  fatal?: RawFailure;
}

/** A worker whose database is open. */
export class HostWorker {
  readonly welcome: Welcome;
  /** The storage that was obtained. */
  readonly storage: KvStorage;
  readonly #worker: Worker;

  private constructor(worker: Worker, storage: KvStorage, welcome: Welcome) {
    this.#worker = worker;
    this.storage = storage;
    this.welcome = welcome;
  }

  /**
   * Starts a worker and opens the database in it, unless `signal` ends the attempt before.
   * @throws KvassError `HostLost` if the worker crashed, else what kept it from opening
   */
  static open(
    options: HostOptions,
    client: Uint8Array,
    listener: HostListener,
    signal: AbortSignal,
  ): Promise<HostWorker> {
    return new Promise((resolve, reject) => {
      const { name, storage, durability, history, salvage, wasm, openTimeout } = options;
      const worker = startWorker(options.worker);
      let host: HostWorker | undefined;
      const timer = setTimeout(
        () => {
          lose(new KvassError("Timeout", `opening "${name}" took over ${openTimeout} ms`));
        },
        Math.min(openTimeout, TIMER_MS_MAX),
      );
      const lose = (error: Error) => {
        clearTimeout(timer);
        signal.onabort = null;
        worker.onmessage = worker.onerror = worker.onmessageerror = null;
        worker.terminate();
        if (host === undefined) reject(error);
        else listener.lost(error as KvassError);
      };
      worker.onmessage = ({ data }: MessageEvent<FrameMessage | Message>) => {
        if (data instanceof ArrayBuffer || isArray(data)) {
          listener.frame(data);
        } else if (data.opened !== undefined && data.welcome !== undefined) {
          clearTimeout(timer);
          signal.onabort = null;
          try {
            host = new HostWorker(worker, data.opened.storage, readWelcome(data.welcome));
          } catch (error) {
            lose(error as Error);
            return;
          }
          resolve(host);
        } else if (data.failed !== undefined) {
          lose(errorOf(data.failed.code, data.failed.message));
        } else if (data.fatal !== undefined) {
          const { code, message } = data.fatal;
          lose(new KvassError(codeOf(code), `the database's worker ended: ${message}`));
        }
      };
      signal.onabort = () => lose(new KvassError("HostLost", "opening was given up"));
      worker.onerror = (event) => lose(workerError(event, host !== undefined));
      worker.onmessageerror = () => {
        lose(new KvassError("HostLost", "a message of the database's worker could not be read"));
      };
      const hello = encodeHello(client);
      const open = { name, storage, durability, history, salvage, wasm };
      worker.postMessage({ open, hello }, [hello]);
    });
  }

  /** Sends a frame, which is gone from here then. */
  post(frame: FrameMessage): void {
    this.#worker.postMessage(frame, frame instanceof ArrayBuffer ? [frame] : [...frame]);
  }

  /** Has the worker flush what is not flushed yet. */
  hide(): void {
    this.#worker.postMessage({ hide: true });
  }

  /** Has the worker finish what it was sent before, close the database and end. */
  finish(): void {
    this.#detach();
    this.#worker.postMessage({ end: true });
  }

  /** Ends the worker at once; messages that it has not begun to read are lost. */
  terminate(): void {
    this.#detach();
    this.#worker.terminate();
  }

  #detach(): void {
    this.#worker.onmessage = this.#worker.onerror = this.#worker.onmessageerror = null;
  }
}

/** `Array.isArray`, for what may be read-only. */
const isArray = Array.isArray as (data: unknown) => data is readonly unknown[];

function startWorker(worker: HostOptions["worker"]): Worker {
  if (typeof worker === "function") return worker();
  if (typeof Worker === "undefined") {
    throw new KvassError(
      "Unsupported",
      "kvass opens databases in browsers: there is no Worker here, so it can only be imported",
    );
  }
  if (worker !== undefined) return new Worker(worker, { type: "module", name: "kvass" });
  // Bundlers look for these very words.
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "kvass" });
}

function readWelcome(bytes: ArrayBuffer): Welcome {
  const welcome = decodeWelcome(bytes);
  if (welcome.protocol !== 0) return welcome;
  throw new KvassError(
    "VersionMismatch",
    "this page and its database worker are of versions too far apart: reload",
  );
}

function workerError(event: Event, isOpen: boolean): KvassError {
  const message = (event as Partial<ErrorEvent>).message ?? "";
  if (message !== "" || isOpen) {
    return new KvassError("HostLost", `the database's worker failed: ${message}`);
  }
  // A script that can't be loaded is reported by an event that says nothing.
  return new KvassError(
    "Unsupported",
    "the database's worker could not be loaded: is worker.js beside the package's script, " +
      "and does the content security policy allow it?",
  );
}
