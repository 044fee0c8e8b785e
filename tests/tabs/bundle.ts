/** The simulation as one script, with small bounds, and a bug in it where that is asked for. */

import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import { setFlagsFromString } from "node:v8";
import { build, type Plugin } from "esbuild";
import { at } from "../../scripts/lib/paths.mjs";
import { BOUNDS } from "./bounds.ts";
import type { Edit } from "./planted.ts";

// To compile takes as long as the first thousand runs, most of it for functions that were put into
// many others: V8 is to do so less, in the threads too.
setFlagsFromString("--max-inlined-bytecode-size-cumulative=150");

/** Builds a script with `edits`. @throws Error where an edit does not fit any more */
async function urlOf(entry: string, planted: readonly Edit[]): Promise<string> {
  const edits = [...BOUNDS, ...planted];
  const done = new Set<Edit>();
  const { outputFiles } = await build({
    entryPoints: [at("tests", "tabs", entry)],
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    write: false,
    plugins: [editing(edits, done)],
  });
  for (const edit of edits) {
    if (!done.has(edit)) throw new Error(`nothing to edit: ${edit.file}: ${edit.from}`);
  }
  const code = Buffer.from(outputFiles[0]?.contents ?? []).toString("base64");
  return `data:text/javascript;base64,${code}`;
}

/** Builds it with `edits` and loads it. */
export async function simulation(edits: readonly Edit[] = []): Promise<typeof import("./run.ts")> {
  return import(await urlOf("run.ts", edits));
}

/** The script of a thread that runs seeds. */
export async function threadUrl(): Promise<URL> {
  return new URL(await urlOf("thread.ts", []));
}

function editing(edits: readonly Edit[], done: Set<Edit>): Plugin {
  return {
    name: "editing",
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
