/** The page refuses what the engine would, and nothing else. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { FRAME_BYTES_MAX, LIMITS, type Limits } from "../../client/limits.ts";

const rust = readFileSync(new URL("../../src/limits.rs", import.meta.url), "utf8");

/** The value of a constant, whose expression is of numbers, `*`, `+` and other constants. */
function constant(name: string): number {
  const expression = new RegExp(`pub const ${name}: \\w+ = ([^;]+);`).exec(rust)?.[1];
  assert.ok(expression, `src/limits.rs has no ${name}`);
  const sum = expression.split("+").map((term) => {
    const factors = term.split("*").map((factor) => factor.trim());
    return factors.reduce((product, factor) => {
      const number = /^[\d_]+$/.test(factor)
        ? Number(factor.replaceAll("_", ""))
        : constant(factor);
      return product * number;
    }, 1);
  });
  return sum.reduce((a, b) => a + b);
}

const NAMES: Record<keyof Limits, string> = {
  keyBytes: "KEY_BYTES_MAX",
  readKeyBytes: "READ_KEY_BYTES_MAX",
  valueBytes: "VALUE_BYTES_MAX",
  checks: "CHECKS_MAX",
  mutations: "MUTATIONS_MAX",
  commitBytes: "COMMIT_BYTES_MAX",
  commitKeyBytes: "COMMIT_BYTES_MAX",
  getManyKeys: "GET_MANY_KEYS_MAX",
  watchKeys: "WATCH_KEYS_MAX",
  ranges: "RANGES_MAX",
  pageEntries: "PAGE_ENTRIES_MAX",
};

for (const [field, name] of Object.entries(NAMES)) {
  test(`${field} is the engine's ${name}`, () => {
    assert.equal(LIMITS.kvass[field as keyof Limits], constant(name));
  });
}

test("a frame may be as large as the engine takes it", () => {
  assert.equal(FRAME_BYTES_MAX, constant("FRAME_BYTES_MAX"));
});
