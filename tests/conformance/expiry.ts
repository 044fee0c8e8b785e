/** Entries that expire: never readable past their time, never gone before it, and announced. */

import type { Kv, KvCommit } from "kvass";
import { fails, same, that, typeError } from "./check.ts";
import type { Suite } from "./index.ts";
import { EVERYTHING, next, until, valuesOf } from "./support.ts";

/** Reads `key` until it is gone. No answer may contradict the clock of the caller. */
async function watchItExpire(kv: Kv, key: string, setAt: [number, number], expireIn: number) {
  for (;;) {
    const askedAt = Date.now();
    const { value } = await kv.get([key]);
    const answeredAt = Date.now();
    if (value !== null) that(askedAt < setAt[1] + expireIn, `${key} was readable past its time`);
    else that(answeredAt >= setAt[0] + expireIn, `${key} was gone before its time`);
    if (value === null) return;
  }
}

/** Sets a value; returns the earliest and the latest time of the commit. */
async function setWith(kv: Kv, key: string, expireIn: number): Promise<[number, number]> {
  const before = Date.now();
  await kv.set([key], key, { expireIn });
  return [before, Date.now()];
}

const isExpiryOf = (key: string) => (event: unknown) =>
  (event as KvCommit).changes.some((change) => change.type === "expire" && change.key[0] === key);

export const expiry: Suite = {
  "an entry is readable until its time and not a moment longer": async ({ kv }) => {
    const setAt = await setWith(kv, "a", 60);
    await watchItExpire(kv, "a", setAt, 60);
  },

  "get, getMany, list and checks agree that an entry has expired": async ({ kv }) => {
    const setAt = await setWith(kv, "a", 25);
    await watchItExpire(kv, "a", setAt, 25);
    const [many, listed, check] = await Promise.all([
      kv.getMany([["a"]]),
      valuesOf(kv, EVERYTHING),
      kv
        .atomic()
        .check({ key: ["a"], versionstamp: null })
        .commit(),
    ]);
    same([many[0].value, listed, check.ok], [null, [], true]);
  },

  "watchers and changes hear of an expiry, in the order of the times": async ({ kv }) => {
    const states = kv.watch([["a"], ["b"]]).getReader();
    const events = kv.changes().getReader();
    same(
      (await next(states)).map((entry) => entry.value),
      [null, null],
    );
    const [setB, setA] = await Promise.all([setWith(kv, "b", 120), setWith(kv, "a", 50)]);
    const seen = await until(events, isExpiryOf("a"));
    that(Date.now() >= setA[0] + 50, "the event of a did not come before its time");
    // A worker that gets no turn for so long finds both of them due, and tells of them together.
    if (!seen.some(isExpiryOf("b"))) seen.push(...(await until(events, isExpiryOf("b"))));
    that(Date.now() >= setB[0] + 120, "the event of b did not come before its time");
    const gone = (seen as KvCommit[]).flatMap(({ changes }) =>
      changes.flatMap((change) => (change.type === "expire" ? change.key : [])),
    );
    same(gone, ["a", "b"]);
    const [last] = (await until(states, (entries) => entries.every((e) => e.value === null))).slice(
      -1,
    );
    same(
      last?.map((entry) => entry.versionstamp),
      [null, null],
    );
    await Promise.all([states.cancel(), events.cancel()]);
  },

  "an expiry is a commit with a versionstamp of its own": async ({ kv }) => {
    const events = kv.changes().getReader();
    const { versionstamp } = await kv.set(["a"], 1, { expireIn: 10 });
    const [event] = (await until(events, isExpiryOf("a"))).slice(-1);
    that((event as KvCommit).versionstamp > versionstamp, "a later commit");
    that((await kv.set(["b"], 1)).versionstamp > (event as KvCommit).versionstamp, "no later");
    await events.cancel();
  },

  "writing the key again sets its time anew": async ({ kv }) => {
    const events = kv.changes().getReader();
    await kv.set(["a"], 1, { expireIn: 40 });
    await kv.set(["a"], 2);
    await kv.set(["b"], 1, { expireIn: 40 });
    await until(events, isExpiryOf("b"));
    same(await valuesOf(kv, EVERYTHING), [2]);
    const setAt = await setWith(kv, "a", 30);
    await watchItExpire(kv, "a", setAt, 30);
    await events.cancel();
  },

  "sum, min and max drop the expiry": async ({ kv }) => {
    const events = kv.changes().getReader();
    await kv.atomic().sum(["sum"], 1n).min(["min"], 1n).max(["max"], 1n).commit();
    for (const type of ["sum", "min", "max"] as const) {
      const { value } = await kv.get([type]);
      await kv.atomic().set([type], value, { expireIn: 30 })[type]([type], 1n).commit();
    }
    await kv.set(["last"], 1, { expireIn: 40 });
    await until(events, isExpiryOf("last"));
    same((await valuesOf(kv, EVERYTHING)).length, 3);
    await events.cancel();
  },

  "many entries of one time expire together with none left": async ({ kv }) => {
    const operation = kv.atomic();
    for (let i = 0; i < 500; i++) operation.set(["many", i], i, { expireIn: 50 });
    const events = kv.changes({ prefix: ["many"] }).getReader();
    await operation.commit();
    let expired = 0;
    while (expired < 500) {
      const event = (await next(events)) as KvCommit;
      expired += event.changes.filter((change) => change.type === "expire").length;
    }
    same([expired, await valuesOf(kv, EVERYTHING)], [500, []]);
    await events.cancel();
  },

  "a list reads the entries that were there when it began": async ({ kv }) => {
    const operation = kv.atomic();
    for (let i = 0; i < 20; i++) operation.set(["n", i], i, { expireIn: 60 });
    await operation.commit();
    const events = kv.changes().getReader();
    const iterator = kv.list<number>({ prefix: ["n"] }, { batchSize: 5 });
    const first = await iterator.next();
    if (first.done) return;
    await next(events);
    const seen = [first.value.value];
    for await (const entry of iterator) seen.push(entry.value);
    same(
      seen,
      Array.from({ length: 20 }, (_, i) => i),
    );
    await events.cancel();
  },

  "expireIn is a non-negative integer of milliseconds": async ({ kv }) => {
    for (const expireIn of [-1, 1.5, Number.NaN, "10", Number.NEGATIVE_INFINITY]) {
      await fails(
        () => kv.set(["a"], 1, { expireIn: expireIn as number }),
        typeError(`expireIn must be a non-negative integer: received ${expireIn}`),
      );
    }
    await fails(
      () => kv.set(["a"], 1, { expireIn: Number.MAX_VALUE }),
      typeError("expireIn is too large"),
    );
    same((await kv.get(["a"])).value, null);
  },

  "an entry that expires at once is not readable": async ({ kv }) => {
    await kv.set(["a"], 1, { expireIn: 0 });
    same((await kv.get(["a"])).value, null);
  },
};
