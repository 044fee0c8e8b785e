/**
 * wasm32 without rustup's download server: Debian's rustc, and a standard library that it builds
 * from Debian's copy of the Rust source. Takes about two minutes, once per machine.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cache } from "../lib/paths.mjs";
import { Explained, run } from "../lib/run.mjs";
import { debianToolchain, TARGET, targetLibraries } from "../lib/toolchain.mjs";

const PACKAGES = ["rustc-web", "cargo-web", "rust-web-src", "lld"];

/** Whether packages can be installed with apt-get by this user. */
export function canInstallDebian() {
  return existsSync("/usr/bin/apt-get") && process.getuid?.() === 0;
}

/**
 * Install Debian packages.
 * @param {string[]} packages
 */
export async function aptInstall(packages) {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await run("apt-get", ["update", "-qq"], { env });
  await run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], { env });
}

/** Install Debian's compiler and build its standard library for wasm32. */
export async function installDebianToolchain() {
  const tools = [debianToolchain.cargo, debianToolchain.rustc, "/usr/bin/wasm-ld"];
  if (!tools.every(existsSync)) await aptInstall(PACKAGES);
  const libraries = targetLibraries(debianToolchain);
  if (libraries === undefined) {
    throw new Explained(`${debianToolchain.rustc} does not know the target ${TARGET}`);
  }
  const built = await buildStd();
  mkdirSync(libraries, { recursive: true });
  for (const file of readdirSync(built)) {
    if (file.endsWith(".rlib")) copyFileSync(join(built, file), join(libraries, file));
  }
}

/** Build the standard library beside an empty crate; returns the folder with its .rlib files. */
async function buildStd() {
  const crate = cache("build-std");
  rmSync(crate, { recursive: true, force: true });
  mkdirSync(join(crate, "src"), { recursive: true });
  writeFileSync(
    join(crate, "Cargo.toml"),
    '[package]\nname = "empty_for_build_std"\nedition = "2021"\n[workspace]\n',
  );
  writeFileSync(join(crate, "src", "lib.rs"), "#![no_std]\n");
  const parts = "std,panic_abort,panic_unwind,proc_macro,test";
  await run(
    debianToolchain.cargo,
    ["build", "--release", "--target", TARGET, "--target-dir", "target", `-Zbuild-std=${parts}`],
    { cwd: crate, env: { ...debianToolchain.env, RUSTC_BOOTSTRAP: "1" } },
  );
  const built = join(crate, "target", TARGET, "release", "deps");
  for (const file of readdirSync(built)) {
    if (file.startsWith("libempty_for_build_std")) rmSync(join(built, file));
  }
  return built;
}
