/** What a host needs of the engine: the class that src/wasm/host.rs exports. */

import type { OpenMessage } from "../tabs/messages.ts";

/** A frame, alone or with the large values beside it, in buffers that nothing else uses. */
export type Frame = Uint8Array | Uint8Array[];

/** An open database and the clients connected to it. */
export interface Engine {
  readonly storage: "opfs" | "indexeddb" | "memory";
  /** Takes a client's hello and returns the welcome; throws a Failure. */
  connect(connection: number, hello: Uint8Array): Uint8Array;
  disconnect(connection: number): void;
  /** Leaves out events for a client that does not keep up, until it does again. */
  stall(connection: number, isStalled: boolean): void;
  /** Takes a frame; returns what could be answered at once. Throws a Failure. */
  frame(connection: number, bytes: Uint8Array, large: Uint8Array[]): Frame | undefined;
  flush(): Promise<void>;
  /** Flushes and lets go of the files. */
  close(): Promise<void>;
}

/** Loads the engine, and opens databases with it. */
export interface Engines {
  /** Loads it and looks for the files, so that `open` of the same has only them to wait for. */
  load(options: OpenMessage): Promise<void>;
  /**
   * Has the engine do what a host does first, for the client that says `hello`, and sees to what
   * `open` of the same waits for, as far as that may be done while there is another host.
   */
  practise(hello: ArrayBuffer, options: OpenMessage): Promise<void>;
  /** Opens a database. Rejects with a Failure. */
  open(options: OpenMessage, callbacks: EngineCallbacks): Promise<Engine>;
}

/** What an open database calls. */
export interface EngineCallbacks {
  /** Takes a frame that no call of `Engine.frame` returned. */
  send(connection: number, frame: Frame): void;
  /** The files are taken over, where those that another one has can be, and not open yet. */
  taken(): void;
  /** Another worker has taken over the files: nothing that is written counts any more. */
  deposed(): void;
}
