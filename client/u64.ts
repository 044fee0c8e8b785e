/** The number kind that the engine computes with: an unsigned integer of 64 bits. */

const U64_MAX = 0xffffffffffffffffn;

/** What marks a KvU64 of any copy of the package that a page has loaded. */
const MARKER = Symbol.for("kvass.KvU64");

/**
 * An unsigned integer of 64 bits, as `sum`, `min` and `max` take it and as they leave it. It is
 * stored only as a whole value, not inside another one.
 */
export class KvU64 {
  /** Between 0 and 2^64 - 1. */
  readonly value: bigint;

  /**
   * @throws TypeError if `value` is no bigint
   * @throws RangeError if it is negative or over 2^64 - 1
   */
  constructor(value: bigint) {
    if (typeof value !== "bigint") {
      throw new TypeError(`Value must be a bigint: received ${typeof value}`);
    }
    if (value < 0n) {
      throw new RangeError(`Value must be a positive bigint: received ${value}`);
    }
    if (value > U64_MAX) {
      throw new RangeError("Value must fit in a 64-bit unsigned integer");
    }
    this.value = value;
    Object.freeze(this);
  }

  /** The number itself, so that `u64 + 1n` and comparisons work. */
  valueOf(): bigint {
    return this.value;
  }

  /** The number in decimal digits. */
  toString(): string {
    return this.value.toString();
  }

  /** What `Object.prototype.toString` and consoles show. */
  get [Symbol.toStringTag](): string {
    return "KvU64";
  }
}

// Set here because a class member whose name is computed at run time cannot be declared in a
// module's types.
Object.defineProperty(KvU64.prototype, MARKER, { value: true });
// Node and Deno print an object by this method.
Object.defineProperty(KvU64.prototype, Symbol.for("nodejs.util.inspect.custom"), {
  value(this: KvU64): string {
    return `[KvU64: ${this.value}n]`;
  },
});

/** Whether it is a KvU64, of whichever copy of the package. */
export function isU64(value: unknown): value is KvU64 {
  return typeof value === "object" && value !== null && MARKER in value;
}
