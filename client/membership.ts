/**
 * A tab's place among the tabs that have a database open: it has a candidate for being the host,
 * finds the host, which may be that one, and notices when it does not answer any more.
 *
 * What is known of a host is its epoch. A later one is announced in the lobby, answers a hello, or
 * is the own candidate; whatever was said to the one before counts for nothing then, and is said
 * again (connection.ts).
 */

import {
  type ClientMessage,
  clientLockOf,
  costOf,
  doorOf,
  fieldsOf,
  type HostMessage,
  idOf,
  isFrame,
  type LobbyMessage,
  lobbyOf,
  type TabMessage,
  type WorkerMessage,
} from "../tabs/messages.ts";
import type { Channel, TabPlatform, WorkerLike } from "../tabs/platform.ts";
import { Candidate, type HostOptions } from "./candidate.ts";
import { errorOf, KvassError, shown } from "./errors.ts";
import { Line } from "./line.ts";
import { Ports } from "./ports.ts";
import type { KvStorage } from "./types.ts";
import { decodeWelcome, encodeHello } from "./wire/hello.ts";
import type { FrameMessage } from "./wire/request.ts";

/** While something is waited for, this often it is seen to. */
const TICK_MS = 250;
/** A host that is silent for so long is asked whether it is there, or greeted anew. */
const PATIENCE_MS = 500;
/** One that does not answer for so long does not answer the question either. */
const UNANSWERED_MS = 1_250;
/** One that is silent for so long is to be deposed. */
const SILENCE_MS = 1_500;
/** After so long a host that nobody hears of is not waited for. */
const ABSENCE_MS = 3_500;
/** A call that is not answered for so long is given up while the host does not answer. */
const LATE_MS = 4_250;
/** So long a worker may take to load the engine before that counts as silence. */
const LOADING_MS = 10_000;
/** After this many crashes in a row no candidate is started. */
const CRASHES_MAX = 3;
/** But it is tried again after this many milliseconds. */
const CRASH_ROW_MS = 10_000;
/** So long the last words of a worker that has ended may be on their way. */
const LAST_WORDS_MS = 100;
/** How long a worker may take to finish what it was left with. */
const END_MS = 5_000;
/** So much later than the welcome a port is asked for: first comes what is waited for. */
const PORT_MS = 500;
/** So many announcements of hosts are answered in that time: there are few that are true. */
const GREETS_MAX = 5;
const GREETS_MS = 1_000;
/** What is heard is told to the host when it is this many bytes. */
const HEARD_BYTES = 256 * 1024;

/** The host that serves this tab. */
export interface Link {
  /** Whether it is this tab's own worker. */
  readonly role: "host" | "client";
  readonly storage: KvStorage;
  readonly epoch: number;
  /** Posts a frame; large values beside it are copied, so that it can be posted again. */
  post(frame: FrameMessage): void;
}

/** What a tab's membership tells. */
export interface MembershipListener {
  /** There is a host, another one or the same again: it has heard nothing yet. */
  linked(link: Link): void;
  /** The host is gone. */
  unlinked(): void;
  frame(frame: FrameMessage): void;
  /**
   * The host does not answer; but it may, or another one may turn up.
   * @param late calls made before are to wait no longer, in the time of `awakeMs`
   * @param isSilent whether nobody is about to be the host either
   */
  absent(error: Error, late: number, isSilent: boolean): void;
  /** There will be no host unless it is tried anew. */
  failed(error: Error): void;
  /** The database is closed for good. */
  closed(error: KvassError): void;
  /** Whether an answer is waited for. */
  isWaiting(): boolean;
}

/** Where messages come from. */
type Source = Candidate | Line;

export class Membership {
  readonly #platform: TabPlatform;
  readonly #options: HostOptions;
  readonly #listener: MembershipListener;
  readonly #client: Uint8Array;
  readonly #id: string;
  /** Where the database is to be opened: where it was, once that is known. */
  #storage: HostOptions["storage"];
  #candidate: Candidate | undefined;
  /** Whether the candidate has the engine, and can only be waiting for its turn. */
  #candidateWaits = false;
  #loadsUntil = 0;
  #lobby: Channel | undefined;
  #line: Line | undefined;
  #lines = 0;
  /** Announcements that were answered since. */
  #greets = 0;
  #greetsSince = 0;
  #link: (Link & { readonly source: Source }) | undefined;
  /** The highest epoch heard of. */
  #epoch = 0;
  /** Which database it is, once a host has said so. */
  #database = "";
  /** Hosts that said that they end of their own accord. */
  #left = 0;
  #releaseLock: (() => void) | undefined;
  readonly #ports: Ports;
  #isMember = false;
  /** Counts the times of membership, so that what belongs to an earlier one is known. */
  #term = 0;
  #heardBytes = 0;
  #toldBytes = 0;
  // What the watch knows.
  #timer: unknown;
  #tickedAt = 0;
  /** Whether anything was heard of a host, or of one who is about to be, since the last tick. */
  #hasHeard = false;
  #silentMs = 0;
  /** Whether the host that serves this tab was heard. */
  #hasAnswer = false;
  #absentMs = 0;
  /** How long this tab was awake while something was waited for. */
  #awakeMs = 0;
  #pings = 0;
  // Crashes of the own worker.
  #crashes = 0;
  #crashedAt = Number.NEGATIVE_INFINITY;
  #lastCrash: KvassError | undefined;

  constructor(
    options: HostOptions,
    client: Uint8Array,
    listener: MembershipListener,
    platform: TabPlatform,
  ) {
    this.#options = options;
    this.#storage = options.storage;
    this.#client = client;
    this.#id = idOf(client);
    this.#listener = listener;
    this.#platform = platform;
    this.#ports = new Ports(platform, options.name);
  }

  /** The time by which calls are late: milliseconds that this tab was awake and waited. */
  get awakeMs(): number {
    return this.#awakeMs;
  }

  /** Whether the host of an epoch ended of its own accord. */
  hasLeft(epoch: number): boolean {
    return epoch <= this.#left;
  }

  /** Looks for a host, and has a candidate. */
  join(): void {
    if (!this.#isMember) {
      this.#isMember = true;
      this.#term++;
      this.#silentMs = this.#absentMs = 0;
      this.#candidateWaits = false;
      if (this.#options.storage !== "memory" && this.#platform.locks !== undefined) {
        this.#enterLobby(this.#term);
      }
    }
    this.#startCandidate();
    this.watch();
  }

  /**
   * Leaves: releases all that other tabs could wait for. A candidate that has writes to read is
   * left to finish them, and ends by itself then.
   */
  leave(hasWrites: boolean): void {
    if (!this.#isMember) return;
    this.#isMember = false;
    this.#term++;
    const candidate = this.#candidate;
    if (this.#link?.source === candidate) this.sayLeaving();
    this.#unlink();
    this.#exitLobby();
    this.#candidate = undefined;
    if (candidate === undefined) return;
    if (!hasWrites) {
      candidate.terminate();
      return;
    }
    const timer = this.#platform.setTimer(() => candidate.terminate(), END_MS);
    const ended = () => this.#platform.clearTimer(timer);
    candidate.end().then(ended, ended);
  }

  /** Ends the own worker once it has closed the database, and leaves. @throws KvassError */
  async close(): Promise<void> {
    const candidate = this.#candidate;
    const isHost = candidate !== undefined && this.#link?.source === candidate;
    if (isHost) this.sayLeaving();
    try {
      if (isHost) await candidate.end();
    } finally {
      this.leave(false);
    }
  }

  /** Has the own worker, if it is the host, flush its files. */
  hide(): void {
    this.#candidate?.say({ hide: true });
  }

  /** Tells the others that this tab's host ends, and that nothing they asked for is the cause. */
  sayLeaving(): void {
    const link = this.#link;
    if (link?.role === "host") this.#say({ leaving: link.epoch });
  }

  /** The tab waits for an answer: sees to it that the wait has an end. */
  watch(): void {
    if (this.#timer !== undefined || !this.#isMember) return;
    this.#tickedAt = this.#platform.now();
    this.#hasHeard = this.#hasAnswer = true;
    this.#timer = this.#platform.setTimer(() => this.#tick(), TICK_MS);
  }

  // The lobby, and the lines to other tabs.

  #enterLobby(term: number): void {
    const { locks } = this.#platform;
    this.#lobby = this.#platform.openChannel(lobbyOf(this.#options.name));
    this.#lobby.onmessage = ({ data }) => this.#overhear(fieldsOf(data));
    // The host takes a client whose lock is free for gone: it has to be held before the hello.
    const hold = () =>
      new Promise<void>((resolve) => {
        if (term !== this.#term) return resolve();
        this.#releaseLock = resolve;
        if (this.#link === undefined) this.#greet();
      });
    // Whoever has it took this client for gone, as it was, and may stand still since.
    locks?.request(clientLockOf(this.#id), { steal: true }, hold).catch(() => undefined);
  }

  #exitLobby(): void {
    this.#line?.say({ bye: true } satisfies ClientMessage);
    this.#dropLine();
    this.#lobby?.close();
    this.#lobby = undefined;
    this.#releaseLock?.();
    this.#releaseLock = undefined;
    this.#ports.close();
  }

  #say(message: LobbyMessage): void {
    this.#lobby?.postMessage(message);
  }

  #overhear(message: LobbyMessage): void {
    if ("host" in message && isEpoch(message.host)) {
      this.#hasHeard = true;
      const isKnown = message.host <= (this.#link?.epoch ?? 0);
      if (!isKnown && message.host >= this.#epoch && this.#mayGreet()) {
        this.#greet(message.door === true ? message.host : undefined);
      }
    } else if ("opening" in message) {
      if (message.opening) this.#hasHeard = true;
    } else if ("leaving" in message) {
      if (message.leaving === this.#link?.epoch) this.#left = message.leaving;
    } else if ("silent" in message) {
      if (this.#link?.role === "host" && this.#link.epoch === message.silent) this.#probe();
    } else if ("deleting" in message || ("gone" in message && message.gone === this.#database)) {
      this.#deleted();
    }
  }

  /** Whether an announcement is to be answered: where there are too many, the watch sees to it. */
  #mayGreet(): boolean {
    const now = this.#platform.now();
    if (Math.abs(now - this.#greetsSince) > GREETS_MS) {
      this.#greetsSince = now;
      this.#greets = 0;
    }
    return ++this.#greets <= GREETS_MAX;
  }

  #deleted(): void {
    this.leave(false);
    this.#listener.closed(new KvassError("Closed", "the database was deleted"));
  }

  /**
   * Says hello for a new line, in the lobby or at the door of the host of an epoch. What was said
   * on the line before counts for nothing.
   */
  #greet(host?: number): void {
    if (this.#lobby === undefined || this.#releaseLock === undefined) return;
    this.#dropLine();
    const name = String(++this.#lines);
    const line: Line = new Line(this.#platform, this.#id, name, (said) => this.#said(line, said));
    this.#line = line;
    const hello = encodeHello(this.#client);
    if (host === undefined) {
      line.greet(this.#lobby, this.#id, hello);
      return;
    }
    const door = this.#platform.openChannel(doorOf(this.#options.name, host));
    line.greet(door, this.#id, hello);
    door.close();
  }

  #dropLine(): void {
    if (this.#line !== undefined && this.#link?.source === this.#line) {
      this.#unlink();
      this.#listener.unlinked();
    }
    this.#line?.close();
    this.#line = undefined;
  }

  // The own worker.

  #startCandidate(): void {
    const { startWorker } = this.#platform;
    if (this.#candidate !== undefined || startWorker === undefined) return;
    const since = this.#platform.now() - this.#crashedAt;
    if (this.#crashes >= CRASHES_MAX && since >= 0 && since < CRASH_ROW_MS) {
      if (this.#link === undefined) this.#listener.failed(this.#crashError());
      return;
    }
    let worker: WorkerLike;
    try {
      worker = startWorker();
    } catch (error) {
      const message = `the database's worker could not be started: ${shown(error)}`;
      this.#candidateFailed(new KvassError("Unsupported", message, { cause: error }));
      return;
    }
    const hello = encodeHello(this.#client);
    const options = { ...this.#options, storage: this.#storage };
    const candidate: Candidate = new Candidate(worker, options, this.#id, hello, {
      said: (message) => this.#said(candidate, message),
      ended: (error, isCrash) => this.#candidateEnded(error, isCrash),
      failed: (error) => this.#candidateFailed(error),
    });
    this.#candidate = candidate;
    this.#loadsUntil = this.#platform.now() + LOADING_MS;
  }

  #candidateWaiting({ waiting: isWaiting, lock }: { waiting: boolean; lock?: string }): void {
    this.#candidateWaits = true;
    if (typeof lock === "string") this.#follow(lock);
    // What another host was sent it will not answer. If the candidate fails, there is none at all.
    if (!isWaiting) this.#dropLine();
  }

  /** Notices when the lock of the candidate is free: a browser may end a worker without a word. */
  #follow(lock: string): void {
    const { locks, setTimer } = this.#platform;
    const candidate = this.#candidate as Candidate;
    const ended = () => {
      setTimer(() => candidate.vanished(), LAST_WORDS_MS);
    };
    locks?.request(lock, { signal: candidate.gone.signal }, ended).catch(() => undefined);
  }

  #candidateEnded(error: KvassError, isCrash: boolean): void {
    const wasHost = this.#link?.role === "host";
    this.#hasHeard = true;
    this.#forgetCandidate();
    if (wasHost && this.#options.storage === "memory") {
      this.#listener.closed(error);
      return;
    }
    if (isCrash) {
      const now = this.#platform.now();
      const isInRow = now - this.#crashedAt < CRASH_ROW_MS;
      this.#crashes = isInRow ? this.#crashes + 1 : 1;
      this.#crashedAt = now;
      this.#lastCrash = error;
    }
    if (!this.#isMember) return;
    // Where it was deposed, there is another host already.
    if (this.#link === undefined) this.#greet();
    this.#startCandidate();
  }

  #crashError(): KvassError {
    const cause = this.#lastCrash;
    return new KvassError(
      "HostLost",
      `the database's worker crashed ${this.#crashes} times in a row: ${cause?.message}`,
      { cause },
    );
  }

  #candidateFailed(error: Error): void {
    this.#forgetCandidate();
    if (this.#link === undefined) this.#listener.failed(error);
  }

  #forgetCandidate(): void {
    const candidate = this.#candidate;
    this.#candidate = undefined;
    this.#candidateWaits = false;
    if (candidate === undefined || this.#link?.source !== candidate) return;
    this.#unlink();
    this.#listener.unlinked();
  }

  // What hosts say.

  #said(source: Source, data: unknown): void {
    // A worker that was left says its last words.
    if (source !== this.#candidate && source !== this.#line) return;
    this.#hasHeard = true;
    if (this.#link?.source === source) [this.#hasAnswer, this.#pings] = [true, 0];
    if (isFrame(data)) {
      if (this.#link?.source === source) this.#frame(source, data);
      return;
    }
    const message = fieldsOf<HostMessage | WorkerMessage>(data);
    if ("welcome" in message) this.#welcomed(source, message);
    else if ("failed" in message) this.#refused(source, message.failed);
    else if ("waiting" in message) this.#candidateWaiting(message);
    else if ("portWanted" in message) this.#attendPorts();
  }

  #frame(source: Source, frame: FrameMessage): void {
    if (source === this.#candidate) this.#crashes = 0;
    this.#heardBytes += costOf(frame instanceof ArrayBuffer ? [frame] : frame);
    if (this.#heardBytes - this.#toldBytes > HEARD_BYTES) {
      this.#toldBytes = this.#heardBytes;
      source.say({ heard: this.#heardBytes } satisfies ClientMessage);
    }
    this.#listener.frame(frame);
  }

  #welcomed(source: Source, message: Extract<HostMessage, { welcome: ArrayBuffer }>): void {
    let epoch: number;
    try {
      const welcome = decodeWelcome(message.welcome);
      if (welcome.protocol === 0) throw versionMismatch();
      if (message.salvage !== this.#options.salvage) throw salvageMismatch(message.salvage);
      epoch = welcome.epoch;
      const known = this.#database;
      this.#database = welcome.database || known;
      if (known !== "" && known !== this.#database) {
        // It has the files. Who had others can't know where the browser has taken those away.
        if (source === this.#candidate) this.#say({ gone: known });
        this.#deleted();
        return;
      }
    } catch (error) {
      this.#listener.failed(error as Error);
      return;
    }
    // A former host that does not know yet that it is one.
    const isOwn = source === this.#candidate;
    if (epoch < this.#epoch) {
      // The own worker has lock and files: they are those of another database.
      if (isOwn) this.#deleted();
      return;
    }
    this.#epoch = epoch;
    if (isOwn) this.#dropLine();
    // What another host was asked is no matter any more.
    this.#silentMs = this.#absentMs = this.#pings = 0;
    this.#heardBytes = this.#toldBytes = 0;
    const post = (frame: FrameMessage) => source.say(frame);
    const { storage } = message;
    if (!isOwn) this.#candidate?.say({ storage } satisfies TabMessage);
    this.#storage = storage;
    const link = { role: isOwn ? "host" : "client", storage, epoch, post, source } as const;
    this.#link = link;
    this.#listener.linked(link);
    if (isOwn) return;
    const line = source as Line;
    this.#platform.setTimer(() => {
      if (this.#link === link) this.#ports.offer(line, this.#id, epoch);
    }, PORT_MS);
  }

  #attendPorts(): void {
    const [link, worker] = [this.#link, this.#candidate];
    if (link?.role !== "host" || worker === undefined) return;
    this.#ports.attend(worker, link.epoch, () => link === this.#link);
  }

  #refused(source: Source, { code, message }: { code: number; message: string }): void {
    const error = errorOf(code, message);
    if (this.#link?.source === source) this.#unlink();
    this.#listener.failed(error);
  }

  #unlink(): void {
    this.#link = undefined;
  }

  // The watch. Time counts only while this tab is awake, tick by tick.

  #tick(): void {
    this.#timer = undefined;
    if (!this.#isMember || !(this.#listener.isWaiting() || this.#pings > 0)) return;
    const now = this.#platform.now();
    const elapsed = Math.max(0, Math.min(now - this.#tickedAt, 2 * TICK_MS));
    this.#awakeMs += elapsed;
    const [before, absentBefore] = [this.#silentMs, this.#absentMs];
    this.#silentMs = this.#hasHeard || this.#isLoading ? 0 : before + elapsed;
    this.#absentMs = this.#hasAnswer || this.#isLoading ? 0 : absentBefore + elapsed;
    this.#hasHeard = this.#hasAnswer = false;
    const passes = (ms: number) => before < ms && this.#silentMs >= ms;
    // What others say does not make up for a host that says nothing to this tab.
    const isAbsent = absentBefore < PATIENCE_MS && this.#absentMs >= PATIENCE_MS;
    if (passes(PATIENCE_MS) || (isAbsent && this.#link !== undefined)) this.#ask();
    const isMuch = Math.floor(before / ABSENCE_MS) < Math.floor(this.#silentMs / ABSENCE_MS);
    if (passes(SILENCE_MS) || isMuch) this.#depose();
    if (this.#absentMs >= ABSENCE_MS) this.#pings = 0;
    if (this.#absentMs >= UNANSWERED_MS) {
      const late = this.#awakeMs - LATE_MS;
      this.#listener.absent(this.#absence(), late, this.#silentMs >= ABSENCE_MS);
    }
    this.#tickedAt = now;
    this.#timer = this.#platform.setTimer(() => this.#tick(), TICK_MS);
  }

  /** Whether the own worker may become the host as soon as it has the engine. */
  get #isLoading(): boolean {
    if (this.#link !== undefined || this.#candidate === undefined) return false;
    return !this.#candidateWaits && (this.#epoch === 0 || this.#platform.now() < this.#loadsUntil);
  }

  #ask(): void {
    if (this.#link === undefined) {
      this.#greet();
      return;
    }
    this.#pings++;
    this.#link.source.say({ ping: this.#pings } satisfies ClientMessage);
  }

  /** Somebody said that the own worker does not answer. */
  #probe(): void {
    if (this.#pings > 0) return;
    this.#ask();
    this.watch();
  }

  #depose(): void {
    const link = this.#link;
    if (link?.role === "host") {
      // It does not even say that it is there: nothing it does can be waited for.
      this.#candidate?.terminate();
      this.#candidateEnded(new KvassError("HostLost", "the database's worker hangs"), true);
      return;
    }
    if (link !== undefined) this.#say({ silent: link.epoch });
    // It may be there and not hear this line, and the own worker may have crashed too often before.
    this.#greet();
    this.#startCandidate();
    this.#candidate?.say({ seize: true });
  }

  #absence(): KvassError {
    if (this.#platform.startWorker === undefined) {
      return new KvassError("NoHost", "no page has the database open, and here it can't be opened");
    }
    const message = "the tab that has the database open does not answer: it may be frozen";
    return new KvassError(this.#epoch === 0 ? "Busy" : "Timeout", message);
  }
}

function isEpoch(number: unknown): boolean {
  return Number.isInteger(number) && (number as number) > 0 && (number as number) < 2 ** 32;
}

function versionMismatch(): KvassError {
  return new KvassError(
    "VersionMismatch",
    "this page and its database worker are of versions too far apart: reload",
  );
}

function salvageMismatch(salvage: boolean): KvassError {
  const how = salvage ? "with salvage: true" : "without salvage";
  return new KvassError("Busy", `another tab has the database open ${how}`);
}
