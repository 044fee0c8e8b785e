/** What every browser is to pass. */

import assert from "node:assert/strict";
import type { KvassError, KvKey, KvStorage } from "kvass";
import { chapters } from "../../conformance/index.ts";
import type { Guest } from "./tab.ts";

/** Writes in a tab, reloads it and finds everything, on the storage that "auto" is to give. */
export async function writeAndReload(guest: Guest, storage: KvStorage): Promise<void> {
  const tab = await guest.visit();
  const written = await tab.evaluate(async () => {
    const kv = await kvass.openKv("reloaded");
    const value = (n: number) => ({ n, at: new Date(n), bytes: new Uint8Array(n) });
    // A worker that gets no turn for seconds, on a busy machine, is taken for a host that is gone.
    const set = async (key: KvKey, value: unknown): Promise<unknown> => {
      try {
        return await kv.set(key, value);
      } catch (error) {
        if ((error as KvassError).code !== "OutcomeUnknown") throw error;
        return set(key, value);
      }
    };
    await Promise.all(Array.from({ length: 500 }, (_, n) => set(["n", n], value(n))));
    await set(["large"], new Uint8Array(1 << 20).fill(7));
    return (await kv.status()).storage;
  });
  await tab.reload();
  const found = await tab.evaluate(async () => {
    const kv = await kvass.openKv("reloaded");
    let right = 0;
    type Value = { n: number; at: Date; bytes: Uint8Array };
    for await (const { key, value } of kv.list<Value>({ prefix: ["n"] })) {
      const { n, at, bytes } = value;
      right += Number(key[1] === n && at.getTime() === n && bytes.length === n && n === right);
    }
    const large = (await kv.get<Uint8Array>(["large"])).value;
    const { storage } = await kv.status();
    await kv.close();
    return { right, large: large?.every((byte) => byte === 7), storage };
  });
  await tab.close();
  assert.equal(written, storage);
  assert.deepEqual(found, { right: 500, large: true, storage });
}

/** The conformance suite's chapter of values, which is the engine of JavaScript's too. */
export async function checkValues(guest: Guest, storage: KvStorage): Promise<void> {
  const tab = await guest.visit();
  for (const title of Object.keys(chapters.values ?? {})) {
    await tab.evaluate((storage, title) => runCase(storage, "values", title), storage, title);
  }
  await tab.close();
}

/** A second tab reads what the first wrote, the first is closed, and the second goes on. */
export async function takeOver(guest: Guest): Promise<void> {
  const first = await guest.visit();
  const second = await guest.visit();
  const host = await first.evaluate(async () => {
    globalThis.kv = await kvass.openKv("shared");
    await kv.set(["n"], 1);
    return (await kv.status()).role;
  });
  const client = await second.evaluate(async () => {
    globalThis.kv = await kvass.openKv("shared");
    const states = kv.watch<[number]>([["n"]]).getReader();
    Object.assign(globalThis, { states, seen: [(await states.read()).value?.[0].value] });
    return (await kv.status()).role;
  });
  await first.evaluate(() => kv.set(["n"], 2));
  await second.evaluate(async () => {
    const { states, seen } = globalThis as unknown as Watching;
    seen.push((await states.read()).value?.[0].value);
  });
  await first.close();
  const seen = await second.evaluate(async () => {
    await kv.atomic().sum(["sum"], 1n).commit();
    await kv.set(["n"], 3);
    const { states, seen } = globalThis as unknown as Watching;
    while (seen.at(-1) !== 3) seen.push((await states.read()).value?.[0].value);
    // The tab that is closed may still have served these.
    while ((await kv.status()).role !== "host");
    return seen;
  });
  const third = await guest.visit();
  const sum = await third.evaluate(async () => {
    const kv = await kvass.openKv("shared");
    return String((await kv.get(["sum"])).value);
  });
  await Promise.all([second.close(), third.close()]);
  assert.deepEqual([host, client], ["host", "client"]);
  assert.deepEqual(seen, [1, 2, 3]);
  assert.equal(sum, "1");
}

/** What a tab keeps between two evaluations. */
interface Watching {
  readonly states: ReadableStreamDefaultReader<[{ value: number }]>;
  readonly seen: (number | undefined)[];
}
