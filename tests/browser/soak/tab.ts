/**
 * A tab of the soak: mixed load on a shared database, and a record of everything that was promised
 * to it, told to the test as it goes on, since the tab may end at any moment.
 */

import type { Kv, KvassError, KvStorage } from "kvass";
import * as kvass from "kvass";

/** What a tab is told. */
export interface Orders {
  readonly name: string;
  readonly storage: KvStorage;
  /** Its number, which no other tab ever has. */
  readonly tab: number;
  /** How long each lane rests after a commit, in milliseconds. */
  readonly restMs: number;
}

/** What a reader of changes was told: a mark, or how much it missed and up to which commit. */
export type Heard = string | { readonly missed: number | null; readonly versionstamp: string };

/** What a tab has heard in the end. */
export interface Account {
  /** What its reader of changes was told, in that order. */
  readonly heard: Heard[];
  /** What it was told in the end if the history is gone that it was to read on in. */
  readonly gone: string | undefined;
  /** The count that its watch ended on. */
  readonly watched: number;
  /** What contradicts the promises, a line each. */
  readonly problems: string[];
}

declare global {
  /** Takes a message for the test. */
  var report: ((message: string) => void) | undefined;
  var soak: typeof import("./tab.ts");
}

/** Longer than this no call may take, but opening, which has a bound of its own. */
const SETTLE_MS = 5_000;
const OPEN_MS = 30_000 + SETTLE_MS;
/** So long a tab may take to hear of the end: all of them do so at once. */
const HEAR_MS = 60_000;
/** A tab that did not run for so long was frozen, and what it waited for waited too. */
const FROZEN_MS = 500;
const WATCH_MS = 100;
/** Calls that are on their way at a time. */
const SIDE_BY_SIDE = 3;

const problems: string[] = [];
const heard: Heard[] = [];
let gone: string | undefined;
const calls = new Map<number, { what: string; age: number }>();
/** What was acknowledged and is not told yet, and when: milliseconds since the Unix epoch. */
const acknowledged: [mark: string, at: number][] = [];
const outcomes: Record<string, number> = {};
let lastCall = 0;
let watched = 0;
let kv: Kv;
let isOver = false;
let loops: Promise<void>[] = [];
let reading: Promise<void>;

/** Opens the database and begins; returns what the change log starts from. */
export async function begin({ name, storage, tab, restMs }: Orders): Promise<void> {
  watch();
  kv = await track("open", kvass.openKv(name, { storage }));
  reading = read(tab);
  void watchCount();
  loops = Array.from({ length: SIDE_BY_SIDE }, (_, lane) => load(tab, lane, restMs));
}

/** Whether this tab's worker is the host. */
export async function isHost(): Promise<boolean> {
  return (await kv.status()).role === "host";
}

/** Stops the load; returns once all calls are settled. */
export async function stop(): Promise<void> {
  isOver = true;
  await Promise.all(loops);
  tell();
}

/** Waits until this tab has heard of the mark `last`, and the watch of `count`. */
export async function account(last: string, count: number): Promise<Account> {
  const until = performance.now() + HEAR_MS;
  const isThere = () => heard.at(-1) === last || gone !== undefined;
  while (!(isThere() && watched === count) && performance.now() < until) await sleep(20);
  if (!isThere()) problems.push(`changes() did not hear of ${last}`);
  if (watched !== count) problems.push(`watch() ended on ${watched}, not on ${count}`);
  await kv.close();
  await reading;
  return { heard, gone, watched, problems };
}

/** Everything there is: the count, and the marks with their versionstamps, in that order. */
export async function contents(): Promise<{ count: number; marks: [string, string][] }> {
  const { value } = await kv.get<bigint>(["count"]);
  const entries: [string, string][] = [];
  for await (const { key, versionstamp } of kv.list({ prefix: ["mark"] }, { keysOnly: true })) {
    entries.push([versionstamp, String(key[1])]);
  }
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return { count: Number(value ?? 0n), marks: entries };
}

/** Writes the last mark. */
export async function finish(mark: string): Promise<void> {
  await kv.atomic().sum(["count"], 1n).set(["mark", mark], true).commit();
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** One lane of calls, one after the other. */
async function load(tab: number, lane: number, restMs: number): Promise<void> {
  for (let number = 0; !isOver; number++) {
    const mark = `${tab}.${lane}.${number}`;
    try {
      const commit = kv.atomic().sum(["count"], 1n).set(["mark", mark], true);
      await track("commit", commit.commit());
      acknowledged.push([mark, performance.timeOrigin + performance.now()]);
      if ((await track("get", kv.get(["mark", mark]))).value !== true) {
        problems.push(`${mark} was acknowledged and is not there`);
      }
      if (number % 8 === 0) await page(mark);
      if (number % 32 === 0) await large(tab, lane);
      await sleep(restMs);
    } catch (error) {
      settle(error, mark);
      await sleep(50);
    }
  }
}

/** A list over several pages, on one snapshot. */
async function page(mark: string): Promise<void> {
  let entries = 0;
  const list = kv.list({ prefix: ["mark"] }, { batchSize: 50, limit: 120, reverse: true });
  for (;;) {
    const { done, value } = await track("list", list.next());
    if (done) break;
    entries++;
    if (value.key[0] !== "mark") problems.push(`a list has ${String(value.key)}`);
  }
  if (entries === 0) problems.push(`a list after ${mark} is empty`);
}

async function large(tab: number, lane: number): Promise<void> {
  const bytes = new Uint8Array(100_000).fill(tab & 0xff);
  await track("large", kv.set(["large", tab, lane], bytes));
  const { value } = await track("get large", kv.get<Uint8Array>(["large", tab, lane]));
  if (value?.length !== bytes.length || value[99_999] !== (tab & 0xff)) {
    problems.push("a large value is not what was written");
  }
}

/** What may become of a call while hosts end and freeze: it is done, or says so. */
function settle(error: unknown, mark: string): void {
  const { code } = error as KvassError;
  outcomes[code] = (outcomes[code] ?? 0) + 1;
  const isExpected = ["OutcomeUnknown", "HostLost", "Timeout", "Busy"].includes(code);
  if (!isExpected) problems.push(`${mark}: ${code ?? ""} ${String(error)}`);
}

/** Counts how long a promise is not settled while the tab is awake. */
async function track<T>(what: string, promise: Promise<T>): Promise<T> {
  const id = ++lastCall;
  calls.set(id, { what, age: 0 });
  try {
    return await promise;
  } finally {
    calls.delete(id);
  }
}

function watch(): void {
  let before = performance.now();
  setInterval(() => {
    const now = performance.now();
    const elapsed = now - before;
    before = now;
    if (elapsed < FROZEN_MS) {
      for (const [id, call] of calls) {
        call.age += elapsed;
        const bound = call.what === "open" ? OPEN_MS : SETTLE_MS;
        if (call.age < bound) continue;
        problems.push(`${call.what} was not settled after ${bound} ms`);
        calls.delete(id);
      }
    }
    tell();
  }, WATCH_MS);
}

/** Tells the test what was acknowledged since the last time. */
function tell(): void {
  const message = { acknowledged: acknowledged.splice(0), problems, outcomes };
  globalThis.report?.(JSON.stringify(message));
}

/** A commit to begin from. */
async function start(tab: number): Promise<string> {
  for (;;) {
    try {
      return (await kv.set(["tab", tab], true)).versionstamp;
    } catch (error) {
      settle(error, "start");
    }
  }
}

async function read(tab: number): Promise<void> {
  try {
    // Every other reader is one that must not miss anything.
    const versionstamp = await start(tab);
    const options = tab % 2 === 0 ? { since: versionstamp } : {};
    for await (const event of kv.changes({ prefix: ["mark"] }, options)) {
      if (event.type !== "commit") {
        const { versionstamp, missed } = event;
        heard.push({ versionstamp, missed });
        continue;
      }
      for (const change of event.changes) {
        if ("key" in change) heard.push(String(change.key[1]));
      }
    }
  } catch (error) {
    const { code, message } = error as KvassError;
    if (code === "HistoryGone") gone = message;
    else problems.push(`changes() ended: ${String(error)}`);
  }
}

async function watchCount(): Promise<void> {
  try {
    for await (const [{ value }] of kv.watch<[bigint]>([["count"]])) {
      const count = Number(value ?? 0n);
      if (count < watched) problems.push(`watch() went back from ${watched} to ${count}`);
      watched = count;
    }
  } catch (error) {
    problems.push(`watch() ended: ${String(error)}`);
  }
}
