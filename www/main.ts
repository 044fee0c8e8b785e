/** The playground: makes the panels, opens the database, and connects the two. */
import "./main.css";
import { Browser } from "./browser.ts";
import { clearAll, importCities } from "./cities.ts";
import { Counter } from "./counter.ts";
import { byId, setText } from "./dom.ts";
import { Editor, remove } from "./editor.ts";
import { Feed } from "./feed.ts";
import { Figures } from "./figures.ts";
import { count, duration, plural } from "./format.ts";
import { Job } from "./job.ts";
import { hideNotice, showError } from "./notice.ts";
import { SAMPLE, startSample } from "./sample.ts";
import { Session, type Storage } from "./session.ts";
import { StoragePicker } from "./storage-picker.ts";
import { startTheme } from "./theme.ts";
import { toast } from "./toast.ts";
import { TimeToLive } from "./ttl.ts";

const failed = (error: unknown) => showError(error);

const job = new Job();
const editor = new Editor();
const browser = new Browser({
  edit: (entry) => editor.edit(entry),
  remove: (entry) => {
    if (session.kv === undefined) return;
    remove(session.kv, entry).then((done) => {
      if (!done) toast("Not deleted: the entry has changed meanwhile");
    }, failed);
  },
  failed,
});
const figures = new Figures(failed);
const picker = new StoragePicker((storage) => void open(storage), failed);
const panels = [picker, figures, browser, editor, new Feed(), new Counter(failed)];
const session = new Session("playground", [...panels, new TimeToLive(failed)], (error) => {
  showError(error, { label: "Open again", work: () => void open(picker.choice) });
});

async function open(storage: Storage): Promise<void> {
  hideNotice();
  setUsable(false);
  picker.disabled = true;
  picker.opening();
  try {
    await job.stop();
    await session.open(storage);
    setUsable(true);
  } catch (error) {
    picker.failed();
    showError(error, { label: "Try again", work: () => void open(picker.choice) });
  }
  picker.disabled = false;
}

/** What needs a database is out of reach while there is none. */
function setUsable(usable: boolean): void {
  for (const id of ["browser", "counter", "ttl"]) byId(id).inert = !usable;
}

async function importPlaces(): Promise<void> {
  const { kv } = session;
  if (kv === undefined || job.running) return;
  const start = performance.now();
  try {
    const { stored, cancelled } = await job.run("Importing places", async (signal, report) => ({
      stored: await importCities(kv, signal, report),
      cancelled: signal.aborted,
    }));
    const took = duration(performance.now() - start);
    toast(`${cancelled ? "Stopped after" : "Stored"} ${count(stored)} places in ${took}`);
  } catch (error) {
    failed(error);
  }
}

async function clear(): Promise<void> {
  const { kv } = session;
  if (kv === undefined || job.running) return;
  try {
    if (!(await confirmed(kv))) return;
    const start = performance.now();
    const deleted = await job.run("Deleting", (signal, report) => clearAll(kv, signal, report));
    const took = duration(performance.now() - start);
    browser.browse([]);
    toast(`Deleted ${plural(deleted, "entry", "entries")} in ${took}`);
  } catch (error) {
    failed(error);
  }
}

async function confirmed(kv: NonNullable<typeof session.kv>): Promise<boolean> {
  const dialog = byId("confirm", HTMLDialogElement);
  const { entries } = await kv.stats();
  setText(byId("confirm-text"), `About ${plural(entries, "entry", "entries")} of this playground.`);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
  });
}

byId("import").addEventListener("click", () => void importPlaces());
byId("clear").addEventListener("click", () => void clear());
byId("new-entry").addEventListener("click", () => {
  if (session.kv !== undefined) editor.create(browser.prefix);
});
byId("empty-action").addEventListener("click", () => {
  if (byId("empty-action").dataset.action === "import") void importPlaces();
  else browser.browse([], true);
});

startSample(SAMPLE);
startTheme(() => figures.recolour());
void open(picker.choice);
