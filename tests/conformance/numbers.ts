/** KvU64, and the mutations that compute: sum, min and max. */

import { type Kv, KvU64 } from "kvass";
import { fails, same, that, typeError } from "./check.ts";
import type { Suite } from "./index.ts";

const MAX = 2n ** 64n - 1n;

const u64At = async (kv: Kv, key: string) => (await kv.get<KvU64>([key])).value?.value;

export const numbers: Suite = {
  "a KvU64 is a frozen bigint of 64 bits": async () => {
    const one = new KvU64(1n);
    same([one.value, one.valueOf(), String(one), Object.isFrozen(one)], [1n, 1n, "1", true]);
    const make = (value: unknown) => () => new KvU64(value as bigint);
    await fails(make(1), { name: "TypeError", message: "Value must be a bigint" });
    await fails(make(-1n), { message: "Value must be a positive bigint" });
    await fails(make(MAX + 1n), { message: "Value must fit in a 64-bit unsigned integer" });
  },

  "sum adds modulo 2^64": async ({ kv }) => {
    await kv.atomic().sum(["n"], 5n).sum(["n"], 10n).commit();
    same(await u64At(kv, "n"), 15n);
    await kv.atomic().sum(["n"], MAX).commit();
    same(await u64At(kv, "n"), 14n);
  },

  "min and max keep one of two": async ({ kv }) => {
    await kv.atomic().min(["min"], 10n).max(["max"], 10n).commit();
    same([await u64At(kv, "min"), await u64At(kv, "max")], [10n, 10n]);
    await kv.atomic().min(["min"], 12n).max(["max"], 8n).commit();
    same([await u64At(kv, "min"), await u64At(kv, "max")], [10n, 10n]);
    await kv.atomic().min(["min"], 3n).max(["max"], MAX).commit();
    same([await u64At(kv, "min"), await u64At(kv, "max")], [3n, MAX]);
  },

  "sum adds number to number and bigint to bigint": async ({ kv }) => {
    await kv.set(["number"], 1.5);
    await kv.set(["bigint"], 2n ** 80n);
    await kv
      .atomic()
      .mutate({ type: "sum", key: ["number"], value: 0.25 })
      .mutate({ type: "sum", key: ["bigint"], value: -1n })
      .mutate({ type: "sum", key: ["new"], value: 7 })
      .commit();
    same((await kv.get(["number"])).value, 1.75);
    same((await kv.get(["bigint"])).value, 2n ** 80n - 1n);
    same((await kv.get(["new"])).value, 7);
  },

  "a value of another kind is a TypeError that names the mutation": async ({ kv }) => {
    await kv.set(["text"], "text");
    for (const type of ["sum", "min", "max"] as const) {
      await fails(
        () => kv.atomic()[type](["text"], 1n).commit(),
        typeError(`Failed to perform '${type}' mutation on a non-U64 value in the database`),
      );
    }
    same((await kv.get(["text"])).value, "text");
  },

  "an operand of another kind is a TypeError that names it": async ({ kv }) => {
    await kv.set(["u64"], new KvU64(1n));
    const commit = (type: string, value: unknown) => () =>
      kv
        .atomic()
        .mutate({ type, key: ["u64"], value } as never)
        .commit();
    await fails(
      commit("min", 1),
      typeError("Failed to perform 'min' mutation on a non-U64 operand"),
    );
    await fails(
      commit("max", "1"),
      typeError("Failed to perform 'max' mutation on a non-U64 operand"),
    );
    await fails(commit("sum", 1), typeError("Cannot sum KvU64 with Number"));
    await fails(commit("sum", "1"), typeError());
    same(await u64At(kv, "u64"), 1n);
  },

  "sums that race add up": async ({ kv }) => {
    await Promise.all(Array.from({ length: 200 }, () => kv.atomic().sum(["n"], 3n).commit()));
    same(await u64At(kv, "n"), 600n);
  },

  "a failed commit gives the code TypeMismatch": async ({ kv }) => {
    await kv.set(["text"], "text");
    await fails(() => kv.atomic().sum(["text"], 1n).commit(), { code: "TypeMismatch" });
  },

  "what the operand methods take is a bigint of 64 bits": async ({ kv }) => {
    for (const type of ["sum", "min", "max"] as const) {
      const call = (n: unknown) => () =>
        kv
          .atomic()
          [type](["n"], n as bigint)
          .commit();
      await fails(call(1), typeError());
      await fails(call(-1n), {});
      await fails(call(MAX + 1n), {});
    }
    that((await kv.get(["n"])).versionstamp === null, "nothing was written");
  },
};
