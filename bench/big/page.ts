/** The page's side of the large database: fills it, reads it, and times every request. */

import { type Kv, openKv } from "kvass";
import { check, entryOf, keyOf, scattered } from "../workload.ts";

/** What the worker has seen since the phase began; written and read are since its start. */
export interface Watched {
  written: number;
  read: number;
  /** The longest that the worker was busy without looking at a message, in milliseconds. */
  busy_ms: number;
  /** The longest call of the file system, in milliseconds. */
  call_ms: number;
  /** From the moment that the engine was there until the database was open. */
  open_ms: number;
}

/** What one phase took. */
export interface Phase extends Watched {
  readonly ms: number;
  /** The longest that a request took, and the 999th of a thousand. */
  readonly longest_ms: number;
  readonly p999_ms: number;
  /** The engine's memory behind it. */
  readonly memory: number;
  readonly disk: number;
  readonly tables: readonly number[];
}

/** What one open took. */
export interface Open {
  /** From the moment that the engine was there until the database was open. */
  readonly open_ms: number;
  /** A first get then. */
  readonly get_ms: number;
}

/** What there is to do. */
export interface Work {
  /** Entries of the big database and of the small one that opening is compared with. */
  readonly entries: number;
  readonly small: number;
  /** Random reads of each. */
  readonly reads: number;
  /** Opens of each. */
  readonly opens: number;
}

/** What was measured. */
export interface Figures {
  readonly phases: Record<"write" | "settle" | "read" | "scan", Phase>;
  readonly smallOpens: readonly Open[];
  readonly bigOpens: readonly Open[];
}

/** How many entries a commit has, and a getMany. */
const BATCH = 100;
/** Commits on their way at the same time. */
const PIPELINE = 4;
/** Compaction is over once nothing was written for so long, in milliseconds. */
const QUIET_MS = 1000;

const now = () => performance.now();
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const open = (name: string) =>
  openKv(name, { storage: "opfs", worker: () => new Worker("/worker.js", { type: "module" }) });

const worker = new BroadcastChannel("kvass-big");

function watched(): Promise<Watched> {
  return new Promise((resolve) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.postMessage("tell");
  });
}

/** Runs a phase; `work` calls `timed` around every request. */
async function phase(
  kv: Kv,
  work: (timed: <T>(request: () => Promise<T>) => Promise<T>) => Promise<unknown>,
): Promise<Phase> {
  worker.postMessage("reset");
  const times: number[] = [];
  const start = now();
  await work(async (request) => {
    const begun = now();
    const answer = await request();
    times.push(now() - begun);
    return answer;
  });
  const ms = now() - start;
  const { memoryBytes, diskBytes, levels } = await kv.stats();
  const sorted = Float64Array.from(times).sort();
  return {
    ...(await watched()),
    ms,
    longest_ms: sorted.at(-1) ?? 0,
    p999_ms: sorted[Math.floor(sorted.length * 0.999)] ?? 0,
    memory: memoryBytes,
    disk: diskBytes,
    tables: levels.map(({ tables }) => tables),
  };
}

/** Every number below `count` once, scattered. */
function* shuffled(count: number): Generator<number> {
  const step = 7_368_787;
  for (let n = 0; n < count; n++) yield (n * step) % count;
}

async function write(kv: Kv, count: number): Promise<Phase> {
  return phase(kv, async (timed) => {
    const numbers = shuffled(count);
    const lane = async () => {
      for (;;) {
        const operation = kv.atomic();
        let size = 0;
        for (; size < BATCH; size++) {
          const { value: number, done } = numbers.next();
          if (done) break;
          const { key, value } = entryOf(number);
          operation.set([key], value);
        }
        if (size === 0) return;
        await timed(() => operation.commit());
      }
    };
    await Promise.all(Array.from({ length: PIPELINE }, lane));
  });
}

/** Small puts and gets, one after the other, until compaction has nothing more to do. */
async function settle(kv: Kv, count: number): Promise<Phase> {
  return phase(kv, async (timed) => {
    let [seen, since] = [-1, now()];
    const numbers = scattered(Number.POSITIVE_INFINITY, count);
    while (now() - since < QUIET_MS) {
      for (let turn = 0; turn < 20; turn++) {
        const number = numbers.next().value as number;
        const { value } = await timed(() => kv.get<Uint8Array>([keyOf(number)]));
        check(number, value ?? undefined);
      }
      const { written } = await watched();
      if (written !== seen) [seen, since] = [written, now()];
      await sleep(10);
    }
  });
}

async function read(kv: Kv, count: number, reads: number): Promise<Phase> {
  return phase(kv, async (timed) => {
    const numbers = [...scattered(reads, count)];
    for (let first = 0; first < reads; first += BATCH) {
      const some = numbers.slice(first, first + BATCH);
      const keys = some.map((number) => [keyOf(number)]);
      const entries = await timed(() => kv.getMany<Uint8Array[]>(keys));
      for (const [n, number] of some.entries()) check(number, entries[n]?.value ?? undefined);
    }
  });
}

async function scan(kv: Kv, count: number): Promise<Phase> {
  return phase(kv, async () => {
    let number = 0;
    for await (const { key, value } of kv.list<Uint8Array>({ prefix: [] }, { batchSize: 1000 })) {
      if (key[0] !== keyOf(number))
        throw new Error(`${String(key[0])} where ${keyOf(number)} should be`);
      check(number, value);
      number += 1;
    }
    if (number !== count) throw new Error(`the scan gave ${number} entries, not ${count}`);
  });
}

/** Fills a database and reads it. */
async function run(name: string, count: number, reads: number): Promise<Figures["phases"]> {
  const kv = await open(name);
  const phases = {
    write: await write(kv, count),
    settle: await settle(kv, count),
    read: await read(kv, count, reads),
    scan: await scan(kv, count),
  };
  await kv.close();
  return phases;
}

async function reopen(name: string, count: number, times: number): Promise<Open[]> {
  const opens: Open[] = [];
  for (let n = 0; n < times; n++) {
    const kv = await open(name);
    const begun = now();
    check(n, (await kv.get<Uint8Array>([keyOf(n % count)])).value ?? undefined);
    const get_ms = now() - begun;
    opens.push({ open_ms: (await watched()).open_ms, get_ms });
    await kv.close();
  }
  return opens;
}

/** Fills and reads a small database and a big one, then opens both several times. */
async function measure({ entries, small, reads, opens }: Work): Promise<Figures> {
  await run("small", small, reads);
  const phases = await run("big", entries, reads);
  const smallOpens = await reopen("small", small, opens);
  return { phases, smallOpens, bigOpens: await reopen("big", entries, opens) };
}

declare global {
  var big: { measure: typeof measure };
}

globalThis.big = { measure };
