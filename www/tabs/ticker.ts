/** A worker that ticks, as often in a tab behind others as in the one in front. */
const PACE_MS = 250;

setInterval(() => self.postMessage("tick"), PACE_MS);
