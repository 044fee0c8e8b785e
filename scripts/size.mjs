/** `npm run size`: what a page downloads, gzipped, against the limits. Run it after a build. */
import { existsSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { pkg } from "./lib/paths.mjs";
import { Explained, entry } from "./lib/run.mjs";

const KB = 1024;

/** The row of all files before it. */
const TOTAL = "total";

/**
 * Gzip -9 bytes: above `max` is a failure, `aim` is where we want to be. What a page downloads is
 * to be 150 KB in all. The worker drives IndexedDB, in a fifth of the bytes that the module needed
 * for it. The module is above its share since it answers repeats, replays commits, verifies its
 * files, salvages them, deletes ranges and keeps large values apart: its limit is there to keep it
 * from growing further.
 */
const LIMITS = [
  { file: "index.js", max: 24.1 * KB, aim: 16 * KB },
  { file: "worker.js", max: 9.8 * KB, aim: 6 * KB },
  { file: "kvass.wasm", max: 164.95 * KB, aim: 100 * KB },
  { file: TOTAL, max: 198.8 * KB, aim: 150 * KB },
];

/** @param {number} bytes */
const kb = (bytes) => `${(bytes / KB).toFixed(2)} KB`;

export async function size() {
  console.log(
    `${"file".padEnd(12)}${["raw", "gzip", "limit", "aim"].map((h) => h.padStart(12)).join("")}`,
  );
  const total = { raw: 0, gzip: 0 };
  const over = LIMITS.filter(({ file, max, aim }) => {
    const { raw, gzip } = file === TOTAL ? total : measure(file);
    total.raw += raw;
    total.gzip += gzip;
    const columns = [raw, gzip, max, aim].map((bytes) => kb(bytes).padStart(12));
    console.log(file.padEnd(12) + columns.join("") + (gzip > max ? "  too large" : ""));
    return gzip > max;
  });
  if (over.length > 0) throw new Explained(`${over.map((o) => o.file).join(", ")} above the limit`);
}

/** @param {string} file */
function measure(file) {
  if (!existsSync(pkg(file))) throw new Explained(`pkg/${file} is missing: npm run build`);
  const raw = readFileSync(pkg(file));
  return { raw: raw.length, gzip: gzipSync(raw, { level: 9 }).length };
}

await entry(import.meta.url, size);
