/**
 * ReadableStreams, as far as streams are used here: pulled when they are read, with no queue, and
 * never cancelled. Node's own take a tenth of the time of a run and more. What happens is the same,
 * in the same order.
 */

interface Source<T> {
  start(controller: Controller<T>): void;
  pull(controller: Controller<T>): void;
}

interface Result<T> {
  readonly done: boolean;
  readonly value: T | undefined;
}

interface Read<T> {
  resolve(result: Result<T>): void;
  reject(error: unknown): void;
}

const none = Promise.resolve();

class Controller<T> {
  #state: "open" | "closed" | "failed" = "open";
  #error: unknown;
  readonly #reads: Read<T>[] = [];
  readonly #source: Source<T>;
  #isStarted = false;
  #isPulling = false;
  #pullsAgain = false;

  constructor(source: Source<T>) {
    this.#source = source;
    source.start(this);
    none.then(() => {
      this.#isStarted = true;
      this.#pull();
    });
  }

  read(): Promise<Result<T>> {
    return new Promise((resolve, reject) => {
      if (this.#state === "closed") resolve({ done: true, value: undefined });
      else if (this.#state === "failed") reject(this.#error);
      else {
        this.#reads.push({ resolve, reject });
        this.#pull();
      }
    });
  }

  /** Pulls if something is read, one pull at a time. */
  #pull(): void {
    if (!this.#isStarted || this.#state !== "open" || this.#reads.length === 0) return;
    if (this.#isPulling) {
      this.#pullsAgain = true;
      return;
    }
    this.#isPulling = true;
    this.#source.pull(this);
    none.then(() => {
      this.#isPulling = false;
      if (!this.#pullsAgain) return;
      this.#pullsAgain = false;
      this.#pull();
    });
  }

  enqueue(value: T): void {
    const read = this.#reads.shift();
    // A source here has nothing to give before it is asked for it.
    if (this.#state !== "open" || read === undefined) throw new TypeError("nothing is read");
    read.resolve({ done: false, value });
    this.#pull();
  }

  close(): void {
    if (this.#state !== "open") throw new TypeError("the stream is over");
    this.#state = "closed";
    for (const { resolve } of this.#reads.splice(0)) resolve({ done: true, value: undefined });
  }

  error(error: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "failed";
    this.#error = error;
    for (const { reject } of this.#reads.splice(0)) reject(error);
  }
}

export class Stream<T> {
  readonly #controller: Controller<T>;

  constructor(source: Source<T>, { highWaterMark }: { highWaterMark: number }) {
    if (highWaterMark !== 0) throw new TypeError("nothing is kept here that nobody reads");
    this.#controller = new Controller(source);
  }

  getReader(): { read(): Promise<Result<T>> } {
    return { read: () => this.#controller.read() };
  }

  /** Browsers whose streams have none are given one by the client. */
  [Symbol.asyncIterator](): never {
    throw new TypeError("streams are read by readers here");
  }
}
