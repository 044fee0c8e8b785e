/** Cargo, the standard library for wasm32 and the wasm-bindgen tools. */
import { cache } from "../lib/paths.mjs";
import { ask, Explained, run } from "../lib/run.mjs";
import {
  defaultToolchain,
  findWasmBindgen,
  findWasmToolchain,
  hasSource,
  TARGET,
  wasmBindgenVersion,
} from "../lib/toolchain.mjs";
import { canInstallDebian, installDebianToolchain } from "./debian.mjs";

const RUSTUP = "install Rust with rustup: https://rustup.rs";

/** @type {import("../setup.mjs").Need} */
export const rust = {
  name: "Rust",
  met: () => ask("cargo", ["--version"]) !== undefined,
  advice: `there is no cargo on the PATH; ${RUSTUP}`,
};

/** @type {import("../setup.mjs").Need} */
export const wasmTarget = {
  name: TARGET,
  met: () => findWasmToolchain() !== undefined,
  async install() {
    try {
      await run("rustup", ["target", "add", TARGET], { env: { RUST_BACKTRACE: "0" } });
    } catch (error) {
      if (!canInstallDebian()) {
        throw new Explained(`rustup could not add the target ${TARGET}; ${RUSTUP}, then try again`);
      }
      console.log(`set-up: ${/** @type {Error} */ (error).message}; taking Debian's compiler`);
      await installDebianToolchain();
    }
  },
};

/** @type {import("../setup.mjs").Need} */
export const stdSource = {
  name: "the standard library's source",
  optional: true,
  met: () => hasSource(findWasmToolchain() ?? defaultToolchain),
  async install() {
    try {
      await run("rustup", ["component", "add", "rust-src"], { env: { RUST_BACKTRACE: "0" } });
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      console.log(`set-up: ${message}; the module will carry panic messages, some 10 KB more`);
    }
  },
};

/** @type {import("../setup.mjs").Need} */
export const wasmBindgen = {
  name: `wasm-bindgen ${wasmBindgenVersion()}`,
  met: () =>
    findWasmBindgen("wasm-bindgen") !== undefined &&
    findWasmBindgen("wasm-bindgen-test-runner") !== undefined,
  install: () =>
    run("cargo", [
      ...["install", "wasm-bindgen-cli", "--version", wasmBindgenVersion()],
      ...["--no-default-features", "--root", cache("tools")],
    ]),
};
