/** Bugs in the protocol, to show that the simulation finds such. */

/** Some words of a source file, and what is put in their place. */
export interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const edit = (file: string, from: string, to: string): Edit => ({ file, from, to });

/** What a bug comes to, the first seed that finds it or one a little before, and its edits. */
export const PLANTED: readonly (readonly [what: string, seed: number, ...edits: Edit[]])[] = [
  [
    "a hello is said before the lock of the client is held",
    1,
    edit(
      "client/membership.ts",
      "locks?.request(clientLockOf(this.#id), {}, hold).catch(() => undefined);",
      "Promise.resolve().then(hold).catch(() => undefined);",
    ),
  ],
  [
    "what was not answered is not sent again",
    1,
    edit("client/unanswered.ts", "else if (to > from) {", "else if (to < from) {"),
  ],
  [
    "a host that has slept answers at once",
    250,
    edit("worker/host.ts", "(pause < 0 || pause > SLEEP_MS)", "pause === -1"),
  ],
  [
    "a client moves to a port before the host has said its last",
    10,
    edit(
      "client/line.ts",
      "this.#last = channel;",
      "this.#last = channel; this.#leaveForPort(channel);",
    ),
  ],
  [
    "a client does not say that it moves to a port",
    5,
    edit("client/line.ts", "channel.postMessage({ upgrade: true });", ""),
  ],
  [
    "what is sent again is sent as something new",
    1,
    edit("client/unanswered.ts", "first: first + from }", "first: first + from + 1000 * epoch }"),
  ],
  [
    "a host that was deposed goes on",
    680,
    edit("worker/candidate.ts", "#stepDown(): void {", "#stepDown(): void { return;"),
  ],
  [
    "a silent host is never deposed",
    835,
    edit("client/membership.ts", "this.#candidate?.say({ seize: true });", ""),
  ],
  [
    "a candidate steals the lock without asking",
    300,
    edit(
      "worker/candidate.ts",
      "if (lock === null || (await this.#hearsOfHost())) return false;",
      "",
    ),
  ],
  [
    "a page that is cached keeps its worker",
    1,
    edit("client/membership.ts", "else candidate.terminate();", ""),
  ],
  [
    "a client that has ended is never forgotten",
    100,
    edit("worker/host.ts", "() =>\n        this.#dismiss(guest),", "() => undefined,"),
  ],
  [
    "changes begin at the present with every host",
    1,
    edit("client/changes.ts", 'w.u8(this.#last === "" ? 0 : 1);', "w.u8(0); return;"),
  ],
  [
    "a subscription is sent again after the calls that follow it",
    175,
    edit(
      "client/connection.ts",
      "isPassing: false,\n      answer: (response) => this.#subscribed",
      "isPassing: true,\n      answer: (response) => this.#subscribed",
    ),
  ],
  [
    "a lock that was stolen is taken for one's own",
    5150,
    edit("worker/candidate.ts", "if (!(await this.#holder.hasLock())) return;", ""),
  ],
];
