/** The numbers of the value format that both directions share; docs/VALUE-FORMAT.md lists them. */

/** A value's first byte: what the rest of it is. */
export const KIND_CBOR = 1;
export const KIND_U64 = 2;
export const KIND_BYTES = 3;
export const KIND_NUMBER = 4;
export const KIND_BIGINT = 5;

/** CBOR's major types, RFC 8949 section 3.1. */
export const MAJOR_UINT = 0;
export const MAJOR_NEGATIVE = 1;
export const MAJOR_BYTES = 2;
export const MAJOR_TEXT = 3;
export const MAJOR_ARRAY = 4;
export const MAJOR_MAP = 5;
export const MAJOR_TAG = 6;

/** Initial bytes of CBOR's simple values and of a double. */
export const FALSE = 0xf4;
export const TRUE = 0xf5;
export const NULL = 0xf6;
export const UNDEFINED = 0xf7;
export const DOUBLE = 0xfb;

/** Registered tags, https://www.iana.org/assignments/cbor-tags. */
export const TAG_DATE = 1;
export const TAG_POSITIVE_BIGINT = 2;
export const TAG_NEGATIVE_BIGINT = 3;
export const TAG_OBJECT = 27;
export const TAG_SHARED = 28;
export const TAG_REFERENCE = 29;
export const TAG_SET = 258;
export const TAG_MAP = 259;
export const TAG_WTF8 = 273;
export const TAG_REGEXP = 21066;

/** RFC 8746: typed arrays that are stored with their elements alone, in little-endian order. */
export const TYPED_ARRAY_TAGS: Readonly<Record<string, number>> = {
  Uint8ClampedArray: 68,
  Uint16Array: 69,
  Uint32Array: 70,
  BigUint64Array: 71,
  Int8Array: 72,
  Int16Array: 77,
  Int32Array: 78,
  BigInt64Array: 79,
  Float16Array: 84,
  Float32Array: 85,
  Float64Array: 86,
};

/** The errors that keep their type; others are stored as `Error`, as structured clone does. */
export const ERROR_NAMES: readonly string[] = [
  "Error",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "TypeError",
  "URIError",
];

/** How deep objects may lie in each other: reading and writing recurse. */
export const DEPTH_MAX = 1000;
