/** That the streams of the simulation do as Node's own do. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Stream } from "./streams.ts";

type Controller = ReadableStreamDefaultController<number>;

/** Reads streams that end in each way, and returns what happened, in its order. */
async function story(Streams: typeof ReadableStream): Promise<string[]> {
  const log: string[] = [];
  const make = (name: string, pull: (controller: Controller) => void) => {
    let started: Controller | undefined;
    const stream = new Streams<number>(
      {
        start(controller) {
          log.push(`${name} starts`);
          started = controller;
        },
        pull(controller) {
          log.push(`${name} is pulled`);
          pull(controller);
        },
      },
      { highWaterMark: 0 },
    );
    const reader = stream.getReader();
    const read = () =>
      reader.read().then(
        ({ done, value }) => log.push(`${name} ${done ? "ends" : `gives ${value}`}`),
        (error) => log.push(`${name} fails: ${error.message}`),
      );
    return { controller: started as Controller, read };
  };
  const turns = async (count: number) => {
    for (let turn = 0; turn < count; turn++) {
      log.push("turn");
      await undefined;
    }
  };

  let next = 0;
  const ready = make("ready", (controller) => controller.enqueue(++next));
  const reads = [ready.read(), ready.read(), turns(5)];
  await Promise.all(reads);
  await ready.read();
  reads.push(ready.read());
  ready.controller.close();
  assert.throws(() => ready.controller.enqueue(1), TypeError);
  assert.throws(() => ready.controller.close(), TypeError);
  await Promise.all([...reads, ready.read(), turns(3)]);

  const late = make("late", () => undefined);
  const first = late.read();
  await turns(2);
  late.controller.enqueue(7);
  await Promise.all([first, late.read(), turns(3), late.controller.error(new Error("over"))]);
  late.controller.error(new Error("once more"));
  await late.read();
  return log;
}

test("streams are pulled, give, end and fail in the same order as Node's own", async () => {
  const expected = await story(ReadableStream);
  assert.deepEqual(await story(Stream as unknown as typeof ReadableStream), expected);
  assert.ok(expected.includes("late fails: over"));
});
