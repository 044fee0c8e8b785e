/** A Chromium for the tests: one that is there, Debian's, or the one playwright downloads. */
import { findChromium } from "../lib/browser.mjs";
import { at } from "../lib/paths.mjs";
import { Explained, run } from "../lib/run.mjs";
import { aptInstall, canInstallDebian } from "./debian.mjs";

/** @type {import("../setup.mjs").Need} */
export const chromium = {
  name: "Chromium",
  met: () => findChromium() !== undefined,
  async install() {
    const playwright = [at("node_modules", "playwright-core", "cli.js"), "install", "chromium"];
    try {
      if (canInstallDebian()) await aptInstall(["chromium"]);
      else await run(process.execPath, playwright);
    } catch {
      throw new Explained(
        "no Chromium for the tests; install Chrome or Chromium, or name one in KVASS_CHROMIUM",
      );
    }
  },
};
