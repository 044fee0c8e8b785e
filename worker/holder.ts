/**
 * Whether a worker has the lock of the host. The lock manager knows it before one does from whom
 * the lock was stolen: after it stood still, it may be told of that last.
 */

import { hostLockOf } from "../tabs/messages.ts";
import type { Locks } from "../tabs/platform.ts";
import { UNSUPPORTED, withCode } from "./failure.ts";

export class Holder {
  /** A lock that the worker holds for as long as it lives. */
  readonly own: string;
  readonly #locks: Locks;
  readonly #name: string;
  /** The id that the lock manager has for this worker. */
  readonly #id: string | undefined;

  private constructor(locks: Locks, name: string, own: string, id: string | undefined) {
    this.own = own;
    this.#locks = locks;
    this.#name = hostLockOf(name);
    this.#id = id;
  }

  /**
   * For the worker that calls it, and the database `name`. Rejects with a Failure `Unsupported`
   * where the browser denies locks, as it does where it denies all that is stored.
   */
  static of(locks: Locks, name: string): Promise<Holder> {
    const own = `kvass-worker:${crypto.randomUUID()}`;
    return new Promise((resolve, reject) => {
      const held = async () => {
        resolve(new Holder(locks, name, own, await holderOf(locks, own)));
        return new Promise<void>(() => undefined);
      };
      locks
        .request(own, {}, held)
        .catch((error) => reject(withCode(UNSUPPORTED, "Web Locks can't be used here", error)));
    });
  }

  /** Whether the worker has the lock now. */
  async hasLock(): Promise<boolean> {
    return (await holderOf(this.#locks, this.#name)) === this.#id;
  }
}

async function holderOf(locks: Locks, name: string): Promise<string | undefined> {
  const { held } = await locks.query();
  return held?.find((lock) => lock.name === name)?.clientId;
}
