/**
 * What a run is about. It is drawn before the run begins: a run in which little can happen, but
 * that often, meets what one does not where anything may happen. Runs are short and long: for each
 * step both find as many of the planted bugs, but some of those are seldom found by short ones.
 */

import type { Random } from "../codec/support/random.ts";
import type { BrowserOptions } from "./browser.ts";
import { type FaultKind, KINDS } from "./faults.ts";

/** What a run is to be about, where that is not left to its seed. */
export interface Focus {
  readonly storage: "opfs" | "indexeddb";
  readonly faults: readonly FaultKind[];
}

/** How often tabs do something: one time of so many. */
export interface Habits {
  /** That a value is a large one. */
  readonly large: number;
  /** That several calls are made at once. */
  readonly together: number;
  /** That a reader takes its time. */
  readonly slow: number;
}

export interface Scenario extends BrowserOptions {
  /** How many commits the log keeps. */
  readonly kept: number;
  /** How many tabs are opened at first. */
  readonly tabs: number;
  readonly habits: Habits;
  /** How much longer than usual tabs wait between what they do. */
  readonly leisure: number;
  /** What may go wrong. */
  readonly kinds: readonly FaultKind[];
  /** How often something goes wrong. */
  readonly faults: number;
  /** At which of these times the database is deleted instead, if it is. */
  readonly deletesAt: number;
  /** How long it takes at the most from one to the next, in milliseconds. */
  readonly span: number;
  /** How long nothing is repaired after the last one, in milliseconds. */
  readonly brokenMs: number;
}

const FAULTS_MAX = 9;
/** Where there is much time between faults tabs do less, so that no run is about calls alone. */
const SPANS = [
  { span: 100, pace: 1 },
  { span: 600, pace: 1 },
  { span: 4_000, pace: 3 },
];
const BROKEN_MS = [4_000, 7_000, 16_000];
const SOME_KINDS_MAX = 4;

export function drawScenario(random: Random, focus: Focus | undefined): Scenario {
  const { span, pace } = random.pick(SPANS);
  const storage = random.below(2) === 0 ? "opfs" : "indexeddb";
  const isLong = random.below(2) === 0 || focus !== undefined;
  return {
    storage: focus?.storage ?? storage,
    hasBroker: random.below(3) > 0,
    delayMax: random.pick([1, 20, 100]),
    areCopied: random.below(4) === 0,
    kept: random.below(8) === 0 ? random.below(20) : Number.POSITIVE_INFINITY,
    tabs: 1 + random.below(4),
    habits: {
      large: random.pick([2, 6, 6, 50]),
      together: random.pick([3, 10, 10]),
      slow: random.pick([1, 1, 2, 4]),
    },
    leisure: pace * random.pick([1, 1, 2]),
    kinds: focus?.faults ?? drawKinds(random),
    faults: random.below(FAULTS_MAX + 1),
    deletesAt: random.below(16) === 0 ? random.below(FAULTS_MAX + 1) : -1,
    span,
    brokenMs: isLong ? random.pick(BROKEN_MS) : 0,
  };
}

/** All kinds of faults, or some of them, which meet each other more often then. */
function drawKinds(random: Random): readonly FaultKind[] {
  if (random.below(6) === 0) return KINDS;
  return Array.from({ length: 1 + random.below(SOME_KINDS_MAX) }, () => random.pick(KINDS));
}
