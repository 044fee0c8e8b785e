/**
 * The first message of a connection, each way. The layout stays as it is for ever:
 *
 *     Hello    "KVSH"  protocol oldest, newest  format oldest, newest  client    length  build
 *                      u16, u16                 u16, u16               16 bytes  u8      UTF-8
 *     Welcome  "KVSW"  protocol  format  epoch  length  build  database
 *                      u16       u16     u32    u8      UTF-8  16 bytes
 *
 * Integers are little-endian. Protocol 0 in a welcome means that there is none in common. The first
 * hosts did not say which database it is; whatever else may come behind is not looked at.
 */

import { idOf } from "../../tabs/messages.ts";
import { ByteReader, ByteWriter, DecodeError } from "../codec/bytes.ts";

/** The newest protocol that this client speaks, and the oldest. */
const PROTOCOL = 3;
const PROTOCOL_OLDEST = 3;
/** The file format that this client was made for; the page itself never sees files. */
const FORMAT = 2;
/** The length of a database's id. */
const DATABASE_BYTES = 16;
/** Written for people who look at frames. */
const BUILD = "0.1.0";

/** What a host answers. */
export interface Welcome {
  /** The protocol to speak; 0 where there is none in common. */
  protocol: number;
  /** The version of the files' format. */
  format: number;
  /** The epoch of the host. */
  epoch: number;
  /** The random id of the database, in hex; empty where the host does not say it. */
  database: string;
}

/** The hello of a client with the random id `client` of 16 bytes. */
export function encodeHello(client: Uint8Array): ArrayBuffer {
  const w = new ByteWriter(64);
  writeMagic(w, "KVSH");
  for (const version of [PROTOCOL_OLDEST, PROTOCOL, FORMAT, FORMAT]) {
    w.u8(version & 0xff);
    w.u8(version >> 8);
  }
  w.raw(client);
  w.text(BUILD);
  return w.take();
}

/** Reads a welcome. @throws DecodeError */
export function decodeWelcome(buffer: ArrayBuffer): Welcome {
  const r = new ByteReader(new Uint8Array(buffer));
  for (const char of "KVSW") {
    if (r.u8() !== char.charCodeAt(0)) throw new DecodeError("the first message is no welcome");
  }
  const start = r.skip(8);
  r.text();
  const rest = new Uint8Array(buffer, r.position);
  return {
    protocol: r.view.getUint16(start, true),
    format: r.view.getUint16(start + 2, true),
    epoch: r.view.getUint32(start + 4, true),
    database: idOf(rest.subarray(0, DATABASE_BYTES)),
  };
}

function writeMagic(w: ByteWriter, magic: string): void {
  for (const char of magic) w.u8(char.charCodeAt(0));
}
