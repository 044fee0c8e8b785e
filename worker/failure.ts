/** Failures as the worker and the engine tell each other of them. */

import type { Failure } from "../tabs/messages.ts";

/** Numbers of codes of src/error.rs. */
export const BUSY = 1;
export const CLOSED = 2;
export const CORRUPTION = 3;
export const QUOTA_EXCEEDED = 4;
export const IO = 5;
export const NEWER_FORMAT = 6;
export const TOO_LARGE = 8;
export const MALFORMED_FRAME = 9;
export const UNSUPPORTED = 12;
export const VERSION_MISMATCH = 13;
export const HOST_LOST = 14;

export function failure(code: number, message: string): Failure {
  return { code, message };
}

/** The failure where a message could not be read: nobody can say what calls were in it. */
export function unreadable(whose: string): Failure {
  return failure(MALFORMED_FRAME, `a message of the ${whose} could not be read`);
}

/** Whether it has a code of ours: exceptions of the browser may have numbers too. */
export function isFailure(error: unknown): error is Failure {
  return !(error instanceof Error) && typeof (error as Partial<Failure>)?.code === "number";
}

/** The failure of the given kind for an exception, with the browser's own words at the end. */
export function withCode(code: number, what: string, exception: unknown): Failure {
  const { name, message } = (exception ?? {}) as Partial<Error>;
  return failure(
    code,
    `${what}: ${[name, message].filter(Boolean).join(": ") || "an unknown exception"}`,
  );
}

/** The failure where there is no database, and none is to be made. */
export function notThere(): Failure {
  return failure(IO, "the database is not there, or not any more");
}

/**
 * The failure for an exception that nothing more is known about than what was being done:
 * `QuotaExceeded` for a full storage, `Io` for the rest.
 */
export function whileDoing(what: string, exception: unknown): Failure {
  const full = hasName(exception, "QuotaExceededError");
  return withCode(full ? QUOTA_EXCEEDED : IO, what, exception);
}

/** Whether an exception has one of these names. */
export function hasName(exception: unknown, ...names: string[]): boolean {
  return names.includes((exception as Partial<Error> | null)?.name ?? "");
}
