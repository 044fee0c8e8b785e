/**
 * The engine as wasm-bindgen exports it from src/wasm/, for checks of types before the first
 * build.
 */

/** Instantiates the engine. */
export function initSync(input: { module: WebAssembly.Module }): unknown;

/** What the worker does for the engine. */
export interface Callbacks {
  /** Takes a frame that was not ready at once. */
  send(connection: number, frame: Uint8Array | Uint8Array[]): void;
  /** Opens the directory of worker/directory.ts. */
  openDirectory(name: string): Promise<object>;
  /** Opens the files of worker/indexeddb/files.ts. */
  openIndexedDb(name: string): Promise<object>;
}

/** An open database and the clients connected to it. */
export class Host {
  /** Opens the database; rejects with `{ code, message }`. */
  static open(
    name: string,
    storage: string,
    historyBytes: number,
    historyMs: number,
    salvage: boolean,
    callbacks: Callbacks,
  ): Promise<Host>;
  /** The storage that was obtained. */
  readonly storage: string;
  /** Takes a client's hello and returns the welcome; throws `{ code, message }`. */
  connect(connection: number, hello: Uint8Array): Uint8Array;
  /** Ends a connection; commits that have come in are carried out all the same. */
  disconnect(connection: number): void;
  /**
   * Says whether a client has more to read than it should. Until it has not, it hears of no
   * commits, and then of how many there were.
   */
  stall(connection: number, isStalled: boolean): void;
  /**
   * Takes a frame and the large values beside it; returns what could be answered at once: a frame,
   * or one and the large values beside it, in buffers of their own.
   */
  frame(
    connection: number,
    bytes: Uint8Array,
    attachments: Uint8Array[],
  ): Uint8Array | Uint8Array[] | undefined;
  /** Flushes the files; a failure is told by the next commit. */
  flush(): Promise<void>;
  /** Flushes and releases everything. */
  close(): Promise<void>;
  /** Gives its memory back. */
  free(): void;
}
