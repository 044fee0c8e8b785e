/**
 * Requests as bytes: the postcard encoding of the types in src/wire/mod.rs, whose variants are
 * numbered in the order they have there. What a frame begins with is only known when it is sent,
 * so room is left for it:
 *
 *     | room | client: 16 bytes | epoch | deadline | acked through | resend of | first | count | …
 *                                 varint  varint     varint          varint      varint  varint
 */

import { ByteWriter } from "../codec/bytes.ts";
import { tooLarge } from "../errors.ts";
import { FRAME_BYTES_MAX } from "../limits.ts";

/** Numbers of the variants of `Request`. */
export const REQUEST = {
  get: 0,
  getMany: 1,
  list: 2,
  release: 3,
  commit: 4,
  watch: 5,
  changes: 6,
  unsubscribe: 7,
  flush: 8,
  stats: 9,
  status: 10,
  close: 11,
  verify: 12,
  more: 13,
  count: 14,
} as const;

/** Numbers of the variants of `Mutation`. */
export const MUTATION = {
  set: 0,
  delete: 1,
  sum: 2,
  min: 3,
  max: 4,
  deleteRange: 5,
  setLarge: 6,
} as const;

/** What a frame says of itself. */
export interface RequestHeader {
  /** The random id of the connection, 16 bytes. */
  client: Uint8Array;
  /** The epoch of the host, 0 before it is known. */
  epoch: number;
  /** The highest sequence for which it and all below are answered. */
  ackedThrough: number;
  /** The epoch of the host that the requests were first sent to; 0 if this is the first time. */
  resendOf: number;
  /** The sequence of the first request. */
  first: number;
  /** Milliseconds since the Unix epoch after which nobody waits any more; 0 for never. */
  deadline: number;
}

/** A client id, and six varints of at most 8 bytes. */
const HEADER_BYTES_MAX = 16 + 6 * 8;

/** A message: a frame, alone or followed by the large values that it speaks of, in order. */
export type FrameMessage = ArrayBuffer | readonly [ArrayBuffer, ...ArrayBuffer[]];

/** A frame that was put together, kept so that its requests can be sent again. */
export interface Frame {
  /** The header and the requests. */
  readonly bytes: ArrayBuffer;
  /** Where the requests begin, and last where they end. */
  readonly starts: readonly number[];
  /** The large values, in order. */
  readonly attachments: readonly ArrayBuffer[];
  /** How many of them come before each request, and last in all. */
  readonly attached: readonly number[];
}

/** The frame that is being put together. */
export class RequestFrame {
  readonly #w = new ByteWriter();
  readonly #header = new ByteWriter(HEADER_BYTES_MAX);
  /** Where the requests begin. */
  #starts: number[] = [];
  #attached: number[] = [];
  #isBusy = false;
  /** Bytes of the large values. */
  #attachedBytes = 0;

  constructor() {
    this.#w.position = HEADER_BYTES_MAX;
  }

  /** How many requests are in it. */
  get count(): number {
    return this.#starts.length;
  }

  /** Bytes written so far, with the room for the header and the large values beside it. */
  get size(): number {
    return this.#w.position + this.#attachedBytes;
  }

  /** Adds the request that `write` writes; if it throws, the frame is as it was. */
  add(write: (w: ByteWriter) => void): void {
    // A getter of a key or an option could make another call, into the middle of this one.
    if (this.#isBusy) throw new TypeError("a getter of an argument called the database");
    const w = this.#w;
    const start = w.position;
    const attached = w.attachments.length;
    this.#isBusy = true;
    try {
      write(w);
      checkFrameSize(w);
    } catch (error) {
      w.position = start;
      w.attachments.length = attached;
      throw error;
    } finally {
      this.#isBusy = false;
    }
    this.#starts.push(start);
    this.#attached.push(attached);
    for (let i = attached; i < w.attachments.length; i++) {
      this.#attachedBytes += (w.attachments[i] as ArrayBuffer).byteLength;
    }
  }

  /** The frame, in a buffer of its own; begins the next one. */
  take(header: RequestHeader): Frame {
    const { attachments, position, bytes } = this.#w;
    this.#header.reset();
    const begin = HEADER_BYTES_MAX - writeHeader(this.#header, header, this.count);
    bytes.set(this.#header.bytes.subarray(0, HEADER_BYTES_MAX - begin), begin);
    // Nothing has changed if there is no memory for it.
    const buffer = bytes.buffer.slice(begin, position) as ArrayBuffer;
    const starts = this.#starts;
    const attached = this.#attached;
    starts.push(position);
    attached.push(attachments.length);
    for (let i = 0; i < starts.length; i++) (starts[i] as number) -= begin;
    const frame = { bytes: buffer, starts, attachments, attached };
    this.clear();
    return frame;
  }

  /** Drops what was added. */
  clear(): void {
    this.#w.reset();
    this.#w.position = HEADER_BYTES_MAX;
    this.#starts = [];
    this.#attached = [];
    this.#attachedBytes = 0;
  }
}

/** The message of a whole frame. */
export function messageOf({ bytes, attachments }: Frame): FrameMessage {
  return attachments.length === 0 ? bytes : [bytes, ...attachments];
}

/** A message of the requests of a frame from place `from` to before `to`, under another header. */
export function reframed(
  frame: Frame,
  header: RequestHeader,
  from: number,
  to: number,
): FrameMessage {
  const { bytes, starts, attachments, attached } = frame;
  const start = starts[from] as number;
  const end = starts[to] as number;
  const w = new ByteWriter(HEADER_BYTES_MAX + end - start);
  writeHeader(w, header, to - from);
  w.raw(new Uint8Array(bytes, start, end - start));
  const buffer = w.bytes.buffer.slice(0, w.position) as ArrayBuffer;
  const large = attachments.slice(attached[from], attached[to]);
  return large.length === 0 ? buffer : [buffer, ...large];
}

/** Writes a header; returns its length. */
function writeHeader(w: ByteWriter, header: RequestHeader, count: number): number {
  const start = w.position;
  w.raw(header.client);
  w.varint(header.epoch);
  w.varint(header.deadline);
  w.varint(header.ackedThrough);
  w.varint(header.resendOf);
  w.varint(header.first);
  w.varint(count);
  return w.position - start;
}

/** @throws TypeError with the code `TooLarge` where the frame is larger than a host takes it */
export function checkFrameSize(w: ByteWriter): void {
  if (w.position > FRAME_BYTES_MAX) {
    throw tooLarge(`Request too large (max ${FRAME_BYTES_MAX} bytes)`);
  }
}

/** Writes an Option of a durability: hosts are relaxed where a commit does not say. */
export function writeDurability(w: ByteWriter, durability: "relaxed" | "strict"): void {
  const isStrict = durability === "strict" ? 1 : 0;
  w.u8(isStrict);
  if (isStrict) w.u8(isStrict);
}

/** Writes an Option of an integer. */
export function writeOption(w: ByteWriter, value: number | undefined): void {
  if (value === undefined) {
    w.u8(0);
  } else {
    w.u8(1);
    w.varint(value);
  }
}
