/**
 * `npm run setup`: check what building needs, and install what is missing. `--test` adds what the
 * tests need. Nothing is remembered between runs: every check looks at the real thing, and all of
 * them together take well under a second once it is there.
 */

import { Explained, entry, since } from "./lib/run.mjs";
import { chromium } from "./setup/chromium.mjs";
import { node, nodePackages } from "./setup/node.mjs";
import { rust, stdSource, wasmBindgen, wasmTarget } from "./setup/rust.mjs";

/**
 * @typedef {object} Need
 * @property {string} name
 * @property {() => boolean} met
 * @property {() => Promise<void>} [install] makes `met` true, or throws Explained
 * @property {boolean} [optional] the project can do without, and `install` says at what price
 * @property {string} [advice] what to do about a need that has no `install`
 */

/** @param {{ test?: boolean }} [options] */
export async function setup({ test = false } = {}) {
  const start = performance.now();
  const base = [node, nodePackages, rust, wasmTarget, stdSource, wasmBindgen];
  const needs = test ? [...base, chromium] : base;
  for (const need of needs) {
    if (need.met()) continue;
    if (!need.install) throw new Explained(need.advice ?? `${need.name} is missing`);
    console.log(`set-up: ${need.name} missing, installing`);
    await need.install();
    if (!need.met() && !need.optional)
      throw new Explained(`${need.name} was installed but still can't be used`);
  }
  console.log(`set-up: ${needs.map((need) => need.name).join(", ")} (${since(start)})`);
}

await entry(import.meta.url, (args) => setup({ test: args.includes("--test") }));
