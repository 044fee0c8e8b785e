/** What a host knows of a client that does not keep up. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Channel } from "../../tabs/platform.ts";
import { Guest } from "../../worker/guest.ts";

const MIB = 1024 * 1024;

/** A client that was posted more than it may be behind. */
function behind(): Guest {
  const line: Channel = { onmessage: null, postMessage: () => undefined, close: () => undefined };
  const guest = new Guest(1, "client", "1", line);
  for (let i = 0; i < 5; i++) guest.post(new Uint8Array(MIB));
  assert.ok(guest.isBehind);
  return guest;
}

test("a client that has heard more than was posted has heard all of it", () => {
  const guest = behind();
  // So it is where somebody else has spoken on its line.
  guest.heard(6 * MIB);
  assert.ok(!guest.isBehind);
});

test("a client that has heard less than before, or nonsense, is where it was", () => {
  const guest = behind();
  guest.heard(4 * MIB);
  for (const nonsense of [0, -1, Number.NaN, 5n, "much", null]) guest.heard(nonsense as number);
  assert.ok(!guest.isBehind);
});
