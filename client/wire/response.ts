/**
 * Responses and events from bytes: the postcard encoding of the types in src/wire/mod.rs. Values
 * stay bytes here, so that a damaged one fails the call that asked for it and no other, and so
 * that those nobody reads are never decoded.
 */

import { ByteReader, DecodeError } from "../codec/bytes.ts";
import { readVersionstamp } from "../versionstamp.ts";

/** A byte string within a frame. */
export interface Slice {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** A value that is not decoded yet, and the commit that wrote it. */
export interface RawEntry {
  readonly versionstamp: string;
  readonly value: Slice;
}

/** Figures of the engine; see `KvStats` for what they are. */
export interface RawStats {
  entries: number;
  diskBytes: number;
  commits: number;
  cacheHits: number;
  cacheMisses: number;
  cacheBytes: number;
  memtableBytes: number;
  walBytes: number;
  flushes: number;
  levels: { tables: number; bytes: number }[];
  memoryBytes: number;
}

/** An error on the wire: the number of its code, and its message. */
export interface RawFailure {
  code: number;
  message: string;
}

/** The state of host and storage. */
export interface RawStatus {
  storage: string;
  durability: "relaxed" | "strict";
  epoch: number;
  format: number;
  failure: RawFailure | null;
}

/** What came of reading everything; see `KvVerification`. */
export interface RawVerified {
  files: number;
  bytes: number;
  damaged: number;
  damage: { kind: FileKind; file: number; offset: number; message: string }[];
}

/** What a file is for, by its number on the wire. */
const FILE_KINDS = ["manifest", "log", "table", "blob"] as const;
export type FileKind = (typeof FILE_KINDS)[number];

/** What came of a request. */
export type Response =
  | { type: "error"; failure: RawFailure }
  | { type: "entry"; entry: RawEntry | null }
  | { type: "entries"; entries: (RawEntry | null)[] }
  | { type: "page"; done: boolean; lease: number | undefined; count: number; entries: Slice }
  | { type: "committed"; versionstamp: string }
  | { type: "checkFailed"; check: number }
  | { type: "done" }
  | { type: "stats"; stats: RawStats }
  | { type: "status"; status: RawStatus }
  | { type: "verified"; verified: RawVerified }
  | { type: "counted"; count: number };

/** What a commit did to a key, or to all keys of a range. */
export type RawChange =
  | { type: "set"; key: Slice; value: Slice }
  | { type: "delete" | "expire"; key: Slice }
  | { type: "deleteRange"; start: Slice; end: Slice };

/** Something that happened. */
export type RawEvent =
  | {
      type: "watch";
      id: number;
      versionstamp: string;
      entries: { place: number; entry: RawEntry | null }[];
    }
  | { type: "changes"; id: number; versionstamp: string; count: number; changes: Slice };

/** Takes what a frame holds, one by one, in its order. */
export interface ResponseSink {
  epoch(epoch: number): void;
  reply(sequence: number, response: Response): void;
  event(event: RawEvent): void;
}

/** Reads a whole frame. @throws DecodeError, with all before the damage handed over */
export function readFrame(buffer: ArrayBuffer, sink: ResponseSink): void {
  const r = new ByteReader(new Uint8Array(buffer));
  sink.epoch(r.varint());
  for (let count = r.varint(); count > 0; count--) {
    const sequence = r.varint();
    sink.reply(sequence, readResponse(r));
  }
  for (let count = r.varint(); count > 0; count--) sink.event(readEvent(r));
  if (r.left > 0) throw new DecodeError("the frame has bytes after its last event");
}

function readResponse(r: ByteReader): Response {
  const variant = r.varint();
  switch (variant) {
    case 0:
      return { type: "error", failure: readFailure(r) };
    case 1:
      return { type: "entry", entry: readMaybe(r) };
    case 2:
      return { type: "entries", entries: readMany(r, readMaybe) };
    case 3:
      return {
        type: "page",
        done: readBoolean(r),
        lease: readBoolean(r) ? r.varint() : undefined,
        count: r.varint(),
        entries: readSlice(r),
      };
    case 4:
      return { type: "committed", versionstamp: readVersionstamp(r) };
    case 5:
      return { type: "checkFailed", check: r.varint() };
    case 6:
      return { type: "done" };
    case 7:
      return { type: "stats", stats: readStats(r) };
    case 8:
      return { type: "status", status: readStatus(r) };
    case 9:
      return { type: "verified", verified: readVerified(r) };
    case 10:
      return { type: "counted", count: r.varint() };
    default:
      throw new DecodeError(`unknown response ${variant}`);
  }
}

function readEvent(r: ByteReader): RawEvent {
  const variant = r.varint();
  if (variant > 1) throw new DecodeError(`unknown event ${variant}`);
  const id = r.varint();
  const versionstamp = readVersionstamp(r);
  if (variant === 0) {
    const entries = readMany(r, () => ({ place: r.varint(), entry: readMaybe(r) }));
    return { type: "watch", id, versionstamp, entries };
  }
  const count = r.varint();
  const start = r.position;
  for (let i = 0; i < count; i++) readChange(r);
  const changes = { bytes: r.bytes, start, end: r.position };
  return { type: "changes", id, versionstamp, count, changes };
}

/** The changes of an event. */
export function readChanges({ bytes, start, end }: Slice, count: number): RawChange[] {
  const r = new ByteReader(bytes, start, end);
  return Array.from({ length: count }, () => readChange(r));
}

function readChange(r: ByteReader): RawChange {
  const variant = r.varint();
  const key = readSlice(r);
  switch (variant) {
    case 0:
      return { type: "set", key, value: readSlice(r) };
    case 1:
      return { type: "delete", key };
    case 2:
      return { type: "expire", key };
    case 3:
      return { type: "deleteRange", start: key, end: readSlice(r) };
    default:
      throw new DecodeError(`unknown change ${variant}`);
  }
}

function readBoolean(r: ByteReader): boolean {
  const byte = r.u8();
  if (byte > 1) throw new DecodeError(`${byte} is no boolean`);
  return byte === 1;
}

function readSlice(r: ByteReader): Slice {
  const size = r.varint();
  const start = r.skip(size);
  return { bytes: r.bytes, start, end: start + size };
}

function readMaybe(r: ByteReader): RawEntry | null {
  return readBoolean(r) ? { versionstamp: readVersionstamp(r), value: readSlice(r) } : null;
}

function readMany<T>(r: ByteReader, read: (r: ByteReader) => T): T[] {
  const items: T[] = [];
  for (let count = r.varint(); count > 0; count--) items.push(read(r));
  return items;
}

function readFailure(r: ByteReader): RawFailure {
  return { code: r.u8(), message: r.text() };
}

function readStats(r: ByteReader): RawStats {
  return {
    entries: r.varint(),
    diskBytes: r.varint(),
    commits: r.varint(),
    cacheHits: r.varint(),
    cacheMisses: r.varint(),
    cacheBytes: r.varint(),
    memtableBytes: r.varint(),
    walBytes: r.varint(),
    flushes: r.varint(),
    levels: readMany(r, () => ({ tables: r.varint(), bytes: r.varint() })),
    memoryBytes: r.varint(),
  };
}

function readStatus(r: ByteReader): RawStatus {
  return {
    storage: r.text(),
    durability: readBoolean(r) ? "strict" : "relaxed",
    epoch: r.varint(),
    format: r.varint(),
    failure: readBoolean(r) ? readFailure(r) : null,
  };
}

function readVerified(r: ByteReader): RawVerified {
  return {
    files: r.varint(),
    bytes: r.varint(),
    damaged: r.varint(),
    damage: readMany(r, () => ({
      kind: readFileKind(r),
      file: r.varint(),
      offset: r.varint(),
      message: r.text(),
    })),
  };
}

function readFileKind(r: ByteReader): FileKind {
  const number = r.varint();
  const kind = FILE_KINDS[number];
  if (kind === undefined) throw new DecodeError(`unknown kind of file ${number}`);
  return kind;
}
