/**
 * A tab's own worker, seen from the tab: a candidate for being the host (worker/candidate.ts). It
 * is started, spoken to, and its end is noticed. tabs/messages.ts has what is said.
 */

import type { OpenMessage, TabMessage, WorkerMessage } from "../tabs/messages.ts";
import type { WorkerLike } from "../tabs/platform.ts";
import { codeOf, errorOf, KvassError } from "./errors.ts";
import type { HistoryOptions, KvStorage } from "./types.ts";

/** What a worker needs to be told. */
export interface HostOptions {
  readonly name: string;
  readonly storage: "auto" | KvStorage;
  readonly history: Required<HistoryOptions>;
  readonly salvage: boolean;
  readonly wasm: string | undefined;
  /** How long opening may take, in milliseconds. */
  readonly openTimeout: number;
}

/** What becomes of a candidate. */
export interface CandidateListener {
  /** It says something, as a host does on a line or besides that. */
  said(message: unknown): void;
  /** It ended without being asked to, by a crash or because it was deposed. */
  ended(error: KvassError, isCrash: boolean): void;
  /** It can't open the database, for a reason that starting it again does not change. */
  failed(error: Error): void;
}

export class Candidate {
  /** Aborted once its end is no matter any more. */
  readonly gone = new AbortController();
  readonly #worker: WorkerLike;
  readonly #listener: CandidateListener;
  #hasSpoken = false;
  #ended: ((error: Error | undefined) => void) | undefined;

  /** Starts to speak with a worker. */
  constructor(
    worker: WorkerLike,
    options: HostOptions,
    client: string,
    hello: ArrayBuffer,
    listener: CandidateListener,
  ) {
    const { name, storage, history, salvage, wasm } = options;
    this.#worker = worker;
    this.#listener = listener;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (event) => this.#lose(this.#errorOf(event));
    worker.onmessageerror = () => {
      this.#lose(new KvassError("HostLost", "a message of the database's worker is not readable"));
    };
    const open: OpenMessage = { name, storage, history, salvage, wasm };
    this.say({ open, hello, client } satisfies TabMessage);
  }

  /** Says something, or posts a frame as a client does on a line. */
  say(message: unknown, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  /**
   * Has the worker finish what it was sent before, close the database and end.
   * @throws KvassError what went wrong when it was closed
   */
  end(): Promise<void> {
    this.gone.abort();
    return new Promise((resolve, reject) => {
      this.#ended = (error) => (error === undefined ? resolve() : reject(error));
      this.say({ end: true } satisfies TabMessage);
    });
  }

  /** Ends the worker at once; messages that it has not begun to read are lost. */
  terminate(): void {
    this.gone.abort();
    const worker = this.#worker;
    worker.onmessage = worker.onerror = worker.onmessageerror = null;
    worker.terminate();
    this.#ended?.(undefined);
  }

  /** It ended and said nothing. */
  vanished(): void {
    if (!this.gone.signal.aborted) this.#lose(new KvassError("HostLost", "the worker is gone"));
  }

  #receive(data: unknown): void {
    this.#hasSpoken = true;
    const message = data as WorkerMessage;
    if ("fatal" in message) {
      this.#lose(errorOf(message.fatal.code, message.fatal.message));
    } else if ("ended" in message) {
      const { ended: reason } = message;
      const error = reason && new KvassError(codeOf(reason.code), reason.message);
      const ended = this.#ended;
      this.#ended = undefined;
      this.terminate();
      if (ended !== undefined) ended(error ?? undefined);
      else if (error !== null) this.#listener.ended(error, false);
    } else {
      this.#listener.said(data);
    }
  }

  #lose(error: Error): void {
    const ended = this.#ended;
    this.#ended = undefined;
    this.terminate();
    const isCrash = error instanceof KvassError && error.code === "HostLost";
    if (ended !== undefined) ended(error);
    else if (isCrash) this.#listener.ended(error, true);
    else this.#listener.failed(error);
  }

  #errorOf(event: { readonly message?: string }): KvassError {
    const message = event.message ?? "";
    if (message !== "" || this.#hasSpoken) {
      return new KvassError("HostLost", `the database's worker failed: ${message}`);
    }
    // A script that can't be loaded is reported by an event that says nothing.
    return new KvassError(
      "Unsupported",
      "the database's worker could not be loaded: is worker.js beside the package's script, " +
        "and does the content security policy allow it? In development Vite 5 to 7 finds it with " +
        'optimizeDeps: { exclude: ["kvass"] }',
    );
  }
}
