/** What set-up says when it can't go on. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { at } from "../scripts/lib/paths.mjs";

test("without cargo, set-up says in one line what to install", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [at("scripts", "setup.mjs")], {
    env: { PATH: at("tests") },
    encoding: "utf8",
  });
  assert.equal(status, 1);
  assert.match(stderr, /^error: there is no cargo on the PATH; install Rust with rustup: \S+\n$/);
  assert.equal(stdout, "");
});
