/**
 * The installed package works in a page under Vite and webpack with no configuration at all, and
 * under esbuild with two files copied.
 */
import assert from "node:assert/strict";
import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { build as esbuild } from "esbuild";
import { createServer, build as viteBuild } from "vite";
import webpack from "webpack";
import { serve } from "../../scripts/serve.mjs";
import { createProject, type Project } from "./project.ts";
import { keepsItsData, withBrowser } from "./visit.ts";

let project: Project;
before(async () => {
  project = await createProject();
});
after(() => project.remove());

/** Serve built files as any static host would, under the strictest policy that wasm allows. */
async function keepsItsDataFrom(folder: string) {
  const site = await serve({ mounts: { "/": folder } });
  try {
    await withBrowser((context) => keepsItsData(context, `${site.url}/`));
  } finally {
    await site.close();
  }
}

test("a page under vite dev, which pre-bundles dependencies, keeps its data", async () => {
  const { root } = project;
  const server = await createServer({ root, configFile: false, logLevel: "error" });
  try {
    await server.listen(0);
    const url = server.resolvedUrls?.local[0];
    assert.ok(url);
    await withBrowser((context) => keepsItsData(context, url));
    assert.ok(existsSync(join(root, "node_modules", ".vite", "deps", "kvass.js")), "pre-bundled");
  } finally {
    await server.close();
  }
});

test("a page built by vite keeps its data", async () => {
  const { root } = project;
  const outDir = join(root, "dist-vite");
  await viteBuild({ root, configFile: false, logLevel: "error", build: { outDir } });
  await keepsItsDataFrom(outDir);
});

test("a page built by webpack keeps its data", async () => {
  const path = join(project.root, "dist-webpack");
  await bundleWithWebpack({
    context: project.root,
    mode: "production",
    entry: "./main.js",
    output: { path, filename: "main.js" },
  });
  copyFileSync(join(project.root, "index.html"), join(path, "index.html"));
  await keepsItsDataFrom(path);
});

test("a page built by esbuild keeps its data, with two files copied beside it", async () => {
  const path = join(project.root, "dist-esbuild");
  await esbuild({
    absWorkingDir: project.root,
    entryPoints: ["main.js"],
    bundle: true,
    format: "esm",
    outdir: path,
  });
  copyFileSync(join(project.root, "index.html"), join(path, "index.html"));
  for (const name of ["worker.js", "kvass.wasm"]) {
    copyFileSync(join(project.installed, "pkg", name), join(path, name));
  }
  await keepsItsDataFrom(path);
});

function bundleWithWebpack(configuration: webpack.Configuration): Promise<void> {
  return new Promise((done, fail) => {
    const compiler = webpack(configuration);
    compiler?.run((error, stats) => {
      const problem =
        error ?? (stats?.hasErrors() ? new Error(stats.toString("errors-only")) : null);
      compiler.close((closing) => ((problem ?? closing) ? fail(problem ?? closing) : done()));
    });
  });
}
