/** Whether a reader of all changes has seen every commit once and in order. */
import type { TabCommit } from "./tab.ts";

export class Audit {
  /** Commits seen. */
  seen = 0;
  /** Commits that must have been there, by the numbers that tabs give them or by the counter. */
  missed = 0;
  /** Commits that were there before, or came after later ones. */
  repeated = 0;
  #versionstamp = "";
  #count: bigint | undefined;
  /** The last number of each run of commits. */
  readonly #numbers = new Map<string, number>();

  /** Begins anew: what was before is not to be compared with what follows. */
  restart(): void {
    this.#count = undefined;
    this.#numbers.clear();
  }

  add({ versionstamp, tab, count }: TabCommit): void {
    this.seen++;
    if (versionstamp <= this.#versionstamp) {
      this.repeated++;
      return;
    }
    this.#versionstamp = versionstamp;
    if (tab !== undefined) this.#addNumber(tab.run, tab.number);
    if (count !== undefined) this.#addCount(count);
  }

  get isRight(): boolean {
    return this.missed === 0 && this.repeated === 0;
  }

  #addNumber(run: string, number: number): void {
    // A run that began before this reader did is joined where it is.
    const expected = (this.#numbers.get(run) ?? number - 1) + 1;
    if (number < expected) this.repeated++;
    else this.missed += number - expected;
    this.#numbers.set(run, number);
  }

  #addCount(count: bigint): void {
    const expected = (this.#count ?? count - 1n) + 1n;
    if (count < expected) this.repeated++;
    else this.missed += Number(count - expected);
    this.#count = count;
  }
}
