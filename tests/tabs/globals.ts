/** Globals that the code which is simulated uses, as a run has them. */

import type { Random } from "../codec/support/random.ts";
import { Stream } from "./streams.ts";

type Listener = () => void;

/** An AbortSignal, as far as signals are used here. */
class Signal {
  aborted = false;
  reason: unknown;
  readonly #listeners = new Set<Listener>();

  addEventListener(_: "abort", listener: Listener): void {
    this.#listeners.add(listener);
  }

  removeEventListener(_: "abort", listener: Listener): void {
    this.#listeners.delete(listener);
  }

  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}

class Controller {
  readonly signal = new Signal();

  abort(reason: unknown = ABORTED): void {
    this.signal.abort(reason);
  }
}

const ABORTED = new DOMException("This operation was aborted", "AbortError");

/**
 * Has random bytes, and with them the ids of clients, come from the seed, and spares a run what
 * takes long in Node and changes nothing. Returns what puts it all back.
 */
export function replaceGlobals(random: Random, isTraced: boolean): () => void {
  const { getRandomValues, randomUUID } = crypto;
  const { queueMicrotask, AbortController, ReadableStream } = globalThis;
  const { stackTraceLimit } = Error;
  crypto.getRandomValues = <T extends ArrayBufferView | null>(array: T): T => {
    if (array instanceof Uint8Array) array.set(random.bytes(array.length));
    return array;
  };
  let uuids = 0;
  crypto.randomUUID = () => `00000000-0000-4000-8000-${String(++uuids).padStart(12, "0")}`;
  const none = Promise.resolve();
  globalThis.queueMicrotask = (run) => {
    none.then(run);
  };
  globalThis.AbortController = Controller as unknown as typeof AbortController;
  globalThis.ReadableStream = Stream as unknown as typeof ReadableStream;
  // Most errors are expected here; the replay of one that is not says where it comes from.
  if (!isTraced) Error.stackTraceLimit = 0;
  return () => {
    Object.assign(crypto, { getRandomValues, randomUUID });
    Object.assign(globalThis, { queueMicrotask, AbortController, ReadableStream });
    Error.stackTraceLimit = stackTraceLimit;
  };
}
