/** Finding the browsers that the tests use where they are installed: Firefox and WebKitGTK. */
import { existsSync } from "node:fs";
import { programs } from "./paths.mjs";
import { Explained } from "./run.mjs";

const FIREFOX_ON_MACOS = "/Applications/Firefox.app/Contents/MacOS/firefox";

/**
 * The Firefox of the environment (KVASS_FIREFOX), else the first one on the PATH.
 * @throws {Explained} when the environment names one that does not exist
 */
export function findFirefox() {
  const named = process.env.KVASS_FIREFOX;
  if (named && !existsSync(named)) throw new Explained(`there is no browser at ${named}`);
  return named || [...programs(["firefox-esr", "firefox"]), FIREFOX_ON_MACOS].find(existsSync);
}

/** WebKitGTK's WebDriver and an X server for its browser; undefined if one is missing. */
export function findWebKit() {
  const [driver] = programs(["WebKitWebDriver"]);
  const [display] = programs(["Xvfb"]);
  return driver === undefined || display === undefined ? undefined : { driver, display };
}
