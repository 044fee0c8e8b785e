/**
 * The broker: a SharedWorker that hands ports of clients over to their host, and does nothing
 * else. Messages over a port take less than half the time of those over a BroadcastChannel. Tabs
 * that can't have one do without.
 */

/**
 * Said by the tab of a host: clients' ports for this epoch of the database go to `port`. First
 * without one; `{ wanted: true }` is the answer where the broker has none for the epoch.
 */
interface HostSays {
  host: string;
  epoch: number;
  port?: MessagePort;
}

/** Said by a client. */
interface ClientSays {
  to: string;
  epoch: number;
  client: string;
  line: string;
  port: MessagePort;
}

/** Clients that may wait for a host to say where it is. */
const WAITING_MAX = 100;

/** What is known of one database. */
interface Database {
  epoch: number;
  host: MessagePort | undefined;
  waiting: ClientSays[];
}

/** Answers those who connect to a SharedWorker. */
export class Broker {
  readonly #databases = new Map<string, Database>();

  /** Listens to a tab. */
  connect(tab: MessagePort): void {
    tab.onmessage = ({ data }: MessageEvent<HostSays | ClientSays>) => {
      if ("host" in data) this.#register(tab, data);
      else this.#handOver(data);
    };
  }

  #database(name: string): Database {
    const known = this.#databases.get(name) ?? { epoch: 0, host: undefined, waiting: [] };
    this.#databases.set(name, known);
    return known;
  }

  #register(tab: MessagePort, { host, epoch, port }: HostSays): void {
    const database = this.#database(host);
    if (epoch === database.epoch) {
      port?.close();
    } else if (port === undefined) {
      tab.postMessage({ wanted: true });
    } else {
      database.host?.close();
      Object.assign(database, { epoch, host: port });
      for (const client of database.waiting.splice(0)) this.#handOver(client);
    }
  }

  #handOver(says: ClientSays): void {
    const { to, epoch, client, line, port } = says;
    const { epoch: known, host, waiting } = this.#database(to);
    if (host !== undefined && known === epoch) {
      host.postMessage({ client, line, port }, [port]);
      return;
    }
    waiting.push(says);
    if (waiting.length > WAITING_MAX) waiting.shift()?.port.close();
  }
}
