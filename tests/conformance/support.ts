/** Short ways to fill a database and to look at it. */

import type { Kv, KvEntry, KvKey, KvListOptions, KvListSelector } from "kvass";

/** Every key that an entry can have lies between these. */
export const EVERYTHING = { start: [new Uint8Array()], end: [true, true] } as const;

/** Writes `key → value` pairs in one commit. */
export async function fill(kv: Kv, entries: readonly (readonly [KvKey, unknown])[]): Promise<void> {
  const operation = kv.atomic();
  for (const [key, value] of entries) operation.set(key, value);
  await operation.commit();
}

/** The entries of a list. */
export async function all<T>(
  kv: Kv,
  selector: KvListSelector,
  options?: KvListOptions,
): Promise<KvEntry<T>[]> {
  const entries: KvEntry<T>[] = [];
  for await (const entry of kv.list<T>(selector, options)) entries.push(entry);
  return entries;
}

/** The values of a list. */
export async function valuesOf(
  kv: Kv,
  selector: KvListSelector,
  options?: KvListOptions,
): Promise<unknown[]> {
  return (await all(kv, selector, options)).map((entry) => entry.value);
}

/** What a stream gives next. */
export async function next<T>(reader: ReadableStreamDefaultReader<T>): Promise<T> {
  const { value, done } = await reader.read();
  if (done) throw new Error("the stream has ended");
  return value;
}

/** Reads a stream until `isWanted`; returns all that it gave, the wanted one last. */
export async function until<T>(
  reader: ReadableStreamDefaultReader<T>,
  isWanted: (value: T) => boolean,
): Promise<T[]> {
  const seen: T[] = [];
  do seen.push(await next(reader));
  while (!isWanted(seen[seen.length - 1] as T));
  return seen;
}
