/**
 * `npm test`: every check of the repository, one after the other.
 *
 *     node scripts/test.mjs                                all of them
 *     node scripts/test.mjs clippy types                   these steps
 *     node scripts/test.mjs node tests/tidy.test.ts        one step with these test files
 *
 * A step that fails does not stop the ones that don't build on it; the last lines name what failed.
 */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename } from "node:path";
import { build, bundleForTests } from "./build.mjs";
import { filesIn } from "./lib/fresh.mjs";
import { at } from "./lib/paths.mjs";
import { ask, Explained, entry, run, since } from "./lib/run.mjs";
import { findWasmToolchain, wasmCargo } from "./lib/toolchain.mjs";
import { setup } from "./setup.mjs";
import { size } from "./size.mjs";

/** Test files that run at a time, at least: most of them wait for browsers most of the time. */
const FILES_AT_ONCE = 2;

/** Stops a test that hangs; no promise depends on it. It is for all tests of a file together. */
const FILE_TIMEOUT_MS = 1_800_000;

const biome = at("node_modules", "@biomejs", "biome", "bin", "biome");

/**
 * @typedef {object} Step
 * @property {string} title
 * @property {(files: string[]) => Promise<void>} run
 * @property {string} [needs] a step that must have succeeded, when it is run too
 * @property {boolean} [browser] whether it needs what `setup --test` installs
 */

/** @type {Record<string, Step>} in the order of running */
const STEPS = {
  rustfmt: {
    title: "Rust format (cargo fmt --check)",
    run: () => run("cargo", ["fmt", "--all", "--check"]),
  },
  clippy: {
    title: "Rust lints, native (clippy)",
    run: () => run("cargo", ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
  },
  "clippy-wasm": { title: "Rust lints, wasm32 (clippy)", run: clippyWasm },
  biome: {
    title: "TypeScript format and lints (biome)",
    run: () => run(process.execPath, [biome, "check", "--error-on-warnings", "."]),
  },
  types: { title: "TypeScript types (tsc)", run: types },
  build: { title: "build", run: () => build() },
  size: { title: "size of the download, gzip -9", run: async () => size(), needs: "build" },
  native: { title: "Rust tests, native", run: native },
  wasm: { title: "Rust tests in headless Chromium (wasm-bindgen-test)", run: wasm, browser: true },
  node: { title: "node --test", run: node, needs: "build", browser: true },
};

/** The integration tests that are for wasm32 only, as arguments of cargo. */
function wasmTests() {
  return filesIn([at("tests")])
    .map((path) => basename(path))
    .filter((name) => /^wasm.*\.rs$/.test(name))
    .flatMap((name) => ["--test", name.slice(0, -".rs".length)]);
}

async function clippyWasm() {
  await bundleForTests();
  const targets = ["--lib", ...wasmTests()];
  if (findWasmToolchain()?.clippy) return wasmCargo("clippy", [...targets, "--", "-D", "warnings"]);
  console.log("the toolchain that compiles to wasm32 here has no clippy: compiler warnings only");
  return wasmCargo("check", targets);
}

async function types() {
  const tsc = at("node_modules/typescript/bin/tsc");
  for (const project of [".", "worker", "tests"]) {
    await run(process.execPath, [tsc, "--project", project]);
  }
}

async function native() {
  if (ask("cargo", ["nextest", "--version"]) === undefined) {
    return run("cargo", ["test", "--workspace"]);
  }
  await run("cargo", ["nextest", "run", "--workspace"]);
  return run("cargo", ["test", "--workspace", "--doc"]);
}

async function wasm() {
  const tests = wasmTests();
  if (tests.length === 0) throw new Explained("no tests/wasm*.rs");
  await bundleForTests();
  await wasmCargo("test", tests);
}

/** @param {string[]} chosen */
async function node(chosen) {
  const all = filesIn([at("tests")]).filter((path) => path.endsWith(".test.ts"));
  await run(process.execPath, [
    ...["--import", "tsx", "--test", "--test-reporter=spec"],
    `--test-timeout=${FILE_TIMEOUT_MS}`,
    `--test-concurrency=${Math.max(FILES_AT_ONCE, availableParallelism() - 1)}`,
    ...(chosen.length > 0 ? chosen : all),
  ]);
}

/**
 * @param {string[]} names
 * @param {string[]} files
 * @returns {Promise<string[]>} the steps that failed
 */
async function runSteps(names, files) {
  /** @type {string[]} */
  const failed = [];
  for (const name of names) {
    const step = /** @type {Step} */ (STEPS[name]);
    console.log(`\n── ${step.title}`);
    const start = performance.now();
    try {
      if (step.needs !== undefined && failed.includes(step.needs)) {
        throw new Explained(`not run, because ${step.needs} failed`);
      }
      await step.run(files);
      if (name !== names.at(-1)) console.log(`── ${name} passed in ${since(start)}`);
    } catch (error) {
      failed.push(name);
      console.error(error instanceof Explained ? error.message : error);
      console.log(`── ${name} FAILED after ${since(start)}`);
    }
  }
  return failed;
}

await entry(import.meta.url, async (args) => {
  const files = args.filter((arg) => existsSync(arg) && arg.endsWith(".test.ts"));
  const chosen = args.filter((arg) => !files.includes(arg));
  const unknown = chosen.find((name) => !(name in STEPS));
  if (unknown !== undefined) {
    throw new Explained(`no step "${unknown}"; there are ${Object.keys(STEPS).join(", ")}`);
  }
  const names = Object.keys(STEPS).filter((name) => chosen.length === 0 || chosen.includes(name));
  await setup({ test: names.some((name) => STEPS[name]?.browser) });
  const failed = await runSteps(names, files);
  if (failed.length > 0) throw new Explained(`failed steps: ${failed.join(", ")}`);
});
