/**
 * From wasm-bindgen's module, which still has its functions' names, to the one that is published:
 * as small as it gets when compressed, since that is what a page downloads.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { nameByLikeness } from "./likeness.mjs";

/**
 * The functions that Rust ends in when the engine has a bug or no memory is left. All that they
 * do is to put together a message for a standard error stream, which a worker does not have.
 */
const PANICS = new RegExp(
  "^<?(std|core|alloc|__rustc)\\b.*" +
    "(panicking|panic_fmt|panic_already|rust_panic|rust_begin_unwind|unwrap_failed" +
    "|expect_failed|_fail\\b|capacity_overflow|handle_alloc_error|raw_vec::handle_error)",
);

/**
 * Passes that leave the compressed module smaller. Those of -O2 or -Oz make it larger: the more
 * the code of two functions differs, in the order of their locals say, the less is there to
 * share.
 */
const PASSES = [
  "duplicate-function-elimination",
  "remove-unused-module-elements",
  "simplify-globals",
  "strip-debug",
  "strip-producers",
  // What a browser may use it knows without a list.
  "strip-target-features",
];

/**
 * What binaryen's own types leave out.
 * @typedef {{ Function: { setBody(func: number, body: number): void } }} Bodies
 */

/**
 * Optimizes the module at `input`. A panic becomes the `unreachable` instruction that it ends in
 * anyway, a WebAssembly.RuntimeError to JavaScript.
 * @param {string} input
 * @param {string} output
 */
export async function optimize(input, output) {
  const { default: binaryen } = await import("binaryen");
  const { setBody } = /** @type {Bodies} */ (/** @type {unknown} */ (binaryen)).Function;
  const module = binaryen.readBinary(readFileSync(input));
  for (const { func, name, imported } of functionsOf(binaryen, module)) {
    if (!imported && PANICS.test(name)) setBody(func, module.unreachable());
  }
  binaryen.setOptimizeLevel(1);
  binaryen.setShrinkLevel(1);
  module.optimize();
  module.runPasses(PASSES);
  const imports = functionsOf(binaryen, module).filter(({ imported }) => imported).length;
  const named = binaryen.readBinary(nameByLikeness(module.emitBinary(), imports));
  // Without its list of features: what the module uses is decided by now.
  named.setFeatures(module.getFeatures());
  named.runPasses(["reorder-functions-by-name", "strip-debug"]);
  writeFileSync(output, named.emitBinary());
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
