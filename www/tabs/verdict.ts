/** The figures of the audit: whether every commit was seen once, in order. */
import type { KvCommit } from "kvass";
import { byId, onceAFrame, setText } from "../dom.ts";
import { count } from "../format.ts";
import type { Panel } from "../session.ts";
import { Audit } from "./audit.ts";
import { readCommit } from "./tab.ts";

export class Verdict implements Panel {
  readonly #audit = new Audit();

  opened(): void {
    this.#audit.restart();
  }

  lagged(): void {
    this.#audit.restart();
  }

  committed(event: KvCommit): void {
    this.#audit.add(readCommit(event));
    this.#draw();
  }

  readonly #draw = onceAFrame(() => {
    const { seen, missed, repeated, isRight } = this.#audit;
    const answer = byId("verdict");
    answer.dataset.answer = isRight ? "yes" : "no";
    setText(answer, isRight ? "yes" : "no");
    setText(byId("seen"), count(seen));
    setText(byId("missed"), count(missed));
    setText(byId("repeated"), count(repeated));
  });
}
