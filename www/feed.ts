/**
 * Every commit as a line, newest first. A commit of many changes is one line. The DOM holds the
 * last 200 lines and is changed once a frame; a screen reader hears a summary now and then.
 */
import type { KvChange, KvCommit, KvKey, KvLagged } from "kvass";
import { byId, el, onceAFrame, setText } from "./dom.ts";
import { count, plural, time } from "./format.ts";
import { partText } from "./keys.ts";
import type { Panel } from "./session.ts";
import { preview } from "./value-text.ts";

const LINES_MAX = 200;
const ANNOUNCE_MS = 3000;

export class Feed implements Panel {
  readonly #rows = byId("feed");
  readonly #empty = byId("feed-empty");
  readonly #announcer = byId("feed-announcer");
  #waiting: (() => HTMLElement)[] = [];
  #unheard = { commits: 0, changes: 0 };
  #announcing: ReturnType<typeof setTimeout> | undefined;

  opened(): void {
    this.#rows.replaceChildren();
    this.#empty.hidden = false;
  }

  committed(commit: KvCommit): void {
    this.#unheard.commits += 1;
    this.#unheard.changes += commit.changes.length;
    this.#announcing ??= setTimeout(() => this.#announce(), ANNOUNCE_MS);
    this.#add(() => commitLine(commit));
  }

  lagged({ missed }: KvLagged): void {
    const what = missed === null ? "Some commits" : plural(missed, "commit", "commits");
    this.#add(() => lineOf("lagged", "missed", what));
  }

  /** Lines are only made for the commits that will be seen. */
  #add(make: () => HTMLElement): void {
    this.#waiting.push(make);
    if (this.#waiting.length > LINES_MAX) this.#waiting.shift();
    this.#drawSoon();
  }

  readonly #drawSoon = onceAFrame(() => {
    const lines = this.#waiting.map((make) => make()).reverse();
    this.#waiting = [];
    this.#empty.hidden = true;
    this.#rows.prepend(...lines);
    while (this.#rows.childElementCount > LINES_MAX) this.#rows.lastElementChild?.remove();
  });

  #announce(): void {
    const { commits, changes } = this.#unheard;
    const what = plural(changes, "change", "changes");
    setText(this.#announcer, `${what} in ${plural(commits, "commit", "commits")}`);
    this.#unheard = { commits: 0, changes: 0 };
    this.#announcing = undefined;
  }
}

/** A commit of one change by its key and value, one of many by their number and first key. */
function commitLine({ versionstamp, changes }: KvCommit): HTMLElement {
  const [first] = changes;
  const kinds = new Set(changes.map(({ type }) => type));
  const kind = kinds.size === 1 && first !== undefined ? first.type : "mixed";
  const path = first === undefined ? "" : placeOf(first);
  const many = changes.length > 1;
  const verb = many && kind !== "mixed" ? `${kind} ${count(changes.length)}` : kind;
  const element = lineOf(kind, verb, many ? `${path} …` : path);
  if (!many && first?.type === "set") {
    const value = el("span", { class: "muted" }, ` = ${preview(first.value, 60)}`);
    element.children[1]?.append(value);
  }
  element.title = `Versionstamp ${versionstamp}\n${changes.slice(0, 10).map(describe).join("\n")}`;
  return element;
}

function describe(change: KvChange): string {
  return `${change.type} ${placeOf(change)}`;
}

/** A key, or the parts of a selector. */
function placeOf(change: KvChange): string {
  const path = (key: KvKey) => key.map(partText).join(" / ");
  if (change.type !== "deleteRange") return path(change.key);
  const parts: [string, KvKey][] = Object.entries(change.selector);
  return parts.map(([name, key]) => `${name} ${path(key)}`).join(", ");
}

function lineOf(kind: string, verb: string, what: string): HTMLElement {
  const now = new Date();
  const clock = el("time", {}, time(now));
  clock.dateTime = now.toISOString();
  return el(
    "li",
    { data: { kind } },
    el("span", { class: "kind" }, verb),
    el("span", { class: "what" }, what),
    clock,
  );
}
