/**
 * No store at all: a worker that posts back what it is sent. A put or get that crosses to a worker
 * can't be faster.
 */

import { VALUE_BYTES } from "../workload.ts";

const KEY_BYTES = 16;

/** A worker that echoes. */
export class Echo {
  readonly #worker = new Worker("/echo-worker.js", { type: "module" });

  /** Sends the bytes of an entry to and fro, transferred. */
  trip(): Promise<ArrayBuffer> {
    return new Promise((resolve) => {
      this.#worker.onmessage = ({ data }) => resolve(data);
      const message = new ArrayBuffer(KEY_BYTES + VALUE_BYTES);
      this.#worker.postMessage(message, [message]);
    });
  }

  close(): void {
    this.#worker.terminate();
  }
}
