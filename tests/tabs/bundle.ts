/** The simulation as one script, with a bug in it where that is asked for. */

import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import { build, type Plugin } from "esbuild";
import { at } from "../../scripts/lib/paths.mjs";
import type { Edit } from "./planted.ts";

/** Builds it with `edits` and loads it. @throws Error where an edit does not fit any more */
export async function simulation(edits: readonly Edit[] = []): Promise<typeof import("./run.ts")> {
  const done = new Set<Edit>();
  const { outputFiles } = await build({
    entryPoints: [at("tests", "tabs", "run.ts")],
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    write: false,
    plugins: [planting(edits, done)],
  });
  for (const edit of edits) {
    if (!done.has(edit)) throw new Error(`nothing to plant a bug in: ${edit.file}: ${edit.from}`);
  }
  const code = Buffer.from(outputFiles[0]?.contents ?? []).toString("base64");
  return import(`data:text/javascript;base64,${code}`);
}

function planting(edits: readonly Edit[], done: Set<Edit>): Plugin {
  return {
    name: "planting",
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        let contents = await readFile(path, "utf8");
        const file = relative(at(), path).replaceAll("\\", "/");
        for (const edit of edits) {
          if (edit.file !== file || !contents.includes(edit.from)) continue;
          contents = contents.replace(edit.from, () => edit.to);
          done.add(edit);
        }
        return { contents, loader: "ts" };
      });
    },
  };
}
