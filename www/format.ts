/** Numbers, sizes and durations for people. */

const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });

/** 171,075 */
export const count = (value: number | bigint): string => integer.format(value);

/** 171.1K */
export const short = (value: number): string => compact.format(value);

/** "1 entry", "2 entries" */
export const plural = (value: number, one: string, many: string): string =>
  `${count(value)} ${value === 1 ? one : many}`;

/** 14:05:09 */
export const time = (date: Date): string => clock.format(date);

/** 1536 is "1.5 KB"; powers of 1000, as file managers and quotas count. */
export function bytes(value: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  let scaled = value;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${unit > 0 && scaled < 99.95 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

/** 0.42 is "0.4 ms", 1234 is "1.23 s". */
export function duration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
