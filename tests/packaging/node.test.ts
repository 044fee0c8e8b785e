/** Importing the package does nothing: a server that renders pages may load it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { createProject, type Project } from "./project.ts";

let project: Project;
before(async () => {
  project = await createProject();
});
after(() => project.remove());

/** Fails on any look at what only a browser has, and on any global that is new afterwards. */
const PROGRAM = `
  const trapped = ["Worker", "SharedWorker", "document", "window", "self", "location",
    "indexedDB", "caches", "localStorage", "BroadcastChannel", "fetch", "WebAssembly"];
  for (const name of [...trapped, "navigator"]) {
    Object.defineProperty(globalThis, name, {
      configurable: true,
      get() { throw new Error("importing kvass looked at " + name); },
    });
  }
  const before = Reflect.ownKeys(globalThis);
  const { openKv } = await import("kvass");
  const added = Reflect.ownKeys(globalThis).filter((key) => !before.includes(key));
  const active = process.getActiveResourcesInfo().filter((name) => !/Pipe|TTY|Req$/.test(name));
  console.log(JSON.stringify({ openKv: typeof openKv, added, active }));
`;

test("imported in plain Node, the package touches no global and starts nothing", async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--input-type=module", "--eval", PROGRAM],
    { cwd: project.root },
  );
  assert.deepEqual(JSON.parse(stdout), { openKv: "function", added: [], active: [] });
});
