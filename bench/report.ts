/** The table of the benchmark, and its targets. */

import type { Times } from "./page.ts";
import type { Sizes } from "./workload.ts";

/** One kind of work. */
interface Work {
  /** Its name in the figures. */
  readonly work: string;
  readonly title: string;
  /** How many operations one figure is for. */
  readonly operations: number;
  /** What raw IndexedDB does instead, where it is not the same. */
  readonly rival?: string;
  /** Whether a bare echo is the least that it could take. */
  readonly crosses?: boolean;
}

const works = ({ awaited, entries, batch, keys, calls }: Sizes): Work[] => [
  { work: "put", title: `${awaited} awaited puts`, operations: awaited, crosses: true },
  { work: "put batch", title: `${entries} puts, ${batch} a commit`, operations: entries },
  {
    work: "put together",
    title: `${entries} puts, ${batch} at a time`,
    operations: entries,
    rival: "put batch",
  },
  { work: "get", title: `${awaited} awaited random gets`, operations: awaited, crosses: true },
  { work: "getMany", title: `${calls} getMany of ${keys}`, operations: calls * keys },
  { work: "scan", title: `scan of ${entries}`, operations: entries },
  { work: "first get", title: "reload to first get", operations: 1 },
];

/** What kvass on OPFS is meant to reach. */
interface Target {
  readonly title: string;
  readonly work: string;
  readonly of: "indexeddb" | "echo";
  /** At least so many times as fast as raw IndexedDB, or at most so many times an echo. */
  readonly factor: number;
}

const TARGETS: readonly Target[] = [
  { title: "batches", work: "put batch", of: "indexeddb", factor: 10 },
  { title: "awaited puts", work: "put", of: "echo", factor: 1.5 },
  { title: "awaited gets", work: "get", of: "echo", factor: 1.5 },
  { title: "getMany", work: "getMany", of: "indexeddb", factor: 3 },
  { title: "scans", work: "scan", of: "indexeddb", factor: 3 },
];

type Figures = Record<string, Times>;

const figure = (figures: Figures, store: string, work: string) =>
  figures[store]?.[work] ?? Number.NaN;

const ratio = (value: number) => `${value.toFixed(value < 10 ? 2 : 1)}×`;

/** Prints the table and, for each target, whether it was met. */
export function report(figures: Figures, sizes: Sizes): void {
  const header = ["", "kvass opfs", "kvass idb", "indexeddb", "opfs/idb", "idb/idb", "opfs:echo"];
  const rows = works(sizes).map((work) => row(figures, work));
  const trip_us = (figure(figures, "kvass opfs", "get echo") * 1000) / sizes.awaited;
  print([header, ...rows]);
  console.log(`
Per operation, and in milliseconds as a whole. opfs/idb and idb/idb: how many times as fast as
raw IndexedDB kvass is on OPFS and on IndexedDB. opfs:echo: how many times the bare echo of a
worker, measured in turns with it, kvass on OPFS takes; an echo is ${trip_us.toFixed(1)} µs.
`);
  for (const target of TARGETS) console.log(verdict(figures, target));
}

function row(figures: Figures, { work, title, operations, rival, crosses }: Work): string[] {
  const time = (store: string, name = work) => figure(figures, store, name);
  const raw = time("indexeddb", rival);
  const shown = (ms: number) =>
    operations === 1
      ? `${ms.toFixed(0)} ms`
      : `${((ms * 1000) / operations).toFixed(2)} µs (${ms.toFixed(0)} ms)`;
  return [
    title,
    shown(time("kvass opfs")),
    shown(time("kvass indexeddb")),
    rival === undefined ? shown(raw) : "",
    ratio(raw / time("kvass opfs")),
    ratio(raw / time("kvass indexeddb")),
    crosses ? ratio(overEcho(figures, work)) : "",
  ];
}

function verdict(figures: Figures, { title, work, of, factor }: Target): string {
  const reached = of === "echo" ? overEcho(figures, work) : overIndexedDb(figures, work);
  const isMet = of === "echo" ? reached <= factor : reached >= factor;
  const wanted =
    of === "echo" ? `at most ${factor}× the echo` : `at least ${factor}× as fast as IndexedDB`;
  return `${isMet ? "met   " : "MISSED"}  ${title} on OPFS: ${ratio(reached)}, ${wanted}`;
}

/** How many times the echo beside it a kind of work takes on OPFS. */
function overEcho(figures: Figures, work: string): number {
  return figure(figures, "kvass opfs", work) / figure(figures, "kvass opfs", `${work} echo`);
}

/** How many times as fast as raw IndexedDB it is on OPFS. */
function overIndexedDb(figures: Figures, work: string): number {
  return figure(figures, "indexeddb", work) / figure(figures, "kvass opfs", work);
}

/** The first column to the left, the others to the right. */
function print(rows: readonly string[][]): void {
  const columns = rows[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  for (const cells of rows) {
    const padded = cells.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    console.log(padded.join("  ").trimEnd());
  }
}
