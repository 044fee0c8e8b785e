/**
 * Equality for values that went through storage: -0 is not 0, a hole is not undefined, prototypes
 * count, the order of keys counts, and two places hold one object in both values or in neither.
 */

/** Where the values differ, or undefined if they are the same. */
export function difference(a: unknown, b: unknown): string | undefined {
  return new Comparison().difference(a, b, "value");
}

class Comparison {
  readonly #pairs = new Map<object, object>();
  readonly #taken = new Set<object>();

  difference(a: unknown, b: unknown, at: string): string | undefined {
    if (typeof a !== "object" || a === null || typeof b !== "object" || b === null) {
      return Object.is(a, b) ? undefined : `${at}: ${show(a)} is not ${show(b)}`;
    }
    if (this.#pairs.has(a) || this.#taken.has(b)) {
      return this.#pairs.get(a) === b ? undefined : `${at}: another object`;
    }
    this.#pairs.set(a, b);
    this.#taken.add(b);
    if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return `${at}: another prototype`;
    return this.#content(a, b, at) ?? this.#properties(a, b, at);
  }

  #content(a: object, b: object, at: string): string | undefined {
    if (a instanceof Map && b instanceof Map) return this.#list([...a].flat(), [...b].flat(), at);
    if (a instanceof Set && b instanceof Set) return this.#list([...a], [...b], at);
    if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) {
      return this.#list([...new Uint8Array(a)], [...new Uint8Array(b)], at);
    }
    if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) {
      return (
        this.#list([a.byteOffset, a.byteLength], [b.byteOffset, b.byteLength], at) ??
        this.difference(a.buffer, b.buffer, `${at}.buffer`)
      );
    }
    if (a instanceof RegExp) return this.difference(String(a), String(b), at);
    if (a instanceof Date || isWrapper(a)) return this.difference(a.valueOf(), b.valueOf(), at);
    return undefined;
  }

  #list(a: unknown[], b: unknown[], at: string): string | undefined {
    if (a.length !== b.length) return `${at}: ${a.length} items, not ${b.length}`;
    return a.map((item, i) => this.difference(item, b[i], `${at}[${i}]`)).find(Boolean);
  }

  #properties(a: object, b: object, at: string): string | undefined {
    const keys = ownKeys(a);
    const others = ownKeys(b);
    if (keys.join() !== others.join()) return `${at}: keys ${keys} are not ${others}`;
    for (const key of keys) {
      if (isEnumerable(a, key) !== isEnumerable(b, key)) return `${at}.${key}: enumerable or not`;
      // Read, not described: an error's stack may be an accessor of its prototype.
      const found = this.difference(Reflect.get(a, key), Reflect.get(b, key), `${at}.${key}`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}

/** Where an error has these differs between engines, and whether structured clone keeps them. */
const OF_THE_ENGINE = "stack line column sourceURL lineNumber columnNumber fileName".split(" ");

/** The stack is one of an error's, wherever it has it; so is any order. */
function ownKeys(object: object): string[] {
  const keys = Object.getOwnPropertyNames(object);
  if (ArrayBuffer.isView(object)) return [];
  if (!(object instanceof Error)) return keys;
  return ["stack", ...keys.filter((key) => !OF_THE_ENGINE.includes(key)).sort()];
}

function isEnumerable(object: object, key: string): boolean {
  return Object.prototype.propertyIsEnumerable.call(object, key);
}

function isWrapper(value: object): boolean {
  return [Boolean, Number, String, BigInt].some((wrapper) => value instanceof wrapper);
}

function show(value: unknown): string {
  return Object.is(value, -0)
    ? "-0"
    : typeof value === "string"
      ? JSON.stringify(value)
      : String(value);
}
