/** The broker: ports of clients reach the host that they are for, or are closed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Broker } from "../../worker/broker.ts";

const NAME = "db";

/** One end of a way: what was said on it, and whether it was closed. */
class End {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  readonly said: unknown[] = [];
  isClosed = false;

  postMessage(message: unknown): void {
    this.said.push(message);
  }

  close(): void {
    this.isClosed = true;
  }

  say(data: unknown): void {
    this.onmessage?.({ data });
  }
}

/** A tab that has connected to a broker. */
function tabOf(broker: Broker): End {
  const tab = new End();
  broker.connect(tab as unknown as MessagePort);
  return tab;
}

/** Has a tab say that it has the host of an epoch; returns the way to that. */
function host(broker: Broker, epoch: number): End {
  const way = new End();
  tabOf(broker).say({ host: NAME, epoch, port: way });
  return way;
}

/** Has a client send a port for the host of an epoch. */
function client(broker: Broker, epoch: number, line = "1"): End {
  const port = new End();
  tabOf(broker).say({ to: NAME, epoch, client: "00", line, port });
  return port;
}

test("a host that the broker has no way to is asked for one, once for its epoch", () => {
  const broker = new Broker();
  const tab = tabOf(broker);
  tab.say({ host: NAME, epoch: 1 });
  assert.deepEqual(tab.said, [{ wanted: true }]);
  host(broker, 1);
  tab.say({ host: NAME, epoch: 1 });
  assert.equal(tab.said.length, 1);
  const second = host(broker, 1);
  assert.ok(second.isClosed, "one is enough");
});

test("a port that comes before the way to its host is handed over with that", () => {
  const broker = new Broker();
  const port = client(broker, 1);
  const way = host(broker, 1);
  assert.deepEqual(way.said, [{ client: "00", line: "1", port }]);
  assert.ok(!port.isClosed);
});

test("a port is handed over to the host of its epoch and to no other", () => {
  const broker = new Broker();
  const first = host(broker, 1);
  const early = client(broker, 2);
  assert.deepEqual(first.said, [], "the host of epoch 1 has no such client");
  const second = host(broker, 2);
  assert.ok(first.isClosed);
  assert.deepEqual(second.said, [{ client: "00", line: "1", port: early }]);
});

test("ports that no host comes for are closed, the oldest first", () => {
  const broker = new Broker();
  const ports = Array.from({ length: 102 }, (_, i) => client(broker, 1, `${i}`));
  assert.deepEqual(
    ports.map(({ isClosed }) => isClosed),
    ports.map((_, i) => i < 2),
  );
  assert.equal(host(broker, 1).said.length, 100);
});
