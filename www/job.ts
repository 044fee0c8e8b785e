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
  #ended: Promise<unknown> = Promise.resolve();
  #progress: Progress = { done: 0, detail: "" };

  constructor() {
    this.#cancel.addEventListener("click", () => this.#controller?.abort());
  }

  get running(): boolean {
    return this.#controller !== undefined;
  }

  /** Cancels the work, if there is any, and waits for its end. */
  async stop(): Promise<void> {
    this.#controller?.abort();
    await this.#ended;
  }

  /** Runs `work`, which reports its progress and stops soon after `signal` is aborted. */
  async run<T>(
    label: string,
    work: (signal: AbortSignal, report: (progress: Progress) => void) => Promise<T>,
  ): Promise<T> {
    const controller = new AbortController();
    this.#controller = controller;
    this.#progress = { done: 0, detail: "" };
    setText(this.#label, label);
    this.#draw();
    this.#show(true);
    const result = work(controller.signal, (progress) => {
      this.#progress = progress;
      this.#drawSoon();
    });
    this.#ended = result.catch(() => undefined);
    try {
      return await result;
    } finally {
      this.#controller = undefined;
      this.#show(false);
    }
  }

  /** Swaps buttons and progress; the focus stays in the toolbar if it was there. */
  #show(running: boolean): void {
    const [from, to] = running ? [this.#actions, this.#box] : [this.#box, this.#actions];
    const hadFocus = from.contains(document.activeElement);
    from.hidden = true;
    to.hidden = false;
    if (hadFocus) to.querySelector("button")?.focus();
  }

  readonly #drawSoon = onceAFrame(() => this.#draw());

  #draw(): void {
    const { done, detail } = this.#progress;
    setText(this.#detail, detail);
    if (done === undefined) this.#bar.removeAttribute("value");
    else this.#bar.value = done;
  }
}
