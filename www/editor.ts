/**
 * The editor of one entry. It saves with a check on the versionstamp that it read, so that a write
 * by someone else in between is never overwritten unseen: the save is refused, and says so. A
 * watch tells as soon as that happens.
 */
import type { Kv, KvEntryMaybe, KvKey } from "kvass";
import { byId, setText } from "./dom.ts";
import { explain } from "./explain.ts";
import { KeyEditor } from "./key-editor.ts";
import { partText } from "./keys.ts";
import type { Panel } from "./session.ts";
import { toast } from "./toast.ts";
import { fromText, NoText, preview, toText } from "./value-text.ts";

const HINT =
  'JSON. Beyond it: {"$u64": "1"}, {"$bigint": "1"}, {"$number": "NaN"}, {"$bytes": "00ff"}, ' +
  '{"$date": "2026-01-31T00:00:00Z"}, {"$map": [[…, …]]}, {"$set": […]}, {"$undefined": true}.';

export class Editor implements Panel {
  readonly #dialog = byId("editor", HTMLDialogElement);
  readonly #key = new KeyEditor();
  readonly #value = byId("editor-value", HTMLTextAreaElement);
  readonly #expire = byId("editor-expire", HTMLInputElement);
  readonly #problem = byId("editor-problem");
  readonly #conflict = byId("editor-conflict");
  readonly #save = byId("editor-save", HTMLButtonElement);
  #kv: Kv | undefined;
  /** The entry as it was read; undefined for a new one. */
  #entry: KvEntryMaybe<unknown> | undefined;
  #watch: ReadableStreamDefaultReader<unknown> | undefined;

  constructor() {
    byId("editor-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run(() => this.#commit());
    });
    this.#value.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        this.#run(() => this.#commit());
      }
    });
    this.#value.addEventListener("input", () => this.#complain(undefined));
    byId("editor-close").addEventListener("click", () => this.#dialog.close());
    byId("editor-delete").addEventListener("click", () => this.#run(() => this.#delete()));
    byId("editor-reload").addEventListener("click", () => this.#run(() => this.#reload()));
    byId("editor-intrude").addEventListener("click", () => this.#run(() => this.#intrude()));
    this.#dialog.addEventListener("close", () => this.#unwatch());
  }

  opened(kv: Kv): void {
    this.#kv = kv;
  }

  closed(): void {
    this.#kv = undefined;
    this.#dialog.close();
  }

  /** Opens the editor on an entry. */
  edit(entry: KvEntryMaybe<unknown>): void {
    this.#entry = entry;
    this.#key.fix(entry.key);
    this.#show("Entry", entry.versionstamp ?? "none: the entry is gone");
    this.#fill(entry);
    this.#value.focus();
    this.#value.setSelectionRange(0, 0);
    this.#follow(entry.key);
  }

  /** Opens the editor on a new entry below a prefix. */
  create(prefix: KvKey): void {
    this.#entry = undefined;
    this.#key.ask(prefix);
    this.#show("New entry", "");
    this.#fill({ value: {} });
    this.#key.focus();
  }

  #show(title: string, versionstamp: string): void {
    const isNew = versionstamp === "";
    setText(byId("editor-title"), title);
    setText(byId("editor-stamp"), versionstamp);
    setText(byId("editor-hint"), HINT);
    byId("editor-stamp-line").hidden = isNew;
    byId("editor-delete").hidden = isNew;
    byId("editor-intrude").hidden = isNew;
    this.#conflict.hidden = true;
    this.#complain(undefined);
    this.#expire.value = "";
    if (!this.#dialog.open) this.#dialog.showModal();
    byId("editor-body").scrollTop = 0;
  }

  #fill({ value }: { value: unknown }): void {
    this.#value.readOnly = false;
    this.#save.disabled = false;
    try {
      this.#value.value = toText(value);
    } catch (error) {
      if (!(error instanceof NoText)) throw error;
      this.#value.value = preview(value, 2000);
      this.#value.readOnly = true;
      this.#save.disabled = true;
      this.#complain(`This value holds ${error.message}, which has no text here to edit.`);
    }
  }

  /** Runs one of the editor's actions; what goes wrong stands below the value. */
  #run(work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      const { title, text } = explain(error);
      this.#complain(`${title}. ${text}`);
    });
  }

  async #commit(): Promise<void> {
    const key = this.#key.read();
    if (key === undefined || this.#kv === undefined || this.#save.disabled) return;
    const value = this.#parse();
    if (value === undefined) return;
    const expireIn = Math.round(this.#expire.valueAsNumber * 1000);
    const versionstamp = this.#entry?.versionstamp ?? null;
    const result = await this.#kv
      .atomic()
      .check({ key, versionstamp })
      .set(key, value.value, Number.isNaN(expireIn) ? {} : { expireIn })
      .commit();
    if (!result.ok) return this.#refuse(key);
    this.#dialog.close();
    toast(`Saved ${key.map(partText).join(" / ")}`);
  }

  #parse(): { value: unknown } | undefined {
    try {
      return { value: fromText(this.#value.value) };
    } catch (error) {
      this.#complain((error as Error).message);
      this.#value.focus();
      return undefined;
    }
  }

  async #delete(): Promise<void> {
    const entry = this.#entry;
    if (this.#kv === undefined || entry === undefined) return;
    if (!(await remove(this.#kv, entry))) return this.#refuse(entry.key);
    this.#dialog.close();
  }

  /** A commit did not pass its check. */
  async #refuse(key: KvKey): Promise<void> {
    const isNew = this.#entry === undefined;
    const there = isNew ? "This key exists already." : "The entry has changed since you read it.";
    this.#warn(`Not saved. ${there} Nothing was overwritten.`);
    if (isNew) this.#follow(key);
  }

  #warn(text: string): void {
    setText(byId("editor-conflict-text"), text);
    this.#conflict.hidden = false;
    this.#conflict.scrollIntoView({ block: "nearest" });
  }

  async #reload(): Promise<void> {
    const key = this.#key.read();
    if (key !== undefined && this.#kv !== undefined) this.edit(await this.#kv.get(key));
  }

  /** What another tab could do at any time: writes the entry that is being edited. */
  async #intrude(): Promise<void> {
    const entry = this.#entry;
    if (this.#kv === undefined || entry === undefined) return;
    const { value } = await this.#kv.get(entry.key);
    const plain = typeof value === "object" && value !== null && !Array.isArray(value);
    await this.#kv.set(entry.key, plain ? { ...value, editedAt: new Date() } : value);
  }

  /** Says so as soon as the entry is no longer what was read. */
  #follow(key: KvKey): void {
    this.#unwatch();
    const states = this.#kv?.watch<[unknown]>([key]).getReader();
    if (states === undefined) return;
    this.#watch = states;
    this.#run(async () => {
      for (let next = await states.read(); !next.done; next = await states.read()) {
        if (states !== this.#watch) return;
        const [{ versionstamp }] = next.value;
        if (versionstamp === this.#entry?.versionstamp) continue;
        const what = versionstamp === null ? "deleted" : "changed";
        this.#warn(`Somebody ${what} this entry. Saving will be refused until you load it.`);
      }
    });
  }

  #unwatch(): void {
    const reader = this.#watch;
    this.#watch = undefined;
    void reader?.cancel();
  }

  #complain(message: string | undefined): void {
    setText(this.#problem, message ?? "");
    this.#problem.hidden = message === undefined;
    this.#value.setAttribute("aria-invalid", String(message !== undefined));
  }
}

/**
 * Deletes an entry if it is still what was read, and offers to bring it back (without its TTL).
 * @returns whether it was deleted
 */
export async function remove(kv: Kv, entry: KvEntryMaybe<unknown>): Promise<boolean> {
  const { key, value, versionstamp } = entry;
  const result = await kv.atomic().check({ key, versionstamp }).delete(key).commit();
  if (!result.ok) return false;
  const name = key.map(partText).join(" / ");
  toast(`Deleted ${name}`, () => {
    const restored = kv.atomic().check({ key, versionstamp: null }).set(key, value).commit();
    restored.then(
      ({ ok }) => toast(ok ? `Brought back ${name}` : `${name} exists again: nothing was changed`),
      (error: unknown) => toast(explain(error).title),
    );
  });
  return true;
}
