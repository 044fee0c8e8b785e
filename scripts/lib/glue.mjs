/**
 * Takes out of wasm-bindgen's glue what is for browsers that can't run kvass, and for other ways
 * to call it. Half a KB of a download.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { Explained } from "./run.mjs";

/** What is there, and what takes its place. */
const CUTS = /** @type {[RegExp, string][]} */ ([
  // No FinalizationRegistry, and no encodeInto.
  [/\(typeof FinalizationRegistry === 'undefined'\)\s+\?.+\s+: /g, ""],
  [/if \(!\('encodeInto' in \w+\)\) \{[\s\S]+?\n\}\n/, ""],
  // Hosts that are left to a garbage collector, or to `using`.
  [/const HostFinalization[\s\S]+?;\n/, ""],
  [/HostFinalization\.\w+\(.+\);\n/g, ""],
  [/if \(Symbol\.dispose\) .+\n/, ""],
  // No globalThis. Once that is found no other is looked for.
  [/typeof \w+ === 'undefined' \? undefined : \w+;/g, "globalThis;"],
  // No way to ask whether a buffer is detached, which is another one then.
  [/(\w+)\.buffer\.detached === true \|\| \(.+? && (\1\.buffer !== .+?)\)/, "$2"],
  // A module that is not in an object.
  [/if \(module !== undefined\) \{[\s\S]+?\n {4}\}\n/, "({module} = module);"],
  // Long strings that are all ASCII: those that cross are names and messages.
  [/, wasm\.__wbindgen_realloc/g, ""],
  [/if \(realloc === undefined\) (\{[\s\S]+?\n {4}\})[\s\S]+?\n\}\n/, "$1 }\n"],
  // A function around each that is guarded.
  [/function\(\) \{ return handleError\(/g, "handleError("],
  [/\}, arguments\); \},/g, "}),"],
  [
    /function handleError\(f, args\) (\{[\s\S]+?)f\.apply\(this, args\)([\s\S]+?\n\})/,
    "function handleError(f) { return (...args) => $1f(...args)$2 }",
  ],
]);

/**
 * Rewrites the glue.
 * @param {string} glue
 */
export function cutGlue(glue) {
  let script = readFileSync(glue, "utf8");
  for (const [cut, rest] of CUTS) {
    const before = script;
    script = script.replace(cut, rest);
    if (script === before) throw new Explained(`not in the glue: ${cut}`);
  }
  writeFileSync(glue, script);
}
