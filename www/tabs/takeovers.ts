/** Tells when another host has taken over: which, from whom, and how long commits stood still. */
import type { KvCommit } from "kvass";
import { byId, el, setText } from "../dom.ts";
import { duration } from "../format.ts";
import type { Panel } from "../session.ts";
import { colourOf, nameOf, readCommit } from "./tab.ts";

const LINES_MAX = 20;

/** A host that has taken over, but has not said yet which tab it is in. */
interface Takeover {
  epoch: number;
  /** Between the last commit of the host before and the first of this one, as heard here. */
  pauseMs: number;
  from: number | undefined;
  killer: number | undefined;
}

export class Takeovers implements Panel {
  readonly #text = byId("takeover");
  readonly #lines = byId("takeovers");
  #epoch = 0;
  #heardAt = 0;
  #host: number | undefined;
  #killer: number | undefined;
  #takeover: Takeover | undefined;

  opened(): void {
    this.#epoch = 0;
    this.#host = this.#killer = this.#takeover = undefined;
  }

  /** Nobody knows what happened meanwhile. */
  lagged(): void {
    this.opened();
  }

  committed(event: KvCommit): void {
    const { epoch, seat, tab, isKill } = readCommit(event);
    const now = performance.now();
    if (this.#epoch !== 0 && epoch > this.#epoch) {
      const pauseMs = now - this.#heardAt;
      this.#takeover = { epoch, pauseMs, from: this.#host, killer: this.#killer };
      this.#killer = undefined;
    }
    this.#epoch = epoch;
    this.#heardAt = now;
    if (isKill) this.#killer = seat;
    if (seat === undefined || tab?.role !== "host" || tab.epoch !== epoch) return;
    this.#host = seat;
    if (this.#takeover !== undefined) this.#show(this.#takeover, seat);
    this.#takeover = undefined;
  }

  #show({ epoch, pauseMs, from, killer }: Takeover, to: number): void {
    const pause = duration(pauseMs);
    setText(this.#text, `${storyOf(from, to, killer)} The counter went on after ${pause}.`);
    const line = el(
      "li",
      { data: { epoch: String(epoch) } },
      from === undefined ? undefined : seatOf(from),
      el("span", { class: "muted" }, "→"),
      seatOf(to),
      el("span", { class: "figure" }, pause),
    );
    line.title = `Epoch ${epoch}`;
    this.#lines.prepend(line);
    while (this.#lines.childElementCount > LINES_MAX) this.#lines.lastElementChild?.remove();
  }
}

const seatOf = (seat: number) =>
  el("span", { class: "seat", data: { seat: colourOf(seat) } }, nameOf(seat));

function storyOf(from: number | undefined, to: number, killer: number | undefined): string {
  const heir = nameOf(to);
  if (from === undefined) return `${heir} took over.`;
  const former = nameOf(from);
  if (killer === undefined) return `${former} let go, ${heir} took over.`;
  const how = `${nameOf(killer)} killed ${killer === from ? "its own worker" : former}`;
  if (to === from && killer === from) return `${how} and started another.`;
  if (to === from) return `${how}. ${former} started another.`;
  return killer === to ? `${how} and took over.` : `${how}, ${heir} took over.`;
}
