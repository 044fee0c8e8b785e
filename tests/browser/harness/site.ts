/** The site that the browser tests visit: the built package and a page with code of theirs. */

import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { at, pkg } from "../../../scripts/lib/paths.mjs";
import { serve } from "../../../scripts/serve.mjs";

/** A site and its address, which has no "/" at its end. */
export interface Site {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Bundles `scripts`, named paths, to /NAME.js and serves them beside /pkg/ under the package's own
 * policy. The page at / loads /page.js. `folders` are served at the paths that they are named by.
 * @throws when pkg/ has not been built
 */
export async function openSite(
  scripts: Record<string, string>,
  folders: Record<string, string> = {},
): Promise<Site> {
  if (!existsSync(pkg("index.js"))) throw new Error("pkg/ is missing: npm run build");
  const root = mkdtempSync(join(tmpdir(), "kvass-site-"));
  await build({
    entryPoints: scripts,
    outdir: root,
    bundle: true,
    format: "esm",
    target: "es2022",
    sourcemap: "inline",
    alias: { kvass: "/pkg/index.js" },
    external: ["/pkg/*"],
    logLevel: "warning",
  });
  cpSync(at("tests", "browser", "harness", "index.html"), join(root, "index.html"));
  const site = await serve({ mounts: { "/": root, "/pkg/": pkg(), ...folders } });
  return {
    url: site.url,
    close: async () => {
      await site.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** The site with these scripts of this folder. */
export function openHarness(names: string[], folders: Record<string, string> = {}): Promise<Site> {
  const paths = names.map((name) => [name, at("tests", "browser", "harness", `${name}.ts`)]);
  return openSite(Object.fromEntries(paths), folders);
}
