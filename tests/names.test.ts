/** The short names that a module and its glue have for each other: of one build they fit, only. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { shortenNames } from "../scripts/lib/names.mjs";

const FROM = "./kvass_bg.js";

const text = (string: string) => [string.length, ...Buffer.from(string)];
const section = (id: number, content: number[]) => [id, content.length, ...content];

/** A module that imports functions without arguments and calls the first of them. */
function moduleOf(imports: string[]): Uint8Array {
  const imported = imports.flatMap((name) => [...text(FROM), ...text(name), 0, 0]);
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 0, 0]),
    ...section(2, [imports.length, ...imported]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text("run"), 0, imports.length]),
    ...section(10, [1, 4, 0, 0x10, 0, 0x0b]),
  ]);
}

/** What a build makes of these imports. */
function built(imports: string[]) {
  const folder = mkdtempSync(join(tmpdir(), "kvass-names-"));
  const [glue, module] = [join(folder, "kvass.js"), join(folder, "kvass_bg.wasm")];
  const members = imports.map((name) => `\n ${name}: () => called.push("${name}"),`).join("");
  writeFileSync(glue, `const imports = {"${FROM}": {${members}\n}}; wasm => wasm.run();`);
  writeFileSync(module, moduleOf(imports));
  shortenNames(glue, module);
  const made = { glue: readFileSync(glue, "utf8"), module: readFileSync(module) };
  rmSync(folder, { recursive: true });
  return made;
}

/** Has a module call what a glue gives it. */
function called(glue: string, module: BufferSource): string[] {
  const called: string[] = [];
  const imports = new Function("called", `${glue}; return imports`)(called);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module), imports);
  for (const run of Object.values(exports)) (run as () => void)();
  return called;
}

test("a module runs with the glue of its build", () => {
  const { glue, module } = built(["read_1", "write_2"]);
  assert.deepEqual(called(glue, module), ["read_1"]);
  assert.ok(!glue.includes(`${FROM}`));
});

test("a module does not run with the glue of a build that imports other functions", () => {
  const { module } = built(["read_1", "write_2"]);
  for (const imports of [
    ["remove_3", "read_1"],
    ["write_2", "read_1"],
  ]) {
    assert.throws(() => called(built(imports).glue, module), WebAssembly.LinkError);
  }
});
