/** Finding a Chromium, and the one set of flags it is always started with. */
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { programs } from "./paths.mjs";
import { Explained } from "./run.mjs";

/**
 * Flags that make a headless Chromium quiet and alike everywhere: no GPU, no QUIC, no calls home.
 * The user-data-dir is fresh for each launch; playwright sees to that.
 */
export const CHROMIUM_FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/**
 * The Chromium of the environment (KVASS_CHROMIUM or CHROME_PATH), else the first one on the PATH,
 * in its usual places or among playwright's downloads.
 * @throws {Explained} when the environment names one that does not exist
 */
export function findChromium() {
  const named = process.env.KVASS_CHROMIUM || process.env.CHROME_PATH;
  if (named && !existsSync(named)) throw new Explained(`there is no browser at ${named}`);
  return named || [...programs(NAMES), ...usualPlaces(), ...fromPlaywright()].find(existsSync);
}

/**
 * What playwright-core's `chromium.launch` and `launchPersistentContext` need.
 * @throws {Explained} when there is no Chromium
 */
export function launchOptions() {
  const executablePath = findChromium();
  if (!executablePath) throw new Explained("no Chromium: npm run setup -- --test");
  return { executablePath, headless: true, chromiumSandbox: false, args: CHROMIUM_FLAGS };
}

function usualPlaces() {
  if (process.platform === "darwin") {
    return ["Google Chrome", "Chromium", "Microsoft Edge"].flatMap((name) =>
      ["/Applications", join(homedir(), "Applications")].map((folder) =>
        join(folder, `${name}.app`, "Contents", "MacOS", name),
      ),
    );
  }
  if (process.platform !== "win32") return ["/snap/bin/chromium", "/opt/google/chrome/chrome"];
  const { LOCALAPPDATA, PROGRAMFILES, "PROGRAMFILES(X86)": X86 } = process.env;
  return [LOCALAPPDATA, PROGRAMFILES, X86]
    .filter((folder) => folder !== undefined)
    .flatMap((folder) => [
      join(folder, "Google", "Chrome", "Application", "chrome.exe"),
      join(folder, "Microsoft", "Edge", "Application", "msedge.exe"),
    ]);
}

/** Any version that playwright has downloaded: its cache has one folder for each. */
function fromPlaywright() {
  const caches = {
    darwin: join(homedir(), "Library", "Caches"),
    win32: process.env.LOCALAPPDATA ?? join(homedir(), "AppData", "Local"),
    other: process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"),
  };
  const os =
    process.platform === "darwin" || process.platform === "win32" ? process.platform : "other";
  const folder = join(caches[os], "ms-playwright");
  if (!existsSync(folder)) return [];
  const mac = "Google Chrome for Testing.app/Contents/MacOS/Google Chrome for Testing";
  const programs = [
    "chrome-linux64/chrome",
    "chrome-linux-arm64/chrome",
    `chrome-mac-arm64/${mac}`,
    `chrome-mac-x64/${mac}`,
    "chrome-win64/chrome.exe",
  ];
  return readdirSync(folder)
    .filter((name) => /^chromium-\d+$/.test(name))
    .flatMap((name) => programs.map((program) => join(folder, name, program)));
}
