/**
 * What the clients of a simulated database were told, held against its log: every commit that was
 * acknowledged is there, once; what was refused is not; a read sees all that anybody was told of
 * before; a reader of changes misses nothing and hears nothing twice.
 */

import { encodeKey, type KvKey } from "../../client/codec/key.ts";
import type { KvEntryMaybe } from "../../client/types.ts";
import { type Hex, hexOf } from "../client/support/wire.ts";
import type { Files, Logged } from "./files.ts";

/** A commit that somebody asked for; each writes a key of its own, by which it is found. */
export interface Intent {
  readonly marker: Hex;
  readonly client: string;
  /** Its place among those of its client. */
  readonly serial: number;
  state: "open" | "acknowledged" | "refused" | "unknown";
  stamp?: string;
}

/** From one place in the log to another, both included. */
type Span = [from: number, to: number];

const keys = new Map<string, Hex>();

/** The encoding of a key as digits. */
export function hexOfKey(key: KvKey): Hex {
  const name = key.join("/");
  const hex = keys.get(name) ?? hexOf(encodeKey(key));
  keys.set(name, hex);
  return hex;
}

export class Oracle {
  readonly #files: Files;
  readonly #violate: (what: string) => void;
  readonly intents = new Map<Hex, Intent>();
  /** What reads that begin now must see: so many commits of the log. */
  known = 0;
  /** How much of the log is in the histories, and by which place a versionstamp is known. */
  #read = 0;
  readonly #places = new Map<string, number>();
  /** For each key, after which commits it had which versionstamp. */
  readonly #histories = new Map<Hex, { from: number; stamp: string | null }[]>();

  constructor(files: Files, violate: (what: string) => void) {
    this.#files = files;
    this.#violate = violate;
  }

  get #log(): readonly Logged[] {
    return this.#files.state.log;
  }

  /** How many commits there are. */
  get length(): number {
    return this.#log.length;
  }

  intend(client: string, serial: number): Intent {
    const marker = hexOfKey(["m", client, serial]);
    const intent: Intent = { marker, client, serial, state: "open" };
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
        const history = this.#histories.get(key) ?? [{ from: 0, stamp: null }];
        this.#histories.set(key, history);
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
    const place = this.placeOf(stamp);
    if (place === 0) {
      this.#violate(`${intent.client} was told of ${stamp}, which is not in the log`);
    }
    this.known = Math.max(this.known, place);
  }

  /** Checks what was read at one moment after `known` commits were known. */
  saw(known: number, entries: readonly [Hex, string | null][], what: string): void {
    this.#catchUp();
    let spans: Span[] = [[known, this.length]];
    for (const [key, stamp] of entries) {
      const held = this.#spansOf(key, stamp);
      spans = spans.flatMap(([from, to]) =>
        held.map(([a, b]): Span => [Math.max(a, from), Math.min(b, to)]).filter(([a, b]) => a <= b),
      );
    }
    const [first] = spans;
    if (first === undefined) {
      const read = entries.map(([key, stamp]) => `${key} ${stamp}`).join(", ");
      this.#violate(`${what} saw a past or a mixture, after ${known} commits: ${read}`);
    } else {
      this.known = Math.max(this.known, first[0]);
    }
  }

  /** Checks that a list is all that there was of a prefix at one moment. */
  listed(known: number, prefix: Hex, found: ReadonlyMap<Hex, string>, what: string): void {
    this.#catchUp();
    const entries = [...this.#histories.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key): [Hex, string | null] => [key, found.get(key) ?? null]);
    this.saw(known, entries, what);
  }

  #spansOf(key: Hex, stamp: string | null): Span[] {
    const history = this.#histories.get(key) ?? [{ from: 0, stamp: null }];
    return history.flatMap((one, i): Span[] => {
      const end = history[i + 1]?.from ?? Number.POSITIVE_INFINITY;
      return one.stamp === stamp ? [[one.from, end - 1]] : [];
    });
  }

  /** The commits that touch a prefix, by their versionstamps, from a place on. */
  touching(prefix: Hex, from: number): string[] {
    return this.#log
      .slice(Math.max(0, from - 1))
      .filter(({ changes }) => changes.some(([, key]) => key.startsWith(prefix)))
      .map(({ stamp }) => stamp);
  }

  /** The versionstamps of keys as they are now. */
  present(keys: readonly KvKey[]): (string | null)[] {
    return keys.map((key) => this.#files.state.entries.get(hexOfKey(key))?.versionstamp ?? null);
  }

  /** Checks every commit against the log. */
  checkCommits(): void {
    const applied = new Map<Hex, string[]>();
    for (const { stamp, changes } of this.#log) {
      for (const [, key] of changes) {
        if (this.intents.has(key)) applied.set(key, [...(applied.get(key) ?? []), stamp]);
      }
    }
    for (const { marker, client, serial, state, stamp } of this.intents.values()) {
      const stamps = applied.get(marker) ?? [];
      const name = `commit ${serial} of ${client}`;
      if (stamps.length > 1) this.#violate(`${name} was applied ${stamps.length} times`);
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
