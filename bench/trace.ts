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
  const times = new Map<string, number>();
  let samples = 0;
  for (const { args } of chunks) {
    const { cpuProfile, timeDeltas = [] } = args.data ?? {};
    for (const { id, callFrame } of cpuProfile?.nodes ?? []) {
      const file = callFrame.url?.split("/").at(-1) ?? "";
      const place = file === "" ? "" : ` ${file}:${callFrame.lineNumber}:${callFrame.columnNumber}`;
      names.set(id, `${callFrame.functionName || "(anonymous)"}${place}`);
    }
    for (const [i, id] of (cpuProfile?.samples ?? []).entries()) {
      const name = names.get(id) ?? "?";
      times.set(name, (times.get(name) ?? 0) + (timeDeltas[i] ?? 0));
      samples += 1;
    }
  }
  if (samples < SAMPLES_MIN) return;
  const sorted = [...times].sort(([, a], [, b]) => b - a);
  const total = sorted.reduce((sum, [, time]) => sum + time, 0);
  console.log(`\n${thread}: ${(total / 1000).toFixed(0)} ms, ${samples} samples`);
  for (const [name, time] of sorted.slice(0, SHOWN)) {
    const share = ((100 * time) / total).toFixed(1).padStart(5);
    console.log(`${(time / 1000).toFixed(1).padStart(9)} ms ${share} %  ${name}`);
  }
}
