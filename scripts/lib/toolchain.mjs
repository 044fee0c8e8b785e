/**
 * The one place that knows how this machine compiles Rust to WebAssembly: which cargo, with which
 * environment, and where wasm-bindgen is. Every build for wasm32 goes through `wasmCargo`.
 *
 * A toolchain from rustup can have the target downloaded. Where its download server can't be
 * reached, Debian's own compiler does instead, with a standard library built from Debian's source.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { at, cache } from "./paths.mjs";
import { ask, run } from "./run.mjs";

export const TARGET = "wasm32-unknown-unknown";

/**
 * @typedef {object} Toolchain
 * @property {string} cargo the program to call
 * @property {string} rustc the compiler it uses
 * @property {boolean} clippy whether its cargo has clippy
 * @property {Record<string, string>} env what it needs in the environment
 */

/** @type {Toolchain} */
export const defaultToolchain = { cargo: "cargo", rustc: "rustc", clippy: true, env: {} };

/** @type {Toolchain} */
export const debianToolchain = {
  cargo: "/usr/bin/cargo",
  rustc: "/usr/bin/rustc",
  clippy: false,
  env: {
    RUSTC: "/usr/bin/rustc",
    RUSTDOC: "/usr/bin/rustdoc",
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER: "wasm-ld",
  },
};

/**
 * Where a toolchain keeps its libraries for wasm32.
 * @param {Toolchain} toolchain
 */
export function targetLibraries(toolchain) {
  return ask(toolchain.rustc, ["--print", "target-libdir", "--target", TARGET]);
}

/** @param {Toolchain} toolchain */
function compilesToWasm(toolchain) {
  const libraries = targetLibraries(toolchain);
  if (libraries === undefined || !existsSync(libraries)) return false;
  return readdirSync(libraries).some((file) => /^libstd-.*\.rlib$/.test(file));
}

/** The first toolchain of this machine that has a standard library for wasm32, if any. */
export function findWasmToolchain() {
  return [defaultToolchain, debianToolchain].find(compilesToWasm);
}

/**
 * Flags that keep the home and the clone's path out of the panic messages in the module, so that
 * two machines build the same bytes.
 */
function rustflags() {
  const cargoHome = process.env.CARGO_HOME ?? join(homedir(), ".cargo");
  return [`--remap-path-prefix=${cargoHome}=cargo`, `--remap-path-prefix=${at()}=.`];
}

/**
 * What the published module leaves out, 8 KB of a download: the file and line of every place that
 * could panic, and what puts a message together for a standard error stream, which a worker does
 * not have. A panic is an `unreachable` instruction, a WebAssembly.RuntimeError to JavaScript. For
 * that the standard library is built along, and a stable compiler has to be told that the flags
 * are not final.
 */
const PUBLISHED = {
  flags: ["-Zlocation-detail=none", "-Zunstable-options", "-Cpanic=immediate-abort"],
  args: ["-Zbuild-std=std", "-Zbuild-std-features=optimize_for_size"],
  env: { RUSTC_BOOTSTRAP: "1" },
};

/**
 * Whether a toolchain has the source of its standard library.
 * @param {Toolchain} toolchain
 */
export function hasSource(toolchain) {
  const sysroot = ask(toolchain.rustc, ["--print", "sysroot"]);
  return sysroot !== undefined && existsSync(join(sysroot, "lib/rustlib/src/rust/library"));
}

/**
 * Run cargo for wasm32.
 * @param {string} command build, test, clippy
 * @param {string[]} args
 * @param {{ published?: boolean }} [options] published: without what only a developer would read
 */
export async function wasmCargo(command, args, { published = false } = {}) {
  const toolchain = findWasmToolchain() ?? defaultToolchain;
  const runner = JSON.stringify([process.execPath, at("scripts/wasm-test-runner.mjs")]);
  const target = ["--package", "kvass", "--target", TARGET, "--target-dir", at("target")];
  const config = ["--config", `target.${TARGET}.runner=${runner}`];
  const bare = published && hasSource(toolchain);
  const extra = bare ? PUBLISHED : { flags: [], args: [], env: {} };
  const encoded = [...rustflags(), ...extra.flags].join("\x1f");
  await run(toolchain.cargo, [command, ...target, ...config, ...extra.args, ...args], {
    env: { ...toolchain.env, ...extra.env, CARGO_ENCODED_RUSTFLAGS: encoded },
  });
}

/** The version of wasm-bindgen in Cargo.lock, which its command-line tools must have too. */
export function wasmBindgenVersion() {
  const lock = readFileSync(at("Cargo.lock"), "utf8");
  const version = /name = "wasm-bindgen"\r?\nversion = "([^"]+)"/.exec(lock)?.[1];
  if (version === undefined) throw new Error("Cargo.lock does not name wasm-bindgen");
  return version;
}

/**
 * A wasm-bindgen tool of the locked version: the repository's own, or one on the PATH.
 * @param {"wasm-bindgen" | "wasm-bindgen-test-runner"} name
 */
export function findWasmBindgen(name) {
  const suffix = process.platform === "win32" ? ".exe" : "";
  const wanted = wasmBindgenVersion();
  return [cache("tools", "bin", name + suffix), name].find((program) =>
    ask(program, ["--version"])?.split(" ").includes(wanted),
  );
}
