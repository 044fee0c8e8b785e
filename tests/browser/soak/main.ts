/**
 * `npm run soak`: 16 tabs, 200 rounds in which the host ends, on OPFS and on IndexedDB.
 *
 *     npm run soak -- --rounds 20 --tabs 8 --storage opfs --seed 7
 *     npm run soak -- --ends crash,kill --rest 100    only these ends, under less load
 */

import { parseArgs } from "node:util";
import { Explained, entry } from "../../../scripts/lib/run.mjs";
import { Random, SEED } from "../../codec/support/random.ts";
import { ENDS, type Result, runSoak } from "./rounds.ts";

const ENTRIES = 100_000;
const TARGET_MS = 250;

function percentile(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function report(storage: string, { problems, ...result }: Result): void {
  const { acknowledged, marks, ends, outcomes, takeovers } = result;
  console.log(`${storage}: ${acknowledged} commits acknowledged, ${marks} there`);
  console.log(`${storage}: ends ${JSON.stringify(ends)}, failed calls ${JSON.stringify(outcomes)}`);
  for (const [kind, times] of Object.entries(takeovers)) {
    times.sort((a, b) => a - b);
    const [median, p99] = [percentile(times, 0.5), percentile(times, 0.99)];
    console.log(`${storage}: ${kind}, on after ${median.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`);
  }
  const sudden = ["crash", "kill"].flatMap((kind) => takeovers[kind] ?? []).sort((a, b) => a - b);
  const p99 = percentile(sudden, 0.99);
  const verdict = p99 <= TARGET_MS ? "met   " : "MISSED";
  console.log(
    `${verdict}  ${storage}: p99 after a crash ${p99.toFixed(0)} ms, at most ${TARGET_MS}`,
  );
  for (const problem of problems) console.log(`PROBLEM  ${problem}`);
}

await entry(import.meta.url, async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: "string", default: "200" },
      tabs: { type: "string", default: "16" },
      storage: { type: "string" },
      ends: { type: "string", default: Object.keys(ENDS).join() },
      rest: { type: "string", default: "5" },
      seed: { type: "string", default: String(SEED) },
    },
  });
  const ends = values.ends.split(",");
  for (const end of ends) {
    if (!Object.hasOwn(ENDS, end)) throw new Explained(`there is no end "${end}"`);
  }
  const storages = ["opfs", "indexeddb"] as const;
  let failed = 0;
  for (const storage of storages.filter((one) => (values.storage ?? one) === one)) {
    const random = new Random(Number(values.seed));
    const [rounds, tabs] = [Number(values.rounds), Number(values.tabs)];
    const result = await runSoak({
      storage,
      rounds,
      tabs,
      ends,
      restMs: Number(values.rest),
      entries: ENTRIES,
      random,
      log: console.log,
    });
    report(storage, result);
    failed += result.problems.length;
  }
  console.log(`soak: ${failed} problems, seed ${values.seed}`);
  if (failed > 0) process.exitCode = 1;
});
