/**
 * This tab among the others: it takes a seat, keeps its entry there alive, and counts. Each of its
 * commits renews the entry and has the next number, so that everybody can tell whether one of them
 * is missing or there twice.
 */
import type { AtomicOperation, Kv, KvCommit, KvKey } from "kvass";
import { codeOf } from "../explain.ts";
import type { Panel } from "../session.ts";
import { COUNT, isTab, KILL, readCommit, TABS, type Tab } from "./tab.ts";

/** How long an entry lives that its tab does not renew. */
export const LIFETIME_MS = 2500;
const RENEW_MS = 800;
/** Errors of a database whose host is gone or stands still: it is tried again. */
const PASSING = new Set(["Busy", "HostLost", "OutcomeUnknown", "Timeout"]);

export interface MemberListener {
  /** The tab has a seat, another role or another epoch. */
  changed(me: Readonly<Tab>, seat: number): void;
  /** Whether commits come through at present. */
  reached(isReached: boolean): void;
  /** Somebody asked for the end of the host, which is in this tab. */
  killed(): void;
  failed(error: unknown): void;
}

export class Member implements Panel {
  readonly #listener: MemberListener;
  readonly #me: Tab = { run: "", number: 0, role: "client", epoch: 0, isCounting: true };
  #kv: Kv | undefined;
  #seat = 0;
  /** Whether the entry at the seat is this tab's, as far as it knows. */
  #isSeated = false;
  #isBusy = false;
  #renewedAt = 0;
  /** The highest epoch heard of. */
  #epoch = 0;
  /** What was begun last: one thing at a time, so that numbers are of commits that were made. */
  #last = Promise.resolve();

  /** Begins to tick: a worker does that, because timers of a page that is hidden are slow. */
  constructor(listener: MemberListener) {
    this.#listener = listener;
    const ticker = new Worker("ticker.js", { type: "module", name: "ticker" });
    ticker.onmessage = () => void this.#tick();
  }

  opened(kv: Kv): void {
    this.#kv = kv;
    this.#isSeated = false;
    this.#epoch = 0;
  }

  closed(): void {
    this.#kv = undefined;
  }

  committed(event: KvCommit): void {
    const { epoch, isKill } = readCommit(event);
    const { role, epoch: known } = this.#me;
    if (isKill && role === "host" && epoch === known) this.#listener.killed();
    if (epoch <= this.#epoch) return;
    this.#epoch = epoch;
    this.#run(() => this.#refresh());
  }

  set isCounting(isCounting: boolean) {
    this.#me.isCounting = isCounting;
    this.#run(() => this.#commit());
  }

  /** Asks for the end of the host, whoever that is. */
  async killHost(): Promise<void> {
    await this.#run(async () => {
      if (!this.#isSeated) await this.#takeSeat();
      await this.#commit((atomic) => atomic.set(KILL, this.#seat));
    });
  }

  async #tick(): Promise<void> {
    if (this.#isBusy || this.#kv === undefined) return;
    this.#isBusy = true;
    await this.#run(async () => {
      const age = Date.now() - this.#renewedAt;
      if (!this.#isSeated || age > LIFETIME_MS) await this.#takeSeat();
      else if (this.#me.isCounting) await this.#commit((atomic) => atomic.sum(COUNT, 1n));
      else if (age > RENEW_MS) await this.#commit();
    });
    this.#isBusy = false;
  }

  #run(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(() => this.#attempt(work));
    return this.#last;
  }

  /** After an error, which may leave a commit in doubt, another run of commits begins. */
  async #attempt(work: () => Promise<void>): Promise<void> {
    const kv = this.#kv;
    if (kv === undefined) return;
    try {
      await work();
      this.#listener.reached(true);
    } catch (error) {
      if (kv !== this.#kv) return;
      this.#isSeated = false;
      this.#listener.reached(false);
      if (!PASSING.has(codeOf(error) ?? "")) this.#listener.failed(error);
    }
  }

  async #commit(change: (atomic: AtomicOperation) => void = () => undefined): Promise<void> {
    if (this.#kv === undefined || !this.#isSeated) return;
    const atomic = this.#kv.atomic();
    change(atomic);
    this.#me.number++;
    await this.#renew(atomic);
  }

  /** Takes the seat it had, or the first one that is free. */
  async #takeSeat(): Promise<void> {
    const kv = this.#kv;
    if (kv === undefined) return;
    const { run: former } = this.#me;
    const seats = [this.#seat, ...Array.from({ length: this.#seat }, (_, seat) => seat)];
    await this.#refresh();
    for (let next = 0; !this.#isSeated; next++) {
      this.#seat = seats[next] ?? next;
      const there = await kv.get(this.#key);
      if (isTab(there.value) && there.value.run !== former) continue;
      Object.assign(this.#me, { run: crypto.randomUUID(), number: 1 });
      this.#isSeated = await this.#renew(kv.atomic().check(there));
    }
    this.#listener.changed(this.#me, this.#seat);
  }

  get #key(): KvKey {
    return [...TABS, this.#seat];
  }

  async #renew(atomic: AtomicOperation): Promise<boolean> {
    const { ok } = await atomic.set(this.#key, this.#me, { expireIn: LIFETIME_MS }).commit();
    this.#renewedAt = Date.now();
    return ok;
  }

  /** Finds out who is the host, and tells the others if that is news. */
  async #refresh(): Promise<void> {
    const status = await this.#kv?.status();
    if (status === undefined) return;
    const { role, epoch } = status;
    if (role === this.#me.role && epoch === this.#me.epoch) return;
    Object.assign(this.#me, { role, epoch });
    if (this.#isSeated) this.#listener.changed(this.#me, this.#seat);
    await this.#commit();
  }
}
