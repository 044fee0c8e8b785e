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
}

/** A client id, and six varints of at most 8 bytes. */
const HEADER_BYTES_MAX = 16 + 6 * 8;

/** A message: a frame, alone or followed by the large values that it speaks of, in order. */
export type FrameMessage = ArrayBuffer | readonly [ArrayBuffer, ...ArrayBuffer[]];

/** The frame that is being put together. */
export class RequestFrame {
  /** How many requests are in it. */
  count = 0;
  readonly #w = new ByteWriter();
  readonly #header = new ByteWriter(HEADER_BYTES_MAX);
  #isBusy = false;
  /** Bytes of the large values. */
  #attachedBytes = 0;

  constructor() {
    this.#w.position = HEADER_BYTES_MAX;
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
      if (w.position > FRAME_BYTES_MAX) {
        throw tooLarge(`Request too large (max ${FRAME_BYTES_MAX} bytes)`);
      }
    } catch (error) {
      w.position = start;
      w.attachments.length = attached;
      throw error;
    } finally {
      this.#isBusy = false;
    }
    this.count++;
    for (let i = attached; i < w.attachments.length; i++) {
      this.#attachedBytes += (w.attachments[i] as ArrayBuffer).byteLength;
    }
  }

  /** The frame in buffers of its own, to be transferred; begins the next one. */
  take({ client, epoch, ackedThrough, resendOf, first }: RequestHeader): FrameMessage {
    const header = this.#header;
    header.raw(client);
    header.varint(epoch);
    header.varint(0); // No deadline.
    header.varint(ackedThrough);
    header.varint(resendOf);
    header.varint(first);
    header.varint(this.count);
    const start = HEADER_BYTES_MAX - header.position;
    const bytes = this.#w.bytes;
    bytes.set(header.bytes.subarray(0, header.position), start);
    const frame = bytes.buffer.slice(start, this.#w.position);
    const { attachments } = this.#w;
    const message: FrameMessage = attachments.length === 0 ? frame : [frame, ...attachments];
    this.clear();
    return message;
  }

  /** Drops what was added. */
  clear(): void {
    this.#header.reset();
    this.#w.reset();
    this.#w.position = HEADER_BYTES_MAX;
    this.count = 0;
    this.#attachedBytes = 0;
  }
}

/** Writes an Option of a durability. */
export function writeDurability(w: ByteWriter, durability: "relaxed" | "strict" | undefined): void {
  if (durability === undefined) {
    w.u8(0);
  } else {
    w.u8(1);
    w.u8(durability === "strict" ? 1 : 0);
  }
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
