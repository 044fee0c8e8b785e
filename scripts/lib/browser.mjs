/** Finding a Chromium, and the one set of flags it is always started with. */
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"];

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

/** Chromium as named by the environment, on the PATH, in its usual places, or playwright's. */
export function findChromium() {
  const named = [process.env.KVASS_CHROMIUM, process.env.CHROME_PATH].filter((path) => path);
  return [...named, ...onPath(), ...usualPlaces(), ...fromPlaywright()].find(
    (path) => path !== undefined && existsSync(path),
  );
}

/**
 * What playwright-core's `chromium.launch` and `launchPersistentContext` need.
 * @throws when there is no Chromium
 */
export function launchOptions() {
  const executablePath = findChromium();
  if (executablePath === undefined) throw new Error("no Chromium: run `npm run setup -- --test`");
  return { executablePath, headless: true, chromiumSandbox: false, args: CHROMIUM_FLAGS };
}

function onPath() {
  const suffix = process.platform === "win32" ? ".exe" : "";
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name + suffix)));
}

function usualPlaces() {
  if (process.platform === "darwin") {
    return ["Google Chrome", "Chromium"].flatMap((name) =>
      ["/Applications", join(homedir(), "Applications")].map((folder) =>
        join(folder, `${name}.app/Contents/MacOS/${name}`),
      ),
    );
  }
  if (process.platform !== "win32") return ["/snap/bin/chromium", "/opt/google/chrome/chrome"];
  const { LOCALAPPDATA, PROGRAMFILES, "PROGRAMFILES(X86)": X86 } = process.env;
  return [LOCALAPPDATA, PROGRAMFILES, X86]
    .filter((folder) => folder !== undefined)
    .map((folder) => join(folder, "Google", "Chrome", "Application", "chrome.exe"));
}

/** Any version that playwright has downloaded: its cache has one folder for each. */
function fromPlaywright() {
  const home = {
    darwin: join(homedir(), "Library", "Caches"),
    win32: process.env.LOCALAPPDATA ?? homedir(),
  }[process.platform.toString()];
  const folder = join(home ?? join(homedir(), ".cache"), "ms-playwright");
  const programs = [
    ["chrome-linux", "chrome"],
    ["chrome-linux64", "chrome"],
    ["chrome-mac", "Chromium.app/Contents/MacOS/Chromium"],
    ["chrome-win", "chrome.exe"],
    ["chrome-win64", "chrome.exe"],
  ];
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /^chromium-\d+$/.test(name))
    .flatMap((name) => programs.map((program) => join(folder, name, ...program)));
}
