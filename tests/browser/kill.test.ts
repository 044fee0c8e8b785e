/**
 * A page killed in the middle of a burst of writes leaves a prefix of what was sent, with
 * everything in it that was acknowledged.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { CDPSession, Page } from "playwright-core";
import { Random, SEED } from "../codec/support/random.ts";
import { DURABLE, Visitor } from "./harness/browser.ts";
import type { Target } from "./harness/burst.ts";

const ROUNDS = 6;

let visitor: Visitor;
before(async () => {
  visitor = await Visitor.arrive();
});
after(() => visitor.leave());

/** Ways for a page to end without a chance to tidy up. */
const KILLS: Record<string, (page: Page, session: CDPSession) => Promise<void>> = {
  async crash(page, session) {
    const crashed = page.waitForEvent("crash");
    session.send("Page.crash").catch(() => undefined);
    await crashed;
  },
  async sigkill(page) {
    const crashed = page.waitForEvent("crash");
    for (const id of await renderers()) process.kill(id, "SIGKILL");
    await crashed;
  },
  close: (page) => page.close(),
  async navigation(page) {
    await page.goto("about:blank");
  },
};

/** The process ids of all pages of our browser. */
async function renderers(): Promise<number[]> {
  const browser = visitor.context.browser();
  assert.ok(browser);
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  return processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
}

/**
 * Writes from `first` on and kills the page once `enough` commits were acknowledged; returns the
 * numbers of those that were until then, and of the last that is known to have been sent.
 */
async function burstAndKill(target: Target, first: number, enough: number, kill: string) {
  const page = await visitor.visit();
  const session = await visitor.context.newCDPSession(page);
  const acknowledged: number[] = [];
  let sent = 0;
  const isEnough = new Promise<void>((resolve) => {
    session.on("Runtime.bindingCalled", ({ payload }) => {
      const [number = 0, last = 0] = payload.split(" ").map(Number);
      acknowledged.push(number);
      sent = Math.max(sent, last);
      if (acknowledged.length === enough) resolve();
    });
  });
  await session.send("Runtime.enable");
  await session.send("Runtime.addBinding", { name: "report" });
  const writing = page.evaluate(
    ([target, first]) => {
      const { report } = globalThis as unknown as { report: (acknowledgedAndSent: string) => void };
      return burst.write(target, first, report);
    },
    [target, first] as const,
  );
  const failed = writing.catch((error) => error);
  const early = await Promise.race([isEnough, failed]);
  assert.equal(early, undefined);
  await KILLS[kill]?.(page, session);
  await failed;
  await page.close();
  return { acknowledged, sent };
}

async function verify(target: Target) {
  const page = await visitor.visit();
  const found = await page.evaluate((target) => burst.verify(target), target);
  await page.close();
  return found;
}

/** One round: writes, kill, and a look at what is left. Returns how many commits there are now. */
async function round(target: Target, first: number, enough: number, kill: string) {
  const { acknowledged, sent } = await burstAndKill(target, first, enough, kill);
  const found = await verify(target);
  const last = Math.max(...acknowledged);
  assert.deepEqual(found.problems, []);
  assert.ok(found.commits > last, `${last} was acknowledged, ${found.commits} are there`);
  const told =
    `${kill}: sent ${first} to at least ${sent}, ${acknowledged.length} acknowledged up to ` +
    `${last}, found 0 to ${found.commits - 1}, ${found.compacted} tables compacted`;
  return { ...found, told };
}

for (const storage of DURABLE) {
  for (const durability of ["relaxed", "strict"] as const) {
    test(`killed again and again, ${storage} ${durability} keeps all acknowledged`, async (t) => {
      const random = new Random(SEED);
      const target = { name: `burst-${durability}`, storage, durability };
      const kills = Object.keys(KILLS);
      let commits = 0;
      let compacted = 0;
      for (let i = 0; i < ROUNDS; i++) {
        const kill = kills[(i + random.below(2)) % kills.length] ?? "";
        const found = await round(target, commits, 500 + random.below(800), kill);
        t.diagnostic(`${found.told} (seed ${SEED})`);
        ({ commits, compacted } = found);
      }
      assert.ok(compacted > 0, "the bursts were too small for a compaction");
    });
  }
}
