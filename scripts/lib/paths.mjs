/** Where things are in this repository. Every script takes its paths from here. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * An absolute path inside the repository.
 * @param {...string} parts
 */
export const at = (...parts) => join(root, ...parts);

/** Tools and intermediate results that any clean-up may delete. */
export const cache = (/** @type {string[]} */ ...parts) => at(".cache", ...parts);

/** What npm publishes and any static file server can serve. */
export const pkg = (/** @type {string[]} */ ...parts) => at("pkg", ...parts);

/**
 * Every program of one of these names on the PATH: the first name's first.
 * @param {string[]} names
 */
export function programs(names) {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  const places = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  return places.filter(existsSync);
}
