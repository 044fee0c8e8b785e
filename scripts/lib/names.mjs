/**
 * Gives short names to what the module and its glue have of each other. wasm-bindgen's say what
 * they are for, and end in a hash, which can't be compressed. 1 KB of a download.
 *
 * Any module would fit any glue then, and one that a cache has of another build would call one
 * function for another. So one of the names says which glue it is.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { withNames } from "./module.mjs";
import { Explained } from "./run.mjs";

/** What the glue calls the object that has all that the module imports. */
const IMPORTED_FROM = "./kvass_bg.js";

/** How many digits say which glue it is. */
const DIGITS = 6;

/** a0, a1 … zz: of digits, but they begin with a letter. */
const short = (/** @type {number} */ index) => (index + 360).toString(36);

/**
 * Rewrites both files: what the module imports is a property of one object in the glue, what it
 * exports stands there as `wasm.NAME`. An export that the glue does not mention is left out.
 * @param {string} glue
 * @param {string} module
 */
export function shortenNames(glue, module) {
  let script = readFileSync(glue, "utf8");
  const own = createHash("sha256").update(script).digest("hex").slice(0, DIGITS);
  /** @type {Map<string, string>} */
  const exported = new Map();
  script = script.replace(/(?<=\bwasm\.)\w+/g, (name) => {
    exported.set(name, exported.get(name) ?? short(exported.size));
    return exported.get(name) ?? name;
  });
  const replace = (/** @type {string} */ before, /** @type {string} */ after) => {
    const parts = script.split(before);
    if (parts.length !== 2) throw new Explained(`${parts.length - 1} times in the glue: ${before}`);
    script = parts.join(after);
  };
  let imports = 0;
  const renamed = withNames(readFileSync(module), {
    importedFrom: (name) => {
      if (name !== IMPORTED_FROM) throw new Explained(`an import that is not the glue's: ${name}`);
      return "$";
    },
    imported: (name) => {
      const shortened = short(imports) + (imports++ === 0 ? own : "");
      replace(` ${name}: `, ` ${shortened}: `);
      return shortened;
    },
    exported: (name) => exported.get(name),
  });
  replace(`"${IMPORTED_FROM}": `, "$: ");
  writeFileSync(glue, script);
  writeFileSync(module, renamed);
}
