/** The platform of a tab in a browser, whose worker is started as the options of openKv say. */

import { browser } from "../tabs/browser.ts";
import type { Channel, Port, TabPlatform, WorkerLike } from "../tabs/platform.ts";
import { KvassError, shown } from "./errors.ts";
import type { OpenOptions } from "./types.ts";

const OPTIONS = { type: "module", name: "kvass" } as const;

/** The tab's platform, with workers as the option `worker` says. */
export function tabPlatform(worker?: OpenOptions["worker"]): TabPlatform {
  const { now, setTimer, clearTimer, turn } = browser;
  return {
    ...{ now, setTimer, clearTimer, turn },
    openChannel: (name) => {
      try {
        return browser.openChannel(name);
      } catch (error) {
        // Firefox denies them where it denies all that is stored.
        const message = `there can be no BroadcastChannel here: ${shown(error)}`;
        throw new KvassError("Unsupported", message, { cause: error });
      }
    },
    get locks() {
      return browser.locks;
    },
    get startWorker() {
      if (typeof worker === "function") return () => made(worker());
      if (typeof Worker === "undefined") return undefined;
      return () => startWorker(worker) as WorkerLike;
    },
    openBroker: () => {
      if (typeof SharedWorker === "undefined" || typeof worker === "function") return undefined;
      try {
        return startBroker(worker).port as Channel;
      } catch {
        // Policies may forbid it. Lines are BroadcastChannels then.
        return undefined;
      }
    },
    openPorts: () => {
      const { port1, port2 } = new MessageChannel();
      return [port1 as Port, port2 as Port];
    },
  };
}

/** @throws TypeError for what the option `worker` made that is none */
function made(worker: unknown): WorkerLike {
  if (typeof (worker as WorkerLike | undefined)?.postMessage === "function") {
    return worker as WorkerLike;
  }
  throw new TypeError(`the option worker made none: ${shown(worker)}`);
}

// Bundlers look for these very words.

function startWorker(worker: string | URL | undefined): Worker {
  if (worker !== undefined) return new Worker(worker, OPTIONS);
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "kvass" });
}

function startBroker(worker: string | URL | undefined): SharedWorker {
  if (worker !== undefined) return new SharedWorker(worker, OPTIONS);
  return new SharedWorker(new URL("./worker.js", import.meta.url), {
    type: "module",
    name: "kvass",
  });
}
