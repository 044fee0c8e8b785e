/** What somebody's compiler checks against the package: code that must compile or must not. */
import { type Kv, KvU64, openKv } from "kvass";

const kv: Kv = await openKv("t", { storage: "auto", durability: "strict" });
const entry = await kv.get<{ name: string }>(["users", 1]);
const name: string | undefined = entry.value?.name;
const stamp: string | null = entry.versionstamp;
for await (const { key, value } of kv.list<number>({ prefix: ["users"] }, { limit: 10 })) {
  const part: unknown = key[0];
  const count: number = value;
  console.log(part, count);
}
const result = await kv.atomic().check(entry).set(["n"], new KvU64(1n)).sum(["n"], 2n).commit();
if (result.ok) console.log(result.versionstamp, name, stamp);
await kv[Symbol.asyncDispose]();

// @ts-expect-error a key is an array
await kv.get("users");
// @ts-expect-error null is no key part
await kv.set([null], 1);
// @ts-expect-error there is no such storage
await openKv("t", { storage: "cookies" });
// @ts-expect-error a u64 is made of a bigint
new KvU64(1);
