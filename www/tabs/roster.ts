/** The tabs that are open: the entries that have not expired. */
import type { Kv, KvCommit } from "kvass";
import { byId, el, onceAFrame, setText } from "../dom.ts";
import { count, plural } from "../format.ts";
import type { Panel } from "../session.ts";
import { colourOf, isTab, nameOf, readCommit, TABS, type Tab } from "./tab.ts";

interface Row {
  element: HTMLElement;
  badge: HTMLElement;
  detail: HTMLElement;
}

export class Roster implements Panel {
  readonly #list = byId("roster");
  readonly #note = byId("roster-note");
  readonly #failed: (error: unknown) => void;
  readonly #tabs = new Map<number, Tab>();
  readonly #rows = new Map<number, Row>();
  #kv: Kv | undefined;
  #mine: number | undefined;

  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  /** The seat of this tab. */
  set mine(seat: number) {
    this.#mine = seat;
    this.#draw();
  }

  opened(kv: Kv): void {
    this.#kv = kv;
    this.#load(kv).catch(this.#failed);
  }

  closed(): void {
    this.#kv = undefined;
    this.#tabs.clear();
    this.#draw();
  }

  committed(event: KvCommit): void {
    const { seat, tab, expired } = readCommit(event);
    for (const gone of expired) this.#tabs.delete(gone);
    if (seat !== undefined && tab !== undefined) this.#tabs.set(seat, tab);
    this.#draw();
  }

  lagged(): void {
    this.#tabs.clear();
    if (this.#kv !== undefined) this.opened(this.#kv);
  }

  async #load(kv: Kv): Promise<void> {
    for await (const { key, value } of kv.list({ prefix: TABS })) {
      const seat = Number(key[1]);
      if (kv !== this.#kv) return;
      if (isTab(value) && !this.#tabs.has(seat)) this.#tabs.set(seat, value);
    }
    this.#draw();
  }

  /** The host is who says so for the highest epoch: one that ended may be listed for a moment. */
  #hostOf(): number | undefined {
    const epoch = Math.max(...Array.from(this.#tabs.values(), (tab) => tab.epoch));
    for (const [seat, tab] of this.#tabs) {
      if (tab.role === "host" && tab.epoch === epoch) return seat;
    }
    return undefined;
  }

  readonly #draw = onceAFrame(() => {
    const host = this.#hostOf();
    for (const [seat, { element }] of this.#rows) {
      if (this.#tabs.has(seat)) continue;
      element.remove();
      this.#rows.delete(seat);
    }
    const seats = [...this.#tabs.keys()].sort((a, b) => a - b);
    for (const seat of seats) this.#drawRow(seat, this.#tabs.get(seat) as Tab, seat === host);
    setText(this.#note, noteOf(seats.length, host));
  });

  #drawRow(seat: number, tab: Tab, isHost: boolean): void {
    const row = this.#rows.get(seat) ?? this.#addRow(seat);
    const { element, badge, detail } = row;
    element.dataset.role = isHost ? "host" : "client";
    if (seat === this.#mine) element.setAttribute("aria-current", "true");
    else element.removeAttribute("aria-current");
    setText(badge, isHost ? "Host" : "");
    const commits = `${count(tab.number)} commits`;
    setText(detail, tab.isCounting ? commits : `${commits}, paused`);
  }

  #addRow(seat: number): Row {
    const badge = el("span", { class: "badge" });
    const detail = el("span", { class: "figure muted" });
    const name = el("span", { class: "name" }, nameOf(seat));
    const disc = el("span", { class: "disc" });
    const data = { seat: colourOf(seat), place: String(seat) };
    const element = el("li", { data }, disc, name, badge, detail);
    const rows = [...this.#list.children] as HTMLElement[];
    const behind = rows.find(({ dataset }) => Number(dataset.place) > seat);
    this.#list.insertBefore(element, behind ?? null);
    const row = { element, badge, detail };
    this.#rows.set(seat, row);
    return row;
  }
}

function noteOf(tabs: number, host: number | undefined): string {
  if (tabs < 2) return "Only this one so far. Open another: it shares this database.";
  const hosted = host === undefined ? "" : ` ${nameOf(host)} hosts it.`;
  return `${plural(tabs, "tab shares", "tabs share")} one database.${hosted}`;
}
