/**
 * From wasm-bindgen's module, which still has its functions' names, to the one that is published:
 * as small as it gets when compressed, since that is what a page downloads.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { nameByLikeness, PIECE_BYTES } from "./likeness.mjs";
import { numberLocals } from "./locals.mjs";

/**
 * Passes that leave the compressed module smaller. Those of -O2 or -Oz make it larger: the more
 * the code of two functions differs, in the order of their locals say, the less is there to
 * share.
 */
const PASSES = [
  "reorder-locals",
  "duplicate-function-elimination",
  "remove-unused-module-elements",
  "simplify-globals",
  "strip-debug",
  "strip-producers",
  // What a browser may use it knows without a list.
  "strip-target-features",
];

/**
 * Optimizes the module at `input`.
 * @param {string} input
 * @param {string} output
 */
export async function optimize(input, output) {
  const { default: binaryen } = await import("binaryen");
  const module = binaryen.readBinary(readFileSync(input));
  binaryen.setOptimizeLevel(1);
  binaryen.setShrinkLevel(1);
  module.optimize();
  module.runPasses(PASSES);
  const imports = functionsOf(binaryen, module).filter(({ imported }) => imported).length;
  const numbered = numberLocals(module.emitBinary());
  const ordered = PIECE_BYTES.map((pieceBytes) => {
    const named = binaryen.readBinary(nameByLikeness(numbered, imports, pieceBytes));
    // Without its list of features: what the module uses is decided by now.
    named.setFeatures(module.getFeatures());
    named.runPasses(["reorder-functions-by-name", "strip-debug"]);
    const bytes = named.emitBinary();
    return { bytes, gzip: gzipSync(bytes, { level: 9 }).length };
  });
  const smallest = ordered.reduce((best, next) => (next.gzip < best.gzip ? next : best));
  writeFileSync(output, smallest.bytes);
}

/**
 * @param {typeof import("binaryen")["default"]} binaryen
 * @param {InstanceType<typeof import("binaryen")["default"]["Module"]>} module
 */
function functionsOf(binaryen, module) {
  return Array.from({ length: module.getNumFunctions() }, (_, index) => {
    const func = module.getFunctionByIndex(index);
    const { name, module: imported } = binaryen.getFunctionInfo(func);
    return { func, name, imported: Boolean(imported) };
  });
}
