/**
 * A page that writes numbered commits as fast as it can until it is killed, and what can be said
 * of the database afterwards. An even number is one entry, an odd one a pair of entries that are
 * written together.
 */

import type { Kv, KvDurability, KvEntry, KvStorage } from "kvass";
import { KvassError, openKv } from "kvass";

/** A database that bursts are written to. */
export interface Target {
  readonly name: string;
  readonly storage: KvStorage;
  readonly durability: KvDurability;
}

/** What a database holds of the bursts. */
export interface Found {
  /** The commits 0 to `commits - 1` are there, and no other. */
  readonly commits: number;
  /** How many tables lie below level 0, where only compaction puts them. */
  readonly compacted: number;
  /** What contradicts the promises, a line each. */
  readonly problems: string[];
}

/** How many commits are on their way at a time. */
const IN_FLIGHT = 24;

/** Opens the database as soon as the page that was killed has let go of it. */
export async function open({ name, storage, durability }: Target): Promise<Kv> {
  for (;;) {
    try {
      return await openKv(name, { storage, durability });
    } catch (error) {
      if (!(error instanceof KvassError) || error.code !== "Busy") throw error;
      await navigator.locks.request(`kvass:${name}`, () => undefined);
    }
  }
}

/**
 * Writes commit after commit from `first` on; tells `report` of each that was acknowledged, and how
 * far commits were sent by then.
 */
export async function write(
  target: Target,
  first: number,
  report: (acknowledgedAndSent: string) => void,
): Promise<void> {
  const kv = await open(target);
  let next = first;
  const writer = async () => {
    for (;;) {
      const number = next++;
      await commit(kv, number);
      report(`${number} ${next - 1}`);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, writer));
}

/** The value of commit `number`: up to 8 KiB that no other commit has. */
function payload(number: number): string {
  return `${number}:`.repeat(1 + ((number * 37) % 1500));
}

function commit(kv: Kv, number: number): Promise<unknown> {
  const value = payload(number);
  if (number % 2 === 0) return kv.set(["one", number], value);
  return kv.atomic().set(["left", number], value).set(["right", number], value).commit();
}

/** Checks that the database holds the commits before some number, each whole, and no others. */
export async function verify(target: Target): Promise<Found> {
  const kv = await open(target);
  const problems: string[] = [];
  const [ones, left, right] = await Promise.all([
    collect(kv, "one", problems),
    collect(kv, "left", problems),
    collect(kv, "right", problems),
  ]);
  const commits = ones.size + left.size;
  let before = "";
  for (let number = 0; number < commits; number++) {
    const entry = number % 2 === 0 ? ones.get(number) : left.get(number);
    if (entry === undefined) {
      problems.push(`commit ${number} is missing, though ${commits} are there`);
      continue;
    }
    if (entry.versionstamp <= before) problems.push(`commit ${number} came before an earlier one`);
    before = entry.versionstamp;
    if (number % 2 === 1 && right.get(number)?.versionstamp !== entry.versionstamp) {
      problems.push(`commit ${number} is torn`);
    }
  }
  if (right.size !== left.size) problems.push(`${left.size} left halves, ${right.size} right`);
  const { levels } = await kv.stats();
  await kv.close();
  const compacted = levels.slice(1).reduce((sum, level) => sum + level.tables, 0);
  return { commits, compacted, problems };
}

async function collect(
  kv: Kv,
  kind: string,
  problems: string[],
): Promise<Map<number, KvEntry<string>>> {
  const found = new Map<number, KvEntry<string>>();
  for await (const entry of kv.list<string>({ prefix: [kind] })) {
    const number = entry.key[1] as number;
    found.set(number, entry);
    if (entry.value !== payload(number)) problems.push(`${kind} ${number} has another value`);
  }
  return found;
}
