/** pkg/ needs no bundler: any static file server and a strict policy are enough. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { POLICY, serve } from "../../scripts/serve.mjs";
import { createProject, type Project } from "./project.ts";
import { keepsItsData, withBrowser } from "./visit.ts";

let project: Project;
before(async () => {
  project = await createProject();
  const main = join(project.root, "main.js");
  writeFileSync(main, readFileSync(main, "utf8").replace('"kvass"', '"/pkg/index.js"'));
});
after(() => project.remove());

test("pkg/ works from another origin, with a worker that imports it from there", async () => {
  const cors = { "access-control-allow-origin": "*" };
  const mounts = { "/pkg/": join(project.installed, "pkg") };
  const other = await serve({ mounts, headers: cors });
  const folder = join(project.root, "other-origin");
  mkdirSync(folder);
  copyFileSync(join(project.root, "index.html"), join(folder, "index.html"));
  const main = readFileSync(join(project.root, "main.js"), "utf8")
    .replace('"/pkg/index.js"', `"${other.url}/pkg/index.js"`)
    .replace('openKv("t")', 'openKv("t", { worker: "/own.js" })');
  writeFileSync(join(folder, "main.js"), main);
  writeFileSync(join(folder, "own.js"), `import "${other.url}/pkg/worker.js";\n`);
  const site = await serve({ mounts: { "/": folder }, headers: {} });
  try {
    await withBrowser((context) => keepsItsData(context, `${site.url}/`));
  } finally {
    await site.close();
    await other.close();
  }
});

async function keepsItsDataWith(types: Record<string, string>) {
  const mounts = { "/": project.root, "/pkg/": join(project.installed, "pkg") };
  const headers = { "content-security-policy": POLICY };
  const site = await serve({ mounts, headers, types });
  try {
    await withBrowser((context) => keepsItsData(context, `${site.url}/`));
  } finally {
    await site.close();
  }
}

test("pkg/ works from a static file server with no bundler, no isolation and no eval", () =>
  keepsItsDataWith({}));

test("pkg/ works from a server that does not know the MIME type of .wasm", () =>
  keepsItsDataWith({ ".wasm": "application/octet-stream" }));
