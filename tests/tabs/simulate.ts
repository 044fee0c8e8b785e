/**
 * `npm run sim:tabs -- --seed 1 --runs 10000`: runs that many seeds from the first one on, on all
 * cores, and tells what they have met and how those end that fail. With `--trace`, all that
 * happens in the first one is told; with `--planted`, which of them is the first to find each
 * planted bug. `--focus` has runs be about what those are about that look for one of these bugs.
 */

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { simulation, threadUrl } from "./bundle.ts";
import { find } from "./find.ts";
import { PLANTED } from "./planted.ts";
import type { Focus } from "./scenario.ts";
import type { Order, Report } from "./thread.ts";

/** After so many seeds that fail it is over. */
const FAILURES_MAX = 5;
/** Lines that are shown of one. */
const TRACE_LINES = 60;
/** Seeds that a thread runs before it tells what came of them. */
const CHUNK = 50;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      runs: { type: "string", default: "1" },
      trace: { type: "boolean", default: false },
      planted: { type: "boolean", default: false },
      focus: { type: "string" },
    },
  });
  const first = Number(values.seed);
  if (values.planted) return findPlanted(first, Number(values.runs));
  const focus = PLANTED.find(({ what }) => what === values.focus)?.focus;
  const start = performance.now();
  const reports = values.trace ? [] : await runAll(first, Number(values.runs), focus);
  const seconds = (performance.now() - start) / 1000;
  const runs = reports.reduce((sum, report) => sum + report.runs, 0);
  const failed = reports.flatMap((report) => report.failed).sort((a, b) => a - b);
  tell(reports);
  console.log(`${runs} runs in ${seconds.toFixed(1)} s: ${(runs / seconds).toFixed(0)} a second`);
  if (failed.length > 0) console.log(`failed: ${failed.join(" ")}`);
  const { run } = await simulation();
  for (const seed of values.trace ? [first] : failed.slice(0, FAILURES_MAX)) {
    const { violations, trace } = await run(seed, true, focus);
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

/** Runs seeds on all cores, until all are done or enough have failed. */
async function runAll(first: number, runs: number, focus: Focus | undefined): Promise<Report[]> {
  const reports: Report[] = [];
  const end = first + runs;
  const url = await threadUrl();
  let next = first;
  let failures = 0;
  await Promise.all(
    Array.from({ length: Math.min(availableParallelism(), Math.ceil(runs / CHUNK)) }, () => {
      const worker = new Worker(url, { execArgv: [] });
      return new Promise<void>((resolve, reject) => {
        const ask = () => {
          if (next >= end || failures >= FAILURES_MAX) {
            worker.terminate().then(() => resolve(), reject);
            return;
          }
          const count = Math.min(CHUNK, end - next);
          worker.postMessage({ first: next, runs: count, focus } satisfies Order);
          next += count;
        };
        worker.on("message", (report: Report) => {
          reports.push(report);
          failures += report.failed.length;
          ask();
        });
        worker.on("error", reject);
        ask();
      });
    }),
  );
  return reports;
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
