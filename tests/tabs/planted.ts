/** Bugs in the protocol, to show that the simulation finds such. */

import type { Focus } from "./run.ts";

/** Some words of a source file, and what is put in their place. */
export interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const edit = (file: string, from: string, to: string): Edit => ({ file, from, to });

/** What a bug comes to, where it is looked for, and its edits. */
export const PLANTED: readonly (readonly [
  what: string,
  focus: Focus | undefined,
  ...edits: Edit[],
])[] = [
  [
    "a hello is said before the lock of the client is held",
    undefined,
    edit(
      "client/membership.ts",
      "locks?.request(clientLockOf(this.#id), { steal: true }, hold).catch(() => undefined);",
      "Promise.resolve().then(hold).catch(() => undefined);",
    ),
  ],
  [
    "what was not answered is not sent again",
    undefined,
    edit("client/unanswered.ts", "else if (to > from) {", "else if (to < from) {"),
  ],
  [
    "a host that has slept answers at once",
    { storage: "indexeddb", faults: ["doze", "stop"] },
    edit("worker/host.ts", "(pause < 0 || pause > SLEEP_MS)", "pause === -1"),
  ],
  [
    "a client moves to a port before the host has said its last",
    undefined,
    edit(
      "client/line.ts",
      "this.#last = channel;",
      "this.#last = channel; this.#leaveForPort(channel);",
    ),
  ],
  [
    "a client does not say that it moves to a port",
    undefined,
    edit("client/line.ts", "channel.postMessage({ upgrade: true });", ""),
  ],
  [
    "what is sent again is sent as something new",
    undefined,
    edit("client/unanswered.ts", "first: first + from }", "first: first + from + 1000 * epoch }"),
  ],
  [
    "a host that was deposed goes on",
    { storage: "indexeddb", faults: ["stop", "freeze"] },
    edit("worker/candidate.ts", "#stepDown(): void {", "#stepDown(): void { return;"),
  ],
  [
    "a silent host is never deposed",
    { storage: "indexeddb", faults: ["stop"] },
    edit("client/membership.ts", "this.#candidate?.say({ seize: true });", ""),
  ],
  [
    "a candidate steals the lock without asking",
    { storage: "opfs", faults: ["stop"] },
    edit(
      "worker/candidate.ts",
      "if (lock === null || (await this.#hearsOfHost())) return false;",
      "",
    ),
  ],
  [
    "a page that is cached keeps its worker",
    undefined,
    edit("client/membership.ts", "candidate.terminate();\n      return;", "return;"),
  ],
  [
    "a client that has ended is never forgotten",
    { storage: "opfs", faults: ["kill", "open"] },
    edit("worker/host.ts", "() =>\n        this.#dismiss(guest),", "() => undefined,"),
  ],
  [
    "changes begin at the present with every host",
    undefined,
    edit("client/changes.ts", 'w.u8(this.#last === "" ? 0 : 1);', "w.u8(0); return;"),
  ],
  [
    "a client that keeps up again is not told of anything",
    { storage: "opfs", faults: ["stall", "open"] },
    edit("worker/host.ts", "if (guest.isStalled && !guest.isBehind) this.#stall(", "void (0, "),
  ],
  [
    "commits that wait for a slow reader are dropped without a word",
    { storage: "opfs", faults: ["open"] },
    edit("client/changes.ts", ": 1;\n      missed = missed", ": 0;\n      missed = missed"),
  ],
  [
    "a reader that must miss nothing goes on with the present",
    { storage: "opfs", faults: ["stall", "open"] },
    edit("client/changes.ts", 'this.#isGapless && (isFull || event.type === "lagged")', "false"),
  ],
  [
    "all large values of a frame are sent again with a part of it",
    { storage: "indexeddb", faults: ["panicInFrame"] },
    edit(
      "client/wire/request.ts",
      "attachments.slice(attached[from], attached[to])",
      "attachments",
    ),
  ],
  [
    "commits for which there was no room are taken for heard",
    { storage: "opfs", faults: ["kill", "panic", "open"] },
    edit("client/changes.ts", "if (!this.#isFull) this.#heard(", "this.#heard("),
  ],
  [
    "large values are gone once they were sent",
    { storage: "opfs", faults: ["panicInFrame", "crash"] },
    edit(
      "client/membership.ts",
      "source.say(frame);",
      "source.say(frame, Array.isArray(frame) ? [...frame] : []);",
    ),
  ],
  [
    "a client takes for a frame what is none",
    { storage: "opfs", faults: ["stranger", "open"] },
    edit(
      "client/membership.ts",
      "if (isFrame(data)) {",
      "if (isFrame(data) || Array.isArray(data)) {",
    ),
  ],
  [
    "a client hears more than the host has said, and nothing any more",
    { storage: "opfs", faults: ["stranger", "open"] },
    edit(
      "worker/guest.ts",
      "if (isMore) this.#heard = Math.min(bytes, this.#posted);",
      "if (isMore && bytes <= this.#posted) this.#heard = bytes;",
    ),
  ],
  [
    "a host ends on what a stranger asks",
    { storage: "opfs", faults: ["stranger", "open"] },
    edit("worker/host.ts", "if (guest === this.#own) {", "if (guest.client !== '') {"),
  ],
  [
    "a hello that is none ends the host",
    { storage: "opfs", faults: ["stranger", "open"] },
    edit(
      "worker/host.ts",
      "hello instanceof ArrayBuffer && hello.byteLength <= HELLO_BYTES_MAX",
      "true",
    ),
  ],
  [
    "a database that was deleted stays open",
    { storage: "opfs", faults: ["delete", "open"] },
    edit("client/membership.ts", 'else if ("deleting" in message) {\n      this.#deleted();', "{"),
  ],
  [
    "a subscription is sent again after the calls that follow it",
    { storage: "opfs", faults: ["open", "kill", "panicInFrame"] },
    edit(
      "client/connection.ts",
      "isPassing: false,\n      answer: (response) => this.#subscribed",
      "isPassing: true,\n      answer: (response) => this.#subscribed",
    ),
  ],
];
