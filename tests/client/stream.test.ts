/** Streams can be read by `for await` in every browser. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { streamOf } from "../../client/stream.ts";

/** Counts up, and remembers how often it was cancelled. */
function counting() {
  let next = 0;
  const source = {
    cancelled: 0,
    take: () => next++,
    cancel() {
      source.cancelled++;
    },
  };
  return source;
}

for (const native of [true, false]) {
  test(`for await reads until it is left, natively: ${native}`, async () => {
    const prototype = ReadableStream.prototype;
    const iterator = Object.getOwnPropertyDescriptor(prototype, Symbol.asyncIterator);
    assert.ok(iterator);
    if (!native) Reflect.deleteProperty(prototype, Symbol.asyncIterator);
    try {
      const source = counting();
      const { stream } = streamOf(source);
      const seen: number[] = [];
      for await (const item of stream) {
        seen.push(item);
        if (item === 3) break;
      }
      assert.deepEqual(seen, [0, 1, 2, 3]);
      assert.equal(source.cancelled, 1);
      assert.equal(stream.locked, false);
    } finally {
      Object.defineProperty(prototype, Symbol.asyncIterator, iterator);
    }
  });
}

test("nothing is taken before it is read", async () => {
  const source = counting();
  const { stream, feed } = streamOf(source);
  feed.offer();
  feed.offer();
  const reader = stream.getReader();
  assert.deepEqual(await reader.read(), { value: 0, done: false });
  feed.offer();
  assert.deepEqual(await reader.read(), { value: 1, done: false });
});

test("an item that can't be made ends the stream with its error", async () => {
  let cancelled = 0;
  const cancel = () => cancelled++;
  const source = { take: () => assert.fail("damaged"), cancel };
  const { stream, feed } = streamOf(source);
  await assert.rejects(stream.getReader().read(), { message: "damaged" });
  assert.equal(cancelled, 1, "its source need give nothing any more");
  feed.end();
  feed.end(new Error("again"));
});
