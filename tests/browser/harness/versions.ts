/** Builds of the package that speak other protocols than the one that is published. */

import { copyFileSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { buildNextEngine } from "../../../scripts/build.mjs";
import { at } from "../../../scripts/lib/paths.mjs";

/** The protocols that a build speaks, of which the client's bundle is the only one to know. */
export interface Protocols {
  readonly oldest: number;
  readonly newest: number;
}

const HELLO = /client\/wire\/hello\.ts$/;

/** Bundles the page's part of the package for other protocols. */
async function bundle(folder: string, { oldest, newest }: Protocols): Promise<void> {
  const replaced = (source: string, name: string, value: number) => {
    const other = source.replace(new RegExp(`const ${name} = \\d+;`), `const ${name} = ${value};`);
    if (other === source) throw new Error(`${name} is ${value} already, or not where it was`);
    return other;
  };
  await build({
    entryPoints: { index: at("client", "index.ts") },
    outdir: folder,
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
    plugins: [
      {
        name: "protocols",
        setup: ({ onLoad }) => {
          onLoad({ filter: HELLO }, ({ path }) => {
            const source = readFileSync(path, "utf8");
            const once = newest === 3 ? source : replaced(source, "PROTOCOL", newest);
            const contents = oldest === 3 ? once : replaced(once, "PROTOCOL_OLDEST", oldest);
            return { contents, loader: "ts" };
          });
        },
      },
    ],
  });
}

/** A folder with the next version of the package: its pages and its engine. */
export async function buildNext(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "kvass-next-"));
  await buildNextEngine(folder);
  await bundle(folder, { oldest: 3, newest: 4 });
  await build({
    entryPoints: { worker: at("worker", "index.ts") },
    outdir: folder,
    alias: { "kvass-wasm": join(folder, "kvass.js") },
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
  });
  copyFileSync(join(folder, "kvass_bg.wasm"), join(folder, "kvass.wasm"));
  return folder;
}

/** A folder with pages of a version that speaks these protocols; its worker is that of /pkg/. */
export async function buildPages(protocols: Protocols): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "kvass-pages-"));
  await bundle(folder, protocols);
  return folder;
}
