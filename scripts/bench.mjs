/** `npm run bench`: build, then run the side-by-side benchmark of bench/ with its own arguments. */
import { runBuilt } from "./lib/built.mjs";
import { at } from "./lib/paths.mjs";
import { entry } from "./lib/run.mjs";

await entry(import.meta.url, (args) => runBuilt(at("bench", "main.ts"), args));
