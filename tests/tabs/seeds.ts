/**
 * Seeds that failed once, and what they have shown. What a seed does changes with the simulation:
 * those are kept that still find the bug when it is there.
 */

export const SEEDS: readonly (readonly [seed: number, shown: string])[] = [
  [494, "a client took for a frame what was none, and all that it waited for failed"],
  [708, "a reader without gaps missed commits, where another host took over while it had no room"],
];
