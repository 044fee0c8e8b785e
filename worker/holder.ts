/**
 * Whether a worker has the lock of the host. The lock manager knows it before one does from whom
 * the lock was stolen: after it stood still, it may be told of that last.
 */

import { hostLockOf } from "../tabs/messages.ts";
import type { Locks } from "../tabs/platform.ts";

export class Holder {
  readonly #locks: Locks;
  readonly #name: string;
  /** The id that the lock manager has for this worker. */
  readonly #id: string | undefined;

  private constructor(locks: Locks, name: string, id: string | undefined) {
    this.#locks = locks;
    this.#name = hostLockOf(name);
    this.#id = id;
  }

  /** For the worker that calls it, and the database `name`. */
  static async of(locks: Locks, name: string): Promise<Holder> {
    const own = `kvass-worker:${crypto.randomUUID()}`;
    const id = await locks.request(own, {}, () => holderOf(locks, own));
    return new Holder(locks, name, id);
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
