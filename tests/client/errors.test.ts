/** Codes have the same numbers and names on both sides. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { codeOf, errorOf } from "../../client/errors.ts";

const rust = readFileSync(new URL("../../src/error.rs", import.meta.url), "utf8");
const codes = [...rust.matchAll(/^ {4}(\w+) = (\d+),$/gm)].map(
  ([, name, number]) => [Number(number), name] as const,
);

test("the page knows every code of the engine by its number", () => {
  assert.ok(codes.length > 0);
  for (const [number, name] of codes) assert.equal(codeOf(number), name);
});

test("a code of a later version is a failure of unknown kind, with its message", () => {
  const unknown = Math.max(...codes.map(([number]) => number)) + 1;
  assert.equal(codeOf(unknown), "Io");
  assert.equal(errorOf(unknown, "new").message, "new");
});
