/** Errors in plain words: what happened, and what to do about it. */

export interface Explanation {
  title: string;
  text: string;
}

const KNOWN: Record<string, Explanation> = {
  Busy: {
    title: "The tab that hosts this database does not answer",
    text: "It may be frozen: go to it or close it, then try again.",
  },
  Closed: {
    title: "The database was closed",
    text: "Nothing that was saved is lost. Open it again to go on.",
  },
  Corruption: {
    title: "A file of the database is damaged",
    text: "What is not damaged can still be read, and nothing was deleted.",
  },
  QuotaExceeded: {
    title: "The browser gives this page no more space",
    text: "The last write was not made. Delete entries with Clear, or free space on this device.",
  },
  Io: {
    title: "The storage failed",
    text: "What had been saved is still there. Open the database again; if this repeats, reload.",
  },
  NewerFormat: {
    title: "A newer version of kvass wrote these files",
    text: "Reload the page to get the newer version. The files were not touched.",
  },
  OutcomeUnknown: {
    title: "The last write may or may not have been made",
    text: "Look at the entry before you write it again.",
  },
  Unsupported: {
    title: "This browser lacks that storage",
    text: "Choose Auto, which takes the best storage that works here.",
  },
  VersionMismatch: {
    title: "This page is older or newer than the one that has the database",
    text: "Reload the page.",
  },
  Timeout: {
    title: "The database did not answer in time",
    text: "The device may be busy. Try again.",
  },
  HostLost: {
    title: "The database's worker ended",
    text: "What had been saved is still there. Open the database again.",
  },
};

/** The stable code of a kvass error; undefined for any other. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

export function explain(error: unknown): Explanation {
  const message = error instanceof Error ? error.message : String(error);
  const known = KNOWN[codeOf(error) ?? ""];
  if (known === undefined) return { title: "That did not work", text: message };
  return { title: known.title, text: `${known.text} (${message})` };
}
