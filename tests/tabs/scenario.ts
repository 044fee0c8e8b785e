/**
 * What a run is about. It is drawn before the run begins: a run in which little can happen, but
 * that often, meets what one does not where anything may happen. Three of five runs are short, and
 * have a third of all steps: for each step these find up to twice as much of what comes soon after
 * one fault. What takes a while, such as to depose a host, is found by long ones alone.
 */

import { Random } from "../codec/support/random.ts";
import type { BrowserOptions } from "./browser.ts";
import { type FaultKind, KINDS } from "./faults.ts";

/** What a run is to be about, where that is not left to its seed. */
export interface Focus {
  readonly storage: "opfs" | "indexeddb";
  readonly faults: readonly FaultKind[];
}

/** How much may happen in a run. */
export type Length = "short" | "long";

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

/** Where there is much time between faults tabs do less, so that no run is about calls alone. */
const SPANS = [
  { span: 100, pace: 1 },
  { span: 600, pace: 1 },
  { span: 4_000, pace: 3 },
];
const SOME_KINDS_MAX = 4;

/** What is drawn from. A seed that is on record is one of a long run, so those stay as they are. */
const LENGTHS = {
  long: {
    spans: SPANS,
    tabs: [1, 2, 3, 4],
    faults: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    brokenMs: [4_000, 7_000, 16_000],
  },
  short: { spans: SPANS.slice(0, 2), tabs: [1, 2, 2, 2], faults: [1, 1, 2, 3], brokenMs: [0] },
};

/** Whether the run of a seed is short or long, where that is not said. */
export function lengthOf(seed: number): Length {
  return new Random(seed ^ 0x1e46).below(5) < 3 ? "short" : "long";
}

export function drawScenario(random: Random, length: Length, focus: Focus | undefined): Scenario {
  const { spans, tabs, faults, brokenMs } = LENGTHS[length];
  const { span, pace } = random.pick(spans);
  const storage = random.below(2) === 0 ? "opfs" : "indexeddb";
  const isLeftBroken = random.below(2) === 0 || focus !== undefined;
  return {
    storage: focus?.storage ?? storage,
    hasBroker: random.below(3) > 0,
    delayMax: random.pick([1, 20, 100]),
    areCopied: random.below(4) === 0,
    kept: random.below(8) === 0 ? random.below(20) : Number.POSITIVE_INFINITY,
    tabs: random.pick(tabs),
    habits: {
      large: random.pick([2, 6, 6, 50]),
      together: random.pick([3, 10, 10]),
      slow: random.pick([1, 1, 2, 4]),
    },
    leisure: pace * random.pick([1, 1, 2]),
    kinds: focus?.faults ?? drawKinds(random),
    faults: random.pick(faults),
    deletesAt: random.below(16) === 0 ? random.below(faults.length) : -1,
    span,
    brokenMs: isLeftBroken ? random.pick(brokenMs) : 0,
  };
}

/** All kinds of faults, or some of them, which meet each other more often then. */
function drawKinds(random: Random): readonly FaultKind[] {
  if (random.below(6) === 0) return KINDS;
  return Array.from({ length: 1 + random.below(SOME_KINDS_MAX) }, () => random.pick(KINDS));
}
