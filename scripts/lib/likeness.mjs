/**
 * A name section for a WebAssembly module that gives its functions names in the order in which
 * they compress best, for binaryen's pass reorder-functions-by-name: beginning with the shortest,
 * each time the function that has most in common with those that gzip still sees. Short functions
 * tend to come early: they are the ones that are called most, so calls get small indices.
 */
import { CALL, eachInstruction, functionsOf, Reader, text, unsigned } from "./module.mjs";

const CUSTOM_SECTION = 0;
const FUNCTION_NAMES = 1;

/** So far gzip looks back. */
const WINDOW_BYTES = 32_000;

/** What two functions have in common are pieces of a length: which one is best depends. */
export const PIECE_BYTES = [5, 6, 7];

/** So many pieces more count as not in common: of two functions as like the longer one comes. */
const UNLIKE_PIECES = 8;

/** A hash of a piece has so many values. */
const HASHES = 1 << 18;

/**
 * @param {Uint8Array} module without a name section
 * @param {number} imported how many functions it imports: they come first in the index space
 * @param {number} pieceBytes one of {@link PIECE_BYTES}
 * @returns {Uint8Array} the module with one
 */
export function nameByLikeness(module, imported, pieceBytes) {
  const codes = functionsOf(module).map(({ code }) => code);
  const order = orderByLikeness(codes, pieceBytes);
  const digits = `${order.length}`.length;
  const ranks = order.map((index, rank) => ({ index, rank }));
  const names = ranks
    .sort((a, b) => a.index - b.index)
    .map(({ index, rank }) => [
      ...unsigned(imported + index),
      ...text(`${rank}`.padStart(digits, "0")),
    ]);
  const map = [...unsigned(names.length), ...names.flat()];
  const section = [...text("name"), FUNCTION_NAMES, ...unsigned(map.length), ...map];
  const appended = [CUSTOM_SECTION, ...unsigned(section.length), ...section];
  return Buffer.concat([module, Uint8Array.from(appended)]);
}

/**
 * The places of the functions in the order in which they compress best.
 * @param {Uint8Array[]} codes
 * @param {number} pieceBytes
 */
function orderByLikeness(codes, pieceBytes) {
  const rest = codes.map((code, index) => ({ index, pieces: piecesOf(code, pieceBytes) }));
  // The shortest comes first.
  rest.sort((a, b) => a.pieces.length - b.pieces.length || a.index - b.index);
  const inWindow = new Int32Array(HASHES);
  const likeness = (/** @type {Uint32Array} */ pieces) => {
    let known = 0;
    for (const piece of pieces) if ((inWindow[piece] ?? 0) > 0) known++;
    return known / (pieces.length + UNLIKE_PIECES);
  };
  const count = (/** @type {Uint32Array} */ pieces, /** @type {1 | -1} */ change) => {
    for (const piece of pieces) inWindow[piece] = (inWindow[piece] ?? 0) + change;
  };
  /** @type {typeof rest} */
  const ordered = [];
  let [begin, bytes] = [0, 0];
  while (rest.length > 0) {
    let [best, most] = [0, -1];
    for (const [place, { pieces }] of rest.entries()) {
      const like = likeness(pieces);
      if (like > most) [best, most] = [place, like];
    }
    for (const next of rest.splice(best, 1)) {
      ordered.push(next);
      count(next.pieces, 1);
      bytes += codes[next.index]?.length ?? 0;
    }
    for (; bytes > WINDOW_BYTES && begin + 1 < ordered.length; begin++) {
      const { index, pieces } = /** @type {typeof rest[0]} */ (ordered[begin]);
      count(pieces, -1);
      bytes -= codes[index]?.length ?? 0;
    }
  }
  return ordered.map(({ index }) => index);
}

/**
 * Hashes of all pieces of a function, which don't depend on the order of functions.
 * @param {Uint8Array} code
 * @param {number} pieceBytes
 */
function piecesOf(code, pieceBytes) {
  const reader = new Reader(code);
  for (let runs = reader.unsigned(); runs > 0; runs--) {
    reader.unsigned();
    reader.byte();
  }
  const bytes = [...code.subarray(0, reader.at)];
  eachInstruction(code, reader.at, (op, start, end) => {
    bytes.push(...(op === CALL ? [CALL, 0] : code.subarray(start, end)));
  });
  return Uint32Array.from({ length: Math.max(0, bytes.length - pieceBytes + 1) }, (_, at) => {
    let hash = 0x811c9dc5;
    for (let i = at; i < at + pieceBytes; i++) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
    return (hash ^ (hash >>> 15)) & (HASHES - 1);
  });
}
