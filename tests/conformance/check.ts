/** Assertions that run wherever the suite does, in a page too. */

import { difference } from "../codec/support/same.ts";

/** Fails unless the values are alike in every detail; see `difference`. */
export function same(actual: unknown, expected: unknown, what = ""): void {
  const found = difference(actual, expected);
  if (found !== undefined) throw new Error(`${what}${what && ": "}${found}`);
}

/** Fails unless `condition` holds. */
export function that(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** What an error must be: its class by name, its code where it has one, a part of its message. */
export interface Expected {
  name?: string;
  code?: string;
  message?: string;
}

/** Fails unless `run` throws, or returns a promise that rejects with, the error. */
export async function fails(run: () => unknown, expected: Expected): Promise<void> {
  let result: unknown;
  try {
    result = await run();
  } catch (error) {
    return matches(error, expected);
  }
  throw new Error(`expected ${JSON.stringify(expected)}, and it gave ${String(result)}`);
}

/** A TypeError whose message holds `message`. */
export const typeError = (message?: string): Expected =>
  message === undefined ? { name: "TypeError" } : { name: "TypeError", message };

/** A KvassError of this code. */
export const kvassError = (code: string): Expected => ({ name: "KvassError", code });

function matches(error: unknown, { name, code, message }: Expected): void {
  const is = error as { name?: string; code?: string; message?: string };
  const shown = `${is.name} ${is.code ?? ""}: ${is.message}`;
  if (name !== undefined && is.name !== name) throw new Error(`not a ${name} but ${shown}`);
  if (code !== undefined && is.code !== code) throw new Error(`not ${code} but ${shown}`);
  if (message !== undefined && !is.message?.includes(message)) {
    throw new Error(`no "${message}" in ${shown}`);
  }
}
