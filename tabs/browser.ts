/** The platform that tabs and workers in a browser have. */

import type { Channel, Locks, Platform } from "./platform.ts";

/** The browser's own; nothing of it is touched before it is used. */
export const browser: Platform = {
  get locks() {
    // Node has locks and channels too, and nothing to store in.
    if (typeof indexedDB === "undefined") return undefined;
    return (globalThis.navigator as { locks?: unknown } | undefined)?.locks as Locks | undefined;
  },
  openChannel: (name) => new BroadcastChannel(name) as Channel,
  // As it is when the package is loaded: pages may replace the clock, and workers don't know.
  now: Date.now,
  setTimer: (run, ms) => setTimeout(run, ms),
  clearTimer: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
  turn: (run) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      run();
    };
    port2.postMessage(null);
  },
};
