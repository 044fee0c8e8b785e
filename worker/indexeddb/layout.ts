/** Where the bytes of a file are: the arithmetic of keys, slots and pieces. */

/**
 * A piece never crosses a multiple of this many bytes, so that any byte is found by reading its
 * slot. (Up to 64 KiB Chromium keeps a record in its log; a larger one becomes a file.)
 */
const SLOT_BYTES = 32 * 1024;
/**
 * A piece at the end of a file is written again, with what is appended to it, up to this size: a
 * commit costs one record, and its bytes a few times over, and a slot has few pieces.
 */
export const PIECE_BYTES = 4 * 1024;
/** The largest file; also the distance between the keys of two files. */
export const FILE_BYTES_MAX = 2 ** 33;
/** Above this number a file's keys would not be exact in a double. */
export const FILES_MAX = 2 ** 20;

/** The two slots of the manifest, which are files that always exist. */
export const MANIFEST_SLOTS = [0, 1];

/** The key of the piece of `file` that begins at `offset`. */
export const keyOf = (file: number, offset: number) => file * FILE_BYTES_MAX + offset;

/** The file of a key. */
export const fileOf = (key: number) => Math.floor(key / FILE_BYTES_MAX);

/** The offset of a key. */
export const offsetOf = (key: number) => key % FILE_BYTES_MAX;

/** The keys of the pieces of `file` that begin at `start` or later and before `end`. */
export const piecesIn = (file: number, start: number, end: number) =>
  IDBKeyRange.bound(keyOf(file, start), keyOf(file, end), false, true);

/** The keys of the files from `start` on, before `end`. */
export const filesIn = (start: number, end: number) =>
  IDBKeyRange.bound(keyOf(start, 0), keyOf(end, 0), false, true);

/** The keys that no file has of these and the manifest's, in ranges. */
export function gapsIn(files: Iterable<number>): IDBKeyRange[] {
  const gaps: IDBKeyRange[] = [];
  let next = 0;
  for (const file of [...MANIFEST_SLOTS, ...files, FILES_MAX].sort((a, b) => a - b)) {
    if (next < file) gaps.push(filesIn(next, file));
    next = file + 1;
  }
  return gaps;
}

/** Asks for the last piece of a file. */
export const lastIn = (chunks: IDBObjectStore, file: number) =>
  chunks.openCursor(filesIn(file, file + 1), "prev");

/** The length of the file whose last piece that is. */
export function endOf(last: IDBCursorWithValue | null): number {
  if (last === null) return 0;
  const { key, value } = last;
  return offsetOf(key as number) + (value instanceof Uint8Array ? value.length : 0);
}

/** The beginning of the slot of `offset`. */
export const slotStart = (offset: number) => offset - (offset % SLOT_BYTES);

/** The end of the slot of the byte before `end`. */
export const slotEnd = (end: number) => Math.ceil(end / SLOT_BYTES) * SLOT_BYTES;

/**
 * Copies `data`, which begins at `offset`, into pieces: one for each slot. Each has a buffer of its
 * own, for to store an array is to copy all of its buffer, which is the engine's memory here.
 */
export function split(offset: number, data: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < data.length; ) {
    const end = slotEnd(offset + at + 1) - offset;
    pieces.push(data.slice(at, end));
    at = end;
  }
  return pieces;
}

/** Bytes of a file; in a clamped array zeros for those that are lost, though others follow. */
export type Part = Uint8Array | Uint8ClampedArray;

/**
 * What `pieces`, which follow each other from `position` on or have `keys`, have of the bytes in a
 * range.
 */
export function cut(
  pieces: unknown[],
  position: number,
  start: number,
  end: number,
  keys: IDBValidKey[] = [],
): Part[] {
  const cuts: Part[] = [];
  let begin = position;
  for (const piece of pieces) {
    // A value that is none of ours ends the file.
    if (!(piece instanceof Uint8Array)) break;
    // Without keys it has no length.
    const lost = new Uint8ClampedArray(offsetOf(keys.shift() as number) - begin);
    for (const part of [lost, piece]) {
      const [from, to] = [Math.max(start - begin, 0), Math.min(end - begin, part.length)];
      if (from < to) cuts.push(part.subarray(from, to));
      begin += part.length;
    }
  }
  return cuts;
}

/** Copies arrays behind each other into `target`. */
export function copy(parts: Part[], target: Uint8Array): void {
  let at = 0;
  for (const part of parts) {
    target.set(part, at);
    at += part.length;
  }
}

/** How many bytes arrays have in all. */
export const bytesOf = (parts: Part[]) => parts.reduce((bytes, part) => bytes + part.length, 0);

/** Arrays behind each other as one. */
export function join(...parts: Part[]): Uint8Array {
  const whole = new Uint8Array(bytesOf(parts));
  copy(parts, whole);
  return whole;
}
