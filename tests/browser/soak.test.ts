/** Nothing is lost, twice or stuck while the tabs that host a database end or stand still. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Random, SEED } from "../codec/support/random.ts";
import { DURABLE } from "./harness/browser.ts";
import { ENDS, runSoak } from "./soak/rounds.ts";

const ROUNDS = 10;
const TABS = 16;

for (const storage of DURABLE) {
  test(`${storage}: ${TABS} tabs add up after ${ROUNDS} hosts`, async (t) => {
    const random = new Random(SEED);
    const log = (line: string) => t.diagnostic(line);
    const ends = Object.keys(ENDS);
    const size = { rounds: ROUNDS, tabs: TABS, entries: 0, restMs: 5 };
    const plan = { storage, ends, ...size, random, log };
    const result = await runSoak(plan);
    t.diagnostic(`${JSON.stringify({ ...result, problems: [] })}, seed ${SEED}`);
    assert.deepEqual(result.problems, []);
    assert.ok(result.acknowledged > 100, `only ${result.acknowledged} commits`);
  });
}
