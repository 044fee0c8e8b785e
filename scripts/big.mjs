/** `npm run big`: build, then run the large database of bench/big/ with its own arguments. */
import { build } from "./build.mjs";
import { at } from "./lib/paths.mjs";
import { entry, run } from "./lib/run.mjs";
import { setup } from "./setup.mjs";

await entry(import.meta.url, async (args) => {
  await setup({ test: true });
  await build();
  await run(process.execPath, ["--import", "tsx", at("bench", "big", "main.ts"), ...args]);
});
