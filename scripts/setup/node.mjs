/** Node itself, and the npm packages of package-lock.json. */
import { readFileSync } from "node:fs";
import { at } from "../lib/paths.mjs";
import { npm } from "../lib/run.mjs";

const [OLDEST_MAJOR, OLDEST_MINOR] = [20, 19];

/** @type {import("../setup.mjs").Need} */
export const node = {
  name: `Node ${process.versions.node}`,
  met() {
    const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
    return major > OLDEST_MAJOR || (major === OLDEST_MAJOR && minor >= OLDEST_MINOR);
  },
  advice: `Node is too old; install ${OLDEST_MAJOR}.${OLDEST_MINOR} or a newer one`,
};

/** @typedef {Record<string, { version?: string, optional?: boolean }>} Packages */

/**
 * The packages of a lock file without the root package.
 * @param {string} path
 * @returns {Packages}
 */
function locked(path) {
  const { "": _, ...packages } = JSON.parse(readFileSync(path, "utf8")).packages;
  return packages;
}

/** Whether npm's own record of what it installed agrees with the lock file. */
function installed() {
  /** @type {Packages} */
  let present;
  try {
    present = locked(at("node_modules", ".package-lock.json"));
  } catch {
    return false;
  }
  return Object.entries(locked(at("package-lock.json"))).every(([path, { version, optional }]) =>
    path in present ? present[path]?.version === version : optional,
  );
}

/** @type {import("../setup.mjs").Need} */
export const nodePackages = {
  name: "node packages",
  met: installed,
  // No package here needs its install script, so none is run.
  install: () => npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]),
};
