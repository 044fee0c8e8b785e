/** `npm run big`: build, then run the large database of bench/big/ with its own arguments. */
import { runBuilt } from "./lib/built.mjs";
import { at } from "./lib/paths.mjs";
import { entry } from "./lib/run.mjs";

await entry(import.meta.url, (args) => runBuilt(at("bench", "big", "main.ts"), args));
