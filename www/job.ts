/** Work that takes a while: its progress stands in the toolbar in place of the buttons. */
import { byId, onceAFrame, setText } from "./dom.ts";

/** What a job says of itself as it goes. */
export interface Progress {
  /** 0 to 1; undefined where the end is not known. */
  done: number | undefined;
  detail: string;
}

export class Job {
  readonly #actions = byId("browser-actions");
  readonly #box = byId("job");
  readonly #label = byId("job-label");
  readonly #detail = byId("job-detail");
  readonly #bar = byId("job-progress", HTMLProgressElement);
  readonly #cancel = byId("job-cancel", HTMLButtonElement);
  #controller: AbortController | undefined;
  #progress: Progress = { done: 0, detail: "" };

  constructor() {
    this.#cancel.addEventListener("click", () => this.cancel());
  }

  get running(): boolean {
    return this.#controller !== undefined;
  }

  cancel(): void {
    this.#controller?.abort();
  }

  /** Runs `work`, which reports its progress and stops soon after `signal` is aborted. */
  async run<T>(
    label: string,
    work: (signal: AbortSignal, report: (progress: Progress) => void) => Promise<T>,
  ): Promise<T> {
    const controller = new AbortController();
    const hadFocus = this.#actions.contains(document.activeElement);
    this.#controller = controller;
    this.#progress = { done: 0, detail: "" };
    setText(this.#label, label);
    this.#draw();
    this.#actions.hidden = true;
    this.#box.hidden = false;
    if (hadFocus) this.#cancel.focus();
    try {
      return await work(controller.signal, (progress) => {
        this.#progress = progress;
        this.#drawSoon();
      });
    } finally {
      this.#controller = undefined;
      const moveFocus = this.#box.contains(document.activeElement);
      this.#box.hidden = true;
      this.#actions.hidden = false;
      if (moveFocus) this.#actions.querySelector("button")?.focus();
    }
  }

  readonly #drawSoon = onceAFrame(() => this.#draw());

  #draw(): void {
    const { done, detail } = this.#progress;
    setText(this.#detail, detail);
    if (done === undefined) this.#bar.removeAttribute("value");
    else this.#bar.value = done;
  }
}
