/** The large benchmark runs, and stays within its memory with the little that it does here. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { at } from "../scripts/lib/paths.mjs";

const MIB = 1 << 20;

test("a database is filled, read and scanned in a browser, and opened again", async () => {
  const args = ["--import", "tsx", at("bench", "big", "main.ts"), "--quick", "--json"];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: at() });
  const lines = stdout.trimEnd().split("\n");
  const figures = JSON.parse(lines.at(-1) ?? "");
  assert.ok(figures.memory > 0 && figures.memory <= 64 * MIB, `${figures.memory} bytes of memory`);
  assert.ok(figures.writeAmplification >= 1, `${figures.writeAmplification} times`);
  for (const phase of ["write", "settle", "read", "scan"]) {
    assert.ok(figures.phases[phase].ms > 0, phase);
  }
  assert.doesNotMatch(stdout, /NaN/);
});
