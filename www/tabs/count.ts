/** The counter, as a watch tells it: the same number in all tabs. */
import { type Kv, KvU64 } from "kvass";
import { byId, setText } from "../dom.ts";
import { count } from "../format.ts";
import type { Panel } from "../session.ts";
import { COUNT } from "./tab.ts";

export class Count implements Panel {
  readonly #value = byId("count");
  readonly #failed: (error: unknown) => void;
  #kv: Kv | undefined;

  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  opened(kv: Kv): void {
    this.#kv = kv;
    void this.#watch(kv);
  }

  closed(): void {
    this.#kv = undefined;
  }

  async #watch(kv: Kv): Promise<void> {
    try {
      for await (const [{ value }] of kv.watch<[unknown]>([COUNT])) {
        if (kv !== this.#kv) return;
        setText(this.#value, count(value instanceof KvU64 ? value.value : 0n));
      }
    } catch (error) {
      if (kv === this.#kv) this.#failed(error);
    }
  }
}
