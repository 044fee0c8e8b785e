/**
 * Entries that expire. The value holds when that will be, so that the countdown is there again
 * after a reload; the row goes when the store says that the entry is gone, not by this clock.
 */
import type { Kv, KvCommit, KvKey } from "kvass";
import { byId, el, setText } from "./dom.ts";
import { duration } from "./format.ts";
import { hasPrefix, keySource } from "./keys.ts";
import type { Panel } from "./session.ts";

/** What an entry says of itself. */
interface Expiring {
  /** Milliseconds since the Unix epoch. */
  expiresAt: number;
  /** The life it was given, in milliseconds. */
  lifetime: number;
}

interface Row extends Expiring {
  element: HTMLElement;
  bar: HTMLElement;
  left: HTMLElement;
}

const PREFIX = ["ttl"];

export class TimeToLive implements Panel {
  readonly #list = byId("ttl-rows");
  readonly #name = byId("ttl-name", HTMLInputElement);
  readonly #seconds = byId("ttl-seconds", HTMLInputElement);
  readonly #result = byId("ttl-result");
  readonly #rows = new Map<string, Row>();
  readonly #failed: (error: unknown) => void;
  #kv: Kv | undefined;
  #ticking = false;

  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
    byId("ttl-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#set().catch(failed);
    });
  }

  opened(kv: Kv): void {
    this.#kv = kv;
    this.#load(kv).catch(this.#failed);
  }

  lagged(): void {
    this.#clear();
    if (this.#kv !== undefined) this.opened(this.#kv);
  }

  closed(): void {
    this.#kv = undefined;
    this.#clear();
  }

  committed({ changes }: KvCommit): void {
    for (const change of changes) {
      if (change.type === "deleteRange") {
        this.lagged();
        return;
      }
      const name = nameOf(change.key);
      if (name === undefined) continue;
      const row = this.#rows.get(name);
      if (change.type === "set") this.#show(name, change.value);
      else this.#drop(name);
      if (change.type === "expire" && row !== undefined) {
        const late = Math.max(0, Date.now() - row.expiresAt);
        const lived = `${name} expired after ${duration(row.lifetime)}`;
        setText(this.#result, `${lived}; the event came ${duration(late)} later.`);
      }
    }
  }

  async #set(): Promise<void> {
    const lifetime = Math.round(this.#seconds.valueAsNumber * 1000);
    const value: Expiring = { expiresAt: Date.now() + lifetime, lifetime };
    const key = [...PREFIX, this.#name.value];
    setText(byId("ttl-call"), `kv.set(${keySource(key)}, …, { expireIn: ${lifetime} })`);
    await this.#kv?.set(key, value, { expireIn: lifetime });
  }

  async #load(kv: Kv): Promise<void> {
    for await (const { key, value } of kv.list({ prefix: PREFIX })) {
      const name = nameOf(key);
      if (kv !== this.#kv) return;
      if (name !== undefined && !this.#rows.has(name)) this.#show(name, value);
    }
  }

  #show(name: string, value: unknown): void {
    this.#drop(name);
    if (!isExpiring(value)) return;
    const bar = el("span", { class: "bar" });
    const left = el("span", { class: "figure muted" });
    const element = el("li", { data: { name } }, el("span", { class: "name" }, name), left, bar);
    this.#rows.set(name, { ...value, element, bar, left });
    this.#list.prepend(element);
    this.#tick();
  }

  #clear(): void {
    this.#rows.clear();
    this.#list.replaceChildren();
  }

  #drop(name: string): void {
    this.#rows.get(name)?.element.remove();
    this.#rows.delete(name);
  }

  /** Moves the countdowns, once a frame for as long as there are any. */
  #tick(): void {
    if (this.#ticking) return;
    this.#ticking = true;
    const step = () => {
      const now = Date.now();
      for (const { expiresAt, lifetime, bar, left } of this.#rows.values()) {
        const ms = Math.max(0, expiresAt - now);
        bar.style.transform = `scaleX(${Math.min(1, ms / lifetime)})`;
        setText(left, `${(ms / 1000).toFixed(1)} s`);
      }
      this.#ticking = this.#rows.size > 0;
      if (this.#ticking) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}

function nameOf(key: KvKey): string | undefined {
  const [, name] = key;
  return key.length === 2 && hasPrefix(key, PREFIX) && typeof name === "string" ? name : undefined;
}

function isExpiring(value: unknown): value is Expiring {
  if (typeof value !== "object" || value === null) return false;
  const { expiresAt, lifetime } = value as Partial<Expiring>;
  return typeof expiresAt === "number" && typeof lifetime === "number" && lifetime > 0;
}
