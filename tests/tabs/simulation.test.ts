/** Many tabs, one database: what the tabs are promised, whatever happens to whom and when. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SEED } from "../codec/support/random.ts";
import { simulation } from "./bundle.ts";
import { find } from "./find.ts";
import { PLANTED } from "./planted.ts";
import { failedOf, runSeeds } from "./seeds.ts";

/** Runs that `npm test` makes, on all cores. */
const RUNS = 6_000;
/** Runs within which a planted bug is found. */
const RUNS_MAX = 2_000;

const { run } = await simulation();

test("nothing is lost, nothing is twice, nothing hangs: fresh seeds", async () => {
  for (const seed of failedOf(await runSeeds(SEED, RUNS))) {
    const { violations } = await run(seed);
    const replay = `npm run sim:tabs -- --seed ${seed} --trace`;
    assert.deepEqual(violations, [], `seed ${seed} fails; to see how: ${replay}`);
  }
});

test("seeds that failed once pass", async () => {
  for (const { what, seed, focus } of PLANTED) {
    if (seed === undefined) continue;
    const { violations } = await run(seed, { length: "long", focus });
    const replay = `npm run sim:tabs -- --seed ${seed} --length long --trace --focus "${what}"`;
    assert.deepEqual(violations, [], `seed ${seed} fails; to see how: ${replay}`);
  }
});

test("a seed repeats a whole run", async () => {
  for (let seed = SEED; seed < SEED + 20; seed++) {
    const first = await run(seed);
    const second = await run(seed, {}, true);
    assert.deepEqual([second.hash, second.steps], [first.hash, first.steps], `seed ${seed}`);
  }
});

describe("a bug that is planted is found", () => {
  for (const bug of PLANTED) {
    test(bug.what, async () => {
      const { seed, isKept } = bug;
      if (seed !== undefined && (await find(bug, seed, 1)) !== undefined) return;
      assert.ok(!isKept, `seed ${seed}, which found it once, finds it no more: see planted.ts`);
      assert.ok(await find(bug, 1, RUNS_MAX), `not in ${RUNS_MAX} runs`);
    });
  }
});
