/** The notice above the cards: what went wrong, what to do, and a button that does it. */
import { byId, setText } from "./dom.ts";
import { codeOf, explain } from "./explain.ts";

const box = byId("notice");
const action = byId("notice-action", HTMLButtonElement);
let work: (() => void) | undefined;

action.addEventListener("click", () => {
  hideNotice();
  work?.();
});

/** Shows an error; `retry` with its label is what the button does, which otherwise dismisses. */
export function showError(error: unknown, retry?: { label: string; work: () => void }): void {
  const { title, text } = explain(error);
  setText(byId("notice-title"), title);
  setText(byId("notice-text"), text);
  setText(action, retry?.label ?? "Dismiss");
  work = retry?.work;
  box.dataset.code = codeOf(error) ?? "";
  box.hidden = false;
}

export function hideNotice(): void {
  box.hidden = true;
}
