/** Commits of several checks and mutations, encoded as they are added. */

import { ByteWriter } from "./codec/bytes.ts";
import type { KvKey } from "./codec/key.ts";
import { tooLarge } from "./errors.ts";
import {
  checkObject,
  durabilityOf,
  type Tally,
  writeArithmetic,
  writeDelete,
  writeDeleteRange,
  writeFullKey,
  writeSet,
} from "./fields.ts";
import type { Limits } from "./limits.ts";
import type {
  AtomicCheck,
  AtomicOperation,
  CommitOptions,
  ExpireOptions,
  KvCommitError,
  KvCommitResult,
  KvDurability,
  KvListSelector,
  KvMutation,
} from "./types.ts";
import { KvU64 } from "./u64.ts";
import { writeVersionstamp } from "./versionstamp.ts";
import { checkFrameSize, REQUEST, writeDurability } from "./wire/request.ts";

/** Sends the commit that `write` writes. */
export type SendCommit = (
  write: (w: ByteWriter) => void,
) => Promise<KvCommitResult | KvCommitError>;

/** The operation that `Kv.atomic` begins. */
export class Atomic implements AtomicOperation {
  readonly #send: SendCommit;
  readonly #limits: Limits;
  readonly #durability: KvDurability;
  readonly #checks = new Fields();
  readonly #mutations = new Fields();
  readonly #tally: Tally = { keyBytes: 0, valueBytes: 0 };
  #ranges = 0;

  /** @param durability of a commit that does not say itself */
  constructor(send: SendCommit, limits: Limits, durability: KvDurability) {
    this.#send = send;
    this.#limits = limits;
    this.#durability = durability;
  }

  check(...checks: AtomicCheck[]): this {
    for (const check of checks) {
      checkObject("a check", check);
      const { key, versionstamp } = check;
      this.#checks.add((w) => {
        writeFullKey(w, key, this.#limits);
        w.u8(versionstamp === null ? 0 : 1);
        if (versionstamp !== null) writeVersionstamp(w, versionstamp);
      });
    }
    return this;
  }

  mutate(...mutations: KvMutation[]): this {
    for (const mutation of mutations) {
      checkObject("a mutation", mutation);
      const { key, type } = mutation;
      const hasValue = Object.hasOwn(mutation, "value");
      const value: unknown = "value" in mutation ? mutation.value : undefined;
      if (type === "delete") {
        if (value) throw new TypeError("Invalid mutation 'delete' with value");
        this.delete(key);
      } else if (type === "set" || type === "sum" || type === "min" || type === "max") {
        if (!hasValue) throw new TypeError(`Invalid mutation '${type}' without value`);
        if (type === "set") this.set(key, value, mutation);
        else this.#arithmetic(type, key, value);
      } else {
        throw new TypeError("Invalid mutation type");
      }
    }
    return this;
  }

  set(key: KvKey, value: unknown, options?: ExpireOptions): this {
    this.#mutations.add((w) => {
      writeSet(w, key, value, options, this.#limits, this.#tally);
    });
    return this;
  }

  delete(key: KvKey): this {
    this.#mutations.add((w) => writeDelete(w, key, this.#limits, this.#tally));
    return this;
  }

  deleteRange(selector: KvListSelector): this {
    this.#mutations.add((w) => writeDeleteRange(w, selector, this.#limits, this.#tally));
    this.#ranges++;
    return this;
  }

  sum(key: KvKey, n: bigint): this {
    return this.#arithmetic("sum", key, new KvU64(n));
  }

  min(key: KvKey, n: bigint): this {
    return this.#arithmetic("min", key, new KvU64(n));
  }

  max(key: KvKey, n: bigint): this {
    return this.#arithmetic("max", key, new KvU64(n));
  }

  #arithmetic(type: "sum" | "min" | "max", key: KvKey, value: unknown): this {
    this.#mutations.add((w) => writeArithmetic(w, type, key, value, this.#limits, this.#tally));
    return this;
  }

  commit(options?: CommitOptions): Promise<KvCommitResult | KvCommitError> {
    return this.#send((w) => {
      this.#checkTotals();
      const durability = durabilityOf(options, this.#durability);
      w.u8(REQUEST.commit);
      this.#checks.appendTo(w);
      this.#mutations.appendTo(w);
      writeDurability(w, durability);
      // What is refused here was not sent: the operation is as it was.
      checkFrameSize(w);
      this.#mutations.isSent = true;
    });
  }

  #checkTotals(): void {
    const { checks, mutations, ranges, commitBytes, commitKeyBytes } = this.#limits;
    const { keyBytes, valueBytes } = this.#tally;
    if (this.#checks.count > checks) throw tooLarge(`Too many checks (max ${checks})`);
    if (this.#mutations.count > mutations) throw tooLarge(`Too many mutations (max ${mutations})`);
    if (this.#ranges > ranges) throw tooLarge(`Too many ranges (max ${ranges})`);
    if (keyBytes + valueBytes > commitBytes) {
      throw tooLarge(`Total mutation size too large (max ${commitBytes} bytes)`);
    }
    if (keyBytes > commitKeyBytes) {
      throw tooLarge(`Total key size too large (max ${commitKeyBytes} bytes)`);
    }
  }

  /** It is no promise: to await it is a mistake that would otherwise do nothing. */
  // biome-ignore lint/suspicious/noThenProperty: it is there to say so
  then(): never {
    throw new TypeError(
      "'kvass.AtomicOperation' is not a promise: did you forget to call 'commit()'",
    );
  }
}

/** Items one behind the other, with their count. */
class Fields {
  count = 0;
  #w: ByteWriter | undefined;
  #isBusy = false;
  /** Whether it has left: large values are transferred, and gone then. */
  isSent = false;

  /** Adds the item that `write` writes; nothing if it throws. */
  add(write: (w: ByteWriter) => void): void {
    this.#checkIdle();
    this.#w ??= new ByteWriter(256);
    const start = this.#w.position;
    const { attachments } = this.#w;
    const attached = attachments.length;
    this.#isBusy = true;
    try {
      write(this.#w);
    } catch (error) {
      this.#w.position = start;
      attachments.length = attached;
      throw error;
    } finally {
      this.#isBusy = false;
    }
    this.count++;
  }

  /** A getter of a key or a value could add to or send the item that is half written. */
  #checkIdle(): void {
    if (this.#isBusy) throw new TypeError("a getter of an argument used the operation");
  }

  appendTo(w: ByteWriter): void {
    this.#checkIdle();
    w.varint(this.count);
    if (this.#w === undefined) return;
    const { attachments, bytes, position } = this.#w;
    if (this.isSent && attachments.length > 0) {
      throw new TypeError("an operation with large values can be committed once");
    }
    w.raw(bytes.subarray(0, position));
    w.attachments.push(...attachments);
  }
}
