/** What somebody's page would do: keep something, list it, and find it again after a reload. */
import { openKv } from "kvass";

async function visit() {
  const kv = await openKv("t");
  const before = await kv.get(["drinks", "kvass"]);
  await kv.set(["drinks", "kvass"], { of: "rye", percent: 1 });
  await kv.set(["drinks", "mead"], { of: "honey", percent: 12 });
  const after = await kv.get(["drinks", "kvass"]);
  const listed = [];
  for await (const { key, value } of kv.list({ prefix: ["drinks"] })) listed.push([key, value]);
  kv.close();
  return { before: before.value, after: after.value, listed };
}

visit().then(
  (result) => {
    document.body.dataset.result = JSON.stringify(result);
  },
  (error) => {
    document.body.dataset.error = `${error.name}: ${error.message}`;
  },
);
