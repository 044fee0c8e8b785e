/** Handles: several of one database, closing them, and what they say about it. */

import { fails, kvassError, same, that, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { fill, next } from "./support.ts";

export const handles: Suite = {
  "several handles see each other's writes": async ({ kv, reopen }) => {
    const other = await reopen();
    await kv.set(["a"], 1);
    same((await other.get(["a"])).value, 1);
    await other.set(["a"], 2);
    same((await kv.get(["a"])).value, 2);
    await other.close();
    same((await kv.get(["a"])).value, 2);
  },

  "a closed handle refuses every call with Closed": async ({ kv }) => {
    const operation = kv.atomic().set(["a"], 1);
    await kv.close();
    const calls: (() => unknown)[] = [
      () => kv.get(["a"]),
      () => kv.getMany([["a"]]),
      () => kv.set(["a"], 1),
      () => kv.delete(["a"]),
      () => kv.list({ prefix: [] }).next(),
      () => operation.commit(),
      () => kv.atomic().commit(),
      () =>
        kv
          .watch([["a"]])
          .getReader()
          .read(),
      () => kv.changes().getReader().read(),
      () => kv.stats(),
      () => kv.verify(),
      () => kv.status(),
      () => kv.flush(),
      () => kv.close(),
    ];
    for (const call of calls) await fails(call, kvassError("Closed"));
  },

  "closing ends the lists that are open": async ({ kv }) => {
    await fill(
      kv,
      Array.from({ length: 50 }, (_, i) => [["n", i], i] as const),
    );
    const iterator = kv.list({ prefix: ["n"] }, { batchSize: 5 });
    await iterator.next();
    await kv.close();
    let entries = 0;
    const rest = async () => {
      for await (const entry of iterator) entries += Number(entry.value !== undefined);
    };
    await rest().catch((error) => same(error.code, "Closed"));
    that(entries < 49, "the list has ended");
  },

  "what was called before close is still done": async ({ kv, reopen }) => {
    const other = await reopen();
    const written = kv.set(["a"], 1);
    const closed = kv.close();
    await Promise.all([written, closed]);
    same((await other.get(["a"])).value, 1);
    await other.close();
  },

  "an async disposal closes the handle": async ({ kv, reopen }) => {
    const other = await reopen();
    await other[Symbol.asyncDispose]();
    await fails(() => other.get(["a"]), kvassError("Closed"));
    const another = await reopen();
    another[Symbol.dispose]();
    await fails(() => another.get(["a"]), kvassError("Closed"));
    await kv.set(["a"], 1);
  },

  "status tells what was obtained, and stats counts": async ({ kv }) => {
    const before = await kv.stats();
    await fill(kv, [
      [["a"], 1],
      [["b"], 2],
    ]);
    await kv.flush();
    const [status, stats] = await Promise.all([kv.status(), kv.stats()]);
    same([status.durability, status.role, status.failure], ["relaxed", "host", null]);
    that(status.epoch > 0 && status.format > 0, "epoch and format");
    same(stats.commits - before.commits, 1);
    same(stats.entries, 2);
    that(stats.memoryBytes > 0 && stats.memtableBytes > 0, "memory");
  },

  "verify reads every file and finds nothing in whole ones": async ({ kv }) => {
    await fill(kv, [[["a"], "x".repeat(5000)]]);
    const { files, bytes, ...found } = await kv.verify();
    same(found, { damaged: 0, damage: [] });
    that(files > 2 && bytes > 5000, `${bytes} bytes of ${files} files`);
  },

  "writes don't wait for a verification that was asked for before": async ({ kv }) => {
    const order: string[] = [];
    await Promise.all([
      kv.verify().then(() => order.push("verified")),
      kv.set(["a"], 1).then(() => order.push("written")),
      kv.get(["a"]).then(({ value }) => order.push(`read ${value}`)),
    ]);
    same(order, ["written", "read 1", "verified"]);
  },

  "two calls in flight when a watch begins don't disturb it": async ({ kv }) => {
    const written = kv.set(["a"], 1);
    const reader = kv.watch([["a"]]).getReader();
    same((await next(reader))[0].value, 1);
    await written;
    await reader.cancel();
  },

  "options that can't be are refused": async ({ reopen }) => {
    await fails(() => reopen({ storage: "cookies" as never }), typeError());
    await fails(() => reopen({ durability: "perhaps" as never }), typeError());
    await fails(() => reopen({ limits: "none" as never }), typeError());
  },
};
