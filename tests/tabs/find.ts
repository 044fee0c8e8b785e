/** Looks for planted bugs. */

import { simulation } from "./bundle.ts";
import type { Planted } from "./planted.ts";

/** A run that finds a bug: its seed, and the first thing that must not happen. */
export interface Found {
  readonly seed: number;
  readonly violation: string;
}

/** The first of these seeds that finds a bug, by the long runs that all seeds on record are of. */
export async function find(
  { edits, focus }: Planted,
  first: number,
  runs: number,
): Promise<Found | undefined> {
  const { run } = await simulation(edits);
  for (let seed = first; seed < first + runs; seed++) {
    const [violation] = (await run(seed, { length: "long", focus })).violations;
    if (violation !== undefined) return { seed, violation };
  }
  return undefined;
}
