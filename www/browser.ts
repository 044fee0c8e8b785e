/**
 * The browser of entries: a prefix, the groups of next parts below it, and the rows. What it shows
 * is one `kv.list`, which is written above the rows.
 */
import type { Kv, KvCommit, KvEntry, KvKey, KvKeyPart } from "kvass";
import { button, byId, el, onceAFrame, setText } from "./dom.ts";
import { count, duration, plural } from "./format.ts";
import { compareParts, keySource, kindOf, partText, type Range, selectorOf } from "./keys.ts";
import { type Group, RangeIndex } from "./range-index.ts";
import { fillLoading, fillRow, partElement } from "./row.ts";
import type { Panel } from "./session.ts";
import { VirtualList } from "./virtual-list.ts";

const GROUPS_MAX = 400;
const FILTER_PAUSE_MS = 120;

/** What a browser asks of the page. */
export interface BrowserActions {
  edit(entry: KvEntry<unknown>): void;
  remove(entry: KvEntry<unknown>): void;
  /** A read failed. */
  failed(error: unknown): void;
}

const countries = new Intl.DisplayNames("en", { type: "region", fallback: "none" });

export class Browser implements Panel {
  readonly #actions: BrowserActions;
  readonly #crumbs = byId("crumbs");
  readonly #filter = byId("filter", HTMLInputElement);
  readonly #groupList = byId("groups");
  readonly #list: VirtualList;
  #kv: Kv | undefined;
  #index: RangeIndex | undefined;
  #range: Range = { prefix: [], text: "" };
  /** The key of the row at the top when it was last drawn. */
  #anchor: KvKey | undefined;
  #filtering: ReturnType<typeof setTimeout> | undefined;

  constructor(actions: BrowserActions) {
    this.#actions = actions;
    this.#list = new VirtualList(
      byId("rows"),
      { draw: (row, element) => this.#drawRow(row, element), show: (a, b) => this.#show(a, b) },
      {
        open: (row) => this.#with(row, (entry) => actions.edit(entry)),
        remove: (row) => this.#with(row, (entry) => actions.remove(entry)),
        leave: () => this.#leave(),
        enter: (row) => this.#with(row, ({ key }) => this.#enter(key)),
      },
    );
    this.#filter.addEventListener("input", () => {
      clearTimeout(this.#filtering);
      this.#filtering = setTimeout(() => this.#narrow(), FILTER_PAUSE_MS);
    });
    this.#filter.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown" && event.key !== "Enter") return;
      event.preventDefault();
      this.focus();
    });
    this.#drawRange();
  }

  /** The prefix that is shown. */
  get prefix(): KvKey {
    return this.#range.prefix;
  }

  opened(kv: Kv): void {
    this.#kv = kv;
    this.browse([]);
  }

  committed({ changes }: KvCommit): void {
    const keys = changes.flatMap((change) => (change.type === "deleteRange" ? [] : [change.key]));
    if (keys.length < changes.length) this.#index?.renew();
    else this.#index?.follow(keys);
  }

  lagged(): void {
    this.#index?.renew();
  }

  closed(): void {
    this.#index?.close();
    this.#index = undefined;
    this.#kv = undefined;
    this.#list.count = 0;
    this.#drawSoon();
  }

  focus(): void {
    this.#list.focus();
  }

  /** Shows the entries below a prefix. */
  browse(prefix: KvKey, keepFocus = false): void {
    this.#filter.value = "";
    clearTimeout(this.#filtering);
    this.#open({ prefix, text: "" });
    if (keepFocus) this.focus();
  }

  #narrow(): void {
    this.#open({ prefix: this.#range.prefix, text: this.#filter.value });
  }

  #open(range: Range): void {
    this.#range = range;
    this.#index?.close();
    this.#index = undefined;
    this.#anchor = undefined;
    this.#list.count = 0;
    this.#list.select(-1);
    this.#list.scrollToRow(0);
    this.#drawRange();
    if (this.#kv === undefined) return;
    const { failed } = this.#actions;
    const index = new RangeIndex(this.#kv, range, () => this.#drawSoon(), failed);
    this.#index = index;
    this.#drawSoon();
  }

  #leave(): void {
    const { prefix } = this.#range;
    if (prefix.length > 0) this.browse(prefix.slice(0, -1), true);
  }

  #enter(key: KvKey): void {
    const deeper = key.slice(0, this.#range.prefix.length + 1);
    if (deeper.length < key.length) this.browse(deeper, true);
  }

  #with(row: number, work: (entry: KvEntry<unknown>) => void): void {
    const entry = this.#index?.at(row);
    if (entry !== undefined) work(entry);
  }

  #show(first: number, last: number): void {
    this.#index?.show(first, last);
    this.#anchor = this.#index?.at(first)?.key;
    setText(byId("row-window"), `rows ${count(first + 1)}–${count(last + 1)}`);
  }

  #drawRow(row: number, element: HTMLElement): void {
    const entry = this.#index?.at(row);
    if (entry === undefined) fillLoading(element);
    else fillRow(element, entry, this.#range.prefix.length);
  }

  readonly #drawSoon = onceAFrame(() => {
    const index = this.#index;
    const total = index?.total ?? 0;
    const moved = this.#moved(index);
    this.#list.count = total;
    if (moved !== undefined) this.#list.scrollToRow(...moved);
    this.#drawCount(index, total);
    this.#drawGroups(index?.groups(GROUPS_MAX));
    byId("rows").setAttribute("aria-busy", String(index?.isBehind ?? false));
    byId("empty").hidden = index === undefined || total > 0 || index.isBehind || index.hasFailed;
    this.#drawEmpty();
  });

  /** Where to scroll so that the top row stays what it was, when rows above it came or went. */
  #moved(index: RangeIndex | undefined): [row: number, offset: number] | undefined {
    const top = this.#list.firstInView;
    if (index === undefined || this.#anchor === undefined || top <= 0) return undefined;
    const row = index.rowOf(this.#anchor);
    return row === top ? undefined : [row, this.#list.fraction];
  }

  #drawCount(index: RangeIndex | undefined, total: number): void {
    const entries = plural(total, "entry", "entries");
    const known = index !== undefined && !index.isBehind && !index.hasFailed;
    setText(byId("row-count"), known ? entries : index === undefined ? "–" : `${entries}…`);
    setText(byId("row-took"), known ? `read in ${duration(index.scanMs)}` : "");
    if (total === 0) setText(byId("row-window"), "");
  }

  #drawEmpty(): void {
    const everything = this.#range.prefix.length === 0 && this.#range.text === "";
    setText(byId("empty-title"), everything ? "Nothing stored yet" : "No entries here");
    const hint = "Some 170,000 places of the world make a good start: 17 MB, a few seconds.";
    const elsewhere = "Go up, or change what the next part starts with.";
    setText(byId("empty-text"), everything ? hint : elsewhere);
    setText(byId("empty-action"), everything ? "Import places" : "Show everything");
    byId("empty-action").dataset.action = everything ? "import" : "everything";
  }

  #drawRange(): void {
    const { prefix } = this.#range;
    const crumbs = [undefined, ...prefix].map((part, depth) => {
      const label = part === undefined ? "All" : partText(part);
      const crumb = button(label, () => this.browse(prefix.slice(0, depth), true), "");
      if (part !== undefined) crumb.dataset.kind = kindOf(part);
      if (depth === prefix.length) crumb.setAttribute("aria-current", "page");
      return el("li", {}, crumb);
    });
    this.#crumbs.replaceChildren(...crumbs);
    this.#crumbs.scrollLeft = this.#crumbs.scrollWidth;
    const selector = selectorOf(this.#range);
    const fields = Object.entries(selector).map(([name, key]) => `${name}: ${keySource(key)}`);
    setText(byId("call"), `kv.list({ ${fields.join(", ")} })`);
  }

  /** Changes no more than has changed, so that a click or the focus never loses its button. */
  #drawGroups(groups: Group[] | undefined): void {
    const list = this.#groupList;
    const wanted = groups ?? [];
    wanted.forEach((group, i) => {
      const item = list.children[i];
      if (item instanceof HTMLElement && item.dataset.group === this.#groupId(group)) {
        setText(item.querySelector(".count") ?? item, count(group.count));
      } else if (item === undefined) list.append(this.#groupItem(group));
      else item.replaceWith(this.#groupItem(group));
    });
    while (list.childElementCount > wanted.length) list.lastElementChild?.remove();
    const tooMany = `More than ${GROUPS_MAX} next parts: type to narrow them.`;
    const hint = groups === undefined ? tooMany : "No levels below.";
    if (wanted.length === 0 && this.#list.count > 0) list.append(el("li", { class: "more" }, hint));
  }

  #groupId({ part }: Group): string {
    const exact = (item: KvKeyPart) => (typeof item === "string" ? item : partText(item));
    return JSON.stringify([...this.#range.prefix, part].map((item) => [kindOf(item), exact(item)]));
  }

  #groupItem(group: Group): HTMLElement {
    const { part } = group;
    const { prefix } = this.#range;
    const item = button("", () => this.browse([...prefix, part], true), "");
    const name = el("span", { class: "name" }, partElement(part), countryName(prefix, part));
    item.append(name, el("span", { class: "count" }, count(group.count)));
    item.dataset.part = partText(part);
    return el("li", { data: { group: this.#groupId(group) } }, item);
  }
}

/** The name of the country, beside its code. */
function countryName(prefix: KvKey, part: KvKeyPart): Node | undefined {
  const below = prefix.length === 1 && compareParts(prefix[0] as KvKeyPart, "city") === 0;
  if (!below || typeof part !== "string" || !/^[A-Z]{2}$/.test(part)) return undefined;
  const name = countries.of(part);
  return name === undefined ? undefined : el("span", { class: "muted" }, ` ${name}`);
}
