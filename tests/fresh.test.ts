/** Build steps are skipped only while their inputs are the same bytes. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { unlessFresh } from "../scripts/lib/fresh.mjs";
import { cache } from "../scripts/lib/paths.mjs";

const folder = mkdtempSync(join(tmpdir(), "kvass-fresh-"));
const step = basename(folder);
const [input, output] = [join(folder, "input"), join(folder, "output")];
after(() => {
  rmSync(folder, { recursive: true, force: true });
  rmSync(cache("build", step), { force: true });
});

/** How often the step really runs when it is asked to once. */
async function runs(work = async () => writeFileSync(output, "made")) {
  let count = 0;
  await unlessFresh(step, [input], [output], async () => {
    count += 1;
    await work();
  });
  return count;
}

test("a step runs again when an input changed, an output is gone, or it failed", async () => {
  writeFileSync(input, "one");
  assert.equal(await runs(), 1);
  assert.equal(await runs(), 0);
  writeFileSync(input, "two");
  await assert.rejects(runs(() => Promise.reject(new Error("broken"))));
  assert.equal(await runs(), 1);
  rmSync(output);
  assert.equal(await runs(), 1);
  assert.equal(await runs(), 0);
});
