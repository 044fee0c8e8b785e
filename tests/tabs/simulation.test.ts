/** Many tabs, one database: what the tabs are promised, whatever happens to whom and when. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SEED } from "../codec/support/random.ts";
import { simulation } from "./bundle.ts";
import { PLANTED } from "./planted.ts";
import { SEEDS } from "./seeds.ts";

/** Runs that `npm test` makes. */
const RUNS = 1_000;
/** Runs within which a planted bug is found. */
const RUNS_MAX = 1_000;

const { run } = await simulation();

async function passes(seed: number): Promise<void> {
  const { violations } = await run(seed);
  const replay = `npm run sim:tabs -- --seed ${seed} --trace`;
  assert.deepEqual(violations, [], `seed ${seed} fails; to see how: ${replay}`);
}

test("nothing is lost, nothing is twice, nothing hangs: fresh seeds", async () => {
  for (let seed = SEED; seed < SEED + RUNS; seed++) await passes(seed);
});

test("seeds that failed once pass", async () => {
  for (const [seed] of SEEDS) await passes(seed);
});

test("a seed repeats a whole run", async () => {
  for (let seed = SEED; seed < SEED + 20; seed++) {
    const first = await run(seed);
    const second = await run(seed, true);
    assert.deepEqual([second.hash, second.steps], [first.hash, first.steps], `seed ${seed}`);
  }
});

describe("a bug that is planted is found", () => {
  for (const [what, focus, ...edits] of PLANTED) {
    test(what, async () => {
      const { run } = await simulation(edits);
      for (let seed = 1; seed <= RUNS_MAX; seed++) {
        const { violations } = await run(seed, false, focus);
        if (violations.length > 0) return;
      }
      assert.fail(`not in ${RUNS_MAX} runs`);
    });
  }
});
