/** The feed of commits: in order, without a gap, of a range or of everything. */

import type { KvCommit, KvKey } from "kvass";
import { fails, kvassError, same, that, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { next } from "./support.ts";

export const changes: Suite = {
  "every commit arrives with its versionstamp and its mutations in order": async ({ kv }) => {
    const reader = kv.changes().getReader();
    const first = await kv.set(["a"], { n: 1 });
    const second = await kv.atomic().delete(["a"]).set(["b"], 2).sum(["c"], 5n).commit();
    same(await next(reader), {
      type: "commit",
      versionstamp: first.versionstamp,
      changes: [{ type: "set", key: ["a"], value: { n: 1 } }],
    });
    const event = (await next(reader)) as KvCommit;
    same(event.versionstamp, second.ok && second.versionstamp);
    same(
      event.changes.map((change) => [change.type, "key" in change && change.key]),
      [
        ["delete", ["a"]],
        ["set", ["b"]],
        ["set", ["c"]],
      ],
    );
    await reader.cancel();
  },

  "no commit is missing, however fast they come": async ({ kv }) => {
    const reader = kv.changes<number>({ prefix: ["n"] }).getReader();
    const writes = Array.from({ length: 2000 }, (_, i) => kv.set(["n", i], i));
    const stamps = (await Promise.all(writes)).map((result) => result.versionstamp);
    for (const [i, versionstamp] of stamps.entries()) {
      const event = await next(reader);
      same([event.type, event.versionstamp], ["commit", versionstamp]);
      same((event as KvCommit).changes, [{ type: "set", key: ["n", i], value: i }]);
    }
    await reader.cancel();
  },

  "only commits that touch the range arrive, with only the changes in it": async ({ kv }) => {
    const reader = kv.changes([{ prefix: ["a"] }, { start: ["x"], end: ["y"] }]).getReader();
    const touched = async (event: Promise<unknown>) =>
      ((await event) as KvCommit).changes.map((change) => "key" in change && change.key);
    await kv.set(["b"], 1);
    await kv.atomic().set(["a"], 0).set(["a", 1], 1).set(["b"], 2).set(["x"], 3).commit();
    same(await touched(next(reader)), [["a", 1], ["x"]]);
    await kv.set(["y"], 1);
    await kv.delete(["x", 1]);
    same(await touched(next(reader)), [["x", 1]]);
    await reader.cancel();
  },

  "a deleted range is one change, told to every range that it overlaps": async ({ kv }) => {
    const reader = kv.changes({ start: ["n", 5], end: ["n", 6] }).getReader();
    await Promise.all([1, 2, 3].map((n) => kv.set(["n", n], n)));
    await kv.deleteRange({ start: ["a"], end: ["n", 5] });
    const selectors = [
      { prefix: ["n"] },
      { prefix: [] },
      { prefix: ["n"], start: ["n", 2] },
      { prefix: ["n"], end: ["n", true] },
      { start: ["a"], end: ["z"] },
    ];
    for (const selector of selectors) {
      const { versionstamp } = await kv.deleteRange(selector);
      const changes = [{ type: "deleteRange", selector }];
      same(await next(reader), { type: "commit", versionstamp, changes });
    }
    await reader.cancel();
  },

  "a commit without changes is no event": async ({ kv }) => {
    const reader = kv.changes().getReader();
    await kv.atomic().commit();
    const { versionstamp } = await kv.set(["a"], 1);
    same((await next(reader)).versionstamp, versionstamp);
    await reader.cancel();
  },

  "a reader hears of nothing that was committed before it": async ({ kv }) => {
    await kv.set(["before"], 1);
    const reader = kv.changes().getReader();
    const { versionstamp } = await kv.set(["after"], 1);
    same((await next(reader)).versionstamp, versionstamp);
    await reader.cancel();
  },

  "a reader that falls far behind is told so, and goes on from there": async ({ kv }) => {
    const reader = kv.changes().getReader();
    const count = 12_000;
    let last = "";
    for (let i = 0; i < count; i += 1000) {
      const writes = Array.from({ length: 1000 }, (_, n) => kv.set(["n"], i + n));
      last = (await Promise.all(writes)).at(-1)?.versionstamp ?? "";
    }
    let told = 0;
    let missed = 0;
    let stamp = "";
    while (stamp !== last) {
      const event = await next(reader);
      that(event.versionstamp > stamp, "in order");
      stamp = event.versionstamp;
      if (event.type === "lagged") missed += event.missed ?? 0;
      else told += 1;
    }
    that(missed > 0, "some were missed");
    same(told + missed, count);
    await kv.set(["n"], "next");
    same(((await next(reader)) as KvCommit).changes[0], {
      type: "set",
      key: ["n"],
      value: "next",
    });
    await reader.cancel();
  },

  "since a commit the feed has all after it, those that were there and those to come": async ({
    kv,
  }) => {
    const stamps: string[] = [];
    const write = async (count: number) => {
      const writes = Array.from({ length: count }, (_, n) => kv.set(["n", n], "x".repeat(200)));
      for (const { versionstamp } of await Promise.all(writes)) stamps.push(versionstamp);
    };
    await write(3000);
    const reader = kv.changes({ prefix: ["n"] }, { since: stamps[9] as string }).getReader();
    await write(1000);
    for (const versionstamp of stamps.slice(10)) {
      const event = await next(reader);
      same([event.type, event.versionstamp], ["commit", versionstamp]);
    }
    await write(1);
    same((await next(reader)).versionstamp, stamps.at(-1));
    await reader.cancel();
  },

  "a slow reader that named a commit misses none": async ({ kv }) => {
    const { versionstamp: since } = await kv.set(["n"], -1);
    const reader = kv.changes({ prefix: ["n"] }, { since }).getReader();
    const count = 12_000;
    for (let i = 0; i < count; i += 1000) {
      await Promise.all(Array.from({ length: 1000 }, (_, n) => kv.set(["n", 0], i + n)));
    }
    for (let n = 0; n < count; n++) {
      const event = await next(reader);
      same(event.type === "commit" && event.changes, [{ type: "set", key: ["n", 0], value: n }]);
    }
    await reader.cancel();
  },

  "since a versionstamp of no commit of this database is HistoryGone": async ({ kv }) => {
    const { versionstamp } = await kv.set(["n"], 1);
    const later = `ff${versionstamp.slice(2)}`;
    const read = () => kv.changes({ prefix: [] }, { since: later }).getReader().read();
    await fails(read, kvassError("HistoryGone"));
    await fails(async () => kv.changes({ prefix: [] }, { since: "1" }), typeError("versionstamp"));
  },

  "the feed can be read with for await, and leaving the loop ends it": async ({ kv }) => {
    let seen = 0;
    const feed = kv.changes();
    await kv.set(["n"], 0);
    for await (const event of feed) {
      that(event.type === "commit", "a commit");
      seen += 1;
      if (seen === 3) break;
      await kv.set(["n"], seen);
    }
    same(seen, 3);
  },

  "a selector that can't be is a TypeError": async ({ kv }) => {
    const start = (selector: unknown) =>
      kv
        .changes(selector as never)
        .getReader()
        .read();
    await fails(() => start({ start: ["a"] }), typeError("Selector must specify"));
    await fails(() => start({ prefix: [null] as unknown as KvKey }), typeError());
  },

  "the feed ends when its handle closes": async ({ kv }) => {
    const reader = kv.changes().getReader();
    await kv.close();
    same((await reader.read()).done, true);
  },
};
