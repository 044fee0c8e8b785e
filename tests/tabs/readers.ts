/** Readers of changes and of watches, which are told of all that they are to be told of. */

import type { KvChangeEvent, KvEntryMaybe, KvKey, KvLagged } from "../../client/types.ts";
import { hexOfKey } from "./oracle.ts";
import type { Tab } from "./tab.ts";

/** Errors with which a stream may end where a database could not be opened, or was closed. */
const ENDINGS = ["Closed", "Timeout", "Busy", "Io", "HostLost", "NoHost", "HistoryGone"];

/** After so long a stream that ended is opened again. */
const AGAIN_MS = 600;

/** A commit that was heard of, or the last one that was missed and how many there were. */
interface Heard {
  readonly stamp: string;
  readonly missed: number | null;
}

export interface Reader {
  run(): Promise<void>;
  /** Checks at the end that all was told. */
  check(): void;
}

async function readAll<T>(tab: Tab, stream: ReadableStream<T>, take: (item: T) => void) {
  const { random } = tab.browser;
  const reader = stream.getReader();
  const isSlow = random.below(tab.habits.slow) === 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    take(value);
    if (isSlow && tab.isBusy) await tab.wait(random.next() * 300);
  }
}

/** The epoch of the host that made a commit. */
function epochOf(stamp: string): number {
  return Number.parseInt(stamp.slice(0, 8), 16);
}

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String((error as Error).stack);
}

/** Reads the commits that touch a prefix. */
export class ChangesReader implements Reader {
  readonly #tab: Tab;
  readonly #prefix: string;
  readonly #hex: string;
  /** Where it began, and where it goes on; undefined for "now". */
  readonly #begin: string | undefined;
  #since: string | undefined;
  readonly #heard: Heard[] = [];
  /** A commit at this place or later was made after the reader began. */
  #begunBy = Number.POSITIVE_INFINITY;
  #isOver = false;

  constructor(tab: Tab, prefix: string, isSince: boolean) {
    this.#tab = tab;
    this.#prefix = prefix;
    this.#hex = hexOfKey([prefix]);
    const known = tab.oracle.lastKnown ?? "0".repeat(20);
    this.#begin = this.#since = isSince ? known : undefined;
  }

  async run(): Promise<void> {
    const tab = this.#tab;
    while (!tab.isOver) {
      const since = this.#since;
      const options = since === undefined ? {} : { since };
      const stream = tab.handle.changes({ prefix: [this.#prefix] }, options);
      tab.browser.note(() => `${tab.name} reads changes of ${this.#prefix} since ${since}`);
      if (since === undefined && this.#begunBy === Number.POSITIVE_INFINITY) this.#mark();
      try {
        await readAll(tab, stream as ReadableStream<KvChangeEvent | KvLagged>, (event) => {
          this.#take(event);
        });
        break;
      } catch (error) {
        if (!this.#goesOn(codeOf(error))) break;
      }
      await tab.wait(AGAIN_MS);
    }
    this.#isOver = true;
  }

  /** Makes a commit that the reader has to hear of. */
  #mark(): void {
    const tab = this.#tab;
    if (!tab.isBusy) return;
    tab.run(async () => {
      const key = [this.#prefix, "begin"];
      const { suspensions } = tab;
      const stamp = await tab.commit("begin", (marker) =>
        tab.handle.atomic().set(key, 1).set(marker, 1).commit(),
      );
      if (stamp === undefined || tab.suspensions !== suspensions) return;
      // A host may have begun it that ended with what it had to tell, or on a line that was left.
      const epoch = epochOf(stamp);
      const isByPresent = epoch === tab.browser.files.state.epoch;
      const isOnPresentLine = tab.agent.welcomes.filter((one) => one === epoch).length === 1;
      if (isByPresent && isOnPresentLine) this.#begunBy = tab.oracle.placeOf(stamp);
    });
  }

  #goesOn(code: string): boolean {
    const tab = this.#tab;
    tab.browser.note(() => `${tab.name} has no more changes: ${code}`);
    if (!ENDINGS.includes(code)) tab.browser.violate(`changes of ${tab.name} ended: ${code}`);
    if (code === "HistoryGone") {
      this.#heard.push({ stamp: "", missed: null });
      this.#since = undefined;
    } else {
      this.#since = this.#heard.at(-1)?.stamp || this.#since;
    }
    return !tab.isOver;
  }

  #take(event: KvChangeEvent | KvLagged): void {
    const tab = this.#tab;
    tab.browser.note(() => `${tab.name} hears ${event.type} ${event.versionstamp}`);
    const { versionstamp: stamp } = event;
    if (event.type === "commit") {
      this.#heard.push({ stamp, missed: 0 });
      for (const change of event.changes) {
        if (change.type !== "set") continue;
        const { key, value } = change;
        tab.oracle.holds(tab.life, { key, value, versionstamp: stamp }, `changes of ${tab.name}`);
      }
      return;
    }
    tab.met("lagged");
    if (this.#since !== undefined) tab.browser.violate(`changes of ${tab.name} that lag`);
    this.#heard.push({ stamp, missed: event.missed });
  }

  check(): void {
    const { oracle, browser, name } = this.#tab;
    if (this.#isOver) return;
    const wanted = oracle.touching(this.#hex, 1);
    const bad = this.#compare(
      wanted,
      wanted.findIndex((stamp) => this.#isAfterBegin(stamp)),
    );
    if (bad === undefined) return;
    const heard = this.#heard.map(({ stamp, missed }) => `${stamp} (${missed})`).join(" ");
    browser.violate(
      `changes of ${name} under ${this.#prefix}: ${bad}: ${heard} instead of ${wanted.join(" ")}`,
    );
  }

  /** Whether the reader has to hear of a commit, wherever it began. */
  #isAfterBegin(stamp: string): boolean {
    if (this.#begin !== undefined) return stamp > this.#begin;
    return this.#tab.oracle.placeOf(stamp) >= this.#begunBy;
  }

  /**
   * Holds what was heard against what there was to hear, of which the reader must not miss what is
   * at `latest` or later; returns what is wrong.
   */
  #compare(wanted: readonly string[], latest: number): string | undefined {
    const end = wanted.length;
    const begin = latest < 0 ? end : latest;
    // The place of what comes next, between these.
    let from = this.#begin === undefined ? 0 : begin;
    let to = begin;
    for (const { stamp, missed } of this.#heard) {
      if (missed === null) {
        // How many there were is not known, at the end of a stream not even which.
        while (from < end && (wanted[from] as string) <= stamp) from++;
        to = stamp === "" ? end : from;
        continue;
      }
      const first = wanted.indexOf(stamp) - Math.max(0, missed - 1);
      if (first < from || first > to) return `${stamp} comes where ${wanted[from]} was to come`;
      from = to = first + Math.max(1, missed);
    }
    return from < end && to < end ? `nothing comes where ${wanted[from]} was to come` : undefined;
  }
}

/** Reads the states of keys. */
export class WatchReader implements Reader {
  readonly #tab: Tab;
  readonly #keys: readonly KvKey[];
  #last: (string | null)[] | undefined;
  #isOver = false;

  constructor(tab: Tab, keys: readonly KvKey[]) {
    this.#tab = tab;
    this.#keys = keys;
  }

  async run(): Promise<void> {
    const tab = this.#tab;
    while (!tab.isOver) {
      const stream = tab.handle.watch([...this.#keys]) as ReadableStream<KvEntryMaybe[]>;
      try {
        await readAll(tab, stream, (entries) => this.#take(entries));
        break;
      } catch (error) {
        const code = codeOf(error);
        tab.browser.note(() => `${tab.name} watches no more: ${code}`);
        if (!ENDINGS.includes(code)) tab.browser.violate(`a watch of ${tab.name} ended: ${code}`);
      }
      await tab.wait(AGAIN_MS);
    }
    this.#isOver = true;
  }

  #take(entries: KvEntryMaybe[]): void {
    const { oracle, life, name } = this.#tab;
    for (const entry of entries) oracle.holds(life, entry, `a watch of ${name}`);
    const states = entries.map(({ versionstamp }) => versionstamp);
    this.#last?.forEach((before, i) => {
      const after = states[i] ?? null;
      if (before !== null && after !== null && after < before && life === oracle.life) {
        this.#tab.browser.violate(`a watch of ${this.#tab.name} went back to ${after}`);
      }
    });
    this.#last = states;
  }

  check(): void {
    if (this.#isOver) return;
    const { oracle, browser, name } = this.#tab;
    const present = oracle.stampsOf(this.#keys);
    if (present.every((stamp, i) => stamp === this.#last?.[i])) return;
    browser.violate(`a watch of ${name} ended on ${this.#last} instead of ${present}`);
  }
}
