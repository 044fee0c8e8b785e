/** CPU profiles out of a Chromium trace: which functions of which thread took the time. */

export const TRACE_CATEGORIES = [
  "disabled-by-default-v8.cpu_profiler",
  "toplevel",
  "v8",
  "devtools.timeline",
];

/** How many functions of a thread are printed. */
const SHOWN = 30;
/** Threads with fewer samples than this are left out. */
const SAMPLES_MIN = 200;

interface Event {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly id?: string;
  readonly args: {
    readonly name?: string;
    readonly data?: {
      readonly cpuProfile?: {
        readonly nodes?: readonly Node[];
        readonly samples?: readonly number[];
      };
      readonly timeDeltas?: readonly number[];
    };
  };
}

interface Node {
  readonly id: number;
  readonly callFrame: {
    readonly functionName: string;
    readonly url?: string;
    readonly lineNumber?: number;
    readonly columnNumber?: number;
  };
}

/** Prints, for each thread that ran JavaScript, its functions by the time in themselves. */
export function printHotspots(trace: Buffer): void {
  const { traceEvents } = JSON.parse(trace.toString()) as { traceEvents: Event[] };
  const threads = new Map<string, string>();
  for (const { name, pid, tid, args } of traceEvents) {
    if (name === "thread_name") threads.set(`${pid}:${tid}`, args.name ?? "");
  }
  const profiles = new Map<string, { thread: string; chunks: Event[] }>();
  for (const event of traceEvents) {
    const key = `${event.pid}:${event.id}`;
    if (event.name === "Profile") {
      const thread = threads.get(`${event.pid}:${event.tid}`) ?? "";
      profiles.set(key, { thread, chunks: [] });
    } else if (event.name === "ProfileChunk") {
      profiles.get(key)?.chunks.push(event);
    }
  }
  for (const { thread, chunks } of profiles.values()) printProfile(thread, chunks);
}

function printProfile(thread: string, chunks: readonly Event[]): void {
  const names = new Map<number, string>();
  const counts = new Map<string, number>();
  let samples = 0;
  let time_us = 0;
  for (const { args } of chunks) {
    const { cpuProfile, timeDeltas = [] } = args.data ?? {};
    for (const { id, callFrame } of cpuProfile?.nodes ?? []) {
      const file = callFrame.url?.split("/").at(-1) ?? "";
      const place = file === "" ? "" : ` ${file}:${callFrame.lineNumber}:${callFrame.columnNumber}`;
      names.set(id, `${callFrame.functionName || "(anonymous)"}${place}`);
    }
    // Samples are taken at even intervals, but their time stamps are not always in order: so they
    // are counted, and only the whole is timed.
    for (const id of cpuProfile?.samples ?? []) {
      const name = names.get(id) ?? "?";
      counts.set(name, (counts.get(name) ?? 0) + 1);
      samples += 1;
    }
    for (const delta_us of timeDeltas) time_us += delta_us;
  }
  if (samples < SAMPLES_MIN) return;
  console.log(`\n${thread}: ${(time_us / 1000).toFixed(0)} ms, ${samples} samples`);
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  for (const [name, count] of sorted.slice(0, SHOWN)) {
    const share = count / samples;
    const time_ms = ((share * time_us) / 1000).toFixed(1).padStart(9);
    console.log(`${time_ms} ms ${(share * 100).toFixed(1).padStart(5)} %  ${name}`);
  }
}
