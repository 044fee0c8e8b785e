/**
 * `npm start`: set up what is missing, build, and serve the playground.
 *
 *     npm start -- --port 9000     when that port is taken, another one
 *     npm start -- --dev           a quick build, see build.mjs
 */
import { parseArgs } from "node:util";
import { build } from "./build.mjs";
import { Explained, entry } from "./lib/run.mjs";
import { serve } from "./serve.mjs";

await entry(import.meta.url, async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      port: { type: "string", default: "8080" },
      dev: { type: "boolean", default: false },
    },
  });
  const port = Number(values.port);
  if (!(port >= 0 && port <= 65_535)) throw new Explained(`no port: ${values.port}`);
  await build({ dev: values.dev });
  const { url } = await serve({ port });
  console.log(`kvass playground: ${url}/`);
});
