/** A line at the foot of the page about something just done, perhaps with a way back. */
import { byId, setText } from "./dom.ts";

const SHOWN_MS = 4000;
const SHOWN_WITH_ACTION_MS = 8000;

const box = byId("toast");
const text = byId("toast-text");
const action = byId("toast-action", HTMLButtonElement);
let timer: ReturnType<typeof setTimeout> | undefined;
let undo: (() => void) | undefined;

action.addEventListener("click", () => {
  const work = undo;
  hide();
  work?.();
});

/** @param back what the Undo button does; without it there is no button */
export function toast(message: string, back?: () => void): void {
  clearTimeout(timer);
  undo = back;
  setText(text, message);
  action.hidden = back === undefined;
  box.hidden = false;
  timer = setTimeout(hide, back === undefined ? SHOWN_MS : SHOWN_WITH_ACTION_MS);
}

function hide(): void {
  clearTimeout(timer);
  undo = undefined;
  box.hidden = true;
}
