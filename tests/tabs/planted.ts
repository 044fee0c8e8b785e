/** Bugs in the protocol, to show that the simulation finds such. */

/** Some words of a source file, and what is put in their place. */
export interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const edit = (file: string, from: string, to: string): Edit => ({ file, from, to });

/** By what they come to. */
export const PLANTED: Readonly<Record<string, readonly Edit[]>> = {
  "a hello is said before the lock of the client is held": [
    edit(
      "client/membership.ts",
      "locks?.request(clientLockOf(this.#id), {}, hold).catch(() => undefined);",
      "Promise.resolve().then(hold).catch(() => undefined);",
    ),
  ],
  "what was not answered is not sent again": [
    edit("client/unanswered.ts", "else if (to > from) {", "else if (to < from) {"),
  ],
  "a host that has slept answers at once": [
    edit("worker/host.ts", "(pause < 0 || pause > SLEEP_MS)", "pause === -1"),
  ],
  "a client moves to a port before the host has said its last": [
    edit(
      "client/line.ts",
      "this.#last = channel;",
      "this.#last = channel; this.#leaveForPort(channel);",
    ),
  ],
  "a client does not say that it moves to a port": [
    edit("client/line.ts", "channel.postMessage({ upgrade: true });", ""),
  ],
  "what is sent again is sent as something new": [
    edit("client/unanswered.ts", "first: first + from }", "first: first + from + 1000 * epoch }"),
  ],
  "a host that was deposed goes on": [
    edit("worker/candidate.ts", "#stepDown(): void {", "#stepDown(): void { return;"),
  ],
  "a silent host is never deposed": [
    edit("client/membership.ts", "this.#candidate?.say({ seize: true });", ""),
  ],
  "a candidate steals the lock without asking": [
    edit(
      "worker/candidate.ts",
      "if (lock === null || (await this.#hearsOfHost())) return false;",
      "",
    ),
  ],
  "a page that is cached keeps its worker": [
    edit("client/membership.ts", "else candidate.terminate();", ""),
  ],
  "a client that has ended is never forgotten": [
    edit("worker/host.ts", "() =>\n        this.#dismiss(guest),", "() => undefined,"),
  ],
  "changes begin at the present with every host": [
    edit("client/changes.ts", 'w.u8(this.#last === "" ? 0 : 1);', "w.u8(0); return;"),
  ],
  "a subscription is sent again after the calls that follow it": [
    edit(
      "client/connection.ts",
      "isPassing: false,\n      answer: (response) => this.#subscribed",
      "isPassing: true,\n      answer: (response) => this.#subscribed",
    ),
  ],
  "a lock that was stolen is taken for one's own": [
    edit("worker/candidate.ts", "if (!(await this.#holder.hasLock())) return;", ""),
  ],
};
