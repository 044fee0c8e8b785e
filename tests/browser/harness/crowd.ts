/** Entries that expire at the same millisecond, while the page goes on sending requests. */

import type { Kv, KvChangeEvent, KvStorage, KvStream } from "kvass";
import { openKv } from "kvass";

/** What was seen of them. */
export interface Seen {
  /** Commits of expired entries, and how many entries the largest of them had. */
  readonly commits: number;
  readonly largest: number;
  /** Requests answered after the first of these commits was heard of and before the last. */
  readonly answers: number;
  /** How long these took, in milliseconds. */
  readonly longest_ms: number;
  readonly median_ms: number;
  /** From the time of the entries until the first commit and the last were heard of. */
  readonly first_ms: number;
  readonly last_ms: number;
  /** What contradicts the promises, a line each. */
  readonly problems: string[];
}

/** Entries that are written in one commit. */
const BATCH = 1000;
/** How long writing all entries may take at first: twice that where it takes longer, and so on. */
const AHEAD_MS = 3000;

/** Has `count` entries expire at once. */
export async function expire(storage: KvStorage, count: number): Promise<Seen> {
  for (let ahead = AHEAD_MS; ; ahead *= 2) {
    const seen = await expireAfter(ahead, storage, count);
    if (seen !== undefined) return seen;
  }
}

/** The same `ahead` milliseconds from now; undefined where it took longer to write them. */
async function expireAfter(
  ahead: number,
  storage: KvStorage,
  count: number,
): Promise<Seen | undefined> {
  const kv = await openKv(`crowd-${ahead}`, { storage });
  const due = Date.now() + ahead;
  const problems: string[] = [];
  await fill(kv, count, due);
  const all = listen(kv.changes(), count, due, problems);
  const some = listen(kv.changes({ prefix: ["goes"] }), count, due, problems);
  const watched = untilGone(kv, [0, count >> 1, count - 1], due, problems);
  // Once this is answered, what was asked for before has begun.
  await kv.get(["stays"]);
  if (Date.now() >= due) {
    await kv.close();
    await Promise.allSettled([all.over, some.over, watched]);
    return undefined;
  }
  const times: number[] = [];
  const isOver = () => all.expired === count;
  const asking = ask(kv, isOver, (ms) => all.expired > 0 && times.push(ms));
  await Promise.all([all.over, some.over, watched, asking]);
  for await (const { key } of kv.list({ prefix: ["goes"] }))
    problems.push(`${String(key[1])} is left`);
  await kv.close();
  times.sort((a, b) => a - b);
  return {
    commits: all.commits,
    largest: all.largest,
    answers: times.length,
    longest_ms: times.at(-1) ?? 0,
    median_ms: times[times.length >> 1] ?? 0,
    first_ms: all.first - due,
    last_ms: all.last - due,
    problems,
  };
}

/** One entry at a time; how long after its time each event came at the most, in milliseconds. */
export async function expireAlone(storage: KvStorage, count: number): Promise<number[]> {
  const kv = await openKv("alone", { storage });
  const delays: number[] = [];
  const events = kv.changes().getReader();
  for (let number = 0; number < count; number++) {
    const before = Date.now();
    await kv.set(["goes", number], number, { expireIn: 50 });
    for (;;) {
      const { value } = await events.read();
      if (value?.type !== "commit") throw new Error("commits were left out");
      if (value.changes.some((change) => change.type === "expire" && change.key[1] === number))
        break;
    }
    const delay = Date.now() - before - 50;
    if (delay < 0) throw new Error("an entry was gone before its time");
    delays.push(delay);
  }
  await events.cancel();
  await kv.close();
  return delays;
}

async function fill(kv: Kv, count: number, due: number): Promise<void> {
  await kv.set(["stays"], "here");
  for (let first = 0; first < count; first += BATCH) {
    const operation = kv.atomic();
    for (let number = first; number < Math.min(first + BATCH, count); number++) {
      operation.set(["goes", number], number, { expireIn: Math.max(0, due - Date.now()) });
    }
    await operation.commit();
  }
}

/** Listens until every entry has expired once. */
function listen(stream: KvStream<KvChangeEvent>, count: number, due: number, problems: string[]) {
  const gone = new Set<unknown>();
  const heard = { expired: 0, commits: 0, largest: 0, first: 0, last: 0 };
  const over = (async () => {
    for await (const event of stream) {
      if (event.type !== "commit") throw new Error("commits were left out");
      const expired = event.changes.filter((change) => change.type === "expire");
      if (expired.length === 0) continue;
      heard.last = Date.now();
      heard.first ||= heard.last;
      if (heard.last < due) problems.push("entries were gone before their time");
      for (const { key } of expired) {
        if (gone.has(key[1])) problems.push(`${String(key[1])} expired twice`);
        gone.add(key[1]);
      }
      heard.expired += expired.length;
      heard.commits += 1;
      heard.largest = Math.max(heard.largest, expired.length);
      if (heard.expired >= count) return;
    }
  })();
  return Object.assign(heard, { over });
}

/** Watches some entries until they are gone. */
async function untilGone(kv: Kv, numbers: number[], due: number, problems: string[]) {
  let there = false;
  for await (const entries of kv.watch(numbers.map((number) => ["goes", number]))) {
    const left = entries.filter((entry) => entry.value !== null).length;
    there ||= left === numbers.length;
    if (there && left < numbers.length && Date.now() < due) problems.push("a watcher heard early");
    if (there && left === 0) return;
  }
}

/** Reads and writes, one request after the other. */
async function ask(kv: Kv, isOver: () => boolean, answered: (ms: number) => void): Promise<void> {
  for (let turn = 0; !isOver(); turn++) {
    const begun = performance.now();
    if (turn % 4 === 0) await kv.set(["turn"], turn);
    else if ((await kv.get(["stays"])).value !== "here")
      throw new Error("a get was answered wrong");
    answered(performance.now() - begun);
  }
}
