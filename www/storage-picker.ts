/** The choice of a storage, which is remembered, and the line about the one really obtained. */
import type { Kv } from "kvass";
import { byId, setText } from "./dom.ts";
import { bytes } from "./format.ts";
import type { Panel } from "./session.ts";
import { STORAGES, type Storage } from "./session.ts";
import { remember, remembered } from "./settings.ts";

const EVERY_MS = 2000;
const NAMES: Record<string, string> = { opfs: "OPFS", indexeddb: "IndexedDB", memory: "Memory" };

export class StoragePicker implements Panel {
  readonly #box = byId("storage-picker", HTMLFieldSetElement);
  readonly #failed: (error: unknown) => void;
  #kv: Kv | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param chosen called with each new choice */
  constructor(chosen: (storage: Storage) => void, failed: (error: unknown) => void) {
    this.#failed = failed;
    for (const input of this.#inputs()) {
      input.checked = input.value === this.choice;
      input.addEventListener("change", () => {
        remember("storage", input.value);
        chosen(this.choice);
      });
    }
  }

  /** The storage to open. */
  get choice(): Storage {
    const stored = remembered("storage");
    return STORAGES.find((storage) => storage === stored) ?? "auto";
  }

  /** No other choice can be made while one is being opened. */
  set disabled(disabled: boolean) {
    const focused = this.#box.contains(document.activeElement);
    this.#box.disabled = disabled;
    if (focused && !disabled)
      this.#inputs()
        .find((input) => input.checked)
        ?.focus();
  }

  opening(): void {
    this.#state("opening", "Opening");
  }

  failed(): void {
    this.#state("failed", "Not open");
  }

  opened(kv: Kv): void {
    this.#kv = kv;
    this.#state("open", "Open");
    const refresh = () => {
      if (!document.hidden) this.#refresh(kv).catch(this.#failed);
    };
    refresh();
    this.#timer = setInterval(refresh, EVERY_MS);
  }

  closed(): void {
    this.#kv = undefined;
    clearInterval(this.#timer);
    for (const name of ["storage", "durability", "role", "epoch", "persisted", "usage"]) {
      setText(byId(`status-${name}`), "–");
    }
  }

  #inputs(): HTMLInputElement[] {
    return [...this.#box.querySelectorAll("input")];
  }

  #state(state: string, text: string): void {
    byId("status-dot").dataset.state = state;
    setText(byId("status-state"), text);
  }

  async #refresh(kv: Kv): Promise<void> {
    const status = await kv.status();
    if (kv !== this.#kv) return;
    setText(byId("status-storage"), NAMES[status.storage] ?? status.storage);
    setText(byId("status-durability"), status.durability);
    setText(byId("status-role"), status.role);
    setText(byId("status-epoch"), String(status.epoch));
    setText(byId("status-persisted"), status.persisted ? "yes" : "no");
    const [usage, quota] = [status.usage, status.quota].map(size);
    setText(byId("status-usage"), `${usage} of ${quota}`);
    if (status.failure !== null) this.#state("failed", `Degraded: ${status.failure.message}`);
    else this.#state("open", "Open");
  }
}

const size = (value: number | null): string => (value === null ? "unknown" : bytes(value));
