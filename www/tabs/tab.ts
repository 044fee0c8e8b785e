/**
 * What the tabs tell each other through the database. A tab has a seat, which gives it its colour
 * and name; the entry there says what it is and expires unless its tab renews it.
 *
 *     ["count"]        the counter, a sum
 *     ["tab", seat]    a Tab
 *     ["kill"]         the seat that last asked for the end of the host
 */
import { type KvCommit, KvU64 } from "kvass";

export const COUNT = ["count"];
export const KILL = ["kill"];
export const TABS = ["tab"];

/** What a tab says of itself, with each of its commits. */
export interface Tab {
  /** Unique to a run of commits, whose numbers have no gap. */
  run: string;
  /** This commit's number in its run, from 1. */
  number: number;
  /** As `Kv.status` told the tab last. */
  role: "host" | "client";
  epoch: number;
  isCounting: boolean;
}

const SEATS = ["Orange", "Blue", "Green", "Purple", "Red", "Yellow", "Brown"];
const DISCS = ["🟠", "🔵", "🟢", "🟣", "🔴", "🟡", "🟤"];

export const nameOf = (seat: number): string => SEATS[seat] ?? `Tab ${seat + 1}`;

/** The seat's colour for where there is only text, such as the title of the page. */
export const discOf = (seat: number): string => DISCS[seat] ?? "⚪";

/** For `data-seat`, by which the style sheet colours what is a tab's. */
export const colourOf = (seat: number): string => (seat < SEATS.length ? String(seat) : "more");

/** A commit as this page's tabs make them, or the store itself when an entry expires. */
export interface TabCommit {
  versionstamp: string;
  /** Of the host that applied it. */
  epoch: number;
  /** The tab that made it, and its seat. */
  tab: Tab | undefined;
  seat: number | undefined;
  /** The counter after it, if it counted. */
  count: bigint | undefined;
  /** Whether it asks for the end of the host. */
  isKill: boolean;
  /** The seats whose entries expired. */
  expired: number[];
}

export function readCommit({ versionstamp, changes }: KvCommit): TabCommit {
  const commit: TabCommit = {
    versionstamp,
    // A versionstamp begins with the epoch, as 8 of its 20 hex digits.
    epoch: Number.parseInt(versionstamp.slice(0, 8), 16),
    tab: undefined,
    seat: undefined,
    count: undefined,
    isKill: false,
    expired: [],
  };
  for (const change of changes) {
    if (change.type === "deleteRange") continue;
    const [kind, seat] = change.key;
    if (kind === TABS[0] && typeof seat === "number") {
      if (change.type !== "set") commit.expired.push(seat);
      else if (isTab(change.value)) Object.assign(commit, { tab: change.value, seat });
    } else if (change.type === "set") {
      if (kind === KILL[0]) commit.isKill = true;
      else if (kind === COUNT[0] && change.value instanceof KvU64)
        commit.count = change.value.value;
    }
  }
  return commit;
}

export function isTab(value: unknown): value is Tab {
  if (typeof value !== "object" || value === null) return false;
  const { run, number, role, epoch } = value as Partial<Tab>;
  const isKnownRole = role === "host" || role === "client";
  return typeof run === "string" && [number, epoch].every(Number.isSafeInteger) && isKnownRole;
}
