/** IndexedDB itself, used as well as it can be. */

import type { Store } from "../workload.ts";

const STORE = "entries";
/** How many entries the scan reads at a time: more is not faster. */
const SCAN_BATCH = 1000;

/** An object store that can read keys and values together, as Chromium's can since 2025. */
interface RecordStore extends IDBObjectStore {
  getAllRecords(options: { query: IDBKeyRange | null; count: number }): IDBRequest<IDBRecord[]>;
}

interface IDBRecord {
  readonly key: IDBValidKey;
  readonly value: Uint8Array;
}

/** Opens a database with one object store of keys and values, written with relaxed durability. */
export async function openIndexedDb(name: string): Promise<Store> {
  const database = await open(name);
  const begin = (mode: IDBTransactionMode) => {
    const transaction = database.transaction(STORE, mode, { durability: "relaxed" });
    return { transaction, store: transaction.objectStore(STORE) };
  };
  return {
    put({ key, value }) {
      const { transaction, store } = begin("readwrite");
      store.put(value, key);
      return complete(transaction);
    },
    putBatch(entries) {
      const { transaction, store } = begin("readwrite");
      for (const { key, value } of entries) store.put(value, key);
      return complete(transaction);
    },
    get: (key) => result<Uint8Array>(begin("readonly").store.get(key)),
    getMany(keys) {
      const { store } = begin("readonly");
      return Promise.all(keys.map((key) => result<Uint8Array>(store.get(key))));
    },
    async scan(visit) {
      const { store } = begin("readonly");
      let after: IDBKeyRange | null = null;
      for (;;) {
        const records = await nextRecords(store, after);
        for (const { key, value } of records) visit(key as string, value);
        const last = records.at(-1);
        if (last === undefined || records.length < SCAN_BATCH) return;
        after = IDBKeyRange.lowerBound(last.key, true);
      }
    },
    close: async () => database.close(),
  };
}

async function nextRecords(store: IDBObjectStore, query: IDBKeyRange | null): Promise<IDBRecord[]> {
  if ("getAllRecords" in store) {
    return result((store as RecordStore).getAllRecords({ query, count: SCAN_BATCH }));
  }
  const [keys, values] = await Promise.all([
    result(store.getAllKeys(query, SCAN_BATCH)),
    result<Uint8Array[]>(store.getAll(query, SCAN_BATCH)),
  ]);
  return keys.map((key, i) => ({ key, value: values[i] as Uint8Array }));
}

function open(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return result(request);
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Commits at once, without waiting to see whether more requests come. */
function complete(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    transaction.commit();
  });
}
