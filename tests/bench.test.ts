/** The benchmark runs, and says something of every kind of work and every target. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { at } from "../scripts/lib/paths.mjs";

const WORKS = ["put", "put echo", "put batch", "get", "get echo", "getMany", "scan", "first get"];

test("the benchmark measures all work of all stores, and names its targets", async () => {
  const args = ["--import", "tsx", at("bench", "main.ts"), "--quick", "--json"];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: at() });
  const lines = stdout.trimEnd().split("\n");
  const figures = JSON.parse(lines.at(-1) ?? "");
  for (const store of ["kvass opfs", "kvass indexeddb", "indexeddb"]) {
    for (const work of WORKS) assert.ok(figures[store][work] > 0, `${store}: ${work}`);
  }
  assert.equal(lines.filter((line) => /^(met {3}|MISSED) {2}\S/.test(line)).length, 5);
  assert.doesNotMatch(stdout, /NaN/);
});
