/**
 * The last commits as beads in the colours of the tabs that made them, the newest at the right. The
 * beads stay where they are and change colour, so that nothing on the page moves.
 */
import type { KvCommit } from "kvass";
import { byId, el, onceAFrame } from "../dom.ts";
import type { Panel } from "../session.ts";
import { colourOf, nameOf, readCommit } from "./tab.ts";

const BEADS = 96;

interface Bead {
  kind: "count" | "renew" | "expire" | "kill" | "takeover" | "lagged" | "none";
  seat?: number | undefined;
  title: string;
}

export class Tape implements Panel {
  readonly #slots: HTMLElement[];
  #beads: Bead[] = [];
  #epoch = 0;

  constructor() {
    this.#slots = Array.from({ length: BEADS }, () => el("li", { data: { kind: "none" } }));
    byId("tape").replaceChildren(...this.#slots);
  }

  opened(): void {
    this.#beads = [];
    this.#epoch = 0;
    this.#draw();
  }

  lagged(): void {
    this.#add({ kind: "lagged", title: "Commits were left out" });
  }

  committed(event: KvCommit): void {
    const { epoch, seat, tab, count, isKill, expired } = readCommit(event);
    if (this.#epoch !== 0 && epoch !== this.#epoch) {
      this.#add({ kind: "takeover", title: `Epoch ${epoch}` });
    }
    this.#epoch = epoch;
    for (const gone of expired) {
      this.#add({ kind: "expire", seat: gone, title: `${nameOf(gone)} is gone` });
    }
    if (seat === undefined || tab === undefined) return;
    const kind = isKill ? "kill" : count === undefined ? "renew" : "count";
    this.#add({ kind, seat, title: `${nameOf(seat)}, commit ${tab.number}` });
  }

  #add(bead: Bead): void {
    this.#beads.push(bead);
    if (this.#beads.length > BEADS) this.#beads.shift();
    this.#draw();
  }

  readonly #draw = onceAFrame(() => {
    const offset = BEADS - this.#beads.length;
    for (const [place, slot] of this.#slots.entries()) {
      const { kind, seat, title } = this.#beads[place - offset] ?? { kind: "none", title: "" };
      slot.dataset.kind = kind;
      slot.dataset.seat = seat === undefined ? "" : colourOf(seat);
      slot.title = title;
    }
  });
}
