/** Skipping a build step whose inputs are the same bytes as when it last succeeded. */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { at, cache } from "./paths.mjs";

/**
 * Every file under the given files and folders, in a stable order.
 * @param {string[]} paths
 * @returns {string[]}
 */
export function filesIn(paths) {
  return paths.flatMap((path) => {
    if (!existsSync(path)) return [];
    if (!statSync(path).isDirectory()) return [path];
    return filesIn(
      readdirSync(path)
        .sort()
        .map((name) => join(path, name)),
    );
  });
}

/**
 * @param {string} name of the step
 * @param {string[]} inputs files and folders
 * @param {string[]} outputs files that must exist afterwards
 * @param {() => Promise<void>} work
 */
export async function unlessFresh(name, inputs, outputs, work) {
  const hash = createHash("sha256");
  for (const file of filesIn(inputs)) {
    hash.update(`${file.slice(at().length)}\0`).update(readFileSync(file));
  }
  const digest = hash.digest("hex");
  const record = cache("build", name);
  const last = existsSync(record) ? readFileSync(record, "utf8") : "";
  if (last === digest && outputs.every((output) => existsSync(output))) return;
  rmSync(record, { force: true });
  await work();
  mkdirSync(cache("build"), { recursive: true });
  writeFileSync(record, digest);
}
