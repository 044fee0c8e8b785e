/**
 * Seeds that failed once, and what they have shown. What a seed does changes with the simulation:
 * those are kept that still find the bug when it is there.
 */

export const SEEDS: readonly (readonly [seed: number, shown: string])[] = [
  [800, "a worker that could not open the files left its tab with a host that was gone"],
  [3461, "a tab whose worker had crashed too often kept to a host that was gone"],
  [500_960, "a client that closed before it had heard its answers was forgotten"],
];
