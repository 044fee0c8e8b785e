/** Random numbers from a seed, so that a failure can be repeated. */

/** The seed of this run: `SEED` of the environment, or a fixed one. */
export const SEED: number = Number(process.env.SEED ?? 20260314);

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A number from 0 to under 1 (mulberry32, by Tommy Ettinger, public domain). */
  next(): number {
    // A small integer, which is no object in the heap as a larger one is.
    let t = (this.#state + 0x6d2b79f5) | 0;
    this.#state = t;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x100000000;
  }

  /** A whole number from 0 to under `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.below(256);
    return bytes;
  }

  /** Mostly small: what has few bits more often meets the limits of an encoding. */
  bigint(bits_max: number): bigint {
    let value = 0n;
    for (let bits = this.below(bits_max + 1); bits > 0; bits -= 32) {
      const chunk = Math.min(bits, 32);
      value = (value << BigInt(chunk)) | BigInt(this.below(2 ** chunk));
    }
    return this.below(2) === 0 ? value : -value;
  }

  number(): number {
    switch (this.below(5)) {
      case 0:
        return this.pick([0, -0, 1, -1, 23, 24, 255, 256, 65535, 65536, 2 ** 32, 2 ** 53, 0.1]);
      case 1:
        return this.pick([Number.NaN, Infinity, -Infinity, 5e-324, Number.MAX_VALUE, -(2 ** 53)]);
      case 2:
        return this.below(2 ** 32) - 2 ** 31;
      case 3:
        return this.next() * 10 ** (this.below(40) - 20);
      default:
        return new DataView(this.bytes(8).buffer).getFloat64(0);
    }
  }

  /** A string of characters of one to four bytes, NUL and lone surrogates among them. */
  string(): string {
    const length = this.pick([0, 1, 2, 5, 8, 13, 23, 24, 40, 64, 65, 100, 300]);
    const isAscii = this.below(3) > 0;
    let text = "";
    while (text.length < length) text += isAscii ? this.#ascii() : this.#character();
    return text;
  }

  #ascii(): string {
    return String.fromCharCode(this.below(50) === 0 ? 0 : 32 + this.below(95));
  }

  #character(): string {
    const code = this.pick([
      0x7f, 0x80, 0x7ff, 0x800, 0xd800, 0xdfff, 0xfeff, 0xffff, 0x10000, 0x10ffff,
    ]);
    return this.below(2) === 0 ? this.#ascii() : String.fromCodePoint(code);
  }
}
