/** The worker that this tab has from kvass, held so that it can be killed. */
export class HostWorker {
  #worker: Worker | undefined;

  /** What `openKv` takes as its option `worker`: the script it would start by itself. */
  readonly start = (): Worker => {
    this.#worker = new Worker("/pkg/worker.js", { type: "module", name: "kvass" });
    return this.#worker;
  };

  /** Ends it in the middle of whatever it is doing, as a crash would. */
  kill(): void {
    const worker = this.#worker;
    worker?.terminate();
    // A browser says that a worker crashed, but not that the page itself ended it.
    worker?.dispatchEvent(new ErrorEvent("error", { message: "killed by the button" }));
  }
}
