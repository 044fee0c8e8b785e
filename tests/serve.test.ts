/** The static file server of the playground and of every browser test. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { POLICY, serve } from "../scripts/serve.mjs";

let root: string;
let site: Awaited<ReturnType<typeof serve>>;

before(async () => {
  root = mkdtempSync(join(tmpdir(), "kvass-serve-"));
  mkdirSync(join(root, "public", "sub"), { recursive: true });
  writeFileSync(join(root, "secret.txt"), "secret");
  writeFileSync(join(root, "public-secret.txt"), "secret");
  writeFileSync(join(root, "public", "index.html"), "<p>home");
  writeFileSync(join(root, "public", "sub", "a b.wasm"), "wasm");
  writeFileSync(join(root, "one.json"), "{}");
  const mounts = { "/": join(root, "public"), "/data/one.json": join(root, "one.json") };
  site = await serve({ mounts });
});
after(async () => {
  await site.close();
  rmSync(root, { recursive: true, force: true });
});

/** Ask for a path exactly as written: fetch would tidy it up first. */
async function ask(path: string, method = "GET", headers: Record<string, string> = {}) {
  const { hostname, port } = new URL(site.url);
  const response = await new Promise<IncomingMessage>((done, fail) => {
    request({ hostname, port, path, method, headers }, done).once("error", fail).end();
  });
  let body = "";
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, headers: response.headers, body };
}

test("files and folders are served with their types and the policy", async () => {
  const home = await ask("/?query#hash");
  assert.equal(home.status, 200);
  assert.equal(home.body, "<p>home");
  assert.equal(home.headers["content-type"], "text/html; charset=utf-8");
  assert.equal(home.headers["content-security-policy"], POLICY);
  assert.equal((await ask("/sub/a%20b.wasm")).headers["content-type"], "application/wasm");
  assert.equal((await ask("/data/one.json")).body, "{}");
});

test("nothing outside the mounts can be read", async () => {
  for (const path of [
    "/../secret.txt",
    "/sub/../../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/..%5csecret.txt",
    "/../public-secret.txt",
    "/data/one.json/../../secret.txt",
    "//etc/passwd",
    "/%00",
    "/%zz",
    "/sub",
    "/nothing",
  ]) {
    assert.equal((await ask(path)).status, 404, path);
  }
});

test("an unchanged file is not sent again, and only reading is allowed", async () => {
  const { headers } = await ask("/");
  const again = await ask("/", "GET", { "if-none-match": headers.etag ?? "" });
  assert.deepEqual([again.status, again.body], [304, ""]);
  assert.deepEqual((await ask("/", "HEAD")).body, "");
  assert.equal((await ask("/", "POST")).status, 405);
});

test("a port that is taken is replaced by a free one", async () => {
  const port = Number(new URL(site.url).port);
  const second = await serve({ mounts: { "/": root }, port });
  assert.notEqual(second.url, site.url);
  await second.close();
});
