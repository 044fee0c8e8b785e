/**
 * What the clients of a simulated database were told, held against its log: every commit that was
 * acknowledged is there, once; what was refused is not; a read sees all that anybody was told of
 * before; a reader of changes misses nothing and hears nothing twice.
 */

import { encodeKey, type KvKey } from "../../client/codec/key.ts";
import type { KvEntryMaybe } from "../../client/types.ts";
import type { Logged } from "../client/support/memory-host.ts";
import { type Hex, hexOf } from "../client/support/wire.ts";
import type { Files } from "./files.ts";

/** A commit that somebody asked for; each writes a key of its own, by which it is found. */
export interface Intent {
  readonly marker: Hex;
  readonly client: string;
  /** Its place among those of its client. */
  readonly serial: number;
  /** How often the database was deleted before. */
  readonly life: number;
  state: "open" | "acknowledged" | "refused" | "unknown";
  stamp?: string;
  /** The value that it sets where readers look for it. */
  value?: string | Uint8Array;
}

/** When a read began: the database at the time, and how many commits of it were known. */
export interface Moment {
  readonly life: number;
  readonly known: number;
}

/** From which place in the log on a key had a versionstamp. */
interface Held {
  readonly from: number;
  readonly stamp: string | null;
}

const NEVER_SET: readonly Held[] = [{ from: 0, stamp: null }];

/** From one place in the log to another, both included. */
type Span = [from: number, to: number];

/** What keys begin with that end in a number, and whose values are those of the intents. */
export const VALUES = "k";

/** Those of one run: there is no end to them. */
const keys = new Map<string, Hex>();

/** The encoding of a key as digits. */
export function hexOfKey(key: KvKey): Hex {
  const name = key.join("/");
  let hex = keys.get(name);
  if (hex === undefined) {
    hex = hexOf(encodeKey(key));
    keys.set(name, hex);
  }
  return hex;
}

export class Oracle {
  readonly #files: Files;
  readonly #violate: (what: string) => void;
  /** How often the database was deleted. */
  life = 0;
  /** How many commits there were before that. */
  #former = 0;
  readonly intents = new Map<Hex, Intent>();
  /** So many commits of the log are known to somebody. */
  #known = 0;
  /** How much of the log is in the histories, and by which place a versionstamp is known. */
  #read = 0;
  readonly #places = new Map<string, number>();
  /** What was asked for, by the versionstamp that it got. */
  readonly #written = new Map<string, Intent>();
  /** For each key, after which commits it had which versionstamp. */
  readonly #histories = new Map<Hex, Held[]>();

  constructor(files: Files, violate: (what: string) => void) {
    keys.clear();
    this.#files = files;
    this.#violate = violate;
  }

  get #log(): readonly Logged[] {
    return this.#files.state.log;
  }

  /** How many commits there were. */
  get commits(): number {
    return this.#former + this.#log.length;
  }

  /** What reads that begin now must see. */
  get present(): Moment {
    return { life: this.life, known: this.#known };
  }

  /** The last commit that is known to somebody. */
  get lastKnown(): string | undefined {
    return this.#log[this.#known - 1]?.stamp;
  }

  /** The database is about to be deleted: what comes after it has nothing of it. */
  deleted(): void {
    this.checkCommits();
    this.life++;
    this.#former += this.#log.length;
    this.#known = this.#read = 0;
    for (const one of [this.#places, this.#written, this.#histories]) one.clear();
  }

  intend(client: string, serial: number): Intent {
    const marker = hexOfKey(["m", client, serial]);
    const intent: Intent = { marker, client, serial, life: this.life, state: "open" };
    this.intents.set(marker, intent);
    return intent;
  }

  /** Takes note of new commits. */
  #catchUp(): void {
    for (; this.#read < this.#log.length; this.#read++) {
      const { stamp, changes } = this.#log[this.#read] as Logged;
      const from = this.#read + 1;
      this.#places.set(stamp, from);
      for (const [kind, key] of changes) {
        const intent = this.intents.get(key);
        if (intent !== undefined) this.#written.set(stamp, intent);
        let history = this.#histories.get(key);
        if (history === undefined) {
          history = [...NEVER_SET];
          this.#histories.set(key, history);
        }
        history.push({ from, stamp: kind === 0 ? stamp : null });
      }
    }
  }

  /** The place of a commit in the log, from 1; 0 if it is not there. */
  placeOf(stamp: string): number {
    this.#catchUp();
    return this.#places.get(stamp) ?? 0;
  }

  acknowledged(intent: Intent, stamp: string): void {
    intent.state = "acknowledged";
    intent.stamp = stamp;
    if (intent.life < this.life) return;
    const place = this.placeOf(stamp);
    if (place === 0) {
      this.#violate(`${intent.client} was told of ${stamp}, which is not in the log`);
    }
    this.#known = Math.max(this.#known, place);
  }

  /** Checks what was read at one moment, which began at `since`. */
  saw({ life, known }: Moment, entries: readonly [Hex, string | null][], what: string): void {
    if (life < this.life) return;
    this.#catchUp();
    let spans: Span[] = [[known, this.#log.length]];
    for (const [key, stamp] of entries) spans = this.#within(spans, key, stamp);
    const [first] = spans;
    if (first === undefined) {
      const read = entries.map(([key, stamp]) => `${key} ${stamp}`).join(", ");
      this.#violate(`${what} saw a past or a mixture, after ${known} commits: ${read}`);
    } else {
      this.#known = Math.max(this.#known, first[0]);
    }
  }

  /** Checks a value that was read against the one that its commit set. */
  holds(life: number, { key, versionstamp: stamp, value }: KvEntryMaybe, what: string): void {
    if (life < this.life) return;
    if (key[0] !== VALUES || typeof key[1] !== "number" || stamp === null) return;
    this.#catchUp();
    const set = this.#written.get(stamp)?.value;
    if (set === value) return;
    const isEqual =
      set instanceof Uint8Array && value instanceof Uint8Array && Buffer.compare(set, value) === 0;
    if (!isEqual) this.#violate(`${what} found at ${key.join("/")} what ${stamp} did not set`);
  }

  /** Checks that a list is all that there was of a prefix at one moment. */
  listed(since: Moment, prefix: Hex, found: ReadonlyMap<Hex, string>, what: string): void {
    this.#catchUp();
    const entries = [...this.#histories.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key): [Hex, string | null] => [key, found.get(key) ?? null]);
    this.saw(since, entries, what);
  }

  /** The parts of `spans` in which a key had a versionstamp. */
  #within(spans: readonly Span[], key: Hex, stamp: string | null): Span[] {
    const history = this.#histories.get(key) ?? NEVER_SET;
    const parts: Span[] = [];
    for (const [from, to] of spans) {
      for (let i = 0; i < history.length; i++) {
        const one = history[i] as Held;
        if (one.from > to) break;
        if (one.stamp !== stamp) continue;
        const end = history[i + 1]?.from ?? Number.POSITIVE_INFINITY;
        if (end > from) parts.push([Math.max(one.from, from), Math.min(end - 1, to)]);
      }
    }
    return parts;
  }

  /** The commits that touch a prefix, by their versionstamps, from a place on. */
  touching(prefix: Hex, from: number): string[] {
    return this.#log
      .slice(Math.max(0, from - 1))
      .filter(({ changes }) => changes.some(([, key]) => key.startsWith(prefix)))
      .map(({ stamp }) => stamp);
  }

  /** The versionstamps of keys as they are now. */
  stampsOf(keys: readonly KvKey[]): (string | null)[] {
    return keys.map((key) => this.#files.state.entries.get(hexOfKey(key))?.versionstamp ?? null);
  }

  /** Checks every commit against the log. */
  checkCommits(): void {
    const applied = new Map<Hex, string[]>();
    for (const { stamp, changes } of this.#log) {
      for (const [, key] of changes) {
        if (!this.intents.has(key)) continue;
        const stamps = applied.get(key);
        if (stamps === undefined) applied.set(key, [stamp]);
        else stamps.push(stamp);
      }
    }
    for (const { marker, client, serial, life, state, stamp } of this.intents.values()) {
      const stamps = applied.get(marker) ?? [];
      const name = `commit ${serial} of ${client}`;
      if (stamps.length > 1) this.#violate(`${name} was applied ${stamps.length} times`);
      // A tab that stood still may have asked again for what it had asked of the deleted one.
      if (life < this.life) continue;
      if (state === "acknowledged" && stamps[0] !== stamp) {
        this.#violate(`${name} was acknowledged as ${stamp} and is ${stamps[0]}`);
      }
      if (state === "refused" && stamps.length > 0) {
        this.#violate(`${name} was refused and is applied as ${stamps[0]}`);
      }
    }
    this.#checkOrder();
    this.#checkStamps();
  }

  /** The commits of a client are applied in the order of its calls. */
  #checkOrder(): void {
    const last = new Map<string, number>();
    for (const { changes } of this.#log) {
      for (const [, key] of changes) {
        const intent = this.intents.get(key);
        if (intent === undefined) continue;
        const { client, serial } = intent;
        const before = last.get(client) ?? 0;
        if (serial < before) this.#violate(`commit ${serial} of ${client} came after ${before}`);
        last.set(client, Math.max(before, serial));
      }
    }
  }

  #checkStamps(): void {
    this.#log.forEach(({ stamp }, i) => {
      const before = this.#log[i - 1]?.stamp ?? "";
      if (stamp <= before) this.#violate(`commit ${stamp} follows ${before}`);
    });
  }
}

/** A read entry as the oracle takes it. */
export function seen({ key, versionstamp }: KvEntryMaybe): [Hex, string | null] {
  return [hexOfKey(key as KvKey), versionstamp];
}
