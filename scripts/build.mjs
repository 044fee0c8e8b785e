/**
 * `npm run build`: make pkg/, which any static file server can serve, and www/dist/.
 *
 *     src/            ── cargo, wasm-bindgen ─▶ .wasm and its glue, kvass.js
 *     .wasm           ── binaryen ────────────▶ pkg/kvass.wasm
 *     worker/ + glue  ── esbuild, terser ─────▶ pkg/worker.js    loads ./kvass.wasm
 *     client/         ── esbuild, terser ─────▶ pkg/index.js     starts ./worker.js
 *                     ── tsc ─────────────────▶ pkg/types/
 *     www/            ── esbuild ─────────────▶ www/dist/        imports /pkg/index.js
 *
 * The package's two URLs, `new URL("./worker.js", import.meta.url)` and
 * `new URL("./kvass.wasm", import.meta.url)`, stay literal in the output: bundlers look for them.
 * `--dev` leaves out link-time optimization, binaryen and terser. Steps without new input are
 * skipped.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unlessFresh } from "./lib/fresh.mjs";
import { cutGlue } from "./lib/glue.mjs";
import { shortenNames } from "./lib/names.mjs";
import { optimize } from "./lib/optimize.mjs";
import { at, pkg } from "./lib/paths.mjs";
import { Explained, entry, run, since } from "./lib/run.mjs";
import { findWasmBindgen, TARGET, wasmCargo } from "./lib/toolchain.mjs";
import { setup } from "./setup.mjs";

/** wasm-bindgen's output; the worker imports kvass.js from here as "kvass-wasm". */
const GLUE = at("target", "wasm-bindgen");

/**
 * How little the published module inlines. LLVM inlines a function that is called in one place
 * whatever its size, which saves a call and costs more: frame and locals of one large function are
 * unlike those of all others, and what is unlike can't be compressed. There is no setting for that,
 * so the unit is made smaller that it is counted in: with 20 times the usual cost of everything, a
 * function of more than some 150 instructions stays one. 3 KB of a download.
 */
const INLINING = "-inline-threshold=100 -inline-instr-cost=100 -inline-call-penalty=500";

/**
 * Options that every bundle shares.
 * @param {boolean} dev
 * @returns {import("esbuild").BuildOptions}
 */
const bundling = (dev) => ({
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !dev,
  sourcemap: dev ? "inline" : false,
  legalComments: "none",
  logLevel: "warning",
});

/** @param {{ dev?: boolean }} [options] */
export async function build({ dev = false } = {}) {
  await setup();
  const start = performance.now();
  mkdirSync(pkg(), { recursive: true });
  await buildWasm(dev);
  await buildScripts(dev);
  await buildTypes();
  await buildPlayground(dev);
  console.log(`build: pkg/ and www/dist/ (${since(start)})`);
}

/** @param {boolean} dev */
async function buildWasm(dev) {
  const profile = dev ? "quick" : "web";
  // Only the module: beside a library for Rust, all that is public in that would be kept apart.
  const args = ["--lib", "--crate-type", "cdylib", "--locked", "--profile", profile];
  if (!dev) args.push("--", `-Cllvm-args=${INLINING}`);
  await wasmCargo("rustc", args, { published: !dev });
  const compiled = at("target", TARGET, profile, "kvass.wasm");
  const inputs = [compiled, at("scripts"), at("package-lock.json")];
  const outputs = [pkg("kvass.wasm"), join(GLUE, "kvass.js")];
  await unlessFresh("wasm", inputs, outputs, async () => {
    await glue(compiled, GLUE, dev ? "--keep-debug" : "--remove-producers-section");
    const glued = join(GLUE, "kvass_bg.wasm");
    if (dev) cpSync(glued, pkg("kvass.wasm"));
    else {
      cutGlue(join(GLUE, "kvass.js"));
      shortenNames(join(GLUE, "kvass.js"), glued);
      await optimize(glued, pkg("kvass.wasm"));
    }
  });
}

/**
 * Has wasm-bindgen make kvass.js and kvass_bg.wasm of a compiled module.
 * @param {string} compiled
 * @param {string} folder where to put them
 * @param {string[]} options
 */
async function glue(compiled, folder, ...options) {
  const bindgen = findWasmBindgen("wasm-bindgen");
  if (bindgen === undefined) throw new Explained("wasm-bindgen is missing: npm run setup");
  await run(bindgen, [
    ...["--target", "web", "--out-dir", folder, "--out-name", "kvass", compiled],
    "--omit-default-module-path",
    ...options,
  ]);
}

/** @param {boolean} dev */
async function buildScripts(dev) {
  const { build: bundle } = await import("esbuild");
  await bundle({
    absWorkingDir: at(),
    entryPoints: { index: "client/index.ts", worker: "worker/index.ts" },
    outdir: "pkg",
    alias: { "kvass-wasm": join(GLUE, "kvass.js") },
    ...bundling(dev),
  });
  if (!dev) for (const name of ["index.js", "worker.js"]) await shorten(pkg(name));
}

/**
 * Has terser go over a bundle too: it finds 4 % more than esbuild.
 * @param {string} script
 */
async function shorten(script) {
  const { minify } = await import("terser");
  // Statements in a row compress better than joined by commas.
  // No function expression of ours is called with `new`, and no getter does anything.
  const unsafe = { unsafe_arrows: true, pure_getters: true };
  const compress = { passes: 3, sequences: false, ...unsafe };
  const options = { module: true, ecma: /** @type {const} */ (2020), compress };
  const { code } = await minify(readFileSync(script, "utf8"), options);
  if (code === undefined) throw new Explained(`terser made nothing of ${script}`);
  writeFileSync(script, code);
}

/**
 * The engine of the next version and its glue, unoptimized: for tests of two builds at once.
 * @param {string} folder where to put them
 */
export async function buildNextEngine(folder) {
  await wasmCargo("build", ["--lib", "--locked", "--profile", "quick", "--features", "next"]);
  await glue(at("target", TARGET, "quick", "kvass.wasm"), folder);
}

/** The worker's parts of the storages by themselves, which tests/wasm_storage.rs imports. */
export async function bundleForTests() {
  const { build: bundle } = await import("esbuild");
  await bundle({
    absWorkingDir: at(),
    entryPoints: { indexeddb: "worker/indexeddb/files.ts", directory: "worker/directory.ts" },
    outdir: "target/worker",
    ...bundling(true),
    sourcemap: false,
  });
}

/** Declarations of client/index.ts and what it imports. */
async function buildTypes() {
  const inputs = [
    at("client"),
    at("tabs"),
    at("tsconfig.json"),
    at("tsconfig.build.json"),
    at("package-lock.json"),
  ];
  await unlessFresh("types", inputs, [pkg("types", "client", "index.d.ts")], async () => {
    rmSync(pkg("types"), { recursive: true, force: true });
    await run(process.execPath, [
      at("node_modules/typescript/bin/tsc"),
      "-p",
      "tsconfig.build.json",
    ]);
  });
}

/**
 * The scripts of the pages and the style sheets they import, main.js and main.css for index.html,
 * tabs.js and tabs.css for tabs.html; the other files of www/ as they are.
 * @param {boolean} dev
 */
async function buildPlayground(dev) {
  const { build: bundle } = await import("esbuild");
  rmSync(at("www", "dist"), { recursive: true, force: true });
  await bundle({
    absWorkingDir: at(),
    entryPoints: {
      main: "www/main.ts",
      tabs: "www/tabs/page.ts",
      ticker: "www/tabs/ticker.ts",
    },
    outdir: "www/dist",
    alias: { kvass: "/pkg/index.js" },
    external: ["/pkg/index.js"],
    ...bundling(dev),
  });
  for (const name of readdirSync(at("www"))) {
    if (!/^(dist|tabs)$|\.(ts|css)$/.test(name)) cpSync(at("www", name), at("www", "dist", name));
  }
}

await entry(import.meta.url, (args) => build({ dev: args.includes("--dev") }));
