/**
 * The package's worker, which dies on demand as it would of a panic in the engine: by an error
 * that nobody catches, or hangs. One whose address ends in #stillborn dies of the first message.
 */

import "/pkg/worker.js";

const panic = () => {
  throw new Error("unreachable");
};

if (location.hash === "#stillborn") self.onmessage = panic;

self.addEventListener("message", ({ data }) => {
  if (data === "panic") panic();
  if (data === "hang") for (;;);
});
