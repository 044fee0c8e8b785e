/** A thread of many: runs the seeds that it is asked for. */

import { parentPort } from "node:worker_threads";
import { type About, run } from "./run.ts";

/** Seeds to run. */
export interface Order {
  readonly first: number;
  readonly runs: number;
  readonly about: About;
}

/** What came of some seeds. */
export interface Report {
  readonly runs: number;
  readonly totals: ReadonlyMap<string, number>;
  readonly failed: readonly number[];
}

async function report({ first, runs, about }: Order): Promise<Report> {
  const totals = new Map<string, number>();
  const failed: number[] = [];
  const add = (name: string, amount: number) => {
    totals.set(name, (totals.get(name) ?? 0) + amount);
  };
  for (let seed = first; seed < first + runs; seed++) {
    const outcome = await run(seed, about);
    if (outcome.violations.length > 0) failed.push(seed);
    for (const what of ["steps", "commits", "hosts", "steals"] as const) add(what, outcome[what]);
    for (const [kind, times] of Object.entries(outcome.faults)) add(`fault ${kind}`, times);
    for (const [what, times] of Object.entries(outcome.met)) add(what, times);
    for (const [code, times] of Object.entries(outcome.errors)) add(`refused with ${code}`, times);
  }
  return { runs, totals, failed };
}

parentPort?.on("message", async (order: Order) => parentPort?.postMessage(await report(order)));
