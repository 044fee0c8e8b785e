/**
 * Responses and events from bytes: the postcard encoding of the types in src/wire/mod.rs. Values
 * stay bytes here, so that a damaged one fails the call that asked for it and no other, and so
 * that those nobody reads are never decoded.
 */

import type { Failure } from "../../tabs/messages.ts";
import { ByteReader, DecodeError } from "../codec/bytes.ts";
import { readVersionstamp } from "../versionstamp.ts";
import type { FrameMessage } from "./request.ts";

/** A byte string within a frame. */
export interface Slice {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** A value that travelled beside its frame: the byte that says its kind, and all after it. */
export interface Attached {
  readonly kind: number;
  readonly payload: ArrayBuffer;
}

/** A value that is not decoded yet. */
export type RawValue = Slice | Attached;

/** A value that is not decoded yet, and the commit that wrote it. */
export interface RawEntry {
  readonly versionstamp: string;
  readonly value: RawValue;
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

/** The state of host and storage. */
export interface RawStatus {
  storage: string;
  durability: "relaxed" | "strict";
  epoch: number;
  format: number;
  /** Why the files are not in OPFS, where it was to be taken if it can be used. */
  reason: string | null;
  failure: Failure | null;
}

/** A snapshot that a host keeps for a list, with all that another host needs to go on with it. */
export interface Lease {
  readonly id: number;
  /** The last commit of the snapshot. */
  readonly versionstamp: string;
  /** Milliseconds since 1970: entries alive then are part of it. */
  readonly timeMs: number;
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
  | { type: "error"; failure: Failure }
  | { type: "entry"; entry: RawEntry | null }
  | { type: "entries"; entries: (RawEntry | null)[] }
  | {
      type: "page";
      done: boolean;
      lease: Lease | undefined;
      count: number;
      entries: Slice;
      attached: ArrayBuffer[];
    }
  | { type: "committed"; versionstamp: string }
  | { type: "checkFailed"; check: number }
  | { type: "done" }
  | { type: "stats"; stats: RawStats }
  | { type: "status"; status: RawStatus }
  | { type: "verified"; verified: RawVerified }
  | { type: "counted"; count: number };

/** What a commit did to a key, or to all keys of a range. */
export type RawChange =
  | { type: "set"; key: Slice; value: RawValue }
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
  | {
      type: "changes";
      id: number;
      versionstamp: string;
      count: number;
      changes: Slice;
      attached: readonly ArrayBuffer[];
    }
  | { type: "lagged"; id: number; versionstamp: string; missed: number };

/** Takes what a frame holds, one by one, in its order. */
export interface ResponseSink {
  /** The epoch of the host. Returns whether to read on. */
  epoch(epoch: number): boolean;
  reply(sequence: number, response: Response): void;
  event(event: RawEvent): void;
}

/** Reads a frame and takes its attachments, in their order. */
class FrameReader extends ByteReader {
  readonly #attachments: readonly ArrayBuffer[];
  #taken = 1;

  constructor(message: FrameMessage) {
    const parts = message instanceof ArrayBuffer ? [message] : message;
    super(new Uint8Array(parts[0] as ArrayBuffer));
    this.#attachments = parts;
  }

  /** How many attachments are left. */
  get attachmentsLeft(): number {
    return this.#attachments.length - this.#taken;
  }

  /** The next attachment, which must be of this size. */
  attachment(size: number): ArrayBuffer {
    const attachment = this.#attachments[this.#taken++];
    if (attachment?.byteLength === size) return attachment;
    throw new DecodeError("a large value did not come with its frame");
  }
}

/** Reads a whole frame. @throws DecodeError, with all before the damage handed over */
export function readFrame(message: FrameMessage, sink: ResponseSink): void {
  const r = new FrameReader(message);
  if (!sink.epoch(r.varint())) return;
  for (let count = r.varint(); count > 0; count--) {
    const sequence = r.varint();
    sink.reply(sequence, readResponse(r));
  }
  for (let count = r.varint(); count > 0; count--) sink.event(readEvent(r));
  if (r.left > 0 || r.attachmentsLeft > 0) {
    throw new DecodeError("the frame has more than its events");
  }
}

function readResponse(r: FrameReader): Response {
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
        lease: readBoolean(r) ? readLease(r) : undefined,
        count: r.varint(),
        entries: readSlice(r),
        attached: readMany(r, () => r.attachment(r.varint())),
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

function readEvent(r: FrameReader): RawEvent {
  const variant = r.varint();
  if (variant > 2) throw new DecodeError(`unknown event ${variant}`);
  const id = r.varint();
  const versionstamp = readVersionstamp(r);
  if (variant === 0) {
    const entries = readMany(r, () => ({ place: r.varint(), entry: readMaybe(r) }));
    return { type: "watch", id, versionstamp, entries };
  }
  const count = r.varint();
  if (variant === 2) return { type: "lagged", id, versionstamp, missed: count };
  const start = r.position;
  const attached: ArrayBuffer[] = [];
  const attachment = (size: number) => {
    const taken = r.attachment(size);
    attached.push(taken);
    return taken;
  };
  for (let i = 0; i < count; i++) readChange(r, attachment);
  const changes = { bytes: r.bytes, start, end: r.position };
  return { type: "changes", id, versionstamp, count, changes, attached };
}

/** The changes of an event. */
export function readChanges(event: RawEvent & { type: "changes" }): RawChange[] {
  const { bytes, start, end } = event.changes;
  const r = new ByteReader(bytes, start, end);
  let next = 0;
  const attachment = () => event.attached[next++] as ArrayBuffer;
  const changes: RawChange[] = [];
  while (changes.length < event.count) changes.push(readChange(r, attachment));
  return changes;
}

function readChange(r: ByteReader, attachment: TakeAttachment): RawChange {
  const variant = r.varint();
  const key = readSlice(r);
  switch (variant) {
    case 0:
      return { type: "set", key, value: readValue(r, attachment) };
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

function readLease(r: ByteReader): Lease {
  return { id: r.varint(), versionstamp: readVersionstamp(r), timeMs: r.varint() };
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

/** Takes the next attachment, of a size. */
export type TakeAttachment = (size: number) => ArrayBuffer;

/** Reads a value: its bytes, or what stands for one that travelled beside the frame. */
export function readValue(r: ByteReader, attachment: TakeAttachment): RawValue {
  const size = r.varint();
  if (size === 0) {
    const kind = r.u8();
    return { kind, payload: attachment(r.varint()) };
  }
  const start = r.skip(size);
  return { bytes: r.bytes, start, end: start + size };
}

function readMaybe(r: FrameReader): RawEntry | null {
  if (!readBoolean(r)) return null;
  const versionstamp = readVersionstamp(r);
  return { versionstamp, value: readValue(r, (size) => r.attachment(size)) };
}

function readMany<T, R extends ByteReader>(r: R, read: (r: R) => T): T[] {
  const items: T[] = [];
  for (let count = r.varint(); count > 0; count--) items.push(read(r));
  return items;
}

function readFailure(r: ByteReader): Failure {
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
    reason: readBoolean(r) ? r.text() : null,
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
