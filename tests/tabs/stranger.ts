/**
 * A script of the same origin that speaks where the tabs do, and makes no sense: in the lobby, on
 * the lines of others, and as a client of its own. Nothing that it says changes or disturbs
 * anything. What only malice could make up, such as an answer in the host's name, it does not say.
 */

import { encodeHello } from "../../client/wire/hello.ts";
import { clientLockOf, idOf, lineOf, lobbyOf } from "../../tabs/messages.ts";
import type { Channel, Platform } from "../../tabs/platform.ts";
import type { Random } from "../codec/support/random.ts";
import type { Agent } from "./agent.ts";
import type { SimBrowser } from "./browser.ts";

/** Fields of messages in the lobby. That a database is deleted is believed whoever says it. */
const LOBBY = ["hello", "client", "line", "who", "host", "door", "opening", "silent", "leaving"];
/** Fields of messages on lines, without those by which one of them moves or ends. */
const LINE = ["ping", "pong", "heard"];
/** All of them, and what it says where it is a client itself. */
const OWN = [...LINE, "upgrade", "bye", "welcome", "failed", "port", "end", "seize", "storage"];
/** Messages that it has to say at the most. */
const MESSAGES_MAX = 40;
/** Bytes of a frame that is one of a flood. */
const FLOOD_BYTES = 4_096;
/** An epoch that no host gets to, as a varint. */
const LATER = [0xff, 0xff, 0x7f];

export class Stranger {
  readonly #browser: SimBrowser;
  readonly #random: Random;
  readonly #agent: Agent;
  readonly #platform: Platform;
  readonly #lobby: Channel;
  /** The line on which it is a client, once it is. */
  #line: Channel | undefined;
  #client = new Uint8Array(16);

  /** Says things until it has said them all. */
  constructor(browser: SimBrowser) {
    this.#browser = browser;
    this.#random = browser.random;
    this.#agent = browser.newAgent("stranger");
    this.#platform = browser.platformOf(this.#agent);
    this.#lobby = this.#platform.openChannel(lobbyOf("db"));
    this.#goOn(this.#random.below(MESSAGES_MAX));
  }

  #goOn(left: number): void {
    if (left === 0) {
      this.#browser.end(this.#agent);
      return;
    }
    this.#say();
    const pause = this.#random.next() * this.#random.pick([0, 1, 50]);
    this.#platform.setTimer(() => this.#goOn(left - 1), pause);
  }

  #say(): void {
    const random = this.#random;
    switch (random.below(8)) {
      case 0:
        this.#greet();
        break;
      case 1:
        this.#lobby.postMessage({
          hello: random.pick([this.#bytes(64), this.#value()]),
          client: random.pick([this.#text(), idOf(random.bytes(16)), this.#value()]),
          line: random.pick([this.#text(), this.#value()]),
        });
        break;
      case 2:
      case 3:
        this.#onLineOfAnother();
        break;
      case 4:
      case 5:
        this.#onOwnLine();
        break;
      default:
        this.#lobby.postMessage(this.#nonsense(LOBBY));
    }
  }

  /** Says hello as clients do; it may hold the lock of one that is alive. */
  #greet(): void {
    this.#client = this.#random.bytes(16);
    const client = idOf(this.#client);
    const greet = () => {
      this.#line ??= this.#platform.openChannel(lineOf(client, "1"));
      this.#lobby.postMessage({ hello: encodeHello(this.#client), client, line: "1" });
    };
    this.#line?.close();
    this.#line = undefined;
    if (this.#random.below(3) === 0) {
      greet();
      return;
    }
    const held = () => {
      greet();
      return new Promise(() => undefined);
    };
    this.#platform.locks?.request(clientLockOf(client), {}, held).catch(() => undefined);
  }

  #onOwnLine(): void {
    const line = this.#line;
    if (line === undefined) return;
    switch (this.#random.below(4)) {
      case 0:
        line.postMessage(this.#nonsense(OWN));
        break;
      case 1:
        line.postMessage(this.#frame());
        break;
      case 2:
        line.postMessage([this.#bytes(60), this.#bytes(60)]);
        break;
      default:
        for (let i = 0; i < 30; i++) line.postMessage(new ArrayBuffer(FLOOD_BYTES));
    }
  }

  /** On the line of a client, which host and client hear both. */
  #onLineOfAnother(): void {
    const lines = [...this.#browser.broadcasts.channels.keys()].filter((name) => {
      return name.startsWith(lineOf("", "").slice(0, -1)) && !name.includes(idOf(this.#client));
    });
    if (lines.length === 0) return;
    const name = this.#random.pick(lines);
    const line = this.#platform.openChannel(name);
    const id = Buffer.from(name.split(":")[1] ?? "", "hex");
    // The client reads its id as an epoch, which is to be a later one.
    const [low = 0, high = 0] = id;
    const isLater = low >= 0x80 && high > 0 && high < 0x80;
    if (!isLater || this.#random.below(3) > 0) line.postMessage(this.#nonsense(LINE));
    else line.postMessage(Uint8Array.of(...id, ...LATER, 0, 0, 0, 1, 0).buffer);
    line.close();
  }

  /** A frame of which no more than the beginning is right. */
  #frame(): ArrayBuffer {
    const epoch = this.#random.pick([[0], [1], [2], LATER]);
    return Uint8Array.of(...this.#client, ...epoch, ...this.#random.bytes(30)).buffer;
  }

  /** A message of these fields or others, or something that is no message at all. */
  #nonsense(fields: readonly string[]): unknown {
    const random = this.#random;
    if (random.below(4) === 0) return this.#value();
    const message: Record<string, unknown> = {};
    for (let count = random.below(3); count >= 0; count--) {
      message[random.pick([...fields, this.#text()])] = this.#value();
    }
    return message;
  }

  #value(depth = 2): unknown {
    const random = this.#random;
    switch (random.below(depth > 0 ? 9 : 6)) {
      case 0:
        return random.pick([null, undefined, true, false]);
      case 1:
        return random.number();
      case 2:
        return random.bigint(70);
      case 3:
        return this.#text();
      case 4:
      case 5:
        return random.below(6);
      case 6:
        return Array.from({ length: random.below(3) }, () => this.#value(depth - 1));
      case 7:
        return { toString: this.#value(depth - 1), length: 1 };
      default:
        return { [this.#text()]: this.#value(depth - 1) };
    }
  }

  #text(): string {
    return this.#random.pick(["", "1", "db", "hello", "constructor", "kvass-lobby:db"]);
  }

  #bytes(max: number): ArrayBuffer {
    return this.#random.bytes(this.#random.below(max)).buffer;
  }
}
