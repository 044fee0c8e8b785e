/** Golden databases on the page; tests/golden/fixture.rs says what their files are made of. */

import type { Kv } from "kvass";
import { encodeKey } from "../../../client/codec/key.ts";
import { encodeValue } from "../../../client/codec/value/index.ts";
import { KvU64 } from "../../../client/u64.ts";

const MAGIC_BYTES = 8;
/** The longest value that is written out. */
const SHOWN_BYTES = 64;

/** Puts the files of a database that is not there yet into OPFS. */
export async function place(name: string, image: number[]): Promise<void> {
  const bytes = new Uint8Array(image);
  const view = new DataView(bytes.buffer);
  const root = await navigator.storage.getDirectory();
  const kvass = await root.getDirectoryHandle("kvass", { create: true });
  const directory = await kvass.getDirectoryHandle(name, { create: true });
  const count = view.getUint32(MAGIC_BYTES, true);
  let index = MAGIC_BYTES + 4;
  let start = index + 8 * count;
  for (let n = 0; n < count; n++, index += 8) {
    const file = view.getUint32(index, true);
    const length = view.getUint32(index + 4, true);
    const handle = await directory.getFileHandle(String(file), { create: true });
    const stream = await handle.createWritable();
    await stream.write(bytes.subarray(start, start + length));
    await stream.close();
    start += length;
  }
}

/** A line for each entry: key, versionstamp, value, as in the text beside the files. */
export async function contents(kv: Kv): Promise<string[]> {
  const lines: string[] = [];
  for await (const { key, versionstamp, value } of kv.list({ prefix: [] })) {
    // The package has a class of its own.
    const own = value instanceof kvass.KvU64 ? new KvU64(value.value) : value;
    lines.push(`${shown(encodeKey(key))} ${versionstamp} ${shown(encodeValue(own))}`);
  }
  return lines;
}

function shown(bytes: Uint8Array): string {
  if (bytes.length <= SHOWN_BYTES) return hex(bytes);
  const fnv = (hash: number, byte: number) => Math.imul(hash ^ byte, 0x0100_0193) >>> 0;
  return `${bytes.length}:${bytes.reduce(fnv, 0x811c_9dc5).toString(16).padStart(8, "0")}`;
}

const hex = (bytes: Uint8Array) =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
