/** The page's side of the browser tests: what `page.evaluate` finds as globals. */

import * as package_ from "kvass";
import { chapters } from "../../conformance/index.ts";
import * as soak_ from "../soak/tab.ts";
import * as burst_ from "./burst.ts";
import * as crowd_ from "./crowd.ts";
import * as files_ from "./files.ts";
import * as golden_ from "./golden.ts";
import * as large_ from "./large.ts";

declare global {
  /** The package. */
  var kvass: typeof package_;
  /** A handle that one evaluation leaves for the next. */
  var kv: package_.Kv;
  /** The files of a database that is closed. */
  var files: typeof files_;
  /** Databases that older builds wrote. */
  var golden: typeof golden_;
  /** Writing until the page is killed. */
  var burst: typeof burst_;
  /** Entries that expire at once. */
  var crowd: typeof crowd_;
  /** Large values. */
  var large: typeof large_;
  /** Runs a case of the conformance suite. */
  var runCase: (storage: package_.KvStorage, chapter: string, title: string) => Promise<void>;
}

globalThis.kvass = package_;
globalThis.files = files_;
globalThis.golden = golden_;
globalThis.burst = burst_;
globalThis.crowd = crowd_;
globalThis.large = large_;
globalThis.soak = soak_;

globalThis.runCase = async (storage, chapter, title) => {
  const name = `${chapter}: ${title}`;
  const reopen = (options = {}) => package_.openKv(name, { storage, ...options });
  const kv = await reopen();
  try {
    await chapters[chapter]?.[title]?.({ kv, reopen });
  } finally {
    await closeUnlessClosed(kv);
  }
};

/** Some cases close it themselves. */
async function closeUnlessClosed(kv: package_.Kv): Promise<void> {
  try {
    await kv.close();
  } catch (error) {
    if ((error as package_.KvassError).code !== "Closed") throw error;
  }
}
