/** A worker of an app that opens a database, and counts how often it was asked. */

import { type Kv, openKv } from "kvass";

let kv: Promise<Kv> | undefined;

addEventListener("message", async ({ data: name }: MessageEvent<string>) => {
  kv ??= openKv(name);
  const opened = await kv;
  const { value } = await opened.get<number>(["n"]);
  await opened.set(["n"], (value ?? 0) + 1);
  const { role } = await opened.status();
  postMessage([role, value]);
});
