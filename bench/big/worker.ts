/**
 * The worker of the package, watched from inside: what it writes and reads, how long it is busy
 * without a pause, and how long opening takes once the engine is loaded.
 */

import "/pkg/worker.js";
import type { Watched } from "./page.ts";

const watched: Watched = { written: 0, read: 0, busy_ms: 0, call_ms: 0, open_ms: 0 };

/** An access handle, of which the types of a page know nothing. */
interface Handle {
  write(data: Uint8Array, options?: { at: number }): number;
  read(data: Uint8Array, options?: { at: number }): number;
  flush(): void;
  truncate(size: number): void;
}
const scope = globalThis as unknown as { FileSystemSyncAccessHandle: { prototype: Handle } };
const { prototype } = scope.FileSystemSyncAccessHandle;
const { write, read, flush, truncate } = prototype;

function timed<T>(call: () => T): T {
  const begun = performance.now();
  const answer = call();
  watched.call_ms = Math.max(watched.call_ms, performance.now() - begun);
  return answer;
}

prototype.write = function (data, options) {
  watched.written += data.byteLength;
  return timed(() => write.call(this, data, options));
};
prototype.read = function (data, options) {
  watched.read += data.byteLength;
  return timed(() => read.call(this, data, options));
};
prototype.flush = function () {
  timed(() => flush.call(this));
};
prototype.truncate = function (size) {
  timed(() => truncate.call(this, size));
};

// A message to ourselves comes back between two tasks: the longest time without one is the longest
// task, and a little more.
const { port1, port2 } = new MessageChannel();
let pinged = performance.now();
port1.onmessage = () => {
  const now = performance.now();
  watched.busy_ms = Math.max(watched.busy_ms, now - pinged);
  pinged = now;
  port2.postMessage(0);
};

let loaded = 0;
const { instantiateStreaming } = WebAssembly;
WebAssembly.instantiateStreaming = async (...source) => {
  const engine = await instantiateStreaming(...source);
  loaded = performance.now();
  return engine;
};
const worker = self as unknown as { postMessage(message: object, transfer: Transferable[]): void };
const post = worker.postMessage.bind(worker);
worker.postMessage = (message, transfer) => {
  if ("welcome" in message) watched.open_ms = performance.now() - loaded;
  post(message, transfer);
};

/** Tells what was seen, or begins anew. */
const asked = new BroadcastChannel("kvass-big");
asked.onmessage = ({ data }) => {
  if (data === "tell") asked.postMessage(watched);
  if (data !== "reset") return;
  watched.busy_ms = 0;
  watched.call_ms = 0;
  pinged = performance.now();
};
port2.postMessage(0);
