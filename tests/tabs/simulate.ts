/**
 * `npm run sim:tabs -- --seed 1 --runs 10000`: runs that many seeds from the first one on, and
 * tells of the first that fails. With `--trace` one seed tells all that happens.
 */

import { parseArgs } from "node:util";
import { type Outcome, run } from "./run.ts";

const FAILURES_MAX = 5;
const TRACE_LINES = 60;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "1" },
    trace: { type: "boolean", default: false },
  },
});
const first = Number(values.seed);
const count = Number(values.runs);
const totals: Record<string, number> = {};
const failed: Outcome[] = [];
const start = performance.now();
let done = 0;

for (let seed = first; seed < first + count && failed.length < FAILURES_MAX; seed++) {
  const outcome = await run(seed, values.trace);
  done++;
  if (values.trace) console.log(outcome.trace.join("\n"));
  if (outcome.violations.length > 0) failed.push(outcome);
  add("steps", outcome.steps);
  add("commits", outcome.commits);
  add("hosts", outcome.hosts);
  add("steals", outcome.steals);
  for (const [kind, times] of Object.entries(outcome.faults)) add(`fault ${kind}`, times);
  for (const [code, times] of Object.entries(outcome.errors)) add(`error ${code}`, times);
}

function add(name: string, amount: number): void {
  totals[name] = (totals[name] ?? 0) + amount;
}

const seconds = (performance.now() - start) / 1000;
for (const name of Object.keys(totals).sort()) console.log(`${name}: ${totals[name]}`);
console.log(`${done} runs in ${seconds.toFixed(1)} s: ${(done / seconds).toFixed(0)} a second`);
for (const { seed } of failed) {
  const again = await run(seed, true);
  console.log(`\nseed ${seed} fails:\n${again.violations.join("\n")}`);
  if (!values.trace) console.log(again.trace.slice(-TRACE_LINES).join("\n"));
}
process.exitCode = failed.length > 0 ? 1 : 0;
