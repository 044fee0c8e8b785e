/** What the package holds: what a page loads, its types, and nothing of how it is made. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { after, before, test } from "node:test";
import { filesIn } from "../../scripts/lib/fresh.mjs";
import { createProject, type Project } from "./project.ts";

let project: Project;
before(async () => {
  project = await createProject();
});
after(() => project.remove());

test("the package holds the built files, their types, a README and the licenses", () => {
  const files = filesIn([project.installed])
    .map((path) => relative(project.installed, path).split(sep).join("/"))
    .filter((path) => !/^pkg\/types\/.+\.d\.ts$/.test(path));
  assert.deepEqual(files.sort(), [
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "package.json",
    "pkg/index.js",
    "pkg/kvass.wasm",
    "pkg/worker.js",
  ]);
});

test("installing the package runs nothing and brings nothing else", () => {
  const manifest = JSON.parse(readFileSync(join(project.installed, "package.json"), "utf8"));
  const { preinstall, install, postinstall } = manifest.scripts;
  assert.deepEqual([preinstall, install, postinstall], [undefined, undefined, undefined]);
  assert.deepEqual(manifest.dependencies ?? {}, {});
});

test("the URLs that bundlers look for are literal in the built files", () => {
  const read = (name: string) => readFileSync(join(project.installed, "pkg", name), "utf8");
  assert.match(read("index.js"), /new Worker\(new URL\("\.\/worker\.js",import\.meta\.url\)/);
  assert.match(read("worker.js"), /new URL\("\.\/kvass\.wasm",import\.meta\.url\)/);
});

test("nothing about the machine that built the package is in it", () => {
  for (const path of filesIn([join(project.installed, "pkg")])) {
    assert.doesNotMatch(
      readFileSync(path, "latin1"),
      /\/(home|Users|root)\/|[A-Z]:\\Users\\/,
      path,
    );
  }
});
