/**
 * A worker that is the host of a database, or waits to be: one for each tab that has it open.
 *
 *     loading the engine ─▶ waiting for the lock ─▶ opening the files ─▶ host
 *
 * The host is who holds the Web Lock of the database, which is free again when its worker ends,
 * however it ends. Who holds the lock and does not answer is deposed: one candidate at a time,
 * after it has asked around, steals the lock, and then waits for the files. On OPFS they are free
 * once the former host has noticed or ended; on IndexedDB its next write finds another owner.
 */

import {
  type Failure,
  fieldsOf,
  hostLockOf,
  type LobbyMessage,
  lobbyOf,
  NOTHING_SHARED,
  type OpenMessage,
  seizeLockOf,
  type TabMessage,
  type WorkerMessage,
} from "../tabs/messages.ts";
import type { Channel, Platform, Port } from "../tabs/platform.ts";
import type { Engine, Engines } from "./engine.ts";
import { BUSY, failure, HOST_LOST, isFailure, UNSUPPORTED, unreadable } from "./failure.ts";
import { Holder } from "./holder.ts";
import { Host } from "./host.ts";

/** The longest pause between two attempts to open files that are not free yet; the first is 1. */
const BUSY_RETRY_MS_MAX = 50;
/** How often others are told that a host is about to be there. */
const OPENING_MS = 250;
/** A candidate that waits for so long has time to practise. */
const PRACTICE_MS = 1_000;
/** How long a host that is there may take to say so before it is deposed. */
const ASK_MS = 500;

type Start = Extract<TabMessage, { open: unknown }>;

export class Candidate {
  readonly #platform: Platform;
  readonly #engines: Engines;
  /** The own tab. */
  readonly #tab: Channel;
  readonly #start: Start;
  #storage: OpenMessage["storage"];
  #lobby: Channel | undefined;
  #host: Host | undefined;
  #engine: Engine | undefined;
  #broker: Port | undefined;
  /** Ends the wait for the lock. */
  #waiting: AbortController | undefined;
  #holdsLock = false;
  /** Known where there are locks to hold. */
  #holder: Holder | undefined;
  #isOver = false;
  /** When the files of IndexedDB were taken, and whether the lock was this worker's then. */
  #takenAt = 0;
  #isOwn: Promise<boolean> | undefined;
  /** Whether the files are being opened, and not only waited for. */
  #isOpening = false;
  /** Whether the tab wants the worker to end. */
  #isEnding = false;
  #heardOfHost: (() => void) | undefined;

  /** Begins; what happens is told to the tab. */
  constructor(platform: Platform, engines: Engines, tab: Channel, start: Start) {
    this.#platform = platform;
    this.#engines = engines;
    this.#tab = tab;
    this.#start = start;
    this.#storage = start.open.storage;
    tab.onmessage = ({ data }) => this.#receive(data);
    tab.onmessageerror = () => this.die(unreadable("tab"));
    this.#run().catch((error) => this.die(error));
  }

  /** Ends, because of an error, so that another candidate can be the host. */
  die(error: unknown): void {
    const code = isFailure(error) ? error.code : HOST_LOST;
    const message = String((error as Partial<Error>)?.message ?? error);
    this.#end({ fatal: { code, message } });
  }

  #receive(data: unknown): void {
    const message = fieldsOf<TabMessage | { ping: number }>(data);
    if ("hide" in message) {
      // The engine tells of a failed flush by status(), and by the next commit.
      this.#engine?.flush().catch(() => undefined);
    } else if ("end" in message) {
      this.#isEnding = true;
      this.#close().then(
        (failure) => this.#end({ ended: failure }),
        (error) => this.die(error),
      );
    } else if ("seize" in message) {
      this.#seize().catch((error) => this.die(error));
    } else if ("storage" in message) {
      this.#storage = message.storage;
    } else if ("broker" in message) {
      this.#broker = message.broker as Port;
      this.#host?.attend(this.#broker);
    } else if (this.#host !== undefined) {
      this.#host.receive(data);
    } else if ("ping" in message) {
      this.#tab.postMessage({ pong: message.ping });
    }
  }

  async #run(): Promise<void> {
    const { open } = this.#start;
    if (open.storage === "memory") {
      await this.#engines.load(open);
      await this.#open();
      return;
    }
    if (this.#platform.locks === undefined) {
      throw failure(UNSUPPORTED, NOTHING_SHARED);
    }
    // Once the lock is there, others wait.
    [this.#holder] = await Promise.all([
      Holder.of(this.#platform.locks, open.name),
      this.#engines.load(open),
    ]);
    this.#tab.postMessage({ waiting: true, lock: this.#holder.own } satisfies WorkerMessage);
    this.#platform.setTimer(() => this.#practise(), PRACTICE_MS);
    await this.#lock(false);
    await this.#open();
  }

  #practise(): void {
    if (this.#holdsLock || this.#isOver) return;
    const { hello, open } = this.#start;
    const options = { ...open, storage: this.#storage };
    this.#engines.practise(hello, options).catch((error) => this.die(error));
  }

  #overhear(message: LobbyMessage): void {
    if ("host" in message || "opening" in message) this.#heardOfHost?.();
    else if ("who" in message && this.#holdsLock && this.#host === undefined) this.#tellOpening();
  }

  /** Who only waits is not in the lobby: there is much said there whenever a host ends. */
  #say(message: LobbyMessage): void {
    if (!this.#isOver) this.#enterLobby().postMessage(message);
  }

  #enterLobby(): Channel {
    if (this.#lobby === undefined) {
      this.#lobby = this.#platform.openChannel(lobbyOf(this.#start.open.name));
      this.#lobby.onmessage = ({ data }) => this.#overhear(fieldsOf(data));
    }
    return this.#lobby;
  }

  /** Takes the lock of the host, which it then has until it ends or another one steals it. */
  #lock(steal: boolean): Promise<void> {
    const { locks } = this.#platform;
    const waiting = new AbortController();
    this.#waiting = waiting;
    return new Promise((resolve, reject) => {
      const granted = () => {
        // It was stolen for, or granted, while the worker was about to end.
        if (this.#isOver) return undefined;
        this.#holdsLock = true;
        this.#enterLobby();
        resolve();
        return new Promise<void>(() => undefined);
      };
      const options = steal ? { steal } : { signal: waiting.signal };
      const request = locks?.request(hostLockOf(this.#start.open.name), options, granted);
      request?.catch((error: unknown) => {
        if (this.#holdsLock) {
          this.#stepDown();
        } else if (!waiting.signal.aborted) {
          reject(error);
        }
      });
    });
  }

  /** Another one is the host: what this one has not answered, that one is sent. */
  #stepDown(): void {
    const message = "another tab took over, because this one did not answer";
    this.#end({ ended: { code: HOST_LOST, message } });
  }

  /** Deposes a host that does not answer, unless somebody is at it or there is one that does. */
  async #seize(): Promise<void> {
    if (this.#holdsLock || this.#waiting === undefined) return;
    const { name } = this.#start.open;
    // It is held until the lock is there, and no longer: who waits for files may be deposed, too.
    const isTaken = await this.#platform.locks?.request(
      seizeLockOf(name),
      { ifAvailable: true },
      async (lock: unknown) => {
        if (lock === null || (await this.#hearsOfHost())) return false;
        if (this.#holdsLock || this.#isOver) return false;
        this.#waiting?.abort();
        await this.#lock(true);
        return true;
      },
    );
    if (isTaken) await this.#open();
  }

  /** Asks around for a host, or one who is about to be. */
  #hearsOfHost(): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (isThere: boolean) => {
        this.#heardOfHost = undefined;
        this.#platform.clearTimer(timer);
        resolve(isThere);
      };
      const since = this.#platform.now();
      const late = () => {
        // Who stood still meanwhile may have an answer that it has not taken yet.
        const hasSlept = Math.abs(this.#platform.now() - since) > 2 * ASK_MS;
        if (hasSlept) resolve(this.#hearsOfHost());
        else done(false);
      };
      const timer = this.#platform.setTimer(late, ASK_MS);
      this.#heardOfHost = () => done(true);
      this.#say({ who: true });
    });
  }

  #tellOpening(): void {
    this.#say({ opening: this.#isOpening });
  }

  /** Opens the files, whoever has them still, and is the host. */
  async #open(): Promise<void> {
    // If another one has stolen the lock by now, that is about to be told.
    const hasLock = this.#holder?.hasLock() ?? true;
    // Files of IndexedDB are taken away from whoever has them, those of OPFS can't be.
    if (this.#storage !== "opfs" && !(await hasLock)) return;
    if (this.#holder !== undefined) {
      this.#tab.postMessage({ waiting: false } satisfies WorkerMessage);
    }
    // Most are the host before anybody has to be told that they will be.
    const heartbeat = () => {
      if (this.#host !== undefined || this.#isOver) return;
      this.#tellOpening();
      this.#platform.setTimer(heartbeat, OPENING_MS);
    };
    this.#isOpening = true;
    this.#platform.setTimer(heartbeat, OPENING_MS);
    const engine = await this.#openFiles();
    this.#engine = engine;
    const isOwn = await (engine.storage === "indexeddb" ? this.#hasTaken() : hasLock);
    if (this.#isOver || this.#isEnding || !isOwn) {
      await engine.close();
      return;
    }
    const { open, client, hello } = this.#start;
    const tab = this.#tab;
    const line: Channel = {
      onmessage: null,
      postMessage: (message, transfer) => tab.postMessage(message, transfer),
      // It is the way to the candidate, too.
      close: () => undefined,
    };
    const own = { client, hello, line };
    // The files of OPFS can't be another one's as well.
    const holder = engine.storage === "indexeddb" ? this.#holder : undefined;
    const die = (error: unknown) => this.die(error);
    this.#host = new Host(this.#platform, engine, holder, open, own, die);
    if (this.#broker !== undefined) this.#host.attend(this.#broker);
  }

  /**
   * Whether the lock was this worker's when it had taken the files of IndexedDB. A worker that
   * stood still may have taken them from who has the lock by now: it must not be heard of, for
   * clients would listen to nobody of a lower epoch any more. Who takes them later has a higher
   * one; but a worker that may have stood still since is not to be heard of either.
   */
  #hasTaken(): Promise<boolean> | undefined {
    const sinceMs = Math.abs(this.#platform.now() - this.#takenAt);
    return sinceMs < OPENING_MS ? this.#isOwn : this.#holder?.hasLock();
  }

  async #openFiles(): Promise<Engine> {
    const open = { ...this.#start.open, storage: this.#storage };
    for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, BUSY_RETRY_MS_MAX)) {
      try {
        return await this.#engines.open(open, {
          send: (connection, frame) => this.#host?.send(connection, frame),
          taken: () => {
            this.#takenAt = this.#platform.now();
            this.#isOwn = this.#holder?.hasLock();
          },
          deposed: () => this.#stepDown(),
        });
      } catch (error) {
        const isBusy = (error as Partial<Failure>)?.code === BUSY;
        if (!isBusy || this.#isOver || this.#isEnding) throw error;
      }
      // Those of a worker that just ended are free by then.
      if (pauseMs === BUSY_RETRY_MS_MAX) this.#isOpening = false;
      await new Promise<void>((resolve) => {
        this.#platform.setTimer(resolve, pauseMs);
      });
    }
  }

  /** Flushes and closes the database, if it is open; returns what went wrong. */
  async #close(): Promise<Failure | null> {
    this.#host?.finish();
    this.#host?.leave();
    try {
      await this.#engine?.close();
      return null;
    } catch (error) {
      if (!isFailure(error)) throw error;
      return { code: error.code, message: error.message };
    }
  }

  #end(last: WorkerMessage): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#waiting?.abort();
    this.#host?.leave();
    this.#lobby?.close();
    this.#tab.postMessage(last);
    this.#tab.close();
  }
}
