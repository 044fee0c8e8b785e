/** Ports on their way to a host: who they are for, and that none is left open. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Candidate } from "../../client/candidate.ts";
import { Line } from "../../client/line.ts";
import { Ports } from "../../client/ports.ts";
import { fieldsOf, lineOf } from "../../tabs/messages.ts";
import type { Port, TabPlatform } from "../../tabs/platform.ts";
import { ManualClock } from "./support/manual-clock.ts";

/** A channel or a port: what was said on it, and whether it is closed. */
class Way implements Port {
  onmessage: Port["onmessage"] = null;
  readonly said: unknown[] = [];
  isClosed = false;
  isStarted = false;

  postMessage(message: unknown): void {
    assert.ok(!this.isClosed, "nobody hears what is said on a closed one");
    this.said.push(message);
  }

  start(): void {
    this.isStarted = true;
  }

  close(): void {
    this.isClosed = true;
  }

  hear(data: unknown): void {
    this.onmessage?.({ data });
  }
}

/** A tab in which a broker can be had. */
class Tab extends ManualClock implements TabPlatform {
  readonly locks = undefined;
  readonly startWorker = undefined;
  readonly channels = new Map<string, Way>();
  /** The ways to the broker, and pairs of ports, in the order in which they were made. */
  readonly brokers: Way[] = [];
  readonly pairs: [Way, Way][] = [];

  openChannel(name: string): Way {
    const channel = new Way();
    this.channels.set(name, channel);
    return channel;
  }

  openBroker(): Way {
    const broker = new Way();
    this.brokers.push(broker);
    return broker;
  }

  openPorts(): [Way, Way] {
    const pair: [Way, Way] = [new Way(), new Way()];
    this.pairs.push(pair);
    return pair;
  }

  turn(): void {
    assert.fail("a tab takes no turns");
  }
}

test("the broker is given a way to the host when it asks, as long as that is the host", () => {
  const tab = new Tab();
  const told: unknown[] = [];
  const worker = { say: (message: unknown) => told.push(message) } as unknown as Candidate;
  let isCurrent = true;
  new Ports(tab, "db").attend(worker, 7, () => isCurrent);
  const [broker] = tab.brokers;
  assert.deepEqual(broker?.said, [{ host: "db", epoch: 7 }]);
  broker?.hear({ wanted: true });
  const [[there, here] = []] = tab.pairs;
  assert.deepEqual(broker?.said[1], { host: "db", epoch: 7, port: there });
  assert.deepEqual(told, [{ broker: here }]);
  isCurrent = false;
  broker?.hear({ wanted: true });
  assert.equal(tab.pairs.length, 1, "another one is the host by now");
});

test("the way to a broker that may have ended is closed when there is another", () => {
  const tab = new Tab();
  const ports = new Ports(tab, "db");
  const worker = { say: () => undefined } as unknown as Candidate;
  for (let i = 0; i < 3; i++) ports.attend(worker, i, () => true);
  const isClosed = () => tab.brokers.map((broker) => broker.isClosed);
  assert.deepEqual(isClosed(), [true, true, false]);
  ports.close();
  assert.deepEqual(isClosed(), [true, true, true]);
});

/** A line that was offered a port, as far as `moves` says. */
function offered(moves: "not yet" | "one way" | "both ways") {
  const tab = new Tab();
  const heard: unknown[] = [];
  const line = new Line(tab, "00", "1", (said) => heard.push(said));
  const channel = tab.channels.get(lineOf("00", "1")) as Way;
  new Ports(tab, "db").offer(line, "00", 7);
  const [[port] = []] = tab.pairs;
  assert.ok(port);
  if (moves !== "not yet") channel.hear({ port: true });
  if (moves === "both ways") channel.hear({ upgraded: true });
  return { tab, line, channel, port, heard };
}

test("a line moves to its port in order: what is said last on the channel is heard first", () => {
  const { tab, line, channel, port, heard } = offered("one way");
  const { port: theirs, ...message } = fieldsOf<{ port: Way }>(tab.brokers[0]?.said[0]);
  assert.deepEqual(message, { to: "db", epoch: 7, client: "00", line: "1" });
  assert.equal(theirs, tab.pairs[0]?.[1]);
  assert.deepEqual(channel.said, [{ upgrade: true }]);
  line.say("by port");
  assert.deepEqual([port.said, port.isStarted], [["by port"], false]);
  channel.hear("last");
  channel.hear({ upgraded: true });
  assert.ok(port.isStarted && channel.isClosed);
  port.hear("first");
  assert.deepEqual(heard, ["last", "first"]);
});

for (const moves of ["not yet", "one way", "both ways"] as const) {
  test(`a line that is closed leaves nothing open, moved to its port: ${moves}`, () => {
    const { line, channel, port, heard } = offered(moves);
    line.close();
    assert.deepEqual([channel.isClosed, port.isClosed], [true, true]);
    for (const way of [channel, port]) way.hear("too late");
    assert.deepEqual(heard, []);
  });
}
