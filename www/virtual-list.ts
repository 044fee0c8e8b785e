/**
 * A list of any length of which only the rows in view exist. Rows have one height (the token
 * --row), so a row's place is its index times that height; elements are reused as they scroll out.
 *
 * It is a listbox: focus stays on the list and `aria-activedescendant` names the current row.
 */
import { el, onceAFrame } from "./dom.ts";

/** Where the list gets its rows from. */
export interface Rows {
  /** Fills an element with row `index`, or with a place holder while that is being loaded. */
  draw(index: number, element: HTMLElement): void;
  /** Says which rows are in view, if any, before they are drawn: `first` to `last`, inclusive. */
  show(first: number, last: number): void;
}

/** What the visitor does to a row. */
export interface RowActions {
  open(index: number): void;
  remove(index: number): void;
  /** The left arrow: to the level above. */
  leave(): void;
  /** The right arrow: into the row. */
  enter(index: number): void;
}

const OVERSCAN = 6;

export class VirtualList {
  readonly #box: HTMLElement;
  readonly #space = el("div", { class: "rows-space" });
  readonly #elements = new Map<number, HTMLElement>();
  readonly #spare: HTMLElement[] = [];
  readonly #rows: Rows;
  readonly #actions: RowActions;
  #count = 0;
  #current = -1;
  #rowHeight = 40;
  #nextId = 0;

  constructor(box: HTMLElement, rows: Rows, actions: RowActions) {
    this.#box = box;
    this.#rows = rows;
    this.#actions = actions;
    this.#space.setAttribute("role", "presentation");
    box.append(this.#space);
    box.addEventListener(
      "scroll",
      onceAFrame(() => this.#draw(false)),
      { passive: true },
    );
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("focus", () => {
      // Not for the mouse: a scroll between its press and its release would miss the row.
      const byKeyboard = box.matches(":focus-visible");
      if (byKeyboard && this.#current < 0 && this.#count > 0) this.select(this.firstInView);
    });
    box.addEventListener("click", (event) => this.#click(event));
    new ResizeObserver(() => this.#measure()).observe(box);
    this.#measure();
  }

  /** The number of rows. */
  get count(): number {
    return this.#count;
  }

  set count(count: number) {
    this.#count = count;
    this.#space.style.height = `${count * this.#rowHeight}px`;
    if (this.#current >= count) this.#current = count - 1;
    if (this.#current < 0 && count > 0 && this.#box.matches(":focus-visible")) this.#current = 0;
    this.refresh();
  }

  /** The row at the top. */
  get firstInView(): number {
    return Math.min(Math.floor(this.#box.scrollTop / this.#rowHeight), this.#count - 1);
  }

  /** The row at the bottom. */
  get lastInView(): number {
    const bottom = this.#box.scrollTop + this.#box.clientHeight - 1;
    return Math.min(Math.floor(bottom / this.#rowHeight), this.#count - 1);
  }

  /** The current row, -1 for none. */
  get current(): number {
    return this.#current;
  }

  /** Draws every row in view again. */
  readonly refresh = onceAFrame(() => this.#draw(true));

  /** Scrolls a row to the top, `offset` rows below it. */
  scrollToRow(index: number, offset = 0): void {
    this.#box.scrollTop = (index + offset) * this.#rowHeight;
  }

  /** How far the top row is scrolled out of view, in rows (0 to 1). */
  get fraction(): number {
    return this.#box.scrollTop / this.#rowHeight - Math.max(this.firstInView, 0);
  }

  /** Makes a row the current one and brings it into view; -1 selects none. */
  select(index: number): void {
    this.#current = Math.max(-1, Math.min(index, this.#count - 1));
    if (this.#current >= 0) {
      const top = this.#current * this.#rowHeight;
      const { scrollTop, clientHeight } = this.#box;
      if (top < scrollTop) this.#box.scrollTop = top;
      else if (top + this.#rowHeight > scrollTop + clientHeight) {
        this.#box.scrollTop = top + this.#rowHeight - clientHeight;
      }
    }
    this.#draw(false);
  }

  focus(): void {
    this.#box.focus();
  }

  #measure(): void {
    const sample = el("div", { class: "row" });
    this.#space.append(sample);
    const height = sample.offsetHeight;
    sample.remove();
    if (height > 0 && height !== this.#rowHeight) {
      const top = this.firstInView;
      this.#rowHeight = height;
      this.#space.style.height = `${this.#count * height}px`;
      for (const index of this.#elements.keys()) this.#release(index);
      this.scrollToRow(Math.max(top, 0));
    }
    this.#draw(true);
  }

  #draw(again: boolean): void {
    const first = Math.max(0, this.firstInView - OVERSCAN);
    const last = Math.min(this.#count - 1, this.lastInView + OVERSCAN);
    if (this.#count > 0) this.#rows.show(this.firstInView, this.lastInView);
    for (const index of this.#elements.keys()) {
      if (index < first || index > last) this.#release(index);
    }
    for (let index = first; index <= last; index++) {
      const known = this.#elements.get(index);
      const element = known ?? this.#take(index);
      if (known === undefined || again || "loading" in element.dataset) {
        this.#rows.draw(index, element);
      }
      element.setAttribute("aria-selected", String(index === this.#current));
      element.setAttribute("aria-setsize", String(this.#count));
    }
    const current = this.#elements.get(this.#current);
    if (current === undefined) this.#box.removeAttribute("aria-activedescendant");
    else this.#box.setAttribute("aria-activedescendant", current.id);
  }

  #release(index: number): void {
    const element = this.#elements.get(index);
    if (element === undefined) return;
    this.#elements.delete(index);
    element.hidden = true;
    this.#spare.push(element);
  }

  /** An element for row `index`, in its place. */
  #take(index: number): HTMLElement {
    let element = this.#spare.pop();
    if (element === undefined) {
      element = el("div", { class: "row" });
      element.id = `row-${this.#nextId++}`;
      element.setAttribute("role", "option");
      this.#space.append(element);
    }
    element.hidden = false;
    element.style.transform = `translateY(${index * this.#rowHeight}px)`;
    element.dataset.index = String(index);
    element.setAttribute("aria-posinset", String(index + 1));
    this.#elements.set(index, element);
    return element;
  }

  #click(event: MouseEvent): void {
    const row = (event.target as Element).closest<HTMLElement>(".row");
    if (row?.dataset.index === undefined) return;
    this.select(Number(row.dataset.index));
    this.#actions.open(this.#current);
  }

  #key(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.#box.clientHeight / this.#rowHeight) - 1);
    const moves: Record<string, () => void> = {
      ArrowDown: () => this.select(this.#current + 1),
      ArrowUp: () => this.select(Math.max(0, this.#current - 1)),
      PageDown: () => this.select(this.#current + page),
      PageUp: () => this.select(Math.max(0, this.#current - page)),
      Home: () => this.select(0),
      End: () => this.select(this.#count - 1),
      Enter: () => this.#current >= 0 && this.#actions.open(this.#current),
      Delete: () => this.#current >= 0 && this.#actions.remove(this.#current),
      ArrowLeft: () => this.#actions.leave(),
      ArrowRight: () => this.#current >= 0 && this.#actions.enter(this.#current),
    };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    move();
  }
}
