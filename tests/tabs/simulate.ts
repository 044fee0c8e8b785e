/**
 * `npm run sim:tabs -- --seed 1 --runs 10000`: runs that many seeds from the first one on, and
 * tells what they have met and how those end that fail. With `--trace`, all that happens is told.
 */

import { parseArgs } from "node:util";
import { simulation } from "./bundle.ts";

/** After so many seeds that fail it is over. */
const FAILURES_MAX = 5;
/** Lines that are shown of one. */
const TRACE_LINES = 60;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "1" },
    trace: { type: "boolean", default: false },
  },
});
const { run } = await simulation();
const first = Number(values.seed);
const totals = new Map<string, number>();
const failed: number[] = [];
let runs = 0;

function add(name: string, amount: number): void {
  totals.set(name, (totals.get(name) ?? 0) + amount);
}

const start = performance.now();
for (let seed = first; runs < Number(values.runs) && failed.length < FAILURES_MAX; seed++) {
  const outcome = await run(seed);
  runs++;
  if (outcome.violations.length > 0) failed.push(seed);
  for (const what of ["steps", "commits", "hosts", "steals"] as const) add(what, outcome[what]);
  for (const [kind, times] of Object.entries(outcome.faults)) add(`fault ${kind}`, times);
  for (const [code, times] of Object.entries(outcome.errors)) add(`refused with ${code}`, times);
}
const seconds = (performance.now() - start) / 1000;

for (const [name, total] of [...totals].sort()) console.log(`${name}: ${total}`);
console.log(`${runs} runs in ${seconds.toFixed(1)} s: ${(runs / seconds).toFixed(0)} a second`);
for (const seed of values.trace ? [first, ...failed] : failed) {
  const { violations, trace } = await run(seed, true);
  console.log(`\nseed ${seed}: ${violations.length === 0 ? "passes" : "fails"}`);
  console.log(trace.slice(values.trace ? 0 : -TRACE_LINES).join("\n"));
  for (const violation of violations) console.log(violation);
}
process.exitCode = failed.length > 0 ? 1 : 0;
