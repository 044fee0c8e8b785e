/**
 * The open database and what is made of it: panels are told when one opens, what each commit
 * changed, and when it is gone. One subscription to the changes serves them all.
 */
import { type Kv, type KvCommit, type KvLagged, type OpenOptions, openKv } from "kvass";
import { codeOf } from "./explain.ts";

export const STORAGES = ["auto", "opfs", "indexeddb", "memory"] as const;
export type Storage = (typeof STORAGES)[number];

/** A part of the page that shows something of the database. */
export interface Panel {
  opened?(kv: Kv): void;
  committed?(commit: KvCommit): void;
  /** Commits were missed: what is shown may be out of date. */
  lagged?(event: KvLagged): void;
  closed?(): void;
}

export class Session {
  readonly #name: string;
  readonly #options: OpenOptions;
  readonly #panels: Panel[];
  readonly #failed: (error: unknown) => void;
  #kv: Kv | undefined;

  /**
   * @param failed called with an error that ended the subscription to the changes
   */
  constructor(
    name: string,
    panels: Panel[],
    failed: (error: unknown) => void,
    options: OpenOptions = {},
  ) {
    this.#name = name;
    this.#options = options;
    this.#panels = panels;
    this.#failed = failed;
  }

  /** The open database, if there is one. */
  get kv(): Kv | undefined {
    return this.#kv;
  }

  /**
   * Closes the open database and opens another.
   * @throws KvassError where it can't be opened
   */
  async open(storage: Storage): Promise<Kv> {
    await this.close();
    const kv = await openKv(this.#name, { ...this.#options, storage });
    this.#kv = kv;
    void this.#follow(kv);
    for (const panel of this.#panels) panel.opened?.(kv);
    return kv;
  }

  /** @throws KvassError where what was committed may not have been flushed */
  async close(): Promise<void> {
    const kv = this.#kv;
    if (kv === undefined) return;
    this.#kv = undefined;
    for (const panel of this.#panels) panel.closed?.();
    try {
      await kv.close();
    } catch (error) {
      // With its worker gone, the database is as closed as it can be.
      if (codeOf(error) !== "HostLost" && codeOf(error) !== "Closed") throw error;
    }
  }

  async #follow(kv: Kv): Promise<void> {
    try {
      for await (const event of kv.changes()) {
        if (kv !== this.#kv) return;
        for (const panel of this.#panels) {
          if (event.type === "commit") panel.committed?.(event);
          else panel.lagged?.(event);
        }
      }
    } catch (error) {
      if (kv === this.#kv) this.#failed(error);
    }
  }
}
