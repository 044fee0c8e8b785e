/**
 * The script of both kinds of workers.
 *
 * - As a tab's own worker it is a candidate (worker/candidate.ts), which runs the engine once it is
 *   the host of the database. tabs/messages.ts has what it says and hears.
 * - As a SharedWorker it is the broker of ports (worker/broker.ts).
 */

import { Host, initSync } from "kvass-wasm";
import { browser } from "../tabs/browser.ts";
import type { TabMessage } from "../tabs/messages.ts";
import type { Channel } from "../tabs/platform.ts";
import { Broker } from "./broker.ts";
import { Candidate } from "./candidate.ts";
import { openDirectory } from "./directory.ts";
import type { Engine, Engines } from "./engine.ts";
import { failure, hasName, UNSUPPORTED, VERSION_MISMATCH, withCode } from "./failure.ts";
import type { Connection } from "./indexeddb/connection.ts";
import { connectionTo, openIndexedDb } from "./indexeddb/files.ts";
import { practiceFrame } from "./practice.ts";

declare const self: DedicatedWorkerGlobalScope & {
  onconnect?: ((event: MessageEvent) => void) | null;
};

/** The directory of the database, where it was there when the engine was loaded. */
let directory: Promise<FileSystemDirectoryHandle | undefined> | undefined;
/** A connection to the database in IndexedDB, made while the worker practised. */
let connection: Connection | undefined;

const engines: Engines = {
  async load({ name, wasm }) {
    // What is wrong is told when the database is opened.
    directory = openDirectory(name, false).catch(() => undefined);
    // Bundlers look for these very words.
    const url = wasm ?? new URL("./kvass.wasm", import.meta.url);
    const response = await fetch(url);
    if (!response.ok) {
      throw failure(UNSUPPORTED, `the engine could not be loaded: ${response.status} ${url}`);
    }
    try {
      initSync({ module: await compile(response) });
    } catch (error) {
      // A cache may have it of another build than the worker.
      if (hasName(error, "LinkError")) {
        throw withCode(VERSION_MISMATCH, `${url} is of another version than its worker`, error);
      }
      // A server may answer with its index page, whatever it is asked for.
      if (!hasName(error, "CompileError")) throw error;
      throw withCode(UNSUPPORTED, `the engine could not be loaded: ${url} is none`, error);
    }
  },
  async practise(hello, { name, storage }) {
    if (storage === "indexeddb") {
      connection = connectionTo(name);
      connection.prepare();
    }
    const host = await Host.open("", "memory", 0, 0, false, { send() {} } as never);
    host.connect(1, new Uint8Array(hello));
    host.frame(1, practiceFrame(hello), []);
    await host.close();
    host.free();
  },
  open({ name, storage, history, salvage }, { send, taken, deposed }) {
    const { bytes, ms } = history;
    const [known, prepared] = [directory, connection];
    // They are tried once: what they are for may have been deleted.
    directory = connection = undefined;
    const callbacks = {
      send,
      openDirectory: async (database: string) => (await known) ?? openDirectory(database, !salvage),
      openIndexedDb: async (database: string) => {
        const files = await openIndexedDb(database, deposed, prepared, !salvage);
        taken();
        return files;
      },
    };
    const opened = Host.open(name, storage, bytes, ms, salvage, callbacks);
    // Its `storage` is a string to wasm-bindgen.
    return opened as Promise<unknown> as Promise<Engine>;
  },
};

async function compile(response: Response): Promise<WebAssembly.Module> {
  if (response.headers.get("Content-Type") === "application/wasm") {
    return await WebAssembly.compileStreaming(response);
  }
  return await WebAssembly.compile(await response.arrayBuffer());
}

if ("onconnect" in self) {
  const broker = new Broker();
  self.onconnect = ({ ports }) => broker.connect(ports[0] as MessagePort);
} else {
  self.onmessage = ({ data }: MessageEvent<Extract<TabMessage, { open: unknown }>>) => {
    const candidate = new Candidate(browser, engines, self as unknown as Channel, data);
    // A panic in a task of the engine's own; the instance is dead then.
    self.onerror = (event) => candidate.die(event);
    self.onunhandledrejection = (event: PromiseRejectionEvent) => candidate.die(event.reason);
  };
}
