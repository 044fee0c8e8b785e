/** How an entry looks in one row: its key below the prefix, and a line of its value. */
import type { KvEntry, KvKeyPart } from "kvass";
import { el } from "./dom.ts";
import { compareKeys, kindOf, partText } from "./keys.ts";
import { preview } from "./value-text.ts";

const FIELDS_MAX = 6;
const LONG = 10;

/** What each element shows, so that a change of the same entry can be told from a scroll. */
const shown = new WeakMap<HTMLElement, { entry: KvEntry<unknown>; depth: number }>();

/** Fills a row's element; one whose entry has changed since it was last filled lights up. */
export function fillRow(element: HTMLElement, entry: KvEntry<unknown>, depth: number): void {
  const before = shown.get(element);
  shown.set(element, { entry, depth });
  delete element.dataset.loading;
  delete element.dataset.changed;
  if (before?.depth === depth && compareKeys(before.entry.key, entry.key) === 0) {
    if (before.entry.versionstamp === entry.versionstamp) return;
    element.dataset.changed = "";
    element.onanimationend = () => delete element.dataset.changed;
  }
  const key = el("span", { class: "row-key" }, ...entry.key.slice(depth).map(partElement));
  key.title = entry.key.map(partText).join(" / ");
  element.replaceChildren(key, el("span", { class: "row-value" }, ...fields(entry.value)));
}

/** Makes a row's element a place holder. */
export function fillLoading(element: HTMLElement): void {
  if ("loading" in element.dataset) return;
  shown.delete(element);
  element.dataset.loading = "";
  element.replaceChildren(el("span"), el("span"));
}

/** A part of a key, coloured by its kind. Only long ones give way where room is scarce. */
export function partElement(part: KvKeyPart): HTMLElement {
  const text = partText(part);
  const long = text.length > LONG ? { long: "" } : {};
  return el("span", { class: "part", data: { kind: kindOf(part), ...long } }, text);
}

function fields(value: unknown): (string | Node)[] {
  const plain =
    typeof value === "object" &&
    value !== null &&
    Object.getPrototypeOf(value) === Object.prototype;
  if (!plain) return [preview(value)];
  return Object.entries(value)
    .slice(0, FIELDS_MAX)
    .flatMap(([name, field]) => [
      el("span", { class: "field" }, name),
      el("span", { class: "text" }, preview(field, 60)),
    ]);
}
