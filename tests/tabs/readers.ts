/** Readers of changes and of watches, which are told of all that they are to be told of. */

import type { KvChangeEvent, KvEntryMaybe, KvKey, KvLagged } from "../../client/types.ts";
import { hexOfKey } from "./oracle.ts";
import type { Tab } from "./tab.ts";

/** Errors with which a stream may end where a database could not be opened, or was closed. */
const ENDINGS = ["Closed", "Timeout", "Busy", "Io", "HostLost", "NoHost", "HistoryGone"];

export interface Reader {
  run(): Promise<void>;
  /** Checks at the end that all was told. */
  check(): void;
}

async function readAll<T>(tab: Tab, stream: ReadableStream<T>, take: (item: T) => void) {
  const { random } = tab.browser;
  const reader = stream.getReader();
  const isSlow = random.below(4) === 0;
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
  /** Where it begins; undefined for "now". */
  #since: string | undefined;
  #heard: string[] = [];
  /** A commit at this place or later was made after the reader began. */
  #begunBy = Number.POSITIVE_INFINITY;
  /** Whether it may have missed some before what it has heard, and was told so. */
  #isLagged = false;
  #isOver = false;

  constructor(tab: Tab, prefix: string, isSince: boolean) {
    this.#tab = tab;
    this.#prefix = prefix;
    this.#hex = hexOfKey([prefix]);
    const { log } = tab.browser.files.state;
    const known = log[tab.oracle.known - 1]?.stamp ?? "0".repeat(20);
    this.#since = isSince ? known : undefined;
  }

  async run(): Promise<void> {
    const tab = this.#tab;
    while (!tab.isClosing) {
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
      await tab.wait(200);
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
      // A host that was applied to before may have begun it, and ended with what it had to tell.
      const isByPresent = stamp !== undefined && epochOf(stamp) === tab.browser.files.epoch;
      if (tab.suspensions !== suspensions) return;
      if (isByPresent) this.#begunBy = tab.oracle.placeOf(stamp);
    });
  }

  #goesOn(code: string): boolean {
    const tab = this.#tab;
    tab.browser.note(() => `${tab.name} has no more changes: ${code}`);
    if (!ENDINGS.includes(code)) tab.browser.violate(`changes of ${tab.name} ended: ${code}`);
    if (code === "HistoryGone") {
      this.#isLagged = true;
      this.#since = undefined;
    } else {
      this.#since = this.#heard.at(-1) ?? this.#since;
    }
    return !tab.isClosing;
  }

  #take(event: KvChangeEvent | KvLagged): void {
    const tab = this.#tab;
    tab.browser.note(() => `${tab.name} hears ${event.type} ${event.versionstamp}`);
    if (event.type === "lagged") this.#isLagged = true;
    else this.#heard.push(event.versionstamp);
  }

  check(): void {
    const { oracle, browser, name } = this.#tab;
    if (this.#isOver || this.#isLagged) return;
    const [first] = this.#heard;
    const start =
      this.#since !== undefined && this.#heard.length === 0
        ? oracle.placeOf(this.#since) + 1
        : Math.min(this.#begunBy, first === undefined ? Infinity : oracle.placeOf(first));
    if (start === Number.POSITIVE_INFINITY) return;
    const wanted = oracle.touching(this.#hex, start);
    const heard = this.#heard;
    if (wanted.length === heard.length && wanted.every((stamp, i) => stamp === heard[i])) return;
    browser.violate(
      `changes of ${name} under ${this.#prefix}: heard ${heard.join(" ")}` +
        ` instead of ${wanted.join(" ")}`,
    );
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
    while (!tab.isClosing) {
      const stream = tab.handle.watch([...this.#keys]) as ReadableStream<KvEntryMaybe[]>;
      try {
        await readAll(tab, stream, (entries) => this.#take(entries));
        break;
      } catch (error) {
        const code = codeOf(error);
        tab.browser.note(() => `${tab.name} watches no more: ${code}`);
        if (!ENDINGS.includes(code)) tab.browser.violate(`a watch of ${tab.name} ended: ${code}`);
      }
      await tab.wait(200);
    }
    this.#isOver = true;
  }

  #take(entries: KvEntryMaybe[]): void {
    const states = entries.map(({ versionstamp }) => versionstamp);
    this.#last?.forEach((before, i) => {
      const after = states[i] ?? null;
      if (before !== null && after !== null && after < before) {
        this.#tab.browser.violate(`a watch of ${this.#tab.name} went back to ${after}`);
      }
    });
    this.#last = states;
  }

  check(): void {
    if (this.#isOver) return;
    const { oracle, browser, name } = this.#tab;
    const present = oracle.present(this.#keys);
    if (present.every((stamp, i) => stamp === this.#last?.[i])) return;
    browser.violate(`a watch of ${name} ended on ${this.#last} instead of ${present}`);
  }
}
