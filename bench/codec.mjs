/**
 * How fast and how large the key and value codecs are, as they are shipped: bundled and minified.
 * Prints the time to encode and decode typical values as a ratio to JSON (JSON.stringify and
 * TextEncoder; TextDecoder and JSON.parse) measured in the same run, each the best of several
 * rounds, and the gzip size.
 *
 *     node bench/codec.mjs
 */
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const EXPORTS = `
export { ByteReader, ByteWriter } from "./client/codec/bytes.ts";
export { decodeKey, prefixRange, writeKey } from "./client/codec/key.ts";
export { encodeCursor, resumeRange } from "./client/codec/cursor.ts";
export { decodeValue, writeValue } from "./client/codec/value/index.ts";
export * from "./client/versionstamp.ts";
`;

const ROUNDS = 15;
const ROUND_MS = 15;

const place = {
  name: "Zürich",
  lat: 47.36667,
  lng: 8.55,
  country: "CH",
  admin1: "ZH",
  admin2: "112",
};
const order = {
  id: "ord_8f3a2b19",
  placed: "2026-03-14T09:26:53.589Z",
  customer: { id: 48213, name: "Ada Lovelace", email: "ada@example.org", vip: true },
  address: { street: "12 St James's Square", city: "London", zip: "SW1Y 4JH", country: "GB" },
  items: Array.from({ length: 20 }, (_, i) => ({
    sku: `SKU-${1000 + i * 7}`,
    title: `Article number ${i}`,
    quantity: (i % 4) + 1,
    price: 4.95 + i * 3.1,
    tags: ["new", "sale"],
    gift: i % 5 === 0,
    note: null,
  })),
  total: 731.5,
};
const VALUES = {
  "GeoNames place": place,
  "order of 20 items": order,
  "1000 numbers": Array.from({ length: 1000 }, (_, i) => (i % 2 ? i * 37 : i * 1.37)),
  "10 KB string": "All work and no play makes Jack a dull boy. ".repeat(233),
  "100 places": Array.from({ length: 100 }, (_, i) => ({ ...place, name: `Place ${i}` })),
  "short string": "Ada Lovelace",
  "5 short fields": { a: 1, b: "two", c: true, d: null, e: [1, 2, 3] },
};
const KEY = ["cities", "CH", "Zürich", 2657896];

async function bundle() {
  const { outputFiles } = await build({
    stdin: { contents: EXPORTS, resolveDir: new URL("..", import.meta.url).pathname },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
  });
  return outputFiles[0].contents;
}

/**
 * Nanoseconds of one call, the best of `ROUNDS` rounds that take turns with the other functions.
 * @param {(() => unknown)[]} functions
 */
function time(functions) {
  const best = functions.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, run] of functions.entries()) {
      let calls = 0;
      const start = performance.now();
      let spent = 0;
      while (spent < ROUND_MS) {
        for (let n = 0; n < 20; n++) run();
        calls += 20;
        spent = performance.now() - start;
      }
      best[i] = Math.min(best[i], (spent * 1e6) / calls);
    }
  }
  return best;
}

const code = await bundle();
const codec = await import(`data:text/javascript;base64,${Buffer.from(code).toString("base64")}`);
const { ByteWriter, decodeKey, decodeValue, writeKey, writeValue } = codec;
const writer = new ByteWriter();
const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder();

/**
 * One row of the table: encoding and decoding beside JSON, and the sizes.
 * @param {string} name
 * @param {unknown} value
 * @param {(w: unknown, value: unknown) => void} write
 * @param {(bytes: Uint8Array, start: number, end: number) => unknown} decode
 */
function measure(name, value, write, decode) {
  const json = textEncoder.encode(JSON.stringify(value));
  writer.reset();
  write(writer, value);
  const own = writer.bytes.slice(0, writer.position);
  const [write_ns, jsonWrite_ns, read_ns, jsonRead_ns] = time([
    () => {
      writer.reset();
      write(writer, value);
    },
    () => textEncoder.encode(JSON.stringify(value)),
    () => decode(own, 0, own.length),
    () => JSON.parse(textDecoder.decode(json)),
  ]);
  return {
    value: name,
    "encode ns": Math.round(write_ns),
    "of JSON": (write_ns / jsonWrite_ns).toFixed(2),
    "decode ns": Math.round(read_ns),
    "of JSON's": (read_ns / jsonRead_ns).toFixed(2),
    bytes: own.length,
    "JSON bytes": json.length,
  };
}

const rows = Object.entries(VALUES).map(([name, v]) => measure(name, v, writeValue, decodeValue));
rows.push(measure("key of 4 parts", KEY, writeKey, decodeKey));
console.table(rows);
console.log(`${code.length} bytes minified, ${gzipSync(code, { level: 9 }).length} gzip`);
