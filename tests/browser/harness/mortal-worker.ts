/**
 * The package's worker, which dies on demand as it would of a panic in the engine: by an error
 * that nobody catches. One whose address ends in #stillborn dies of the first message.
 */

import "/pkg/worker.js";

const { onmessage } = self;

self.onmessage = (event) => {
  if (event.data === "panic" || location.hash === "#stillborn") throw new Error("unreachable");
  onmessage?.call(self, event);
};
