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
    "a subscription is sent again after the calls that follow it",
    { storage: "opfs", faults: ["open", "kill", "panicInFrame"] },
    edit(
      "client/connection.ts",
      "isPassing: false,\n      answer: (response) => this.#subscribed",
      "isPassing: true,\n      answer: (response) => this.#subscribed",
    ),
  ],
];
