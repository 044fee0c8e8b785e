/** `npm run soak`: build, then run tests/browser/soak/ with its own arguments. */
import { runBuilt } from "./lib/built.mjs";
import { at } from "./lib/paths.mjs";
import { entry } from "./lib/run.mjs";

await entry(import.meta.url, (args) => runBuilt(at("tests", "browser", "soak", "main.ts"), args));
