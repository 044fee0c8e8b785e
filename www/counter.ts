/** A counter that commits change with `sum`, shown by a watch; and a burst of such commits. */
import { type Kv, KvU64 } from "kvass";
import { byId, setText } from "./dom.ts";
import { count, duration } from "./format.ts";
import type { Panel } from "./session.ts";

const KEY = ["counter"];
const BURST = 1000;
/** Sums wrap around at 2^64, so that adding this takes one away. */
const MINUS_ONE = 2n ** 64n - 1n;

export class Counter implements Panel {
  readonly #value = byId("counter-value");
  readonly #result = byId("counter-result");
  readonly #card = byId("counter-buttons");
  readonly #minus: HTMLButtonElement | null;
  readonly #failed: (error: unknown) => void;
  #kv: Kv | undefined;

  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
    this.#minus = this.#card.querySelector<HTMLButtonElement>('[data-add="-1"]');
    this.#card.addEventListener("click", (event) => {
      const { add } = (event.target as HTMLElement).dataset;
      if (add === undefined) return;
      setText(byId("counter-call"), `kv.atomic().sum(["counter"], ${operand(add)}).commit()`);
      this.#run((kv) => sum(kv, add === "-1" ? MINUS_ONE : BigInt(add)));
    });
    byId("counter-reset").addEventListener("click", () => this.#run((kv) => kv.delete(KEY)));
    byId("counter-burst").addEventListener("click", () => this.#run((kv) => this.#burst(kv)));
  }

  opened(kv: Kv): void {
    this.#kv = kv;
    void this.#watch(kv);
  }

  closed(): void {
    this.#kv = undefined;
    setText(this.#value, "–");
  }

  #run(work: (kv: Kv) => Promise<unknown>): void {
    if (this.#kv !== undefined) work(this.#kv).catch(this.#failed);
  }

  async #watch(kv: Kv): Promise<void> {
    try {
      for await (const [{ value }] of kv.watch<[unknown]>([KEY])) {
        if (kv !== this.#kv) return;
        const number = value instanceof KvU64 ? value.value : undefined;
        setText(
          this.#value,
          number === undefined && value !== null ? "no u64" : count(number ?? 0n),
        );
        if (this.#minus !== null) this.#minus.disabled = (number ?? 0n) === 0n;
      }
    } catch (error) {
      if (kv === this.#kv) this.#failed(error);
    }
  }

  /** A thousand commits that don't wait for each other, and the sum they must lead to. */
  async #burst(kv: Kv): Promise<void> {
    const before = await read(kv);
    const start = performance.now();
    await Promise.all(Array.from({ length: BURST }, () => sum(kv, 1n)));
    const ms = performance.now() - start;
    const added = (await read(kv)) - before;
    const rate = count(Math.round(BURST / (ms / 1000)));
    setText(
      this.#result,
      `${count(BURST)} commits in ${duration(ms)}: ${rate} a second, +${added}`,
    );
  }
}

const operand = (add: string) => (add === "-1" ? "2n ** 64n - 1n" : `${add}n`);

const sum = (kv: Kv, add: bigint) => kv.atomic().sum(KEY, add).commit();

async function read(kv: Kv): Promise<bigint> {
  const { value } = await kv.get<KvU64>(KEY);
  return value?.value ?? 0n;
}
