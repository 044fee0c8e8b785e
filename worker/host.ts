/**
 * The host: serves the clients of one database with the engine that has its files open.
 *
 * - Each client has a line (tabs/messages.ts) and a number in the engine.
 * - Turns are fair: a client that has asked for much waits until the messages that have arrived
 *   meanwhile are taken, and then for one frame of each other client.
 * - A client that is gone is noticed by its lock, one that does not keep up by what it says that
 *   it has heard.
 * - Where the storage can't keep out a second host by itself, one that may have slept makes sure
 *   that it still is the host before it answers.
 */

import { FRAME_BYTES_MAX } from "../client/limits.ts";
import {
  type ClientMessage,
  clientLockOf,
  costOf,
  doorOf,
  type Failure,
  fieldsOf,
  idOf,
  isFrame,
  type LobbyMessage,
  lineOf,
  lobbyOf,
} from "../tabs/messages.ts";
import type { Channel, Platform, Port } from "../tabs/platform.ts";
import type { Engine, Frame } from "./engine.ts";
import { BUSY, failure, isFailure, TOO_LARGE, unreadable } from "./failure.ts";
import { Guest, type Request } from "./guest.ts";
import type { Holder } from "./holder.ts";
import { clientIn } from "./practice.ts";

/** What may wait of one client; ours keep far below that. */
const QUEUED_MAX = 320 * 1024 * 1024;
const HELLO_BYTES_MAX = 1024;
const GUESTS_MAX = 1_000;
/** So much later than a hello ports are seen to: first comes what clients wait for. */
const PORTS_MS = 1_000;
/** Others hear of a host when its own tab has an answer, or so much later than that hears of it. */
const INTRODUCE_MS = 20;
/** After so long without a message the host may have slept; nobody seizes its place earlier. */
const SLEEP_MS = 1_000;

export class Host {
  readonly epoch: number;
  readonly #platform: Platform;
  readonly #engine: Engine;
  readonly #salvage: boolean;
  /** What to do about an exception that is none of the engine's: it can't go on then. */
  readonly #die: (error: unknown) => void;
  readonly #guests = new Map<string, Guest>();
  readonly #own: Guest;
  readonly #lobby: Channel | undefined;
  #door: Channel | undefined;
  #wantsPorts = false;
  #broker: Port | undefined;
  #lastConnection = 0;
  #hasTurn = false;
  /** Whether others were told that there is a host. */
  #isKnown = false;
  #heardAt: number;
  /** Where it has to be made sure of that this still is the host. */
  readonly #holder: Holder | undefined;
  #isInDoubt = false;
  /** Nobody is served any more: the channels are closed. */
  #hasLeft = false;

  constructor(
    platform: Platform,
    engine: Engine,
    holder: Holder | undefined,
    options: { name: string; salvage: boolean },
    own: { client: string; hello: ArrayBuffer; line: Channel },
    die: (error: unknown) => void,
  ) {
    this.#platform = platform;
    this.#engine = engine;
    this.#holder = holder;
    this.#salvage = options.salvage;
    this.#die = die;
    this.#heardAt = platform.now();
    const { guest, epoch } = this.#welcome(own.client, "", own.line, own.hello);
    this.#own = guest;
    this.epoch = epoch;
    if (engine.storage !== "memory" && platform.locks !== undefined) {
      this.#lobby = platform.openChannel(lobbyOf(options.name));
      this.#door = platform.openChannel(doorOf(options.name, epoch));
      this.#lobby.onmessage = this.#door.onmessage = ({ data }) => this.#overhear(fieldsOf(data));
      platform.setTimer(() => this.#introduce(), INTRODUCE_MS);
    }
  }

  /** Tells everybody that there is a host. */
  announce(): void {
    this.#isKnown = true;
    this.#lobby?.postMessage({ host: this.epoch, door: true } satisfies LobbyMessage);
  }

  /** Where all come at once nobody gets on, so they come when the first is served. */
  #introduce(): void {
    if (!this.#isKnown) this.announce();
  }

  /**
   * Sends a frame that the engine had not ready at once. Where that fails its calls would be waited
   * for as long as there is this host.
   */
  send(connection: number, frame: Frame): void {
    for (const guest of this.#guests.values()) {
      if (guest.connection === connection) this.#guard(() => this.#post(guest, frame));
    }
  }

  /** Takes the ports of clients that `broker` hands over. */
  attend(broker: Port): void {
    this.#broker?.close();
    this.#broker = broker;
    broker.onmessage = ({ data }) => {
      const { client, line, port } = fieldsOf<{ client: string; line: string; port: Port }>(data);
      const guest = this.#guests.get(client);
      if (guest?.name === line) guest.offer(port);
      else port?.close();
    };
  }

  /** Takes what the client of the own tab says. */
  receive(message: unknown): void {
    this.#receive(this.#own, message);
  }

  /** Begins with all that the own tab has sent, whoever else has to wait. */
  finish(): void {
    for (const request of this.#own.queue.splice(0)) this.#serve(this.#own, request);
  }

  /** Serves nobody any more; the engine is not touched. */
  leave(): void {
    this.#hasLeft = this.#isKnown = true;
    this.#lobby?.close();
    this.#door?.close();
    this.#broker?.close();
    for (const guest of this.#guests.values()) guest.leave();
    this.#guests.clear();
  }

  #overhear(message: LobbyMessage): void {
    if ("who" in message) {
      this.#sure(() => this.announce());
    } else if ("hello" in message) {
      this.#sure(() => this.#greet(message));
    }
  }

  #greet({ hello, client, line }: Extract<LobbyMessage, { hello: ArrayBuffer }>): void {
    const isBounded = hello instanceof ArrayBuffer && hello.byteLength <= HELLO_BYTES_MAX;
    const isSound = isBounded && client === idOf(clientIn(hello)) && typeof line === "string";
    if (!isSound || client === this.#own.client) return;
    // Hellos at the door and in the lobby overtake each other: the later line is the present one.
    if (Number(this.#guests.get(client)?.name) > Number(line)) return;
    const channel = this.#platform.openChannel(lineOf(client, line));
    let guest: Guest;
    try {
      if (this.#guests.size >= GUESTS_MAX) throw failure(BUSY, "too many tabs are open");
      guest = this.#welcome(client, line, channel, hello).guest;
    } catch (error) {
      if (isFailure(error)) {
        channel.postMessage({ failed: { code: error.code, message: error.message } });
      } else {
        this.#die(error);
      }
      channel.close();
      return;
    }
    this.#listen(channel, guest);
    this.#wantPorts();
    // The client holds this lock for as long as it lives.
    this.#platform.locks
      ?.request(clientLockOf(client), { mode: "shared", signal: guest.gone.signal }, () =>
        this.#dismiss(guest),
      )
      .catch(() => undefined);
  }

  #wantPorts(): void {
    if (this.#wantsPorts) return;
    this.#wantsPorts = true;
    this.#platform.setTimer(() => {
      this.#wantsPorts = false;
      this.#own.say({ portWanted: true });
    }, PORTS_MS);
  }

  /** Takes up a client, and lets go of what it was before. */
  #welcome(
    client: string,
    line: string,
    channel: Channel,
    hello: ArrayBuffer,
  ): { guest: Guest; epoch: number } {
    const connection = ++this.#lastConnection;
    const welcome = this.#engine.connect(connection, new Uint8Array(hello)).slice().buffer;
    const epoch = new DataView(welcome).getUint32(8, true);
    const former = this.#guests.get(client);
    if (former !== undefined) this.#dismiss(former);
    const guest = new Guest(connection, client, line, channel);
    this.#guests.set(client, guest);
    guest.say({ welcome, storage: this.#engine.storage, salvage: this.#salvage });
    return { guest, epoch };
  }

  #dismiss(guest: Guest): void {
    guest.leave();
    if (this.#guests.get(guest.client) !== guest) return;
    this.#guests.delete(guest.client);
    this.#guard(() => this.#engine.disconnect(guest.connection));
  }

  #listen(channel: Channel, guest: Guest): void {
    channel.onmessage = ({ data }) => this.#receive(guest, data);
    channel.onmessageerror = () => this.#refuse(guest, unreadable("tab"));
  }

  #receive(guest: Guest, message: unknown): void {
    if (isFrame(message)) this.#take(guest, message);
    else this.#hear(guest, fieldsOf(message));
  }

  #hear(guest: Guest, message: ClientMessage): void {
    if ("heard" in message) {
      guest.heard(message.heard);
      if (guest.isStalled && !guest.isBehind) this.#stall(guest, false);
    } else if ("ping" in message) {
      this.#sure(() => guest.say({ pong: message.ping }));
    } else if ("upgrade" in message) {
      const port = guest.upgrade() as Port | undefined;
      if (port === undefined) return;
      this.#listen(port, guest);
      port.start();
    } else if ("bye" in message) {
      this.#dismiss(guest);
    }
  }

  #take(guest: Guest, request: Request): void {
    const [frame] = Array.isArray(request) ? request : [request];
    if ((frame?.byteLength ?? 0) > FRAME_BYTES_MAX) {
      this.#refuse(guest, failure(TOO_LARGE, "a frame of too many bytes"));
      return;
    }
    if (guest.queue.length === 0 && guest.credit > 0 && !this.#mayHaveSlept()) {
      this.#serve(guest, request);
      return;
    }
    guest.queue.push(request);
    guest.queued += sizeOf(request);
    if (guest.queued > QUEUED_MAX) {
      this.#refuse(guest, failure(TOO_LARGE, "too much was sent ahead"));
    } else {
      this.#scheduleTurn();
    }
  }

  #scheduleTurn(): void {
    if (this.#hasTurn) return;
    this.#hasTurn = true;
    this.#platform.turn(() => {
      this.#hasTurn = false;
      this.#sure(() => this.#turn());
    });
  }

  /** Gives every client new credit, and serves what waits: a frame of each by turns. */
  #turn(): void {
    for (const guest of this.#guests.values()) guest.renew();
    let waiting = [...this.#guests.values()];
    while (waiting.length > 0) {
      for (const guest of waiting) {
        const request = guest.queue.shift();
        if (request === undefined) continue;
        guest.queued -= sizeOf(request);
        this.#serve(guest, request);
      }
      waiting = waiting.filter(({ queue, credit }) => queue.length > 0 && credit > 0);
    }
    if ([...this.#guests.values()].some(({ queue }) => queue.length > 0)) this.#scheduleTurn();
  }

  #serve(guest: Guest, request: Request): void {
    guest.credit -= sizeOf(request);
    const [frame, ...large] = Array.isArray(request) ? request : [request];
    try {
      const bytes = new Uint8Array(frame as ArrayBuffer);
      const reply = this.#engine.frame(
        guest.connection,
        bytes,
        large.map((buffer) => new Uint8Array(buffer)),
      );
      if (reply !== undefined) this.#post(guest, reply);
    } catch (error) {
      if (isFailure(error)) this.#refuse(guest, error);
      else this.#die(error);
    }
  }

  /** A client made no sense: nobody can say what its calls were. */
  #refuse(guest: Guest, failure: Failure): void {
    if (guest === this.#own) {
      this.#die(failure);
    } else {
      guest.say({ failed: { code: failure.code, message: failure.message } });
      this.#dismiss(guest);
    }
  }

  #post(guest: Guest, frame: Frame): void {
    guest.post(frame);
    if (guest === this.#own) this.#introduce();
    if (!guest.isStalled && guest.isBehind) this.#stall(guest, true);
  }

  #stall(guest: Guest, isStalled: boolean): void {
    guest.isStalled = isStalled;
    this.#guard(() => this.#engine.stall(guest.connection, isStalled));
  }

  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#die(error);
    }
  }

  /** Whether there was a pause in which another one may have become the host. */
  #mayHaveSlept(): boolean {
    const now = this.#platform.now();
    const pause = now - this.#heardAt;
    this.#heardAt = now;
    this.#isInDoubt ||= this.#holder !== undefined && (pause < 0 || pause > SLEEP_MS);
    return this.#isInDoubt;
  }

  /** Runs something once it is sure that this still is the host; never if it is not. */
  #sure(run: () => void): void {
    if (!this.#mayHaveSlept()) {
      run();
      return;
    }
    const check = async () => {
      if (!(await this.#holder?.hasLock()) || this.#hasLeft) return;
      this.#isInDoubt = false;
      run();
    };
    check().catch(this.#die);
  }
}

function sizeOf(request: Request): number {
  return costOf(Array.isArray(request) ? request : [request]);
}
