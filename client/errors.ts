/** Errors: a stable code to branch on, and the engine's message. */

/** The codes by their number on the wire, which is the place in this list plus one. */
const CODES = [
  "Busy",
  "Closed",
  "Corruption",
  "QuotaExceeded",
  "Io",
  "NewerFormat",
  "TypeMismatch",
  "TooLarge",
  "MalformedFrame",
  "SnapshotExpired",
  "OutcomeUnknown",
  "Unsupported",
  "VersionMismatch",
  "HostLost",
  "Timeout",
  "HistoryGone",
] as const;

/**
 * What kind of failure it is.
 *
 * - `Busy`: another tab or worker holds the database, and does not share it.
 * - `Closed`: the database or handle was closed.
 * - `Corruption`: a file is damaged; what is undamaged stays readable. Where it keeps the database
 *   from being opened, `openKv(name, { salvage: true })` reads what is left.
 * - `QuotaExceeded`: the storage is full; the commit was not applied.
 * - `Io`: the storage failed.
 * - `NewerFormat`: the files were written by a newer version of kvass: update the page.
 * - `TypeMismatch`: a mutation does not fit the value it meets. A TypeError with this code.
 * - `TooLarge`: a limit was exceeded. A TypeError with this code.
 * - `MalformedFrame`: page and worker don't understand each other.
 * - `SnapshotExpired`: a list was not read on for too long.
 * - `OutcomeUnknown`: the write may or may not have been applied.
 * - `Unsupported`: this storage, option or platform feature is not there.
 * - `VersionMismatch`: page and worker are of versions too far apart: reload.
 * - `HostLost`: the worker ended before it answered; a read may be tried again.
 * - `Timeout`: it took too long.
 * - `HistoryGone`: the commits after a versionstamp are not kept any more, or it is of another
 *   database. List what there is, then go on with the changes since the highest versionstamp.
 * - `NoHost`: no page has the database open, and this is a place that can't open it itself, such
 *   as a service worker.
 */
export type KvassErrorCode = (typeof CODES)[number] | "NoHost";

/** A failure of the database. */
export class KvassError extends Error {
  override readonly name: string = "KvassError";
  /** The kind of failure. */
  readonly code: KvassErrorCode;

  constructor(code: KvassErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The error for a code's number on the wire; `TypeMismatch` and `TooLarge` are TypeErrors. */
export function errorOf(number: number, message: string): Error {
  const code = codeOf(number);
  if (code !== "TypeMismatch" && code !== "TooLarge") return new KvassError(code, message);
  return tooLargeOrMismatch(code, message);
}

/** The code of a number on the wire. One of a later version means a failure of unknown kind. */
export function codeOf(number: number): KvassErrorCode {
  return CODES[number - 1] ?? "Io";
}

/** The TypeError for an exceeded limit, with the code `TooLarge`. */
export function tooLarge(message: string): TypeError {
  return tooLargeOrMismatch("TooLarge", message);
}

/** What was received, for a message about it, whatever it is. */
export function shown(value: unknown): string {
  try {
    return String(value);
  } catch {
    return typeof value;
  }
}

function tooLargeOrMismatch(code: KvassErrorCode, message: string): TypeError {
  return Object.assign(new TypeError(message), { code });
}
