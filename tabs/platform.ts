/**
 * What the tabs of a database need of the platform to find and hear each other. In a browser all
 * of it is there already (tabs/browser.ts); tests simulate it from a seed.
 */

/** A way for messages: a BroadcastChannel, a MessagePort, a Worker, or a worker's own scope. */
export interface Channel {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  /** Something has come that can't be read, for want of memory above all. */
  onmessageerror?: (() => void) | null;
  postMessage(message: unknown, transfer?: Transferable[]): void;
  close(): void;
}

/** A port, which delivers nothing before it is started. */
export interface Port extends Channel {
  start(): void;
}

/** Options of a request for a lock, as Web Locks have them. */
export interface LockOptions {
  mode?: "exclusive" | "shared";
  ifAvailable?: boolean;
  steal?: boolean;
  signal?: AbortSignal;
}

/** Web Locks, as far as they are used. */
export interface Locks {
  request<T>(
    name: string,
    options: LockOptions,
    granted: (lock: unknown) => T | PromiseLike<T>,
  ): Promise<T>;
  query(): Promise<{ held?: { name?: string; clientId?: string }[] }>;
}

/** The part of a browser, or of a simulation of one, that one tab or worker lives in. */
export interface Platform {
  /** Undefined where there are none: then each tab is alone, and the storage has to be too. */
  readonly locks: Locks | undefined;
  /** A channel to all others of this name in the origin. */
  openChannel(name: string): Channel;
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** @returns what `clearTimer` takes */
  setTimer(run: () => void, ms: number): unknown;
  clearTimer(timer: unknown): void;
  /** Runs something once the messages that have arrived by now are taken. */
  turn(run: () => void): void;
}

/** A worker: one of the browser, or one that is simulated. */
export interface WorkerLike {
  onmessage: Channel["onmessage"];
  onerror: ((event: { readonly message?: string }) => void) | null;
  onmessageerror: (() => void) | null;
  postMessage(message: unknown, transfer: Transferable[]): void;
  terminate(): void;
}

/** What a tab has of the platform. */
export interface TabPlatform extends Platform {
  /** Starts the tab's own worker; undefined where there can be none. */
  readonly startWorker: (() => WorkerLike) | undefined;
  /** A way to the broker of the origin, or undefined where there can be none. */
  openBroker(): Channel | undefined;
  /** The two ends of a way for messages. */
  openPorts(): [Port, Port];
}
