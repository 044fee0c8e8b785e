/**
 * Values as text that people can edit: JSON, and for what JSON lacks an object with one key that
 * starts with `$`.
 *
 *     {"$u64": "42"}      KvU64             {"$date": "2026-01-31T12:00:00.000Z"}   Date
 *     {"$bigint": "42"}   bigint            {"$bytes": "00ff"}                      Uint8Array
 *     {"$number": "-0"}   NaN, Infinity, -0 {"$undefined": true}                    undefined
 *     {"$map": [[k, v]]}  Map               {"$set": [v]}                           Set
 *     {"$$x": 1}          an object whose only key is "$x"
 */
import { KvU64 } from "kvass";
import { fromHex, hex } from "./keys.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Says that a value has no text from which the same value could be read. */
export class NoText extends Error {}

/**
 * The text of a value.
 * @throws NoText for a kind without one (RegExp, Error, a cycle, and so on)
 */
export function toText(value: unknown): string {
  return JSON.stringify(toJson(value, []), undefined, 2);
}

/**
 * The value of a text.
 * @throws SyntaxError with a message for people
 */
export function fromText(text: string): unknown {
  if (text.trim() === "") throw new SyntaxError('Write a value: JSON, such as {"a": 1} or "text".');
  return fromJson(JSON.parse(text) as Json);
}

function toJson(value: unknown, above: object[]): Json {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (value === undefined) return { $undefined: true };
  if (typeof value === "bigint") return { $bigint: String(value) };
  if (typeof value === "number") {
    if (Number.isFinite(value) && !Object.is(value, -0)) return value;
    return { $number: Object.is(value, -0) ? "-0" : String(value) };
  }
  if (typeof value !== "object") throw new NoText(`a ${typeof value}`);
  if (above.includes(value)) throw new NoText("an object that contains itself");
  return objectToJson(value, [...above, value]);
}

function objectToJson(value: object, above: object[]): Json {
  const inner = (item: unknown) => toJson(item, above);
  if (value instanceof KvU64) return { $u64: String(value.value) };
  if (value instanceof Uint8Array) return { $bytes: hex(value) };
  if (value instanceof Map) {
    return { $map: Array.from(value, ([key, item]) => [inner(key), inner(item)]) };
  }
  if (value instanceof Set) return { $set: Array.from(value, inner) };
  if (value instanceof Date && !Number.isNaN(value.getTime()))
    return { $date: value.toISOString() };
  if (Array.isArray(value) && Object.keys(value).length === value.length) return value.map(inner);
  if (Object.getPrototypeOf(value) !== Object.prototype) throw new NoText(kindName(value));
  const entries = Object.entries(value).map(([key, item]): [string, Json] => [key, inner(item)]);
  const [only] = entries;
  if (entries.length === 1 && only?.[0].startsWith("$")) return { [`$${only[0]}`]: only[1] };
  return Object.fromEntries(entries);
}

function fromJson(json: Json): unknown {
  if (typeof json !== "object" || json === null) return json;
  if (Array.isArray(json)) return json.map(fromJson);
  const entries = Object.entries(json);
  const [only] = entries;
  if (entries.length === 1 && only?.[0].startsWith("$")) return fromTagged(only[0], only[1]);
  return Object.fromEntries(entries.map(([key, item]) => [key, fromJson(item)]));
}

function fromTagged(tag: string, json: Json): unknown {
  if (tag.startsWith("$$")) return Object.fromEntries([[tag.slice(1), fromJson(json)]]);
  if (tag === "$undefined") return undefined;
  if (tag === "$map" && Array.isArray(json)) return new Map(json.map(pair));
  if (tag === "$set" && Array.isArray(json)) return new Set(json.map(fromJson));
  const digits = typeof json === "string" && /^-?\d+$/.test(json);
  if (tag === "$bigint" && digits) return BigInt(json);
  if (tag === "$u64" && digits) return u64(json);
  if (typeof json === "string") {
    if (tag === "$bytes") return fromHex(json);
    if (tag === "$number" && ["NaN", "Infinity", "-Infinity", "-0"].includes(json)) {
      return Number(json);
    }
    const date = new Date(json);
    if (tag === "$date" && !Number.isNaN(date.getTime())) return date;
  }
  throw new SyntaxError(`{${JSON.stringify(tag)}: …} is not a value: see the hint below.`);
}

function u64(digits: string): KvU64 {
  try {
    return new KvU64(BigInt(digits));
  } catch (error) {
    throw new SyntaxError(`$u64: ${(error as Error).message}`);
  }
}

function pair(json: Json): [unknown, unknown] {
  if (Array.isArray(json) && json.length === 2) {
    return [fromJson(json[0] as Json), fromJson(json[1] as Json)];
  }
  throw new SyntaxError("$map is a list of pairs");
}

/** The name of an object's class: "RegExp". */
export function kindName(value: object): string {
  return Object.prototype.toString.call(value).slice("[object ".length, -1);
}

/** A short line about a value of any kind, cut at `max` characters. */
export function preview(value: unknown, max = 160): string {
  const text = typeof value === "string" ? value : line(value, 0);
  return text.length > max ? `${text.slice(0, max)}…` : text;
}

function line(value: unknown, depth: number): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 200));
  if (typeof value === "bigint") return `${value}n`;
  if (Object.is(value, -0)) return "-0";
  if (typeof value !== "object" || value === null) return String(value);
  if (value instanceof KvU64) return String(value.value);
  if (value instanceof Uint8Array) return `${value.length} bytes ${hex(value.slice(0, 16))}`;
  if (value instanceof Date || value instanceof RegExp || value instanceof Error) {
    return String(value);
  }
  if (depth > 2) return "…";
  if (value instanceof Map) return `Map(${value.size})`;
  if (value instanceof Set) return `Set(${value.size})`;
  if (Array.isArray(value)) {
    return `[${value
      .slice(0, 20)
      .map((item) => line(item, depth + 1))
      .join(", ")}]`;
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return `${kindName(value)}, ${value.byteLength} bytes`;
  }
  const fields = Object.entries(value).slice(0, 20);
  return `{ ${fields.map(([key, item]) => `${key}: ${line(item, depth + 1)}`).join(", ")} }`;
}
