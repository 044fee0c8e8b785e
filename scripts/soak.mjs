/** `npm run soak`: build, then run tests/browser/soak/ with its own arguments. */
import { build } from "./build.mjs";
import { at } from "./lib/paths.mjs";
import { entry, run } from "./lib/run.mjs";
import { setup } from "./setup.mjs";

await entry(import.meta.url, async (args) => {
  await setup({ test: true });
  await build();
  const main = at("tests", "browser", "soak", "main.ts");
  await run(process.execPath, ["--import", "tsx", main, ...args]);
});
