/**
 * Bugs in the protocol, to show that the simulation finds such. One that the simulation has found
 * in earnest is planted again with the seed that did: so the seed is kept, and it is seen whether
 * it still finds what it has found. What a seed does changes with the simulation;
 * `npm run sim:tabs -- --planted --runs 1000` tells which find a bug now.
 */

import type { Focus } from "./scenario.ts";

/** A bug, and where it is looked for. */
export interface Planted {
  /** What it comes to. */
  readonly what: string;
  readonly focus?: Focus;
  /** A seed that finds it, where others seldom do. */
  readonly seed?: number;
  /** Whether it was there in earnest, until this seed found it. */
  readonly isKept?: true;
  readonly edits: readonly Edit[];
}

/** Some words of a source file, and what is put in their place. */
export interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const edit = (file: string, from: string, to: string): Edit => ({ file, from, to });

export const PLANTED: readonly Planted[] = [
  {
    what: "a hello is said before the lock of the client is held",
    edits: [
      edit(
        "client/membership.ts",
        "locks?.request(clientLockOf(this.#id), { steal: true }, hold).catch(() => undefined);",
        "Promise.resolve().then(hold).catch(() => undefined);",
      ),
    ],
  },
  {
    what: "what was not answered is not sent again",
    edits: [edit("client/unanswered.ts", "else if (to > from) {", "else if (to < from) {")],
  },
  {
    what: "a host that has slept answers at once",
    focus: { storage: "indexeddb", faults: ["doze", "stop"] },
    seed: 113,
    edits: [edit("worker/host.ts", "(pause < 0 || pause > SLEEP_MS)", "pause === -1")],
  },
  {
    what: "a client moves to a port before the host has said its last",
    seed: 180,
    edits: [
      edit(
        "client/line.ts",
        "this.#last = channel;",
        "this.#last = channel; this.#leaveForPort(channel);",
      ),
    ],
  },
  {
    what: "a client does not say that it moves to a port",
    edits: [edit("client/line.ts", "channel.postMessage({ upgrade: true });", "")],
  },
  {
    what: "what is sent again is sent as something new",
    edits: [
      edit("client/unanswered.ts", "first: first + from }", "first: first + from + 1000 * epoch }"),
    ],
  },
  {
    what: "a host that was deposed goes on",
    focus: { storage: "indexeddb", faults: ["stop", "freeze"] },
    edits: [edit("worker/candidate.ts", "#stepDown(): void {", "#stepDown(): void { return;")],
  },
  {
    what: "a silent host is never deposed",
    focus: { storage: "indexeddb", faults: ["stop"] },
    edits: [edit("client/membership.ts", "this.#candidate?.say({ seize: true });", "")],
  },
  {
    what: "a candidate steals the lock without asking",
    focus: { storage: "opfs", faults: ["stop"] },
    edits: [
      edit(
        "worker/candidate.ts",
        "if (lock === null || (await this.#hearsOfHost())) return false;",
        "",
      ),
    ],
  },
  {
    what: "a hello that was overtaken by a later one takes the line from it",
    focus: { storage: "opfs", faults: ["hang", "stop", "stall"] },
    seed: 2,
    isKept: true,
    edits: [edit("worker/host.ts", "?.name) > Number(line)", "?.name) > Infinity")],
  },
  {
    what: "a page that is cached keeps its worker",
    edits: [edit("client/membership.ts", "candidate.terminate();\n      return;", "return;")],
  },
  {
    what: "a client that has ended is never forgotten",
    focus: { storage: "opfs", faults: ["kill", "open"] },
    edits: [edit("worker/host.ts", "() =>\n        this.#dismiss(guest),", "() => undefined,")],
  },
  {
    what: "changes begin at the present with every host",
    edits: [edit("client/changes.ts", 'w.u8(this.#last === "" ? 0 : 1);', "w.u8(0); return;")],
  },
  {
    what: "a client that keeps up again is not told of anything",
    focus: { storage: "opfs", faults: ["stall", "open"] },
    edits: [
      edit("worker/host.ts", "if (guest.isStalled && !guest.isBehind) this.#stall(", "void (0, "),
    ],
  },
  {
    what: "commits that wait for a slow reader are dropped without a word",
    focus: { storage: "opfs", faults: ["open"] },
    edits: [
      edit("client/changes.ts", ": 1;\n      missed = missed", ": 0;\n      missed = missed"),
    ],
  },
  {
    what: "a reader that must miss nothing goes on with the present",
    focus: { storage: "opfs", faults: ["stall", "open"] },
    edits: [
      edit("client/changes.ts", 'this.#isGapless && (isFull || event.type === "lagged")', "false"),
    ],
  },
  {
    what: "all large values of a frame are sent again with a part of it",
    focus: { storage: "indexeddb", faults: ["panicInFrame"] },
    edits: [
      edit(
        "client/wire/request.ts",
        "attachments.slice(attached[from], attached[to])",
        "attachments",
      ),
    ],
  },
  {
    what: "commits for which there was no room are taken for heard",
    focus: { storage: "opfs", faults: ["kill", "panic", "open"] },
    seed: 534,
    isKept: true,
    edits: [edit("client/changes.ts", "if (!this.#isFull) this.#heard(", "this.#heard(")],
  },
  {
    what: "large values are gone once they were sent",
    focus: { storage: "opfs", faults: ["panicInFrame", "crash"] },
    seed: 104,
    edits: [
      edit(
        "client/membership.ts",
        "source.say(frame);",
        "source.say(frame, Array.isArray(frame) ? [...frame] : []);",
      ),
    ],
  },
  {
    what: "a client takes for a frame what is none",
    focus: { storage: "opfs", faults: ["stranger", "open"] },
    seed: 7,
    isKept: true,
    edits: [
      edit(
        "client/membership.ts",
        "if (isFrame(data)) {",
        "if (isFrame(data) || Array.isArray(data)) {",
      ),
    ],
  },
  {
    what: "a client hears more than the host has said, and nothing any more",
    focus: { storage: "opfs", faults: ["stranger", "open"] },
    edits: [
      edit(
        "worker/guest.ts",
        "if (isMore) this.#heard = Math.min(bytes, this.#posted);",
        "if (isMore && bytes <= this.#posted) this.#heard = bytes;",
      ),
    ],
  },
  {
    what: "a host ends on what a stranger asks",
    focus: { storage: "opfs", faults: ["stranger", "open"] },
    edits: [edit("worker/host.ts", "if (guest === this.#own) {", "if (guest.client !== '') {")],
  },
  {
    what: "a hello that is none ends the host",
    focus: { storage: "opfs", faults: ["stranger", "open"] },
    edits: [
      edit(
        "worker/host.ts",
        "hello instanceof ArrayBuffer && hello.byteLength <= HELLO_BYTES_MAX",
        "true",
      ),
    ],
  },
  {
    what: "a database that was deleted stays open",
    focus: { storage: "opfs", faults: ["delete", "open"] },
    edits: [edit("client/membership.ts", '"deleting" in message || (', "(")],
  },
  {
    what: "a subscription is sent again after the calls that follow it",
    focus: { storage: "opfs", faults: ["open", "kill", "panicInFrame"] },
    edits: [
      edit(
        "client/connection.ts",
        "isPassing: false,\n        answer: (response) => this.#subscribed",
        "isPassing: true,\n        answer: (response) => this.#subscribed",
      ),
    ],
  },
];
