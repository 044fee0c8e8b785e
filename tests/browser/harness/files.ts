/** The files of a closed database, as docs/FORMAT.md places them in OPFS and in IndexedDB. */

/** Where a database is kept. */
export interface Place {
  readonly storage: "opfs" | "indexeddb";
  /** Of letters a to z, digits, "-" and "_", which need no encoding as a directory's name. */
  readonly name: string;
}

/** Bytes of a piece in IndexedDB. */
const PIECE_BYTES = 32_768;
const FILE_BYTES_MAX = 2 ** 33;

/** The numbers of all files that hold bytes. */
export async function numbers(place: Place): Promise<number[]> {
  const found = place.storage === "opfs" ? await inDirectory(place) : await inChunks(place);
  return found.sort((a, b) => a - b);
}

/** The bytes of a file. */
export async function read(place: Place, file: number): Promise<Uint8Array<ArrayBuffer>> {
  if (place.storage === "opfs") {
    const handle = await (await directory(place)).getFileHandle(String(file));
    return new Uint8Array(await (await handle.getFile()).arrayBuffer());
  }
  const pieces = await withChunks(place, "readonly", (chunks) => chunks.getAll(range(file)));
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** Replaces the bytes of a file. */
export async function write(
  place: Place,
  file: number,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<void> {
  if (place.storage === "opfs") {
    const handle = await (await directory(place)).getFileHandle(String(file), { create: true });
    const stream = await handle.createWritable();
    await stream.write(bytes);
    await stream.close();
    return;
  }
  await withChunks(place, "readwrite", (chunks) => {
    let request: IDBRequest = chunks.delete(range(file));
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const piece = bytes.slice(at, at + PIECE_BYTES);
      request = chunks.put(piece, file * FILE_BYTES_MAX + at);
    }
    return request;
  });
}

/** Changes the bytes of a file. */
export async function change(
  place: Place,
  file: number,
  edit: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>,
): Promise<void> {
  await write(place, file, edit(await read(place, file)));
}

/** Takes one of the pieces away that a file in IndexedDB has. */
export async function losePiece(place: Place, file: number, number: number): Promise<void> {
  const keys = await withChunks(place, "readonly", (chunks) => chunks.getAllKeys(range(file)));
  const key = keys[number] ?? NaN;
  await withChunks(place, "readwrite", (chunks) => chunks.delete(key));
}

async function directory({ name }: Place): Promise<FileSystemDirectoryHandle> {
  const root = await navigator.storage.getDirectory();
  return (await root.getDirectoryHandle("kvass")).getDirectoryHandle(name);
}

async function inDirectory(place: Place): Promise<number[]> {
  const found: number[] = [];
  // The types of the DOM library leave out that a directory can be iterated.
  const entries = (await directory(place)) as unknown as AsyncIterable<
    [string, FileSystemFileHandle]
  >;
  for await (const [name, handle] of entries) {
    if ((await handle.getFile()).size > 0) found.push(Number(name));
  }
  return found;
}

async function inChunks(place: Place): Promise<number[]> {
  const keys = await withChunks(place, "readonly", (chunks) => chunks.getAllKeys());
  return [...new Set(keys.map((key) => Math.floor(Number(key) / FILE_BYTES_MAX)))];
}

const range = (file: number) =>
  IDBKeyRange.bound(file * FILE_BYTES_MAX, (file + 1) * FILE_BYTES_MAX, false, true);

/** Runs a transaction to its end; returns the result of the request that `run` returns. */
async function withChunks<T>(
  { name }: Place,
  mode: IDBTransactionMode,
  run: (chunks: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const database = await new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(`kvass:${name}`);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  try {
    return await new Promise<T>((resolve, reject) => {
      const transaction = database.transaction("chunks", mode);
      const request = run(transaction.objectStore("chunks"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}
