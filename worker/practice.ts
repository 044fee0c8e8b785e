/**
 * What a candidate has the engine do while it waits. Browsers compile a function of WebAssembly
 * when it is called for the first time: those that a new host needs before its first answer took
 * 25 ms of a takeover, on a machine with as much else to do.
 */

/** A commit of a sum and a set, and a get, as a client sends them behind its id. */
// biome-ignore format: a row for each request
const REQUESTS = [
  0, 0, 0, 0, 1, 2,
  4, 0, 2, 2, 3, 2, 97, 0, 9, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 3, 2, 98, 0, 2, 1, 245, 0, 0, 0,
  0, 3, 2, 97, 0,
];

/** The frame of these requests, of the client that says `hello`. */
export function practiceFrame(hello: ArrayBuffer): Uint8Array {
  return Uint8Array.from([...clientIn(hello), ...REQUESTS]);
}

/** The id of the client that says a hello: the bytes from the twelfth on, for ever. */
export function clientIn(hello: ArrayBuffer): Uint8Array {
  return new Uint8Array(hello).subarray(12, 28);
}
