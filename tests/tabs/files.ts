/** What outlives the hosts of a simulated database: its entries, its log, and what was answered. */

import type { Entry, Hex } from "../client/support/wire.ts";

/** A change as it is told: its kind, the key, and a value. */
export type Change = [kind: number, key: Hex, value?: Uint8Array];

/** A commit in the log. */
export interface Logged {
  readonly stamp: string;
  readonly changes: readonly Change[];
}

/** What came of a commit: its versionstamp, or the check that failed. */
export type Outcome = string | number;

/** The answers that a client has not acknowledged. */
export interface Session {
  through: number;
  readonly outcomes: Map<number, Outcome>;
}

export class State {
  entries = new Map<Hex, Entry>();
  log: Logged[] = [];
  sessions = new Map<Hex, Session>();

  /** As it is now, whatever becomes of it. */
  clone(): State {
    const clone = new State();
    clone.entries = new Map(this.entries);
    clone.log = [...this.log];
    for (const [client, { through, outcomes }] of this.sessions) {
      clone.sessions.set(client, { through, outcomes: new Map(outcomes) });
    }
    return clone;
  }
}

/** Who has the files, or had them. */
export interface Owner {
  /** Another one has them now. */
  deposed(was: State): void;
}

export class Files {
  readonly storage: "opfs" | "indexeddb";
  readonly state = new State();
  /** What lists that go on read, by the last commit that they see. */
  readonly snapshots = new Map<string, [Hex, Entry][]>();
  owner: Owner | undefined;
  epoch = 0;
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
    if (this.owner !== owner) this.owner?.deposed(this.state.clone());
    this.owner = owner;
    return true;
  }

  release(owner: Owner): void {
    if (this.owner === owner) this.owner = undefined;
  }
}
