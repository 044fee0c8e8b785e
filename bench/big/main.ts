/**
 * A database that is larger than the engine's memory, in headless Chromium on OPFS: 10 million
 * entries of 16-byte keys and 100-byte values are written in a scattered order, compacted, read at
 * random and scanned, and every value is compared. Then the database is opened beside a small one.
 *
 *     npm run big                         1 GiB
 *     npm run big -- --entries 1000000    so many entries
 *     npm run big -- --quick              little work, to see that it runs
 *     npm run big -- --json               the figures as JSON on the last line
 */

import { parseArgs } from "node:util";
import { at } from "../../scripts/lib/paths.mjs";
import { entry } from "../../scripts/lib/run.mjs";
import { Profile } from "../../tests/browser/harness/profile.ts";
import { openSite } from "../../tests/browser/harness/site.ts";
import type { Figures, Open, Phase } from "./page.ts";

const ENTRIES = 10_000_000;
/** The small database that opening is compared with: about 10 MiB. */
const SMALL = 90_000;
const QUICK = 20_000;
const READS = 100_000;
const OPENS = 7;
/** What a key and a value have, in bytes. */
const ENTRY_BYTES = 116;

const MIB = 1 << 20;
const TARGET_MEMORY = 64 * MIB;
const TARGET_OPEN_RATIO = 2;

const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
const ms = (time: number) => `${time.toFixed(time < 100 ? 1 : 0)} ms`;

function describe(name: string, phase: Phase): string {
  const parts = [
    `${name.padEnd(8)}${(phase.ms / 1000).toFixed(1)} s`,
    `requests p99.9 ${ms(phase.p999_ms)}, longest ${ms(phase.longest_ms)}`,
    `longest task ${ms(phase.busy_ms)}, longest file call ${ms(phase.call_ms)}`,
    `memory ${mib(phase.memory)}`,
    `disk ${mib(phase.disk)}`,
    `tables ${phase.tables.join(" ")}`,
  ];
  return parts.join(" · ");
}

function middle(opens: readonly Open[]): Open {
  const median = (times: number[]) =>
    times.toSorted((a, b) => a - b)[times.length >> 1] ?? Number.NaN;
  return {
    open_ms: median(opens.map((open) => open.open_ms)),
    get_ms: median(opens.map((open) => open.get_ms)),
  };
}

function report(entries: number, { phases, smallOpens, bigOpens }: Figures) {
  const bytes = entries * ENTRY_BYTES;
  const writeAmplification = phases.settle.written / bytes;
  const memory = Math.max(...Object.values(phases).map((phase) => phase.memory));
  const [small, big] = [middle(smallOpens), middle(bigOpens)];
  const openRatio = big.open_ms / small.open_ms;
  console.log(`${entries} entries, ${mib(bytes)}`);
  for (const [name, phase] of Object.entries(phases)) console.log(describe(name, phase));
  console.log(`write amplification ${writeAmplification.toFixed(1)}, the log included`);
  console.log(
    `open ${ms(big.open_ms)} and a get ${ms(big.get_ms)}, ` +
      `beside ${ms(small.open_ms)} and ${ms(small.get_ms)} of a small one`,
  );
  const verdict = (met: boolean) => (met ? "met   " : "MISSED");
  console.log(`${verdict(memory <= TARGET_MEMORY)}  memory ${mib(memory)}, at most 64 MiB`);
  const ratio = `${openRatio.toFixed(2)} times as long, at most ${TARGET_OPEN_RATIO}`;
  console.log(`${verdict(openRatio <= TARGET_OPEN_RATIO)}  open ${ratio}`);
  return { entries, memory, writeAmplification, openRatio, phases };
}

await entry(import.meta.url, async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      entries: { type: "string", default: String(ENTRIES) },
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const entries = values.quick ? QUICK : Number(values.entries);
  const site = await openSite({
    page: at("bench", "big", "page.ts"),
    worker: at("bench", "big", "worker.ts"),
  });
  const profile = new Profile();
  const context = await profile.launch();
  try {
    // The TypeScript loader wraps functions in calls of this helper, page.evaluate's among them.
    await context.addInitScript("globalThis.__name = (named) => named");
    const page = await context.newPage();
    await page.goto(site.url);
    const small = Math.min(SMALL, entries);
    const reads = values.quick ? 1000 : READS;
    const work = { entries, small, reads, opens: OPENS };
    const figures = report(entries, await page.evaluate((work) => big.measure(work), work));
    if (values.json) console.log(JSON.stringify(figures));
  } finally {
    await context.close();
    await site.close();
    await profile.remove();
  }
});
