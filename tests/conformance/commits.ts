/** Atomic commits, their checks, and versionstamps. */

import type { KvCommitResult, KvKey } from "kvass";
import { fails, same, that, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { all, EVERYTHING, valuesOf } from "./support.ts";

const STAMP = /^[0-9a-f]{20}$/;

export const commits: Suite = {
  "every commit has a higher versionstamp, an empty one too": async ({ kv }) => {
    const stamps: string[] = [];
    stamps.push((await kv.set(["a"], 1)).versionstamp);
    stamps.push(((await kv.atomic().commit()) as KvCommitResult).versionstamp);
    stamps.push(((await kv.atomic().delete(["a"]).commit()) as KvCommitResult).versionstamp);
    const burst = Array.from({ length: 20 }, (_, i) => kv.set(["b", i], i));
    for (const result of await Promise.all(burst)) stamps.push(result.versionstamp);
    that(
      stamps.every((stamp) => STAMP.test(stamp)),
      `20 hex digits: ${stamps}`,
    );
    same(stamps, [...new Set(stamps)].sort());
  },

  "all entries of a commit carry its versionstamp": async ({ kv }) => {
    const result = await kv.atomic().set(["a"], 1).set(["b"], 2).commit();
    that(result.ok, "committed");
    const stamps = (await all(kv, EVERYTHING)).map((entry) => entry.versionstamp);
    same(stamps, [
      (result as KvCommitResult).versionstamp,
      (result as KvCommitResult).versionstamp,
    ]);
  },

  "a check holds for the stored versionstamp only": async ({ kv }) => {
    const first = await kv.set(["a"], 1);
    const second = await kv.set(["a"], 2);
    const attempt = (versionstamp: string | null) =>
      kv
        .atomic()
        .check({ key: ["a"], versionstamp })
        .set(["b"], versionstamp)
        .commit();
    same((await attempt(first.versionstamp)).ok, false);
    same((await attempt(null)).ok, false);
    same((await kv.get(["b"])).value, null);
    same((await attempt(second.versionstamp)).ok, true);
    same((await kv.get(["b"])).value, second.versionstamp);
  },

  "null checks that there is no entry": async ({ kv }) => {
    const insert = () =>
      kv
        .atomic()
        .check({ key: ["a"], versionstamp: null })
        .set(["a"], 1)
        .commit();
    same((await insert()).ok, true);
    same(await insert(), { ok: false, check: 0 });
    await kv.delete(["a"]);
    same((await insert()).ok, true);
  },

  "a failed commit names the first check that did not hold": async ({ kv }) => {
    await kv.set(["taken"], 1);
    const free = { key: ["free"], versionstamp: null };
    const taken = { key: ["taken"], versionstamp: null };
    same(await kv.atomic().check(free, free, taken, taken).commit(), { ok: false, check: 2 });
  },

  "an entry is a check, and upper case is accepted": async ({ kv }) => {
    await kv.set(["a"], 1);
    const entry = await kv.get(["a"]);
    same((await kv.atomic().check(entry).commit()).ok, true);
    const versionstamp = (entry.versionstamp as string).toUpperCase();
    same(
      (
        await kv
          .atomic()
          .check({ key: ["a"], versionstamp })
          .commit()
      ).ok,
      true,
    );
    same(
      (
        await kv
          .atomic()
          .check(await kv.get(["none"]))
          .commit()
      ).ok,
      true,
    );
  },

  "a versionstamp that is none is a TypeError": async ({ kv }) => {
    for (const versionstamp of ["", "00", "g".repeat(20), "0".repeat(21), 1, {}, true]) {
      const check = { key: ["a"], versionstamp: versionstamp as string };
      await fails(() => kv.atomic().check(check).commit(), typeError());
    }
  },

  "of two commits with the same check one wins": async ({ kv }) => {
    const entry = await kv.get(["counter"]);
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, i) => kv.atomic().check(entry).set(["counter"], i).commit()),
    );
    same(results.filter((result) => result.ok).length, 1);
  },

  "mutations of one key apply in order": async ({ kv }) => {
    await kv.atomic().set(["a"], 1).delete(["a"]).set(["a"], 2).set(["a"], 3).commit();
    await kv.atomic().set(["b"], 1).delete(["b"]).commit();
    same(await valuesOf(kv, EVERYTHING), [3]);
  },

  "mutate takes every kind of mutation": async ({ kv }) => {
    await kv.set(["gone"], 1);
    await kv
      .atomic()
      .mutate(
        { type: "set", key: ["set"], value: { a: 1 } },
        { type: "delete", key: ["gone"] },
        { type: "sum", key: ["sum"], value: 2 },
      )
      .commit();
    same(await valuesOf(kv, EVERYTHING), [{ a: 1 }, 2]);
    await fails(() => kv.atomic().mutate({ type: "grow", key: ["a"] } as never), typeError());
  },

  "an operation can be committed again": async ({ kv }) => {
    const operation = kv.atomic().sum(["n"], 1n);
    const first = await operation.commit();
    const second = await operation.commit();
    that(first.ok && second.ok && first.versionstamp < second.versionstamp, "two commits");
    same(String((await kv.get(["n"])).value), "2");
  },

  "a commit that fails leaves nothing": async ({ kv }) => {
    await kv.set(["text"], "no number");
    const operation = kv.atomic().set(["a"], 1).sum(["text"], 1n).set(["b"], 2).delete(["text"]);
    await fails(() => operation.commit(), typeError());
    same(await valuesOf(kv, EVERYTHING), ["no number"]);
  },

  "awaiting an operation says that commit was forgotten": async ({ kv }) => {
    const awaited = async () => (await kv.atomic().set(["a"], 1)) as unknown;
    await fails(awaited, typeError("is not a promise: did you forget to call 'commit()'"));
    same((await kv.get(["a"])).value, null);
  },

  "a deleted key is gone, and deleting nothing is no error": async ({ kv }) => {
    await kv.set(["a"], 1);
    await kv.delete(["a"]);
    await kv.delete(["a"]);
    same(await kv.get(["a"]), { key: ["a"], value: null, versionstamp: null });
  },

  "commitVersionstamp ends a key in the versionstamp of its commit": async ({ kv }) => {
    const stamps: string[] = [];
    for (let i = 0; i < 3; i++) {
      stamps.push((await kv.set(["log", kv.commitVersionstamp()], i)).versionstamp);
    }
    const entries = await all(kv, { prefix: ["log"] });
    same(
      entries.map((entry) => entry.key),
      stamps.map((stamp) => ["log", stamp]),
    );
    same(
      entries.map((entry) => [entry.value, entry.versionstamp]),
      stamps.map((stamp, i) => [i, stamp]),
    );
  },

  "commitVersionstamp stands nowhere else": async ({ kv }) => {
    const stamp = kv.commitVersionstamp();
    await fails(() => kv.set(["a", stamp, "b"], 1), typeError());
    await fails(() => kv.get(["a", stamp]), typeError());
    await fails(() => kv.delete(["a", stamp]), typeError());
    await fails(() => kv.atomic().sum(["a", stamp], 1n).commit(), typeError());
    await fails(() => kv.list({ prefix: ["a", stamp] }).next(), typeError());
    await fails(() => kv.set(["a", Symbol("other")], 1), typeError());
  },

  "either durability is accepted for one commit, and no other": async ({ kv }) => {
    await kv.set(["a"], 1, { durability: "strict" });
    await kv.delete(["a"], { durability: "relaxed" });
    same((await kv.atomic().set(["b"], 2).commit({ durability: "strict" })).ok, true);
    const durability = "perhaps" as never;
    await fails(() => kv.set(["a"], 1, { durability }), typeError());
    same(await valuesOf(kv, EVERYTHING), [2]);
  },

  "ten thousand mutations are one commit": async ({ kv }) => {
    const operation = kv.atomic();
    const keys: KvKey[] = Array.from({ length: 10_000 }, (_, i) => ["many", i]);
    for (const key of keys) operation.set(key, "v");
    const { versionstamp } = (await operation.commit()) as KvCommitResult;
    const entries = await all(kv, { prefix: ["many"] });
    same(entries.length, 10_000);
    that(
      entries.every((entry) => entry.versionstamp === versionstamp),
      "one versionstamp",
    );
  },
};
