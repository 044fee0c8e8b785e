/** Running a TypeScript program of the repository on the built package. */
import { build } from "../build.mjs";
import { setup } from "../setup.mjs";
import { run } from "./run.mjs";

/**
 * Sets up what the tests need, builds, and runs the program.
 * @param {string} program its path
 * @param {string[]} args
 */
export async function runBuilt(program, args) {
  await setup({ test: true });
  await build();
  await run(process.execPath, ["--import", "tsx", program, ...args]);
}
