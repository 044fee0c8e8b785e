/** Firefox and WebKitGTK, where Debian's packages can be had; else their tests are skipped. */
import { findFirefox, findWebKit } from "../lib/others.mjs";
import { aptInstall, canInstallDebian } from "./debian.mjs";

/** @type {import("../setup.mjs").Need} */
export const firefox = {
  name: "Firefox",
  optional: true,
  met: () => findFirefox() !== undefined,
  install: () => install("Firefox", ["firefox-esr"]),
};

/** @type {import("../setup.mjs").Need} */
export const webkit = {
  name: "WebKitGTK",
  optional: true,
  met: () => findWebKit() !== undefined,
  install: () => install("WebKitGTK", ["webkit2gtk-driver", "xvfb"]),
};

/**
 * @param {string} name
 * @param {string[]} packages Debian's
 */
async function install(name, packages) {
  try {
    if (canInstallDebian()) return await aptInstall(packages);
  } catch (error) {
    console.log(error instanceof Error ? error.message : error);
  }
  console.log(
    `no ${name}: its tests are skipped; they need what Debian's ${packages.join(", ")} has`,
  );
}
