/** Frames that are not answered: what a host is sent ahead of its answers, and sent again. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Addressed, Unanswered } from "../../client/unanswered.ts";
import { type Frame, RequestFrame, type RequestHeader } from "../../client/wire/request.ts";

const MIB = 1024 * 1024;

const header: RequestHeader = {
  client: new Uint8Array(16),
  epoch: 1,
  ackedThrough: 0,
  resendOf: 0,
  first: 1,
  deadline: 0,
};

/** A frame of so many requests, with a large value of so many bytes beside the last. */
function frameOf(requests: number, largeBytes = 0): Frame {
  const frame = new RequestFrame();
  for (let i = 0; i < requests; i++) frame.add((w) => w.u8(i));
  if (largeBytes > 0) frame.add((w) => w.attachments.push(new ArrayBuffer(largeBytes)));
  return frame.take(header);
}

/** Has it send everything again; returns how that was addressed, and what was given up. */
function resent(
  unanswered: Unanswered,
  epoch: number,
  isDeath: boolean,
  isOpen = (_: number) => true,
) {
  const sent: Addressed[] = [];
  const givenUp: number[] = [];
  unanswered.resend(
    epoch,
    isOpen,
    () => isDeath,
    (to) => sent.push(to),
    (sequence) => givenUp.push(sequence),
  );
  return { sent, givenUp };
}

test("what is sent again says which host had it first, however many had it since", () => {
  const unanswered = new Unanswered();
  unanswered.sent(1, frameOf(2), 0, 4);
  for (const epoch of [5, 6, 7]) {
    const { sent } = resent(unanswered, epoch, false);
    assert.deepEqual(sent, [{ epoch, first: 1, count: 2, resendOf: 4 }]);
  }
});

test("requests that were answered are not sent again, those around them are", () => {
  const unanswered = new Unanswered();
  unanswered.sent(10, frameOf(5), 0, 1);
  const { sent } = resent(unanswered, 2, false, (sequence) => ![10, 12].includes(sequence));
  assert.deepEqual(
    sent.map(({ first, count }) => [first, count]),
    [
      [11, 1],
      [13, 2],
    ],
  );
});

test("a host that is met again has not ended on anything, one that has left neither", () => {
  const unanswered = new Unanswered();
  unanswered.sent(1, frameOf(1), 0, 4);
  for (let i = 0; i < 3; i++) assert.deepEqual(resent(unanswered, 4, true).givenUp, []);
  for (const epoch of [5, 6, 7]) assert.deepEqual(resent(unanswered, epoch, false).givenUp, []);
  assert.deepEqual(resent(unanswered, 8, true).givenUp, []);
  assert.deepEqual(resent(unanswered, 9, true), { sent: [], givenUp: [1] });
});

test("large values count in what a host is sent ahead of its answers", () => {
  const unanswered = new Unanswered();
  assert.ok(unanswered.hasRoom);
  unanswered.sent(1, frameOf(1), 0, 1);
  assert.ok(unanswered.hasRoom);
  unanswered.sent(2, frameOf(0, MIB), 0, 1);
  assert.ok(!unanswered.hasRoom);
  unanswered.answered(2);
  assert.ok(unanswered.hasRoom);
});

test("what was given up takes no room, and what came after it is left", () => {
  const unanswered = new Unanswered();
  unanswered.sent(1, frameOf(0, 2 * MIB), 100, 1);
  unanswered.sent(2, frameOf(1), 200, 1);
  unanswered.wait(3, frameOf(1), 300);
  const next = () => unanswered.pump(1, () => undefined);
  assert.equal(next(), 3);
  assert.equal(unanswered.forgetBefore(200), 2);
  assert.equal(next(), undefined);
  assert.equal(unanswered.forgetBefore(300), 3);
  assert.equal(unanswered.forgetBefore(301), undefined);
});

test("a single frame is sent however large it is, and the next one waits", () => {
  const unanswered = new Unanswered();
  unanswered.wait(1, frameOf(0, 3 * MIB), 0);
  unanswered.wait(2, frameOf(0, 3 * MIB), 0);
  const posted: number[] = [];
  const pump = () => unanswered.pump(1, ({ first }) => posted.push(first));
  assert.equal(pump(), 2);
  assert.deepEqual(posted, [1]);
  unanswered.answered(1);
  assert.equal(pump(), undefined);
  assert.deepEqual(posted, [1, 2]);
});
