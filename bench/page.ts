/** The page's side of the benchmark: the work itself, and the time that it takes. */

import { Echo } from "./stores/echo.ts";
import { openIndexedDb } from "./stores/indexeddb.ts";
import { openKvass } from "./stores/kvass.ts";
import { check, entryOf, keyOf, type Sizes, type Store, scattered } from "./workload.ts";

/** What is compared, by the names of the table. */
export const STORES = {
  "kvass opfs": (name: string) => openKvass(name, "opfs"),
  "kvass indexeddb": (name: string) => openKvass(name, "indexeddb"),
  indexeddb: openIndexedDb,
};

export type StoreName = keyof typeof STORES;

/** Milliseconds by the name of the work. */
export type Times = Record<string, number>;

const now = () => performance.now();

/** Does all kinds of work on new databases whose names begin with `name`. */
export async function measure(kind: StoreName, name: string, sizes: Sizes): Promise<Times> {
  const open = STORES[kind];
  const times: Times = {};
  const timed = async (work: string, store: Store, run: (store: Store) => Promise<unknown>) => {
    const start = now();
    await run(store);
    times[work] = now() - start;
  };

  const single = await open(`${name}-single`);
  await timed("put", single, (store) => puts(store, sizes));
  await verifyCount(single, sizes.awaited);
  await single.close();

  const together = await open(`${name}-together`);
  if (together.putTogether !== undefined) {
    await timed("put together", together, (store) => batches(store, sizes, "putTogether"));
    await verifyCount(together, sizes.entries);
  }
  await together.close();

  const store = await open(`${name}-data`);
  await timed("put batch", store, (store) => batches(store, sizes, "putBatch"));
  await timed("get", store, (store) => gets(store, sizes));
  await timed("getMany", store, (store) => getManys(store, sizes));
  await timed("scan", store, (store) => verifyCount(store, sizes.entries));
  await store.close();
  return times;
}

/** The round trips of an echo, as many as there are awaited puts. */
export async function measureEcho(sizes: Sizes): Promise<Times> {
  const echo = new Echo();
  await echo.trip();
  const start = now();
  for (let i = 0; i < sizes.awaited; i++) await echo.trip();
  const time = now() - start;
  echo.close();
  return { echo: time };
}

/** Milliseconds from the start of this page's navigation to the answer of a first get. */
export async function firstGet(kind: StoreName, name: string, entry: number): Promise<number> {
  const store = await STORES[kind](`${name}-data`);
  check(entry, await store.get(keyOf(entry)));
  return now();
}

async function puts(store: Store, { awaited }: Sizes): Promise<void> {
  for (let i = 0; i < awaited; i++) await store.put(entryOf(i));
}

async function batches(
  store: Store,
  { entries, batch }: Sizes,
  method: "putBatch" | "putTogether",
): Promise<void> {
  for (let first = 0; first < entries; first += batch) {
    const some = Array.from({ length: batch }, (_, n) => entryOf(first + n));
    await store[method]?.(some);
  }
}

async function gets(store: Store, { awaited, entries }: Sizes): Promise<void> {
  for (const i of scattered(awaited, entries)) check(i, await store.get(keyOf(i)));
}

async function getManys(store: Store, { entries, keys, calls }: Sizes): Promise<void> {
  const wanted = [...scattered(keys * calls, entries)];
  for (let first = 0; first < wanted.length; first += keys) {
    const some = wanted.slice(first, first + keys);
    const values = await store.getMany(some.map(keyOf));
    for (const [n, i] of some.entries()) check(i, values[n]);
  }
}

/** Scans everything; each entry must be the right one. */
async function verifyCount(store: Store, count: number): Promise<void> {
  let i = 0;
  await store.scan((key, value) => {
    if (key !== keyOf(i)) throw new Error(`${key} where ${keyOf(i)} should be`);
    check(i, value);
    i += 1;
  });
  if (i !== count) throw new Error(`the scan gave ${i} entries, not ${count}`);
}

declare global {
  var bench: {
    measure: typeof measure;
    measureEcho: typeof measureEcho;
  };
}

globalThis.bench = { measure, measureEcho };

// Opened to be timed from the start of its navigation, the page gives its answer by itself.
const task = new URLSearchParams(location.search);
if (task.has("store")) {
  const { store, name, entry } = Object.fromEntries(task);
  firstGet(store as StoreName, name ?? "", Number(entry)).then(
    (time_ms) => {
      document.body.dataset.time = String(time_ms);
    },
    (error) => {
      document.body.dataset.error = String(error);
    },
  );
}
