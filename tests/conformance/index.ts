/**
 * What a kvass database does, whatever it is kept in: the rules of Deno KV, and what kvass adds.
 * Each case gets an empty database. Runners hand in how to open one.
 */

import type { Kv, OpenOptions } from "kvass";
import { changes } from "./changes.ts";
import { commits } from "./commits.ts";
import { expiry } from "./expiry.ts";
import { handles } from "./handles.ts";
import { keys } from "./keys.ts";
import { limits } from "./limits.ts";
import { list } from "./list.ts";
import { numbers } from "./numbers.ts";
import { ranges } from "./ranges.ts";
import { reads } from "./reads.ts";
import { selectors } from "./selectors.ts";
import { values } from "./values.ts";
import { watch } from "./watch.ts";

/** What a case works with. */
export interface Bench {
  /** An empty database. */
  readonly kv: Kv;
  /** Another handle of the same database, with options of its own. */
  reopen(options?: OpenOptions): Promise<Kv>;
}

/** Cases by the promise that each checks. */
export type Suite = Record<string, (bench: Bench) => Promise<void>>;

/** All cases, by chapter. */
export const chapters: Record<string, Suite> = {
  keys,
  values,
  reads,
  list,
  selectors,
  ranges,
  commits,
  numbers,
  expiry,
  watch,
  changes,
  limits,
  handles,
};
