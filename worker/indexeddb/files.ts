/**
 * Files in an IndexedDB database, as records of up to 32 KiB. src/wasm/indexeddb.rs makes a
 * `Storage` of them.
 *
 *   database "kvass:" name, version 1
 *
 *     store "chunks"    key: a number, file * 2^33 + offset    value: Uint8Array, 1 to 32768 bytes
 *
 *       file 7   0               32768                 65536      69632  70012
 *                |  one piece    |  one piece          | piece    |piece|  <- end of the file
 *                '-- a slot -----'-- a slot -----------'-- a slot ------- - - -
 *
 *     store "meta"      "owner"    a number that the current owner has drawn at random
 *                       "sync"     a number that every sync counts up
 *
 * Pieces of a file follow each other without a gap, and none crosses the end of a slot. So a read
 * is one `getAll` over the slots it touches, the length of a file is in its last piece, and an
 * append is one `put`: of a new piece, or of the last one, made longer, while it is small. Where
 * bytes are overwritten or cut off, the slots they are in are written anew.
 *
 * Every change of a file is one transaction, behind the fence of connection.ts. What the last open
 * left behind of a change is all or nothing.
 *
 * Durability is the browser's: a `strict` transaction makes itself and all that were complete
 * before it durable, because Chromium flushes the log that they share, WebKit checkpoints the
 * database (SQLite) and Firefox synchronizes its log (SQLite too) at the commit.
 */

import { CORRUPTION, failure, IO } from "../failure.ts";
import { type Change, Connection } from "./connection.ts";
import {
  bytesOf,
  copy,
  cut,
  endOf,
  FILE_BYTES_MAX,
  FILES_MAX,
  fileOf,
  filesIn,
  gapsIn,
  join,
  keyOf,
  lastIn,
  MANIFEST_SLOTS,
  type Part,
  PIECE_BYTES,
  piecesIn,
  slotEnd,
  slotStart,
  split,
} from "./layout.ts";

const FIRST_FILE = MANIFEST_SLOTS.length;
/** So much of each log is read when a database is opened; what is behind that a part at a time. */
const LOG_BYTES = 4 * 1024 * 1024;
/** So many files after the logs are those that an open looks into: blob files. */
const BEGINNINGS = 3;

/** What is known of a file. */
class File {
  /** Known once it was asked for, except while the file is being changed. */
  len: number | undefined;
  /** The last piece, while it is small enough to be made longer. */
  tail: Uint8Array = new Uint8Array();
  /** A change is under way: only the database knows the length. */
  isChanging = false;

  learn(len: number): void {
    if (!this.isChanging) this.len ??= len;
  }
}

/** Bytes of a file that were read. */
export class Bytes {
  readonly #parts: Part[];

  constructor(parts: Part[]) {
    this.#parts = parts;
  }

  /** Copies them into `target`, the engine's own buffer; returns how many are not lost. */
  copyTo(target: Uint8Array): number {
    copy(this.#parts, target);
    return bytesOf(this.#parts.filter((part) => part instanceof Uint8Array));
  }
}

/** A connection to the database `name`, which a `Connection.prepare` may begin to make. */
export const connectionTo = (name: string) => new Connection(`kvass:${name}`);

/**
 * Opens the files of the database `name` and takes them over: whoever had them open before can't
 * write any more. `deposed` is called when that has become of these. A database that is not there
 * is made, or else refused.
 *
 * @throws Failure, as all methods do: `Unsupported` where there is no IndexedDB, `NewerFormat`
 *   where a newer kvass has made the database, `Io` when the browser does not open it within ten
 *   seconds, or it is not there
 */
export async function openIndexedDb(
  name: string,
  deposed = () => {},
  connection = connectionTo(name),
  create = true,
): Promise<Files> {
  let slots: IDBRequest<unknown[]>[] = [];
  const read: Change = (chunks) => {
    slots = MANIFEST_SLOTS.map((slot) => chunks.getAll(filesIn(slot, slot + 1)));
  };
  await connection.take(deposed, read, create);
  return new Files(
    connection,
    slots.map(({ result }) => result),
  );
}

/** The `Storage` of src/storage/mod.rs, which says what the methods promise. */
export class Files {
  readonly #connection: Connection;
  /** What an open has read ahead of files, from their beginnings on: until one is changed. */
  readonly #ahead = new Map<number, unknown[]>();
  /** In no order. */
  #files = new Map<number, File>();
  /** Whether `#files` has every file. Before that, only the database knows. */
  #isAdopted = false;
  #prepared: Promise<void> | undefined;
  /** Whether there are no files but those that are to be adopted. */
  #hasNoOthers = false;
  #syncs = 0;

  /** Files that were taken over, and all pieces of the manifest's slots. */
  constructor(connection: Connection, slots: unknown[][]) {
    this.#connection = connection;
    for (const [slot, pieces] of slots.entries()) {
      this.#know(slot, bytesOf(cut(pieces, 0, 0, FILE_BYTES_MAX)), pieces);
    }
  }

  #know(file: number, len: number, pieces: unknown[]): void {
    this.#entry(file).learn(len);
    // Behind one that is missing none is in its place.
    const isWhole = bytesOf(pieces as Uint8Array[]) >= Math.min(len, LOG_BYTES);
    if (isWhole || pieces.length === 1) this.#ahead.set(file, pieces);
  }

  async list(): Promise<Uint32Array> {
    const holding = (await this.#lens()).filter(([file, len]) => file >= FIRST_FILE && len > 0);
    return Uint32Array.from(holding, ([file]) => file);
  }

  /** What fails of it is told where it is needed. */
  prepare(live: Uint32Array, logs: number): void {
    this.#prepared = this.#readAhead([...live], logs).catch(() => undefined);
  }

  /** Asks at once for all that an open reads: each time is a question to another process. */
  async #readAhead(live: number[], logs: number): Promise<void> {
    const others = gapsIn(live);
    const files = live.slice(0, logs + BEGINNINGS);
    const found = await this.#connection.read<unknown>((chunks) => [
      ...others.map((range) => chunks.getKey(range)),
      ...files.flatMap((file, index) => [
        lastIn(chunks, file),
        chunks.getAll(piecesIn(file, 0, LOG_BYTES), index < logs ? undefined : 1),
      ]),
    ]);
    this.#hasNoOthers = found.splice(0, others.length).every((key) => key === undefined);
    for (const file of files) {
      const [last, pieces] = found.splice(0, 2) as [IDBCursorWithValue | null, unknown[]];
      this.#know(file, endOf(last), pieces);
    }
  }

  async adopt(live: Uint32Array): Promise<void> {
    const kept = [...MANIFEST_SLOTS, ...live];
    const others = gapsIn(live);
    await this.#prepared;
    this.#connection.check();
    if (!this.#hasNoOthers) {
      await this.#connection.write("relaxed", (chunks) => {
        for (const range of others) chunks.delete(range);
      });
    }
    this.#files = new Map(kept.map((file) => [file, this.#files.get(file) ?? new File()]));
    this.#isAdopted = true;
  }

  async create(): Promise<number> {
    this.#connection.check();
    let file = FIRST_FILE;
    while (this.#files.has(file)) file += 1;
    this.#entry(file).len = 0;
    return file;
  }

  async len(file: number): Promise<number> {
    await this.#prepared;
    this.#check(file);
    return this.#askLen(file);
  }

  async read(file: number, offset: number, bytes: number): Promise<Bytes> {
    return new Bytes(await this.#read(file, offset, offset + bytes));
  }

  /** `data` is not looked at any more when the call has returned. */
  async write(file: number, offset: number, data: Uint8Array, isStrict: boolean): Promise<void> {
    const pieces = split(offset, data);
    this.#check(file);
    const end = offset + data.length;
    const len = this.#files.get(file)?.len ?? (await this.#askLen(file));
    if (offset > len || end > FILE_BYTES_MAX) {
      throw failure(IO, "a write past the end of the file");
    }
    const durability = isStrict ? "strict" : "relaxed";
    if (pieces.length === 0) return isStrict ? this.sync(file) : undefined;
    if (offset === len) return this.#append(file, len, pieces, durability);
    return this.#overwrite(file, len, offset, pieces, durability);
  }

  async sync(file: number): Promise<void> {
    this.#check(file);
    this.#syncs += 1;
    await this.#connection.write("strict", (_, meta) => meta.put(this.#syncs, "sync"));
  }

  async truncate(file: number, len: number): Promise<void> {
    const before = await this.len(file);
    if (len > before) throw failure(IO, "a cut past the end of the file");
    if (len === before) return;
    const first = slotStart(len);
    const kept = join(...(await this.#read(file, first, len)));
    await this.#change(file, "relaxed", len, undefined, (chunks) => {
      chunks.delete(piecesIn(file, first, FILE_BYTES_MAX));
      if (kept.length > 0) chunks.put(kept, keyOf(file, first));
    });
  }

  async remove(file: number): Promise<void> {
    this.#check(file);
    if (this.#files.get(file)?.len !== 0) {
      await this.#change(file, "relaxed", 0, undefined, (chunks) => {
        chunks.delete(filesIn(file, file + 1));
      });
    }
    this.#files.delete(file);
  }

  async usage(): Promise<number> {
    let usage = 0;
    for (const [, len] of await this.#lens()) usage += len;
    return usage;
  }

  close(): void {
    this.#connection.close();
  }

  /** Throws where `file` is known not to be there. */
  #check(file: number): void {
    this.#connection.check();
    const isThere = file < FIRST_FILE || this.#files.has(file);
    if (!isThere && (this.#isAdopted || file >= FILES_MAX)) throw missing();
  }

  #entry(file: number): File {
    let entry = this.#files.get(file);
    if (entry === undefined) {
      entry = new File();
      this.#files.set(file, entry);
    }
    return entry;
  }

  /** The length of every file that is there. */
  async #lens(): Promise<[file: number, len: number][]> {
    this.#connection.check();
    let files = [...this.#files.keys()];
    if (!this.#isAdopted) {
      const range = filesIn(0, FILES_MAX);
      const [keys = []] = await this.#connection.read((chunks) => [chunks.getAllKeys(range)]);
      files = [...new Set((keys as number[]).map(fileOf))];
    }
    const ask = async (file: number): Promise<[number, number]> => [file, await this.#end(file)];
    const lens = await Promise.all(files.map(ask));
    // Some may have been removed meanwhile.
    return this.#isAdopted ? lens.filter(([file]) => this.#files.has(file)) : lens;
  }

  async #askLen(file: number): Promise<number> {
    const len = await this.#end(file);
    if (!this.#files.has(file) && this.#isAdopted && file >= FIRST_FILE) throw missing();
    // Until it is said which files there are, one without bytes is not told from none.
    return len;
  }

  /** The length of a file, 0 where there is none. */
  async #end(file: number): Promise<number> {
    const known = this.#files.get(file)?.len;
    if (known !== undefined) return known;
    const [last = null] = await this.#connection.read((chunks) => [lastIn(chunks, file)]);
    const entry = this.#files.get(file);
    entry?.learn(endOf(last));
    return entry?.len ?? endOf(last);
  }

  async #read(file: number, start: number, end: number): Promise<Part[]> {
    await this.#prepared;
    this.#check(file);
    const first = slotStart(start);
    if (first >= end || end > FILE_BYTES_MAX) return [];
    const ahead = this.#ahead.get(file);
    if (ahead !== undefined) {
      const last = Math.min(end, this.#files.get(file)?.len ?? end);
      const bytes = cut(ahead, 0, start, last);
      if (bytesOf(bytes) === Math.max(0, last - start)) return bytes;
    }
    const range = piecesIn(file, first, end);
    const [pieces = []] = await this.#connection.read((chunks) => [chunks.getAll(range)]);
    const bytes = cut(pieces, first, start, end);
    if (bytesOf(bytes) === end - start) return bytes;
    // The file ends before, or pieces are missing.
    const [keys] = await this.#connection.read((chunks) => [chunks.getAllKeys(range)]);
    return cut(pieces, first, start, end, keys);
  }

  /** Changes a file in one transaction, after which it has `len` bytes and `tail` at its end. */
  async #change(
    file: number,
    durability: IDBTransactionDurability,
    len: number,
    tail: Uint8Array | undefined,
    change: Change,
  ): Promise<void> {
    this.#ahead.clear();
    const entry = this.#entry(file);
    entry.isChanging = true;
    entry.len = undefined;
    entry.tail = new Uint8Array();
    try {
      await this.#connection.write(durability, change);
      entry.len = len;
      if (tail !== undefined && tail.length < PIECE_BYTES) entry.tail = tail;
    } finally {
      entry.isChanging = false;
    }
  }

  #append(
    file: number,
    len: number,
    pieces: Uint8Array[],
    durability: IDBTransactionDurability,
  ): Promise<void> {
    const { tail } = this.#entry(file);
    const end = len + bytesOf(pieces);
    const begin = len - tail.length;
    const grows = tail.length > 0 && end - begin <= PIECE_BYTES && end <= slotEnd(begin + 1);
    const [offset, put] = grows ? [begin, [join(tail, ...pieces)]] : [len, pieces];
    return this.#change(file, durability, end, put.at(-1), (chunks) => {
      putPieces(chunks, file, offset, put);
    });
  }

  async #overwrite(
    file: number,
    len: number,
    offset: number,
    pieces: Uint8Array[],
    durability: IDBTransactionDurability,
  ): Promise<void> {
    const [first, end] = [slotStart(offset), offset + bytesOf(pieces)];
    const before = await this.#read(file, first, offset);
    const after = end < len ? await this.#read(file, end, Math.min(len, slotEnd(end))) : [];
    if (before.length > 0) pieces.unshift(join(...before, ...pieces.splice(0, 1)));
    if (after.length > 0) pieces.push(join(...pieces.splice(-1), ...after));
    await this.#change(file, durability, Math.max(len, end), undefined, (chunks) => {
      chunks.delete(piecesIn(file, first, slotEnd(end)));
      putPieces(chunks, file, first, pieces);
    });
  }
}

function missing() {
  return failure(CORRUPTION, "the file is missing");
}

function putPieces(chunks: IDBObjectStore, file: number, offset: number, pieces: Uint8Array[]) {
  let at = offset;
  for (const piece of pieces) {
    chunks.put(piece, keyOf(file, at));
    at += piece.length;
  }
}
