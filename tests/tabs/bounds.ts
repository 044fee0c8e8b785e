/** Bounds of the code that is simulated, made so small that small runs meet them. */

import type { Edit } from "./planted.ts";

export const BOUNDS: readonly Edit[] = [
  { file: "client/codec/bytes.ts", from: "capacity = 4096", to: "capacity = 256" },
  {
    file: "client/limits.ts",
    from: "LARGE_VALUE_BYTES: number = 32 * 1024;",
    to: "LARGE_VALUE_BYTES = 512;",
  },
  { file: "client/unanswered.ts", from: "WINDOW_BYTES = 1024 * 1024;", to: "WINDOW_BYTES = 2048;" },
  { file: "client/changes.ts", from: "BUFFERED_MAX = 10_000;", to: "BUFFERED_MAX = 8;" },
  { file: "client/membership.ts", from: "HEARD_BYTES = 256 * 1024;", to: "HEARD_BYTES = 2048;" },
  { file: "worker/guest.ts", from: "POSTED_MAX = 4 * 1024 * 1024;", to: "POSTED_MAX = 6144;" },
  { file: "worker/guest.ts", from: "TURN_BYTES = 256 * 1024;", to: "TURN_BYTES = 2048;" },
  { file: "worker/host.ts", from: "QUEUED_MAX = 320 * 1024 * 1024;", to: "QUEUED_MAX = 65_536;" },
];
