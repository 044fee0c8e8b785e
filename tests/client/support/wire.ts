/** The host's side of the wire, for tests: reads requests, writes replies and events. */

import { ByteReader, ByteWriter } from "../../../client/codec/bytes.ts";
import { LARGE_VALUE_BYTES } from "../../../client/limits.ts";
import { readVersionstamp } from "../../../client/versionstamp.ts";
import type { FrameMessage } from "../../../client/wire/request.ts";
import type { Lease } from "../../../client/wire/response.ts";

/** Bytes as hex digits: what a Map can have as a key and a test can compare. */
export type Hex = string;

export interface Check {
  key: Hex;
  versionstamp: string | null;
}

export interface Mutation {
  type: "set" | "delete" | "sum" | "min" | "max" | "deleteRange";
  /** Of a range, where it starts. */
  key: Hex;
  end?: Hex;
  value?: Uint8Array;
  expireIn?: number | undefined;
  stampKey?: boolean;
}

export type Request =
  | { type: "get"; key: Hex }
  | { type: "getMany"; keys: Hex[] }
  | {
      type: "list";
      start: Hex;
      end: Hex;
      reverse: boolean;
      limit: number;
      lease: Lease | undefined;
      keep: boolean;
      keysOnly: boolean;
    }
  | { type: "count"; start: Hex; end: Hex }
  | { type: "release"; lease: number }
  | {
      type: "commit";
      checks: Check[];
      mutations: Mutation[];
      durability: "relaxed" | "strict" | undefined;
    }
  | { type: "watch"; id: number; keys: Hex[] }
  | { type: "changes"; id: number; ranges: [Hex, Hex][]; since: string | undefined }
  | { type: "unsubscribe" | "more"; id: number }
  | { type: "flush" | "stats" | "status" | "close" | "verify" };

export interface RequestFrame {
  client: Hex;
  epoch: number;
  deadline: number;
  ackedThrough: number;
  resendOf: number;
  first: number;
  requests: Request[];
}

export interface Entry {
  versionstamp: string;
  /** The byte of its kind, and all after it. */
  value: Uint8Array;
}

export const bytesOf = (hex: Hex): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));

/** The digits of each byte. */
const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function hexOf(bytes: Uint8Array): Hex {
  let hex = "";
  for (let i = 0; i < bytes.length; i++) hex += DIGITS[bytes[i] as number];
  return hex;
}

const known = new Map<Hex, Uint8Array>();
const KNOWN_MAX = 1_000;

/** The bytes of a key or a versionstamp, from the last time that they were asked for. */
function knownBytesOf(hex: Hex): Uint8Array {
  let bytes = known.get(hex);
  if (bytes === undefined) {
    bytes = bytesOf(hex);
    if (known.size === KNOWN_MAX) known.clear();
    known.set(hex, bytes);
  }
  return bytes;
}

export function readRequests(message: FrameMessage): RequestFrame {
  const [buffer, ...large] = message instanceof ArrayBuffer ? [message] : message;
  const r = new ByteReader(new Uint8Array(buffer));
  attachments = large;
  const frame = {
    client: hexOf(r.raw(16)),
    epoch: r.varint(),
    deadline: r.varint(),
    ackedThrough: r.varint(),
    resendOf: r.varint(),
    first: r.varint(),
    requests: many(r, readRequest),
  };
  if (r.left > 0) throw new Error(`${r.left} bytes follow the last request`);
  if (attachments.length > 0) throw new Error("more large values than the frame speaks of");
  return frame;
}

/** What is left of the large values beside the frame that is being read. */
let attachments: ArrayBuffer[] = [];

function readLarge(r: ByteReader): Uint8Array {
  const kind = r.u8();
  const size = r.varint();
  const payload = attachments.shift();
  if (payload?.byteLength !== size) throw new Error("a large value is missing");
  const value = new Uint8Array(1 + size);
  value[0] = kind;
  value.set(new Uint8Array(payload), 1);
  return value;
}

function many<T>(r: ByteReader, read: (r: ByteReader) => T): T[] {
  const items: T[] = [];
  for (let left = r.varint(); left > 0; left--) items.push(read(r));
  return items;
}

const option = <T>(r: ByteReader, read: (r: ByteReader) => T) =>
  r.u8() === 1 ? read(r) : undefined;
const hex = (r: ByteReader) => hexOf(r.sized());
const boolean = (r: ByteReader) => r.u8() === 1;
const durability = (r: ByteReader) => (r.u8() === 1 ? "strict" : "relaxed");

function readRequest(r: ByteReader): Request {
  const variant = r.varint();
  switch (variant) {
    case 0:
      return { type: "get", key: hex(r) };
    case 1:
      return { type: "getMany", keys: many(r, hex) };
    case 2:
      return {
        type: "list",
        start: hex(r),
        end: hex(r),
        reverse: boolean(r),
        limit: r.varint(),
        lease: option(r, readLease),
        keep: boolean(r),
        keysOnly: boolean(r),
      };
    case 3:
      return { type: "release", lease: r.varint() };
    case 4:
      return {
        type: "commit",
        checks: many(r, () => ({ key: hex(r), versionstamp: option(r, readVersionstamp) ?? null })),
        mutations: many(r, readMutation),
        durability: option(r, durability),
      };
    case 5:
      return { type: "watch", id: r.varint(), keys: many(r, hex) };
    case 6:
      return {
        type: "changes",
        id: r.varint(),
        ranges: many(r, () => [hex(r), hex(r)]),
        since: option(r, readVersionstamp),
      };
    case 7:
      return { type: "unsubscribe", id: r.varint() };
    case 13:
      return { type: "more", id: r.varint() };
    case 14:
      return { type: "count", start: hex(r), end: hex(r) };
    default: {
      const type = (["flush", "stats", "status", "close", "verify"] as const)[variant - 8];
      if (type === undefined) throw new Error(`unknown request ${variant}`);
      return { type };
    }
  }
}

function readLease(r: ByteReader): Lease {
  return { id: r.varint(), versionstamp: readVersionstamp(r), timeMs: r.varint() };
}

function readMutation(r: ByteReader): Mutation {
  const variant = r.varint();
  const types = ["set", "delete", "sum", "min", "max", "deleteRange", "set"] as const;
  const type = types[variant];
  if (type === undefined) throw new Error("unknown mutation");
  const key = hex(r);
  if (type === "delete") return { type, key };
  if (type === "deleteRange") return { type, key, end: hex(r) };
  const value = variant === 6 ? readLarge(r) : r.sized().slice();
  if (type !== "set") return { type, key, value };
  return { type, key, value, expireIn: option(r, () => r.varint()), stampKey: boolean(r) };
}

/** Writes the versionstamp of a commit. */
export function writeStamp(w: ByteWriter, stamp: string): void {
  w.raw(knownBytesOf(stamp));
}

/** Puts a response frame together. */
export class ResponseWriter {
  readonly #replies = new ByteWriter(256);
  readonly #events = new ByteWriter(256);
  #replyCount = 0;
  #eventCount = 0;

  get isEmpty(): boolean {
    return this.#replyCount + this.#eventCount === 0;
  }

  /** Begins a reply; its content is to be written to the result. */
  reply(sequence: number, variant: number): ByteWriter {
    this.#replyCount++;
    this.#replies.varint(sequence);
    this.#replies.varint(variant);
    return this.#replies;
  }

  error(sequence: number, code: number, message: string): void {
    const w = this.reply(sequence, 0);
    w.u8(code);
    w.text(message);
  }

  watch(id: number, versionstamp: string, entries: [place: number, Entry | undefined][]): void {
    this.#eventCount++;
    const w = this.#events;
    w.varint(0);
    w.varint(id);
    writeStamp(w, versionstamp);
    w.varint(entries.length);
    for (const [place, entry] of entries) {
      w.varint(place);
      writeMaybe(w, entry);
    }
  }

  changes(id: number, versionstamp: string, changes: [kind: number, Hex, Uint8Array?][]): void {
    this.#eventCount++;
    const w = this.#events;
    w.varint(1);
    w.varint(id);
    writeStamp(w, versionstamp);
    w.varint(changes.length);
    for (const [kind, key, value] of changes) {
      w.varint(kind);
      writeKey(w, key);
      if (value !== undefined && kind === 0) writeValue(w, value);
      else if (value !== undefined) w.sized(value);
    }
  }

  lagged(id: number, versionstamp: string, missed: number): void {
    this.#eventCount++;
    const w = this.#events;
    w.varint(2);
    w.varint(id);
    writeStamp(w, versionstamp);
    w.varint(missed);
  }

  /** The frame and the large values beside it. */
  take(epoch: number): ArrayBuffer[] {
    const w = assembled;
    w.varint(epoch);
    w.varint(this.#replyCount);
    append(w, this.#replies);
    w.varint(this.#eventCount);
    append(w, this.#events);
    this.#replyCount = this.#eventCount = 0;
    const large = [...w.attachments];
    return [w.take(), ...large];
  }
}

/** Where frames are put together. */
const assembled = new ByteWriter();

/** Moves what a writer has to another one. */
function append(w: ByteWriter, part: ByteWriter): void {
  w.raw(part.bytes.subarray(0, part.position));
  w.attachments.push(...part.attachments);
  part.reset();
}

export function writeKey(w: ByteWriter, key: Hex): void {
  w.sized(knownBytesOf(key));
}

export function writeMaybe(w: ByteWriter, entry: Entry | undefined): void {
  w.u8(entry === undefined ? 0 : 1);
  if (entry === undefined) return;
  writeStamp(w, entry.versionstamp);
  writeValue(w, entry.value);
}

/** Writes a value, or what stands for one that goes beside the frame. */
export function writeValue(w: ByteWriter, value: Uint8Array): void {
  if (value.length <= LARGE_VALUE_BYTES) {
    w.sized(value);
    return;
  }
  const [kind = 0] = value;
  w.u8(0);
  w.u8(kind);
  w.varint(value.length - 1);
  w.attachments.push(value.slice(1).buffer as ArrayBuffer);
}

export function welcome(epoch: number, protocol = 1, database = ""): ArrayBuffer {
  const bytes = Buffer.alloc(13 + database.length / 2);
  bytes.write("KVSW", "latin1");
  bytes.writeUInt16LE(protocol, 4);
  bytes.writeUInt16LE(1, 6);
  bytes.writeUInt32LE(epoch, 8);
  bytes.write(database, 13, "hex");
  return new Uint8Array(bytes).buffer;
}
