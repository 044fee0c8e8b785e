/** Watches: the latest state of keys, for readers of any pace. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encodeKey } from "../../client/codec/key.ts";
import type { KvEntryMaybe } from "../../client/index.ts";
import { openFake, settle } from "./support/fake-worker.ts";
import { hexOf, ResponseWriter } from "./support/wire.ts";

const values = (state: readonly KvEntryMaybe[] | undefined) => state?.map(({ value }) => value);

describe("a watch", () => {
  test("first gives what is there, missing keys included", async (t) => {
    const { kv } = await openFake(t);
    const { versionstamp } = await kv.set(["a"], 1);
    const reader = kv.watch([["a"], ["b"], ["a"]]).getReader();
    assert.deepEqual((await reader.read()).value, [
      { key: ["a"], value: 1, versionstamp },
      { key: ["b"], value: null, versionstamp: null },
      { key: ["a"], value: 1, versionstamp },
    ]);
  });

  test("gives a state for each commit to a reader that keeps up", async (t) => {
    const { kv } = await openFake(t);
    const reader = kv.watch([["a"], ["b"]]).getReader();
    assert.deepEqual(values((await reader.read()).value), [null, null]);
    await kv.set(["a"], 1);
    assert.deepEqual(values((await reader.read()).value), [1, null]);
    await kv.set(["c"], 1);
    await kv.set(["b"], 2);
    assert.deepEqual(values((await reader.read()).value), [1, 2]);
    await kv.delete(["a"]);
    assert.deepEqual(values((await reader.read()).value), [null, 2]);
  });

  for (const raw of [false, true]) {
    test(`gives the latest state to a slow reader (raw: ${raw})`, async (t) => {
      const { kv } = await openFake(t);
      const reader = kv.watch([["a"]], { raw }).getReader();
      await reader.read();
      for (let i = 0; i < 10; i++) await kv.set(["a"], i);
      assert.deepEqual(values((await reader.read()).value), [9]);
      const next = reader.read();
      await kv.set(["a"], 10);
      assert.deepEqual(values((await next).value), [10]);
    });
  }

  test("gives a state again when the same value is set", async (t) => {
    const { kv } = await openFake(t);
    const reader = kv.watch([["a"]]).getReader();
    await kv.set(["a"], 1);
    await reader.read();
    const next = reader.read();
    await kv.set(["a"], 1);
    assert.deepEqual(values((await next).value), [1]);
  });

  test("gives values of its own each time", async (t) => {
    const { kv } = await openFake(t);
    await kv.set(["a"], { n: 1 });
    const reader = kv.watch<[{ n: number }, unknown]>([["a"], ["b"]]).getReader();
    const first = (await reader.read()).value;
    assert.ok(first?.[0].value);
    first[0].value.n = 2;
    await kv.set(["b"], 1);
    assert.deepEqual((await reader.read()).value?.[0].value, { n: 1 });
  });

  test("gives large bytes of its own each time, also where they were handed on", async (t) => {
    const { kv } = await openFake(t);
    const size = 100_000;
    await kv.set(["a"], new Uint8Array(size).fill(1));
    const reader = kv.watch<[Uint8Array<ArrayBuffer>, number]>([["a"], ["b"]]).getReader();
    const first = (await reader.read()).value?.[0].value;
    first?.fill(2);
    await kv.set(["b"], 1);
    const second = (await reader.read()).value?.[0].value;
    assert.ok(second);
    assert.deepEqual([second.length, second[0]], [size, 1]);
    structuredClone(second, { transfer: [second.buffer] });
    await kv.set(["b"], 2);
    const [third, b] = (await reader.read()).value ?? [];
    assert.deepEqual([third?.value?.length, third?.value?.[0], b?.value], [size, 1, 2]);
  });

  test("ends when the handle closes", async (t) => {
    const { kv } = await openFake(t);
    const reader = kv.watch([["a"]]).getReader();
    await reader.read();
    const next = reader.read();
    await kv.close();
    assert.deepEqual(await next, { value: undefined, done: true });
  });

  test("is forgotten by the host when the reader leaves", async (t) => {
    const { kv, workers } = await openFake(t);
    for await (const state of kv.watch([["a"]])) {
      assert.deepEqual(values(state), [null]);
      assert.equal(workers.last.host.subscriptions, 1);
      break;
    }
    await settle();
    assert.equal(workers.last.host.subscriptions, 0);
  });

  test("is forgotten by the host when the reader leaves before it was taken up", async (t) => {
    const { kv, workers } = await openFake(t);
    await kv.watch([["a"]]).cancel();
    await settle();
    assert.equal(workers.last.host.subscriptions, 0);
  });

  test("goes on with the next worker, and gives what changed meanwhile once", async (t) => {
    const { kv, workers } = await openFake(t);
    await kv.set(["a"], 1);
    const reader = kv.watch([["a"], ["b"]]).getReader();
    await reader.read();
    workers.last.crash();
    await settle();
    assert.equal(workers.all.length, 2);
    const next = reader.read();
    await settle();
    await kv.set(["b"], 2);
    assert.deepEqual(values((await next).value), [1, 2]);
  });

  test("asks the next worker for the keys it had, whatever became of their bytes", async (t) => {
    const { kv, workers } = await openFake(t);
    await kv.set(["a", new Uint8Array([1])], 1);
    const bytes = new Uint8Array([1]);
    const reader = kv.watch([["a", bytes]]).getReader();
    const first = (await reader.read()).value;
    bytes[0] = 2;
    (first?.[0]?.key[1] as Uint8Array)[0] = 3;
    workers.last.crash();
    await settle();
    const next = reader.read();
    await kv.set(["a", new Uint8Array([1])], 2);
    const [entry] = (await next).value ?? [];
    assert.deepEqual([entry?.key, entry?.value], [["a", new Uint8Array([1])], 2]);
  });

  test("reads everything again where the host left commits out", async (t) => {
    const { kv, workers } = await openFake(t);
    const reader = kv.watch([["a"], ["b"]]).getReader();
    assert.deepEqual(values((await reader.read()).value), [null, null]);
    const { versionstamp } = await kv.set(["a"], 1);
    await reader.read();
    const b = hexOf(encodeKey(["b"]));
    workers.files.entries.set(b, { versionstamp, value: new Uint8Array([3, 7]) });
    const out = new ResponseWriter();
    out.lagged(1, versionstamp, 2);
    const next = reader.read();
    workers.last.send(out);
    assert.deepEqual(values((await next).value), [1, new Uint8Array([7])]);
    assert.equal(workers.last.host.subscriptions, 1);
  });

  test("refuses keys that can't be, and more of them than the limit", async (t) => {
    const { kv } = await openFake(t, { limits: "deno" });
    assert.throws(() => kv.watch([[null as never]]), TypeError);
    assert.throws(() => kv.watch([[]]), TypeError);
    const keys = Array.from({ length: 11 }, (_, i) => [i]);
    assert.throws(() => kv.watch(keys), { name: "TypeError", message: "Too many keys (max 10)" });
    await kv.get(["a"]);
  });

  test("that was refused is not asked of the next worker", async (t) => {
    const { kv, workers } = await openFake(t);
    assert.throws(() => kv.watch([["a"], []]), TypeError);
    await kv.set(["a"], 1);
    workers.last.crash();
    await settle();
    assert.equal((await kv.get(["a"])).value, 1);
    assert.equal(workers.all.length, 2);
    assert.equal(workers.last.host.subscriptions, 0);
  });

  test("ends with the host's error", async (t) => {
    const { kv, workers } = await openFake(t);
    workers.behaviour.request = (worker, sequence, request, out) => {
      if (request.type === "watch") out.error(sequence, 3, "a damaged file");
      else worker.host.answer(sequence, request, out);
    };
    const reader = kv.watch([["a"]]).getReader();
    await assert.rejects(reader.read(), { code: "Corruption", message: "a damaged file" });
  });
});
