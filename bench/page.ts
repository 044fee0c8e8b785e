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

/** Milliseconds by the name of the work; "put echo" and "get echo" are of an echo beside them. */
export type Times = Record<string, number>;

/** How many awaited calls are made before it is the echo's turn. */
const TURN = 500;

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
  const numbers = Array.from({ length: sizes.awaited }, (_, i) => i);
  [times.put, times["put echo"]] = await besideEcho(numbers, (i) => single.put(entryOf(i)));
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
  const wanted = [...scattered(sizes.awaited, sizes.entries)];
  const get = async (i: number) => check(i, await store.get(keyOf(i)));
  [times.get, times["get echo"]] = await besideEcho(wanted, get);
  await timed("getMany", store, (store) => getManys(store, sizes));
  await timed("scan", store, (store) => verifyCount(store, sizes.entries));
  await store.close();
  return times;
}

/** Milliseconds from the start of this page's navigation to the answer of a first get. */
export async function firstGet(kind: StoreName, name: string, entry: number): Promise<number> {
  const store = await STORES[kind](`${name}-data`);
  check(entry, await store.get(keyOf(entry)));
  return now();
}

/**
 * Calls `run` with one number after the other, each awaited, in turns with as many round trips of
 * an echo: whatever else the machine does meets both. Returns the times of `run` and of the echo.
 */
async function besideEcho(
  numbers: readonly number[],
  run: (number: number) => Promise<unknown>,
): Promise<[number, number]> {
  const echo = new Echo();
  await echo.trip();
  let [own_ms, echo_ms] = [0, 0];
  for (let from = 0; from < numbers.length; from += TURN) {
    const turn = numbers.slice(from, from + TURN);
    const start = now();
    for (const number of turn) await run(number);
    const middle = now();
    for (const _ of turn) await echo.trip();
    own_ms += middle - start;
    echo_ms += now() - middle;
  }
  echo.close();
  return [own_ms, echo_ms];
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
  };
}

globalThis.bench = { measure };

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
