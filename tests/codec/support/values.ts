/** Random values of every kind that structured clone takes. */

import type { Random } from "./random.ts";

const TYPED_ARRAYS = [
  Uint8Array,
  Uint8ClampedArray,
  Int8Array,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  BigUint64Array,
  BigInt64Array,
  Float32Array,
  Float64Array,
] as const;
const ERRORS = [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];

/** A value in which some objects stand in several places, themselves perhaps among them. */
export function randomValue(random: Random): unknown {
  return new Maker(random).value(random.below(5));
}

class Maker {
  readonly #random: Random;
  readonly #made: object[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  value(depth: number): unknown {
    const random = this.#random;
    if (depth === 0 || random.below(3) === 0) return this.#primitive();
    if (this.#made.length > 0 && random.below(8) === 0) return random.pick(this.#made);
    return random.below(3) > 0 ? this.#container(depth - 1) : this.#keep(this.#leaf());
  }

  #keep<T extends object>(object: T): T {
    this.#made.push(object);
    return object;
  }

  #primitive(): unknown {
    const random = this.#random;
    switch (random.below(6)) {
      case 0:
        return random.pick([undefined, null, true, false]);
      case 1:
        return random.bigint(random.pick([8, 70, 600]));
      case 2:
      case 3:
        return random.number();
      default:
        return random.string();
    }
  }

  #container(depth: number): object {
    const random = this.#random;
    const size = random.pick([0, 1, 2, 3, 5, 30]);
    switch (random.below(5)) {
      case 0:
        return this.#array(size, depth);
      case 1: {
        const map = this.#keep(new Map());
        for (let i = 0; i < size; i++) map.set(this.value(depth), this.value(depth));
        return map;
      }
      case 2: {
        const set = this.#keep(new Set());
        for (let i = 0; i < size; i++) set.add(this.value(depth));
        return set;
      }
      default: {
        const object = this.#keep({});
        for (let i = 0; i < size; i++) define(object, this.#key(), this.value(depth));
        return object;
      }
    }
  }

  #array(size: number, depth: number): unknown[] {
    const array: unknown[] = this.#keep([]);
    const isHoley = this.#random.below(5) === 0;
    for (let i = 0; i < size; i++) {
      if (isHoley && this.#random.below(3) === 0) array.length++;
      else array.push(this.value(depth));
    }
    if (this.#random.below(10) === 0) define(array, this.#key(), this.value(depth));
    return array;
  }

  #key(): string {
    const random = this.#random;
    return random.pick([
      "__proto__",
      "constructor",
      "toString",
      "name",
      "id",
      "0",
      "7",
      random.string(),
    ]);
  }

  #leaf(): object {
    const random = this.#random;
    switch (random.below(7)) {
      case 0:
        return new Date(random.pick([0, -1, 1.5e12 + random.below(1e9), 8.64e15, Number.NaN]));
      case 1:
        return new RegExp(random.pick(["a+", "[/]\\/", "", "é"]), random.pick(["", "g", "gimsuy"]));
      case 2:
        return new (random.pick(ERRORS))(random.string(), { cause: this.value(1) });
      case 3:
        return Object(random.pick([true, -0, 1.5, "text", 5n, ""]));
      case 4:
        return random.bytes(random.below(40)).buffer;
      case 5: {
        const buffer = this.#keep(random.bytes(16).buffer);
        return {
          whole: buffer,
          part: new DataView(buffer, 3, 5),
          u16: new Uint16Array(buffer, 2, 4),
        };
      }
      default: {
        const length = random.below(9);
        return new (random.pick(TYPED_ARRAYS))(random.bytes(length * 8).buffer);
      }
    }
  }
}

/** An own property, whatever its name. */
function define(object: object, key: string, value: unknown): void {
  if (key === "length") return;
  Object.defineProperty(object, key, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}
