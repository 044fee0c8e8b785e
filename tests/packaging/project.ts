/** Somebody's empty project with the package installed: what `npm install kvass` leaves behind. */
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { at, pkg } from "../../scripts/lib/paths.mjs";
import { npm } from "../../scripts/lib/run.mjs";

/** The page that the bundlers build: index.html and main.js. */
export const APP = at("tests", "packaging", "app");

export interface Project {
  /** Its folder, in the system's temporary folder, so that no file of the repository is near. */
  readonly root: string;
  /** Where the package is unpacked. */
  readonly installed: string;
  remove(): void;
}

/**
 * Pack the package and install the tarball in a new project, with no network.
 * @throws when pkg/ has not been built
 */
export async function createProject(): Promise<Project> {
  if (!existsSync(pkg("index.js"))) throw new Error("pkg/ is missing: npm run build");
  const root = mkdtempSync(join(tmpdir(), "kvass-packaging-"));
  await npm(["pack", "--silent", "--ignore-scripts", "--pack-destination", root], { quiet: true });
  const tarball = readdirSync(root).find((name) => name.endsWith(".tgz"));
  if (tarball === undefined) throw new Error("npm pack made no tarball");
  writeFileSync(join(root, "package.json"), '{ "private": true, "type": "module" }\n');
  cpSync(APP, root, { recursive: true });
  const install = ["install", "--offline", "--silent", "--no-package-lock", "--ignore-scripts"];
  await npm([...install, join(root, tarball)], { cwd: root, quiet: true });
  return {
    root,
    installed: join(root, "node_modules", "kvass"),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}
