/** The parts of a key: fixed text for an entry that exists, inputs for a new one. */
import type { KvKey } from "kvass";
import { button, byId, el, setText } from "./dom.ts";
import { KINDS, type Kind, kindOf, parsePart, partText } from "./keys.ts";
import { partElement } from "./row.ts";

export class KeyEditor {
  readonly #box = byId("editor-key");
  readonly #list = byId("editor-parts");
  readonly #add = byId("editor-add-part");
  readonly #problem = byId("editor-key-problem");
  #fixed: KvKey | undefined;

  constructor() {
    this.#add.addEventListener("click", () => {
      this.#append("string", "").focus();
    });
  }

  /** Shows the key of an entry, which can't be changed. */
  fix(key: KvKey): void {
    this.#reset(key);
    this.#box.dataset.fixed = "";
    this.#list.append(...key.map((part) => el("li", { class: "part" }, partElement(part))));
  }

  /** Asks for a key; some parts are there to begin with. */
  ask(prefix: KvKey): void {
    this.#reset(undefined);
    delete this.#box.dataset.fixed;
    for (const part of prefix) this.#append(kindOf(part), partText(part).replace(/^""$/, ""));
    this.#append("string", "");
  }

  /** Puts the focus where the key goes on. */
  focus(): void {
    const inputs = this.#list.querySelectorAll("input");
    inputs[inputs.length - 1]?.focus();
  }

  /** The key, or undefined with the problem shown. */
  read(): KvKey | undefined {
    if (this.#fixed !== undefined) return this.#fixed;
    const rows = [...this.#list.querySelectorAll("li")];
    const key = [];
    for (const row of rows) {
      const input = row.querySelector("input");
      const kind = (row.querySelector("select")?.value ?? "string") as Kind;
      try {
        key.push(parsePart(kind, input?.value ?? ""));
        input?.removeAttribute("aria-invalid");
      } catch (error) {
        input?.setAttribute("aria-invalid", "true");
        input?.focus();
        this.#complain((error as Error).message);
        return undefined;
      }
    }
    this.#problem.hidden = true;
    return key;
  }

  #complain(message: string): void {
    setText(this.#problem, `${message[0]?.toUpperCase()}${message.slice(1)}.`);
    this.#problem.hidden = false;
  }

  #reset(fixed: KvKey | undefined): void {
    this.#fixed = fixed;
    this.#problem.hidden = true;
    this.#add.hidden = fixed !== undefined;
    this.#list.replaceChildren();
  }

  #append(kind: Kind, text: string): HTMLInputElement {
    const select = el("select", {}, ...KINDS.map((name) => el("option", {}, name)));
    select.value = kind;
    const input = el("input");
    input.value = text;
    input.autocomplete = "off";
    input.spellcheck = false;
    const number = this.#list.childElementCount + 1;
    select.setAttribute("aria-label", `Kind of part ${number}`);
    input.setAttribute("aria-label", `Part ${number}`);
    const row = el("li", {}, select, input);
    const remove = button("×", () => this.#remove(row), "button icon quiet");
    remove.setAttribute("aria-label", "Remove this part");
    row.append(remove);
    this.#list.append(row);
    return input;
  }

  #remove(row: HTMLElement): void {
    if (this.#list.childElementCount > 1) row.remove();
    this.focus();
  }
}
