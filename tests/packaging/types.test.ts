/** The declarations of the packed package, as somebody's compiler sees them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, test } from "node:test";
import { at } from "../../scripts/lib/paths.mjs";
import { createProject, type Project } from "./project.ts";

let project: Project;
before(async () => {
  project = await createProject();
});
after(() => project.remove());

/** Compile app/page.ts, with the package's declarations checked too. */
function compile(...settings: string[]) {
  const options = ["--noEmit", "--strict", "--skipLibCheck", "false", "--target", "es2022"];
  return spawnSync(
    process.execPath,
    [at("node_modules/typescript/bin/tsc"), ...options, ...settings, "page.ts"],
    { cwd: project.root, encoding: "utf8" },
  );
}

for (const [resolution, module] of [
  ["bundler", "esnext"],
  ["nodenext", "nodenext"],
] as const) {
  test(`the packed types check under moduleResolution ${resolution}`, () => {
    const { stdout, status } = compile("--moduleResolution", resolution, "--module", module);
    assert.equal(stdout, "");
    assert.equal(status, 0);
  });
}
