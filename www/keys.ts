/** Keys as the page sees them: their order, their text, and the parts people type. */
import type { KvKey, KvKeyPart, KvListSelector } from "kvass";
import { count } from "./format.ts";

/** The kinds of parts, in the order in which the store sorts them. */
export const KINDS = ["bytes", "string", "bigint", "number", "boolean"] as const;
export type Kind = (typeof KINDS)[number];

/** A string above every string that starts with the text before it, in the order of the store. */
const HIGHEST = "\u{10ffff}";

export function kindOf(part: KvKeyPart): Kind {
  return part instanceof Uint8Array ? "bytes" : (typeof part as Kind);
}

/** Negative, zero or positive, as the store orders two keys. */
export function compareKeys(a: KvKey, b: KvKey): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const order = compareParts(a[i] as KvKeyPart, b[i] as KvKeyPart);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

export function compareParts(a: KvKeyPart, b: KvKeyPart): number {
  const kind = kindOf(a);
  const kinds = KINDS.indexOf(kind) - KINDS.indexOf(kindOf(b));
  if (kinds !== 0) return kinds;
  if (kind === "bytes") return compareBytes(a as Uint8Array, b as Uint8Array);
  if (kind === "string") return compareText(a as string, b as string);
  if (kind === "number") return compareNumbers(a as number, b as number);
  if (kind === "boolean") return Number(a) - Number(b);
  return a === b ? 0 : (a as bigint) < (b as bigint) ? -1 : 1;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) if (a[i] !== b[i]) return (a[i] as number) - (b[i] as number);
  return a.length - b.length;
}

/** By code points, which is the order of UTF-8, and not by UTF-16 units as `<` does. */
function compareText(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    if (a[i] === b[i]) continue;
    const inPair = i > 0 && /[\ud800-\udbff]/.test(a[i - 1] as string);
    const at = inPair ? i - 1 : i;
    return (a.codePointAt(at) as number) - (b.codePointAt(at) as number);
  }
  return a.length - b.length;
}

/** -Infinity first, -0 before 0, NaN last. */
function compareNumbers(a: number, b: number): number {
  if (Object.is(a, b)) return 0;
  if (Number.isNaN(a)) return 1;
  if (Number.isNaN(b)) return -1;
  if (a === b) return Object.is(a, -0) ? -1 : 1;
  return a < b ? -1 : 1;
}

/** Whether `key` lies below `prefix`. */
export function hasPrefix(key: KvKey, prefix: KvKey): boolean {
  return (
    key.length > prefix.length &&
    prefix.every((part, i) => compareParts(part, key[i] as KvKeyPart) === 0)
  );
}

/** A range of keys that people can ask for: a prefix, perhaps with a start of the next part. */
export interface Range {
  prefix: KvKey;
  /** The next part is a string that starts with this; "" is any part. */
  text: string;
}

/** The range, or what of it lies from one key to before another, as `kv.list` takes it. */
export function selectorOf({ prefix, text }: Range, from?: KvKey, to?: KvKey): KvListSelector {
  const start = from ?? (text === "" ? undefined : [...prefix, text]);
  const end = to ?? (text === "" ? undefined : [...prefix, text + HIGHEST]);
  if (start !== undefined && end !== undefined) return { start, end };
  if (start !== undefined) return { prefix, start };
  return end === undefined ? { prefix } : { prefix, end };
}

export function inRange(key: KvKey, { prefix, text }: Range): boolean {
  if (!hasPrefix(key, prefix)) return false;
  const next = key[prefix.length];
  return text === "" || (typeof next === "string" && next.startsWith(text));
}

/** A part as a line of text; {@link kindOf} tells 1 from "1" (shown by colour). */
export function partText(part: KvKeyPart): string {
  if (part instanceof Uint8Array) return `0x${hex(part)}`;
  if (typeof part === "bigint") return `${part}n`;
  if (Object.is(part, -0)) return "-0";
  return part === "" ? '""' : String(part);
}

/** A key as it would stand in a program. */
export function keySource(key: KvKey): string {
  return `[${key.map(partSource).join(", ")}]`;
}

function partSource(part: KvKeyPart): string {
  if (part instanceof Uint8Array) return `bytes(${count(part.length)})`;
  if (typeof part !== "string") return partText(part);
  const shown = part.endsWith(HIGHEST) ? `${part.slice(0, -HIGHEST.length)}…` : part;
  return JSON.stringify(shown);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Bytes from hexadecimal digits, white space ignored.
 * @throws SyntaxError
 */
export function fromHex(text: string): Uint8Array {
  const digits = text.replace(/^0x|\s/g, "");
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(digits)) {
    throw new SyntaxError("bytes are an even number of hexadecimal digits");
  }
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/**
 * The part of some kind that a text means.
 * @throws SyntaxError
 */
export function parsePart(kind: Kind, text: string): KvKeyPart {
  if (kind === "string") return text;
  if (kind === "bytes") return fromHex(text);
  const trimmed = text.trim();
  if (kind === "boolean") {
    if (trimmed === "true" || trimmed === "false") return trimmed === "true";
    throw new SyntaxError("a boolean part is true or false");
  }
  if (kind === "bigint") {
    if (/^-?\d+n?$/.test(trimmed)) return BigInt(trimmed.replace("n", ""));
    throw new SyntaxError("a bigint part is a whole number");
  }
  const number = Number(trimmed);
  if (trimmed === "" || (Number.isNaN(number) && trimmed !== "NaN")) {
    throw new SyntaxError("a number part is a number");
  }
  return number;
}
