/** A service worker that uses a database which only pages can host. */

import type { KvassError } from "kvass";
import { openKv } from "kvass";

addEventListener("message", async (event) => {
  const { data, ports } = event as MessageEvent<string>;
  try {
    const kv = await openKv(data);
    const { value } = await kv.get<number>(["n"]);
    const count = await kv.atomic().sum(["count"], 1n).commit();
    const { role } = await kv.status();
    await kv.close();
    ports[0]?.postMessage({ value, ok: count.ok, role });
  } catch (error) {
    ports[0]?.postMessage((error as KvassError).code ?? String(error));
  }
});
