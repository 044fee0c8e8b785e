/**
 * A tab's way to the broker of ports (worker/broker.ts): the tab of a host has those of clients
 * sent to its worker, the tab of a client sends one for its line. Each time the broker is spoken to
 * anew: where the tab ends that started it there is another one, and nobody is told of that.
 */

import type { TabMessage } from "../tabs/messages.ts";
import type { Channel, TabPlatform } from "../tabs/platform.ts";
import type { Candidate } from "./candidate.ts";
import type { Line } from "./line.ts";

export class Ports {
  readonly #platform: TabPlatform;
  readonly #name: string;
  #broker: Channel | undefined;

  /** For the database `name`. */
  constructor(platform: TabPlatform, name: string) {
    this.#platform = platform;
    this.#name = name;
  }

  /** Has clients' ports sent to `worker`, the host of `epoch`, while that still is the host. */
  attend(worker: Candidate, epoch: number, isCurrent: () => boolean): void {
    const broker = this.#open();
    if (broker === undefined) return;
    const message = { host: this.#name, epoch };
    // It asks for the way only where it does not know it.
    broker.onmessage = () => {
      if (!isCurrent()) return;
      const [port1, port2] = this.#platform.openPorts();
      broker.postMessage({ ...message, port: port1 }, [port1 as MessagePort]);
      const way = port2 as MessagePort;
      worker.say({ broker: way } satisfies TabMessage, [way]);
    };
    broker.postMessage(message);
  }

  /** Sends the host of `epoch` a port for the line of a client. */
  offer(line: Line, client: string, epoch: number): void {
    const broker = this.#open();
    if (broker === undefined) return;
    const [port1, port2] = this.#platform.openPorts();
    line.offer(port1);
    const message = { to: this.#name, epoch, client, line: line.name, port: port2 };
    broker.postMessage(message, [port2 as MessagePort]);
  }

  #open(): Channel | undefined {
    this.#broker?.close();
    this.#broker = this.#platform.openBroker();
    return this.#broker;
  }

  close(): void {
    this.#broker?.close();
    this.#broker = undefined;
  }
}
