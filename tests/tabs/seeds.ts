/** Many seeds, on all cores. */

import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { threadUrl } from "./bundle.ts";
import type { About } from "./run.ts";
import type { Order, Report } from "./thread.ts";

/** After so many seeds that fail it is over. */
export const FAILURES_MAX = 5;
/** Seeds that a thread runs before it tells what came of them. */
const CHUNK = 50;

/** Runs seeds from the first one on, until all are done or enough have failed. */
export async function runSeeds(first: number, runs: number, about: About = {}): Promise<Report[]> {
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
          worker.postMessage({ first: next, runs: count, about } satisfies Order);
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

/** The seeds that failed, in order. */
export function failedOf(reports: readonly Report[]): number[] {
  return reports.flatMap(({ failed }) => failed).sort((a, b) => a - b);
}
