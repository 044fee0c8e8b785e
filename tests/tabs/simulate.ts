/**
 * `npm run sim:tabs -- --seed 1 --runs 10000`: runs that many seeds from the first one on, on all
 * cores, and tells what they have met and how those end that fail. With `--trace`, all that
 * happens in the first one is told; with `--planted`, which of them is the first to find each
 * planted bug. `--focus` has runs be about what those are about that look for one of these bugs;
 * `--length` has all be short, or all long as those are.
 */

import { parseArgs } from "node:util";
import { simulation } from "./bundle.ts";
import { find } from "./find.ts";
import { PLANTED } from "./planted.ts";
import type { Length } from "./scenario.ts";
import { FAILURES_MAX, failedOf, runSeeds } from "./seeds.ts";
import type { Report } from "./thread.ts";

/** Lines that are shown of one. */
const TRACE_LINES = 60;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      runs: { type: "string", default: "1" },
      trace: { type: "boolean", default: false },
      planted: { type: "boolean", default: false },
      focus: { type: "string" },
      length: { type: "string" },
    },
  });
  const first = Number(values.seed);
  if (values.planted) return findPlanted(first, Number(values.runs));
  const focus = PLANTED.find(({ what }) => what === values.focus)?.focus;
  const length = values.length as Length | undefined;
  if (![undefined, "short", "long"].includes(length)) throw new Error("--length short or long");
  const start = performance.now();
  const reports = values.trace ? [] : await runSeeds(first, Number(values.runs), { length, focus });
  const seconds = (performance.now() - start) / 1000;
  const runs = reports.reduce((sum, report) => sum + report.runs, 0);
  const failed = failedOf(reports);
  tell(reports);
  console.log(`${runs} runs in ${seconds.toFixed(1)} s: ${(runs / seconds).toFixed(0)} a second`);
  if (failed.length > 0) console.log(`failed: ${failed.join(" ")}`);
  const { run } = await simulation();
  for (const seed of values.trace ? [first] : failed.slice(0, FAILURES_MAX)) {
    const { violations, trace } = await run(seed, { length, focus }, true);
    if (violations.length > 0) process.exitCode = 1;
    console.log(`\nseed ${seed}: ${violations.length === 0 ? "passes" : "fails"}`);
    console.log(trace.slice(values.trace ? 0 : -TRACE_LINES).join("\n"));
    for (const violation of violations) console.log(violation);
  }
}

/** Looks for every planted bug. */
async function findPlanted(first: number, runs: number): Promise<void> {
  for (const bug of PLANTED) {
    const found = await find(bug, first, runs);
    if (found === undefined) process.exitCode = 1;
    console.log(`${bug.what}: ${found ? `seed ${found.seed}: ${found.violation}` : "NOT FOUND"}`);
  }
}

/** Tells the totals of all reports. */
function tell(reports: readonly Report[]): void {
  const totals = new Map<string, number>();
  for (const report of reports) {
    for (const [name, amount] of report.totals) totals.set(name, (totals.get(name) ?? 0) + amount);
  }
  for (const [name, total] of [...totals].sort()) console.log(`${name}: ${total}`);
}

await main();
