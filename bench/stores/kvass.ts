/** kvass, on OPFS or on IndexedDB, as it is by default. */

import { type KvStorage, openKv } from "kvass";
import type { Entry, Store } from "../workload.ts";

/** How many entries a page of the scan has. */
const SCAN_BATCH = 1000;

/** Opens a database. */
export async function openKvass(name: string, storage: KvStorage): Promise<Store> {
  const kv = await openKv(name, { storage });
  const commit = (entries: readonly Entry[]) => {
    const operation = kv.atomic();
    for (const { key, value } of entries) operation.set([key], value);
    return operation.commit();
  };
  return {
    put: ({ key, value }) => kv.set([key], value),
    putBatch: commit,
    putTogether: (entries) => Promise.all(entries.map(({ key, value }) => kv.set([key], value))),
    get: async (key) => (await kv.get<Uint8Array>([key])).value ?? undefined,
    async getMany(keys) {
      const entries = await kv.getMany<Uint8Array[]>(keys.map((key) => [key]));
      return entries.map((entry) => entry.value ?? undefined);
    },
    async scan(visit) {
      const entries = kv.list<Uint8Array>({ prefix: [] }, { batchSize: SCAN_BATCH });
      for await (const { key, value } of entries) visit(key[0] as string, value);
    },
    close: () => kv.close(),
  };
}
