/** kvass: an embedded, ordered, transactional key-value store for the web platform. */

export { KvassError, type KvassErrorCode } from "./errors.ts";
export { openKv } from "./open.ts";
export type {
  AtomicCheck,
  AtomicOperation,
  CommitOptions,
  ExpireOptions,
  Kv,
  KvChange,
  KvChangeEvent,
  KvChangesOptions,
  KvCommit,
  KvCommitError,
  KvCommitResult,
  KvConsistencyLevel,
  KvDamage,
  KvDurability,
  KvEntries,
  KvEntry,
  KvEntryMaybe,
  KvKey,
  KvKeyPart,
  KvKeys,
  KvLagged,
  KvListIterator,
  KvListOptions,
  KvListSelector,
  KvMutation,
  KvStats,
  KvStatus,
  KvStorage,
  KvStream,
  KvVerification,
  OpenOptions,
  SetOptions,
} from "./types.ts";
export { KvU64 } from "./u64.ts";
