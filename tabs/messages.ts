/**
 * What tabs and workers of one database say to each other, and where.
 *
 * - The *lobby* is a BroadcastChannel that all of them hear.
 * - The *door* of a host is one that only this host hears: where each of many clients said hello in
 *   the lobby, all others would have to listen.
 * - A *line* joins one client and the host: a BroadcastChannel of its own, whose name the client
 *   makes up for each attempt, or the worker of the client's own tab. Frames go over it as they
 *   are: an ArrayBuffer, or an array of one and the buffers of large values.
 * - A line that is a BroadcastChannel may move to a MessagePort (worker/broker.ts): the last
 *   message of each side on the channel says so, and a port holds what arrives until it is
 *   started, so nothing overtakes anything.
 *
 * Nobody trusts what arrives: what is not understood is not answered.
 */

/** Where there is no way to share a database: on insecure pages, and outside of browsers. */
export const NOTHING_SHARED =
  "kvass needs Web Locks and IndexedDB, which browsers have on https and localhost";

/** Said in the lobby. */
export type LobbyMessage =
  /** A client wants to be served on the line `line`; the bytes are those of wire/hello.ts. */
  | { hello: ArrayBuffer; client: string; line: string }
  /** Is there a host? Answered by `host` or `opening`. */
  | { who: true }
  /** The host of this epoch is there. One with a door takes hellos there, too. */
  | { host: number; door?: true }
  /** Somebody is about to be the host: true while it opens, false while the files are not free. */
  | { opening: boolean }
  /** The host of this epoch does not answer: its tab is to look after it. */
  | { silent: number }
  /** The host of this epoch ends, and not because of anything that it was asked. */
  | { leaving: number }
  /** The database is about to be deleted: everybody lets go of it. */
  | { deleting: true }
  /** The files are not those of this database any more: who has it open closes. */
  | { gone: string };

/** Said by a client on its line, besides frames. */
export type ClientMessage =
  /** Is somebody there? */
  | { ping: number }
  /** How many bytes the client has taken from this line. */
  | { heard: number }
  /** What follows comes by the port. */
  | { upgrade: true }
  /** The client leaves. */
  | { bye: true };

/** Said by the host on a line, besides frames. */
export type HostMessage =
  /** The first message: the client is served. The bytes are those of wire/hello.ts. */
  | { welcome: ArrayBuffer; storage: "opfs" | "indexeddb" | "memory"; salvage: boolean }
  /** The client is not served, or not any more. */
  | { failed: Failure }
  | { pong: number }
  /** The host has a port of the line. */
  | { port: true }
  /** What follows comes by the port. */
  | { upgraded: true };

/**
 * An error as it crosses, and as the engine throws it: the number of its code (client/errors.ts),
 * and its message.
 */
export interface Failure {
  readonly code: number;
  readonly message: string;
}

/** Said by a tab to its own worker, besides what clients say on a line. */
export type TabMessage =
  /** The first message. */
  | { open: OpenMessage; hello: ArrayBuffer; client: string }
  /** Flush: the tab is hidden. */
  | { hide: true }
  /** Flush and end. */
  | { end: true }
  /** The host is silent: take its place. */
  | { seize: true }
  /** The storage where another host has the database: it is to be opened there and nowhere else. */
  | { storage: "opfs" | "indexeddb" | "memory" }
  /** The way by which worker/broker.ts hands over the ports of clients. */
  | { broker: MessagePort };

/** Said by a worker to its own tab, besides what hosts say on a line. */
export type WorkerMessage =
  /**
   * The engine is loaded and waits for its turn: there is another host, or there was a moment ago.
   * Then, that it has its turn: there is no other host any more. `lock` is one that the worker
   * holds for as long as it lives.
   */
  | { waiting: boolean; lock?: string }
  /** It is the host, and a client in another tab would like to have a port. */
  | { portWanted: true }
  /** It has ended, because it could not go on. */
  | { fatal: Failure }
  /** It has ended, as it was told to, or because another one is the host now. */
  | { ended: Failure | null };

/** What a worker is to open. */
export interface OpenMessage {
  name: string;
  storage: "auto" | "opfs" | "indexeddb" | "memory";
  history: { bytes: number; ms: number };
  salvage: boolean;
  wasm?: string | undefined;
}

/** What arrived as a message whose fields can be looked at; anything else has none. */
export function fieldsOf<T extends object>(data: unknown): T {
  return (typeof data === "object" && data !== null ? data : {}) as T;
}

/** Whether it is a frame: a buffer, or one and those of the large values beside it. */
export function isFrame(data: unknown): data is ArrayBuffer | [ArrayBuffer, ...ArrayBuffer[]] {
  const parts = Array.isArray(data) ? data : [data];
  return parts.length > 0 && parts.every((part) => part instanceof ArrayBuffer);
}

/** What a message counts at least, where bytes on their way to a client are counted. */
const MESSAGE_BYTES = 256;

/** What a message of frames counts: its bytes, for which client and host have to agree. */
export function costOf(parts: readonly ArrayBuffer[]): number {
  return parts.reduce((sum, { byteLength }) => sum + byteLength, MESSAGE_BYTES);
}

/** A client's id as names and messages have it, in hex. */
export const idOf = (client: Uint8Array) =>
  client.reduce((id, byte) => id + (byte + 256).toString(16).slice(1), "");

/** The lobby of a database. */
export const lobbyOf = (name: string) => `kvass-lobby:${name}`;

/** The door of the host of an epoch. */
export const doorOf = (name: string, epoch: number) => `kvass-door:${name}:${epoch}`;

/** The lock that the host of a database holds. */
export const hostLockOf = (name: string) => `kvass:${name}`;

/** The lock that one holds who is about to steal that of a silent host. */
export const seizeLockOf = (name: string) => `kvass-seize:${name}`;

/** The lock that a client holds for as long as it lives; the host waits for it. */
export const clientLockOf = (client: string) => `kvass-client:${client}`;

/** The channel of a client's line. */
export const lineOf = (client: string, line: string) => `kvass-line:${client}:${line}`;
