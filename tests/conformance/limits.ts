/** What is too large, with the limits of kvass and with those of Deno KV. */

import type { Kv } from "kvass";
import { type Expected, fails, same } from "./check.ts";
import type { Bench, Suite } from "./index.ts";
import { EVERYTHING, valuesOf } from "./support.ts";

const tooLarge = (message: string): Expected => ({ name: "TypeError", code: "TooLarge", message });

/** A key of one string part takes two bytes more than the string. */
const keyOf = (bytes: number) => ["k".repeat(bytes - 2)];

/** Encoded bytes of raw bytes are one more: the tag. */
const bytesOf = (bytes: number) => new Uint8Array(bytes);

/** The case, with a handle that enforces Deno's limits. */
const withDenos = (check: (kv: Kv) => Promise<void>) => async (bench: Bench) => {
  const kv = await bench.reopen({ limits: "deno" });
  await check(kv);
  await kv.close();
};

const times = <T>(count: number, make: (i: number) => T) =>
  Array.from({ length: count }, (_, i) => make(i));

export const limits: Suite = {
  "Deno's limit of keys is 2048 bytes to write and 2049 to read": withDenos(async (kv) => {
    await kv.set(keyOf(2048), 1);
    same((await kv.get(keyOf(2048))).value, 1);
    same((await kv.get(keyOf(2049))).value, null);
    const write = tooLarge("Key too large for write (max 2048 bytes)");
    const read = tooLarge("Key too large for read (max 2049 bytes)");
    await fails(() => kv.set(keyOf(2049), 1), write);
    await fails(() => kv.delete(keyOf(2049)), write);
    await fails(() => kv.atomic().sum(keyOf(2049), 1n).commit(), write);
    await fails(() => kv.get(keyOf(2050)), read);
    await fails(() => kv.getMany([keyOf(2050)]), read);
    const check = { key: keyOf(2050), versionstamp: null };
    await fails(() => kv.atomic().check(check).commit(), read);
    await fails(() => kv.list({ prefix: keyOf(2050) }).next(), read);
  }),

  "Deno's limit of values is 65536 bytes": withDenos(async (kv) => {
    await kv.set(["fits"], bytesOf(65_000));
    const message = "Value too large (max 65536 bytes)";
    await fails(() => kv.set(["large"], bytesOf(65_537)), tooLarge(message));
    await fails(() => kv.atomic().set(["large"], bytesOf(65_537)).commit(), tooLarge(message));
    same((await kv.get(["large"])).value, null);
  }),

  "Deno's limit of getMany and watch is 10 keys": withDenos(async (kv) => {
    same((await kv.getMany(times(10, (i) => [i]))).length, 10);
    await fails(() => kv.getMany(times(11, (i) => [i])), tooLarge("Too many ranges (max 10)"));
    await fails(
      () =>
        kv
          .watch(times(11, (i) => [i]))
          .getReader()
          .read(),
      tooLarge("Too many keys (max 10)"),
    );
  }),

  "Deno's limit of a list's batch is 1000": withDenos(async (kv) => {
    same((await kv.list({ prefix: [] }, { batchSize: 1000 }).next()).done, true);
    await fails(
      () => kv.list({ prefix: [] }, { batchSize: 1001 }).next(),
      tooLarge("Too many entries (max 1000)"),
    );
  }),

  "Deno's limit of a commit is 100 checks and 1000 mutations": withDenos(async (kv) => {
    const commit = (checks: number, mutations: number) => {
      const operation = kv.atomic();
      for (let i = 0; i < checks; i++) operation.check({ key: ["c", i], versionstamp: null });
      for (let i = 0; i < mutations; i++) operation.set(["m", i], i);
      return operation.commit();
    };
    same((await commit(100, 1000)).ok, true);
    await fails(() => commit(101, 0), tooLarge("Too many checks (max 100)"));
    await fails(() => commit(0, 1001), tooLarge("Too many mutations (max 1000)"));
  }),

  "Deno's limits of a commit's bytes are 819200, and 81920 of keys": withDenos(async (kv) => {
    const commit = (mutations: number, keyBytes: number, valueBytes: number) => {
      const operation = kv.atomic();
      for (let i = 0; i < mutations; i++) {
        operation.set([`${"k".repeat(keyBytes)}${i}`], bytesOf(valueBytes));
      }
      return operation.commit();
    };
    await fails(
      () => commit(14, 10, 60_000),
      tooLarge("Total mutation size too large (max 819200 bytes)"),
    );
    await fails(() => commit(60, 1500, 1), tooLarge("Total key size too large (max 81920 bytes)"));
    same(await valuesOf(kv, EVERYTHING), []);
    same((await commit(13, 10, 60_000)).ok, true);
  }),

  "kvass's own limits are larger": async ({ kv }) => {
    await kv.set(keyOf(8192), bytesOf(1 << 20));
    same((await kv.getMany(times(1000, (i) => [i]))).length, 1000);
    await fails(() => kv.set(keyOf(8193), 1), tooLarge("Key too large for write (max 8192 bytes)"));
    await fails(() => kv.get(keyOf(8194)), tooLarge("Key too large for read (max 8193 bytes)"));
    await fails(
      () => kv.set(["v"], bytesOf((64 << 20) + 1)),
      tooLarge("Value too large (max 67108864 bytes)"),
    );
  },

  "past a limit nothing of a commit is applied": async ({ kv }) => {
    const operation = kv.atomic().set(["a"], 1);
    await fails(() => operation.set(["b"], bytesOf((64 << 20) + 1)).commit(), {});
    same(await valuesOf(kv, EVERYTHING), []);
  },
};
