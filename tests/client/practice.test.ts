/** What a candidate practises on the engine is what clients ask of it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeHello } from "../../client/wire/hello.ts";
import { practiceFrame } from "../../worker/practice.ts";
import { openFake } from "./support/fake-worker.ts";

test("the frame that candidates practise with is one of a client", async (t) => {
  const { kv, workers } = await openFake(t);
  await Promise.all([kv.atomic().sum(["a"], 1n).set(["b"], true).commit(), kv.get(["a"])]);
  const sent = new Uint8Array(workers.last.messages[0] as ArrayBuffer);
  const practised = practiceFrame(encodeHello(sent.subarray(0, 16)));
  // It is for whichever host there is.
  sent[16] = 0;
  assert.deepEqual(practised, sent);
});
