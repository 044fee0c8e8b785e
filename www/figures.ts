/**
 * Live figures of the open database, one look a second, and only while somebody sees them. Each
 * tile has a number and a chart of the last minute.
 */
import type { Kv, KvStats } from "kvass";
import uPlot from "uplot";
import { byId, el, setText } from "./dom.ts";
import { bytes, count, short } from "./format.ts";
import type { Panel } from "./session.ts";

const EVERY_MS = 1000;
const SAMPLES = 60;
const CHART_HEIGHT = 56;

/** One look at the figures, and what happened since the look before. */
interface Sample {
  stats: KvStats;
  seconds: number;
  commits: number;
  hits: number;
  misses: number;
}

interface Reading {
  /** What the chart shows. */
  height: number;
  value: string;
  note: string;
}

const TILES: { title: string; read: (sample: Sample) => Reading }[] = [
  {
    title: "Entries, about",
    read: ({ stats }) => ({
      height: stats.entries,
      value: count(stats.entries),
      note: `${bytes(stats.memtableBytes)} in the memtable`,
    }),
  },
  {
    title: "On disk",
    read: ({ stats }) => ({
      height: stats.diskBytes,
      value: bytes(stats.diskBytes),
      note: `${bytes(stats.walBytes)} of log · ${count(stats.flushes)} flushes`,
    }),
  },
  {
    title: "Commits a second",
    read: ({ stats, commits, seconds }) => ({
      height: commits / seconds,
      value: count(Math.round(commits / seconds)),
      note: `${count(stats.commits)} since it was opened`,
    }),
  },
  {
    title: "Cache hits",
    read: ({ stats, hits, misses, seconds }) => ({
      height: hits / seconds,
      value: hits + misses === 0 ? "–" : `${((100 * hits) / (hits + misses)).toFixed(1)}%`,
      note: `${short(stats.cacheHits)} hits · ${short(stats.cacheMisses)} misses`,
    }),
  },
];

export class Figures implements Panel {
  readonly #tiles: Tile[];
  readonly #failed: (error: unknown) => void;
  #kv: Kv | undefined;
  #last: { stats: KvStats; at: number } | undefined;
  #inView = true;
  #looking = false;

  /** @param failed called with the error of a look, after which there are no more */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
    const grid = byId("figures-grid");
    this.#tiles = TILES.map(({ title }) => new Tile(grid, title));
    new IntersectionObserver(([entry]) => {
      this.#inView = entry?.isIntersecting ?? true;
      void this.#look();
    }).observe(grid);
    document.addEventListener("visibilitychange", () => void this.#look());
  }

  opened(kv: Kv): void {
    this.#kv = kv;
    this.#last = undefined;
    for (const tile of this.#tiles) tile.clear();
    void this.#look();
  }

  closed(): void {
    this.#kv = undefined;
  }

  /** Draws the charts again, in the colours of now. */
  recolour(): void {
    for (const tile of this.#tiles) tile.recolour();
  }

  /** Looks for as long as somebody sees it; a second call meanwhile does nothing. */
  async #look(): Promise<void> {
    const kv = this.#kv;
    if (this.#looking || kv === undefined) return;
    this.#looking = true;
    try {
      while (kv === this.#kv && this.#inView && !document.hidden) {
        const stats = await kv.stats();
        if (kv === this.#kv) this.#take(stats);
        await new Promise((done) => setTimeout(done, EVERY_MS));
      }
    } catch (error) {
      if (kv === this.#kv) this.#failed(error);
    }
    this.#looking = false;
    if (kv !== this.#kv) void this.#look();
  }

  #take(stats: KvStats): void {
    const at = performance.now();
    const last = this.#last ?? { stats, at: at - EVERY_MS };
    const sample: Sample = {
      stats,
      seconds: (at - last.at) / 1000,
      commits: stats.commits - last.stats.commits,
      hits: stats.cacheHits - last.stats.cacheHits,
      misses: stats.cacheMisses - last.stats.cacheMisses,
    };
    this.#last = { stats, at };
    TILES.forEach(({ read }, i) => {
      this.#tiles[i]?.show(read(sample));
    });
  }
}

/** A figure and its chart. */
class Tile {
  readonly #value = el("p", { class: "tile-value figure" }, "–");
  readonly #note = el("p", { class: "tile-note figure" });
  readonly #chart: uPlot;
  #heights: number[] = [];

  constructor(grid: HTMLElement, title: string) {
    const box = el("div", { class: "tile-chart" });
    box.setAttribute("aria-hidden", "true");
    grid.append(el("div", { class: "tile" }, el("h3", {}, title), this.#value, this.#note, box));
    this.#chart = new uPlot(chartOptions(box), this.#data(), box);
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry?.contentRect.width ?? 0);
      if (width > 0) this.#chart.setSize({ width, height: CHART_HEIGHT });
    }).observe(box);
  }

  show({ height, value, note }: Reading): void {
    setText(this.#value, value);
    setText(this.#note, note);
    this.#heights.push(height);
    if (this.#heights.length > SAMPLES) this.#heights.shift();
    this.#chart.setData(this.#data());
  }

  clear(): void {
    this.#heights = [];
    setText(this.#value, "–");
    setText(this.#note, "");
    this.#chart.setData(this.#data());
  }

  recolour(): void {
    this.#chart.redraw(false);
  }

  /** The newest sample stands at 0, the others in the seconds before. */
  #data(): uPlot.AlignedData {
    const first = 1 - this.#heights.length;
    return [this.#heights.map((_, i) => first + i), this.#heights];
  }
}

function chartOptions(box: HTMLElement): uPlot.Options {
  const colour = () => getComputedStyle(box).color;
  return {
    width: Math.max(box.clientWidth, 1),
    height: CHART_HEIGHT,
    padding: [4, 0, 0, 0],
    cursor: { show: false },
    legend: { show: false },
    axes: [{ show: false }, { show: false }],
    scales: {
      x: { time: false, range: () => [1 - SAMPLES, 0] },
      y: { range: (_chart, _low, high) => [0, Math.max(1, high ?? 0) * 1.1] },
    },
    series: [
      {},
      {
        stroke: colour,
        width: 1.5,
        fill: () => colour().replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)"),
        points: { show: false },
      },
    ],
  };
}
