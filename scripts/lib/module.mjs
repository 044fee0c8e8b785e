/**
 * What has to be read of a WebAssembly module to give its locals other numbers, its functions
 * another order, and what it shares with JavaScript other names: sections, functions, and where
 * instructions begin and end. What is not known here fails the build, so nothing is ever taken for
 * something else.
 */
import { Explained } from "./run.mjs";

const HEADER_BYTES = 8;
const TYPE_SECTION = 1;
const IMPORT_SECTION = 2;
const FUNCTION_SECTION = 3;
const EXPORT_SECTION = 7;
const CODE_SECTION = 10;
const FUNCTION_TYPE = 0x60;

/** The kind of imports and exports that are functions. */
const FUNCTION = 0;

/** Operation codes. */
export const CALL = 0x10;
const LOCAL_GET = 0x20;
const LOCAL_TEE = 0x22;
const BR_TABLE = 0x0e;
const SELECT_TYPED = 0x1c;
const F32_CONST = 0x43;
const F64_CONST = 0x44;
const PREFIXED = 0xfc;

/** How many numbers follow the operation codes from the first to the second. */
const OPERANDS = [
  [0x00, 0x01, 0],
  [0x02, 0x04, 1],
  [0x05, 0x05, 0],
  [0x0b, 0x0b, 0],
  [0x0c, 0x0d, 1],
  [0x0f, 0x0f, 0],
  [CALL, CALL, 1],
  [0x11, 0x11, 2],
  [0x1a, 0x1b, 0],
  [LOCAL_GET, 0x26, 1],
  [0x28, 0x3e, 2],
  [0x3f, 0x42, 1],
  [0x45, 0xc4, 0],
  [0xd0, 0xd0, 1],
  [0xd1, 0xd1, 0],
  [0xd2, 0xd2, 1],
];

/** The same for what comes after PREFIXED: conversions, then memory, then tables. */
const PREFIXED_OPERANDS = [0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1];

/** @type {(number | undefined)[]} */
const operandsOf = [];
for (const [first = 0, last = 0, count] of OPERANDS) {
  for (let op = first; op <= last; op++) operandsOf[op] = count;
}

/** Whether an operation reads or writes a local: its number is the operand. */
export const isOfLocal = (/** @type {number} */ op) => op >= LOCAL_GET && op <= LOCAL_TEE;

/** Reads bytes one after the other. */
export class Reader {
  /**
   * @param {Uint8Array} bytes
   * @param {number} [at]
   */
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  byte() {
    const byte = this.bytes[this.at++];
    if (byte === undefined) throw new Explained("a WebAssembly module that ends too early");
    return byte;
  }

  /** LEB128 of 32 bits or fewer; of longer ones, and signed ones, only the end is right. */
  unsigned() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }

  text() {
    return Buffer.from(this.take(this.unsigned())).toString();
  }

  /** @param {number} count */
  take(count) {
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
}

/**
 * LEB128, WebAssembly's form of a number.
 * @param {number} number
 */
export function unsigned(number) {
  const bytes = [];
  let rest = number;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}

/**
 * A text as modules have it, behind its length.
 * @param {string} ascii
 */
export const text = (ascii) => [...unsigned(ascii.length), ...Buffer.from(ascii)];

/**
 * @typedef {object} Func
 * @property {Uint8Array} code its locals and instructions
 * @property {number} params how many parameters it has: they are its first locals
 */

/**
 * The functions of a module that are not imported, in their order.
 * @param {Uint8Array} module
 * @returns {Func[]}
 */
export function functionsOf(module) {
  /** @type {number[]} */
  let params = [];
  /** @type {number[]} */
  let types = [];
  /** @type {Uint8Array[]} */
  let codes = [];
  for (const { id, content } of sectionsOf(module)) {
    const reader = new Reader(content);
    const all = (/** @type {() => any} */ read) => Array.from({ length: reader.unsigned() }, read);
    if (id === TYPE_SECTION) params = all(() => paramsOfType(reader));
    if (id === FUNCTION_SECTION) types = all(() => reader.unsigned());
    if (id === CODE_SECTION) codes = all(() => reader.take(reader.unsigned()));
  }
  return codes.map((code, index) => ({ code, params: params[types[index] ?? 0] ?? 0 }));
}

/**
 * The module with other code for its functions.
 * @param {Uint8Array} module
 * @param {Uint8Array[]} codes
 */
export function withCode(module, codes) {
  const bodies = codes.flatMap((code) => [Uint8Array.from(unsigned(code.length)), code]);
  const written = Buffer.concat([Uint8Array.from(unsigned(codes.length)), ...bodies]);
  return withSections(module, (id, content) => (id === CODE_SECTION ? written : content));
}

/**
 * @typedef {object} Renaming
 * @property {(name: string) => string} importedFrom
 * @property {(name: string) => string} imported
 * @property {(name: string) => string | undefined} exported undefined to export it no more
 */

/**
 * The module with other names for what it imports, all of which must be functions, and exports.
 * @param {Uint8Array} module
 * @param {Renaming} renaming
 */
export function withNames(module, renaming) {
  return withSections(module, (id, content) => {
    const reader = new Reader(content);
    if (id === IMPORT_SECTION) {
      const imports = Array.from({ length: reader.unsigned() }, () => {
        const from = text(renaming.importedFrom(reader.text()));
        const name = text(renaming.imported(reader.text()));
        const kind = reader.byte();
        if (kind !== FUNCTION) throw new Explained("an import that is no function");
        return [...from, ...name, kind, ...unsigned(reader.unsigned())];
      });
      return Uint8Array.from([...unsigned(imports.length), ...imports.flat()]);
    }
    if (id === EXPORT_SECTION) {
      const exports = Array.from({ length: reader.unsigned() }, () => {
        const name = renaming.exported(reader.text());
        const exported = [reader.byte(), ...unsigned(reader.unsigned())];
        return name === undefined ? [] : [[...text(name), ...exported]];
      }).flat();
      return Uint8Array.from([...unsigned(exports.length), ...exports.flat()]);
    }
    return content;
  });
}

/**
 * Calls `visit` with each instruction of a function: its operation, where it begins and where the
 * next one does. The first operand is behind the first byte.
 * @param {Uint8Array} code
 * @param {number} at where the instructions begin
 * @param {(op: number, start: number, end: number) => void} visit
 */
export function eachInstruction(code, at, visit) {
  const reader = new Reader(code, at);
  while (reader.at < code.length) {
    const start = reader.at;
    const op = reader.byte();
    if (op === F32_CONST) reader.take(4);
    else if (op === F64_CONST) reader.take(8);
    else if (op === SELECT_TYPED) reader.take(reader.unsigned());
    else {
      let operands = operandsOf[op];
      if (op === PREFIXED) operands = PREFIXED_OPERANDS[reader.unsigned()];
      if (op === BR_TABLE) operands = reader.unsigned() + 1;
      if (operands === undefined) throw new Explained(`unknown instruction 0x${op.toString(16)}`);
      for (; operands > 0; operands--) reader.unsigned();
    }
    visit(op, start, reader.at);
  }
}

/**
 * @param {Uint8Array} module
 * @param {(id: number, content: Uint8Array) => Uint8Array} change what stands in a section
 */
function withSections(module, change) {
  const parts = [module.subarray(0, HEADER_BYTES)];
  for (const { id, content } of sectionsOf(module)) {
    const changed = change(id, content);
    parts.push(Uint8Array.from([id, ...unsigned(changed.length)]), changed);
  }
  return Buffer.concat(parts);
}

/** @param {Uint8Array} module */
function* sectionsOf(module) {
  const reader = new Reader(module, HEADER_BYTES);
  while (reader.at < module.length) {
    yield { id: reader.byte(), content: reader.take(reader.unsigned()) };
  }
}

/** @param {Reader} reader at the type of a function; it goes past it. */
function paramsOfType(reader) {
  if (reader.byte() !== FUNCTION_TYPE) throw new Explained("a type that is not a function's");
  const params = reader.unsigned();
  reader.take(params);
  reader.take(reader.unsigned());
  return params;
}
