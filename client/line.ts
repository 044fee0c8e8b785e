/**
 * A line to a host in another tab: a BroadcastChannel, and once both sides have a port, that. The
 * line says hello in the lobby; what the host answers comes by the channel.
 */

import { fieldsOf, type HostMessage, type LobbyMessage, lineOf } from "../tabs/messages.ts";
import type { Channel, Platform, Port } from "../tabs/platform.ts";

/** What it comes to where a message can't be read: nobody can say what answers were in it. */
const UNREADABLE = { code: 9, message: "a message of the host could not be read" };

export class Line {
  /** Which of the client's lines it is. */
  readonly name: string;
  /** Where to say things. */
  #channel: Channel;
  #port: Port | undefined;
  /** The channel that was left, on which the host has still something to say. */
  #last: Channel | undefined;
  readonly #said: (message: unknown) => void;

  constructor(platform: Platform, client: string, name: string, said: (message: unknown) => void) {
    this.name = name;
    this.#said = said;
    this.#channel = platform.openChannel(lineOf(client, name));
    this.#listen(this.#channel);
  }

  /** Says hello in the lobby, or at a door. */
  greet(lobby: Channel, client: string, hello: ArrayBuffer): void {
    lobby.postMessage({ hello, client, line: this.name } satisfies LobbyMessage);
  }

  /** Says something, or posts a frame. */
  say(message: unknown): void {
    this.#channel.postMessage(message);
  }

  /** Keeps a port whose other end is on its way to the host. */
  offer(port: Port): void {
    this.#port = port;
  }

  close(): void {
    for (const channel of [this.#channel, this.#port, this.#last]) {
      if (channel === undefined) continue;
      channel.onmessage = null;
      channel.close();
    }
  }

  #listen(channel: Channel): void {
    channel.onmessage = ({ data }) => {
      const message = fieldsOf<HostMessage>(data);
      if ("port" in message) this.#leaveChannel();
      else if ("upgraded" in message) this.#leaveForPort(channel);
      else this.#said(data);
    };
    channel.onmessageerror = () => this.#said({ failed: UNREADABLE });
  }

  /** The host has the port: what is said from now on goes there. */
  #leaveChannel(): void {
    const port = this.#port;
    if (port === undefined) return;
    const channel = this.#channel;
    channel.postMessage({ upgrade: true });
    this.#channel = port;
    this.#last = channel;
  }

  /** That was the last of the host on the channel. */
  #leaveForPort(channel: Channel): void {
    const port = this.#port;
    if (port === undefined || channel !== this.#last) return;
    this.#last = undefined;
    channel.onmessage = null;
    channel.close();
    this.#listen(port);
    port.start();
  }
}
