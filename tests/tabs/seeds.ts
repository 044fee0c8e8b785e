/**
 * Seeds that failed once, and what they have shown. What a seed does changes with the simulation;
 * the list is for those that are found after it.
 */

export const SEEDS: readonly (readonly [seed: number, shown: string])[] = [
  [182, "a worker that could not open the files left its tab with a host that was gone"],
  [3045, "a subscription began after the commits that were called after it, where the host ended"],
  [3113, "a tab whose worker had crashed too often kept to a host that was gone"],
  [7448, "the welcome of a worker that was left made it the host of its tab"],
  [7607, "a worker that had stood still took the lock that was stolen from it for its own"],
];
