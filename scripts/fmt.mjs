/** `npm run fmt`: format everything, and apply the fixes that biome calls safe. */
import { at } from "./lib/paths.mjs";
import { entry, run } from "./lib/run.mjs";
import { setup } from "./setup.mjs";

await entry(import.meta.url, async () => {
  await setup();
  await run("cargo", ["fmt", "--all"]);
  await run(process.execPath, [
    at("node_modules/@biomejs/biome/bin/biome"),
    "check",
    "--write",
    ".",
  ]);
});
