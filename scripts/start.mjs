/** `npm start`: set up what is missing, build, and serve the playground. */
import { build } from "./build.mjs";
import { Explained, entry } from "./lib/run.mjs";
import { serve } from "./serve.mjs";

await entry(import.meta.url, async (args) => {
  const wanted = args.includes("--port") ? Number(args[args.indexOf("--port") + 1]) : 8080;
  if (!Number.isInteger(wanted)) throw new Explained("--port takes a number");
  await build();
  const { url } = await serve({ port: wanted });
  console.log(`kvass playground: ${url}/`);
});
