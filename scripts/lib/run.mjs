/** Running other programs, and saying in one line what went wrong. */
import { spawn, spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { at } from "./paths.mjs";

/** A failure whose message is all that the reader needs: it is printed without a stack. */
export class Explained extends Error {}

/** @param {string} text */
const shorten = (text) => (text.length > 100 ? `${text.slice(0, 99)}…` : text);

/**
 * @typedef {object} Where
 * @property {Record<string, string | undefined>} [env] added to this process's own
 * @property {string} [cwd] the repository unless told
 * @property {boolean} [shell] whether the command needs a shell to be found
 * @property {boolean} [quiet] whether its standard output is dropped
 */

/**
 * Run a program with this process's own input and output.
 * @param {string} command
 * @param {string[]} args
 * @param {Where} [where]
 * @returns {Promise<void>} rejects with Explained when the program fails or does not exist
 */
export function run(command, args, { env = {}, cwd = at(), shell = false, quiet } = {}) {
  return new Promise((done, fail) => {
    /** @type {import("node:child_process").StdioOptions} */
    const stdio = ["inherit", quiet ? "ignore" : "inherit", "inherit"];
    const child = spawn(command, args, { cwd, shell, stdio, env: { ...process.env, ...env } });
    child.once("error", (error) => fail(new Explained(`${command}: ${error.message}`)));
    child.once("exit", (code, signal) => {
      if (code === 0) done();
      else
        fail(new Explained(`${shorten([command, ...args].join(" "))} failed (${signal ?? code})`));
    });
  });
}

/**
 * Run a program for its answer.
 * @param {string} command
 * @param {string[]} args
 * @param {Where} [where]
 * @returns {string | undefined} its trimmed output; undefined when it fails or does not exist
 */
export function ask(command, args, { env = {}, cwd = at() } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

/**
 * Run the npm that runs us, or the one on the PATH.
 * @param {string[]} args
 * @param {Where} [where]
 */
export function npm(args, where) {
  const script = process.env.npm_execpath;
  if (script?.endsWith("npm-cli.js")) return run(process.execPath, [script, ...args], where);
  return run("npm", args, { ...where, shell: process.platform === "win32" });
}

/**
 * Whether an error's message says enough: our own, and util.parseArgs's about unknown options.
 * @param {any} error
 * @returns {error is Error}
 */
const isExplained = (error) =>
  error instanceof Explained || String(error?.code).startsWith("ERR_PARSE_ARGS");

/**
 * Call `main` when its module is the program that was started, not when it is imported.
 * @param {string} moduleUrl the module's import.meta.url
 * @param {(args: string[]) => Promise<unknown>} main
 */
export async function entry(moduleUrl, main) {
  if (resolve(process.argv[1] ?? "") !== fileURLToPath(moduleUrl)) return;
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(isExplained(error) ? `error: ${error.message}` : error);
    process.exitCode = 1;
  }
}

/**
 * A duration for people.
 * @param {number} start performance.now() when it began
 */
export const since = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;
