/**
 * `npm run setup`: check what building needs, and install what is missing. `--test` adds what the
 * tests need, `--browsers` all browsers that they can use. Nothing is remembered between runs:
 * every check looks at the real thing, and all of them together take well under a second once it
 * is there.
 */

import { Explained, entry, since } from "./lib/run.mjs";
import { chromium } from "./setup/chromium.mjs";
import { node, nodePackages } from "./setup/node.mjs";
import { firefox, webkit } from "./setup/others.mjs";
import { rust, stdSource, wasmBindgen, wasmTarget } from "./setup/rust.mjs";

/**
 * @typedef {object} Need
 * @property {string} name
 * @property {() => boolean} met
 * @property {() => Promise<void>} [install] makes `met` true, or throws Explained
 * @property {boolean} [optional] the project can do without, and `install` says at what price
 * @property {string} [advice] what to do about a need that has no `install`
 */

/** @param {{ test?: boolean, browsers?: boolean }} [options] */
export async function setup({ test = false, browsers = false } = {}) {
  const start = performance.now();
  const base = [node, nodePackages, rust, wasmTarget, stdSource, wasmBindgen];
  const needs = [...base, ...(test ? [chromium] : []), ...(browsers ? [firefox, webkit] : [])];
  const there = [];
  for (const need of needs) {
    if (need.met() || (await install(need))) there.push(need.name);
  }
  console.log(`set-up: ${there.join(", ")} (${since(start)})`);
}

/**
 * @param {Need} need
 * @returns {Promise<boolean>} whether it is there now; false only for an optional one
 */
async function install(need) {
  if (!need.install) throw new Explained(need.advice ?? `${need.name} is missing`);
  console.log(`set-up: ${need.name} missing, installing`);
  await need.install();
  const there = need.met();
  if (!there && !need.optional)
    throw new Explained(`${need.name} was installed but still can't be used`);
  return there;
}

await entry(import.meta.url, (args) => {
  const browsers = args.includes("--browsers");
  return setup({ browsers, test: browsers || args.includes("--test") });
});
