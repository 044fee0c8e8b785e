/**
 * A name section for a WebAssembly module that gives its functions names in the order in which
 * they compress best, for binaryen's pass reorder-functions-by-name. Short functions come first:
 * they are the ones that are called most, and so calls get small indices. Among functions of
 * about one length, those that begin alike stand together, where gzip sees the likeness.
 */

const CUSTOM_SECTION = 0;
const CODE_SECTION = 10;
const HEADER_BYTES = 8;
const FUNCTION_NAMES = 1;

/**
 * @param {Uint8Array} module without a name section
 * @param {number} imported how many functions it imports: they come first in the index space
 * @returns {Uint8Array} the module with one
 */
export function nameByLikeness(module, imported) {
  const functions = codeOf(module).map((code, index) => ({ code, index }));
  const magnitude = (/** @type {Uint8Array} */ code) => Math.floor(Math.log2(code.length));
  functions.sort((a, b) => magnitude(a.code) - magnitude(b.code) || Buffer.compare(a.code, b.code));
  const digits = `${functions.length}`.length;
  const ranks = functions.map(({ index }, rank) => ({ index, rank }));
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
 * The code of every function that is not imported, in their order.
 * @param {Uint8Array} module
 * @returns {Uint8Array[]}
 */
function codeOf(module) {
  let at = HEADER_BYTES;
  const take = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < module.length) {
    const [section, length] = [take(), take()];
    if (section === CODE_SECTION) {
      return Array.from({ length: take() }, () => {
        const bytes = take();
        at += bytes;
        return module.subarray(at - bytes, at);
      });
    }
    at += length;
  }
  return [];
}

/**
 * LEB128, WebAssembly's form of a number.
 * @param {number} number
 */
function unsigned(number) {
  const bytes = [];
  let rest = number;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}

/** @param {string} ascii */
const text = (ascii) => [...unsigned(ascii.length), ...Buffer.from(ascii)];
