/** What outlives the hosts of a simulated database: its entries, its log, and what was answered. */

import { Data, type Outcome } from "../client/support/memory-host.ts";
import type { Hex } from "../client/support/wire.ts";

/** The answers that a client has not acknowledged. */
export interface Session {
  through: number;
  readonly outcomes: Map<number, Outcome>;
}

/** A database, from when it is made until it is deleted. */
export class State extends Data {
  sessions = new Map<Hex, Session>();
  /** The epoch of its last host. */
  epoch = 0;

  /** As it is now, whatever becomes of it. */
  clone(): State {
    const clone = new State();
    clone.epoch = this.epoch;
    clone.entries = new Map(this.entries);
    clone.log = [...this.log];
    clone.gone = this.gone;
    clone.snapshots = this.snapshots;
    for (const [client, { through, outcomes }] of this.sessions) {
      clone.sessions.set(client, { through, outcomes: new Map(outcomes) });
    }
    return clone;
  }

  /** Lets go of all of the log but the last `kept` commits. */
  keep(kept: number): void {
    this.gone = this.log[this.log.length - kept - 1]?.stamp ?? "";
  }
}

/** Who has the files, or had them. */
export interface Owner {
  /** Another one has them now. */
  deposed(was: State): void;
}

export class Files {
  readonly storage: "opfs" | "indexeddb";
  state = new State();
  owner: Owner | undefined;
  /** How many commits the log keeps. */
  kept = Number.POSITIVE_INFINITY;
  /** The failures of the next attempts to open, and how long those take, in milliseconds. */
  failures = 0;
  openMs = 0;

  constructor(storage: "opfs" | "indexeddb") {
    this.storage = storage;
  }

  /** Gives the files to `owner`. On OPFS only if nobody has them. */
  take(owner: Owner): boolean {
    if (this.storage === "opfs" && this.owner !== undefined) return false;
    if (this.owner !== owner) this.depose();
    this.owner = owner;
    return true;
  }

  /** Takes the files away from who has them. */
  depose(): void {
    this.owner?.deposed(this.state.clone());
    this.owner = undefined;
  }

  /** Deletes all that there is. */
  clear(): void {
    this.state = new State();
  }

  release(owner: Owner): void {
    if (this.owner === owner) this.owner = undefined;
  }
}
