/**
 * One database in many tabs: each adds to the counter, one of them hosts the database, and when
 * that is killed, another goes on.
 */
import "./page.css";
import { byId, setText } from "../dom.ts";
import { hideNotice, showError } from "../notice.ts";
import { startSample } from "../sample.ts";
import { Session, STORAGES } from "../session.ts";
import { startTheme } from "../theme.ts";
import { toast } from "../toast.ts";
import { Count } from "./count.ts";
import { HostWorker } from "./host-worker.ts";
import { Member } from "./member.ts";
import { Roster } from "./roster.ts";
import { discOf, nameOf, type Tab } from "./tab.ts";
import { Takeovers } from "./takeovers.ts";
import { Tape } from "./tape.ts";
import { Verdict } from "./verdict.ts";

/** By now a tab is closed that lets itself be. */
const CLOSING_MS = 300;
const STORAGE_NAMES = { opfs: "OPFS", indexeddb: "IndexedDB", memory: "Memory" };

const SAMPLE = `// In every tab:
const kv = await openKv("tabs");

setInterval(() => {
  kv.atomic()
    .sum(["count"], 1n)
    .set(["tab", seat], me, { expireIn: 2500 })
    .commit();
}, 250);

for await (const [count] of kv.watch([["count"]])) {
  show(count.value);
}`;

const failed = (error: unknown) => {
  setState("failed", "Not open");
  showError(error, { label: "Open again", work: () => void open() });
};

const host = new HostWorker();
const roster = new Roster(failed);
const member = new Member({
  changed: (me, seat) => introduce(me, seat),
  reached: (isReached) => (isReached ? setState("open", "Open") : setState("waiting", "Waiting")),
  killed: () => host.kill(),
  failed,
});
const panels = [new Count(failed), new Tape(), new Verdict(), new Takeovers(), roster, member];
const session = new Session("tabs", panels, failed, { worker: host.start });

/** The storage that the address asks for: `?storage=indexeddb`. */
function storageAsked() {
  const asked = new URLSearchParams(location.search).get("storage");
  return STORAGES.find((storage) => storage === asked && storage !== "memory") ?? "auto";
}

async function open(): Promise<void> {
  hideNotice();
  setState("opening", "Opening");
  try {
    const kv = await session.open(storageAsked());
    const { storage } = await kv.status();
    setText(byId("status-storage"), STORAGE_NAMES[storage]);
  } catch (error) {
    failed(error);
  }
}

function setState(state: string, text: string): void {
  byId("status-dot").dataset.state = state;
  setText(byId("status-state"), text);
}

/** Says which of the tabs this one is, in the page and in its title. */
function introduce({ role, epoch }: Readonly<Tab>, seat: number): void {
  roster.mine = seat;
  setText(byId("status-name"), nameOf(seat));
  setText(byId("status-role"), role);
  setText(byId("status-epoch"), String(epoch));
  document.title = `${discOf(seat)} ${nameOf(seat)}${role === "host" ? ", host" : ""} – kvass`;
}

byId("open-tab").addEventListener("click", () => {
  window.open(location.href, "_blank", "noopener");
});
let isKilling = false;
byId("kill").addEventListener("click", async () => {
  // The next host is not to be killed by a click meant for this one.
  if (isKilling) return;
  isKilling = true;
  await member.killHost();
  isKilling = false;
});
byId("close-tab").addEventListener("click", () => {
  window.close();
  setTimeout(() => toast("This browser lets only you close this tab"), CLOSING_MS);
});
const counting = byId("counting", HTMLInputElement);
counting.addEventListener("change", () => {
  member.isCounting = counting.checked;
});

startSample(SAMPLE);
startTheme(() => undefined);
void open();
