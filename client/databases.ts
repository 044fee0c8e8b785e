/** The databases of this origin: which there are, and an end to one. */

import { DIRECTORY, directoryOf } from "../tabs/directory.ts";
import {
  fieldsOf,
  hostLockOf,
  type LobbyMessage,
  lobbyOf,
  NOTHING_SHARED,
} from "../tabs/messages.ts";
import type { Platform } from "../tabs/platform.ts";
import { tabPlatform } from "./browser.ts";
import { KvassError } from "./errors.ts";
import { checkName } from "./name.ts";
import type { KvDatabase } from "./types.ts";

/** What the names of databases in IndexedDB begin with. */
const PREFIX = "kvass:";
/** How long those who have a database open may take to let go of it. */
const LET_GO_MS = 5_000;
const RETRY_MS = 50;

/**
 * Lists the databases that are stored in this origin, by name. Where one name is stored in both
 * OPFS and IndexedDB there are two.
 *
 * @throws KvassError `Io` if the browser can't tell
 */
export async function listKv(): Promise<KvDatabase[]> {
  const [inDirectories, inIndexedDb] = await Promise.all([directories(), indexedDbs()]);
  const found: KvDatabase[] = [
    ...inDirectories.map((name) => ({ name, storage: "opfs" }) as const),
    ...inIndexedDb.map((name) => ({ name, storage: "indexeddb" }) as const),
  ];
  return found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/**
 * Deletes a database with all it has, wherever it is stored; one that is not there is deleted
 * already. Tabs that have it open lose it: their handles are `Closed`.
 *
 * @throws TypeError for what is no name. KvassError: `Busy` if a tab does not let go of it,
 * `Unsupported` where nothing is stored, `Io` if the browser can't delete it
 */
export async function deleteKv(name = "default"): Promise<void> {
  checkName(name);
  await deleteFrom(tabPlatform(), name, (signal) => remove(name, signal));
}

/**
 * Has everybody let go of a database, and `remove` its files.
 * @param remove gives up when its signal aborts
 */
export async function deleteFrom(
  platform: Platform,
  name: string,
  remove: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { locks } = platform;
  if (locks === undefined) {
    throw new KvassError("Unsupported", NOTHING_SHARED);
  }
  const lobby = platform.openChannel(lobbyOf(name));
  // Nobody is to take the lock away meanwhile.
  lobby.onmessage = ({ data }) => {
    if ("who" in fieldsOf(data)) lobby.postMessage({ opening: true } satisfies LobbyMessage);
  };
  lobby.postMessage({ deleting: true } satisfies LobbyMessage);
  const late = new AbortController();
  const { signal } = late;
  const timer = platform.setTimer(() => late.abort(), LET_GO_MS);
  try {
    await locks.request(hostLockOf(name), { signal }, () => remove(signal));
  } catch (error) {
    if (error instanceof KvassError) throw error;
    if (signal.aborted) {
      throw new KvassError("Busy", `a tab that has "${name}" open does not let go of it`);
    }
    throw failureOf(`deleting "${name}"`, error);
  } finally {
    platform.clearTimer(timer);
    lobby.close();
  }
}

/** Removes the files, which may be in use for a moment after the lock is free. */
async function remove(name: string, signal: AbortSignal): Promise<void> {
  const directory = await root();
  for (;;) {
    try {
      await directory?.removeEntry(directoryOf(name), { recursive: true });
      break;
    } catch (error) {
      if (hasName(error, "NotFoundError")) break;
      if (!hasName(error, "NoModificationAllowedError") || signal.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
  if (typeof indexedDB === "undefined") return;
  await new Promise<void>((resolve, reject) => {
    const request = indexedDB.deleteDatabase(PREFIX + name);
    const message = `a tab that has "${name}" open does not let go of it: it is deleted then`;
    const late = () => reject(new KvassError("Busy", message));
    signal.addEventListener("abort", late);
    // A signal that has aborted by now does not tell of it again.
    if (signal.aborted) late();
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
  });
}

/** The directory of all databases, or undefined where there is none. */
async function root(): Promise<FileSystemDirectoryHandle | undefined> {
  const storage = (globalThis.navigator as Partial<Navigator> | undefined)?.storage;
  try {
    return await (await storage?.getDirectory?.())?.getDirectoryHandle(DIRECTORY);
  } catch (error) {
    // Private windows of some browsers have no OPFS.
    if (hasName(error, "NotFoundError", "SecurityError", "UnknownError")) return undefined;
    throw failureOf("looking into OPFS", error);
  }
}

async function directories(): Promise<string[]> {
  const directory = (await root()) as
    | (FileSystemDirectoryHandle & { keys(): AsyncIterable<string> })
    | undefined;
  const names: string[] = [];
  if (directory === undefined) return names;
  for await (const entry of directory.keys()) {
    const name = nameOf(entry);
    if (name !== undefined) names.push(name);
  }
  return names;
}

async function indexedDbs(): Promise<string[]> {
  if (typeof indexedDB === "undefined") return [];
  try {
    const known = (await indexedDB.databases?.()) ?? [];
    const names = known.map(({ name }) => name ?? "");
    return names.filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length));
  } catch (error) {
    throw failureOf("looking into IndexedDB", error);
  }
}

/** The database of a directory; undefined where it is none of ours. */
function nameOf(directory: string): string | undefined {
  if (directory === "%") return "";
  try {
    const name = decodeURIComponent(directory);
    return directoryOf(name) === directory ? name : undefined;
  } catch {
    return undefined;
  }
}

function failureOf(what: string, cause: unknown): KvassError {
  return new KvassError("Io", `${what}: ${String(cause)}`, { cause });
}

function hasName(exception: unknown, ...names: string[]): boolean {
  return names.includes((exception as Partial<Error> | null)?.name ?? "");
}
