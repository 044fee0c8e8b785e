/** kvass: an embedded, ordered, transactional key-value store for the web platform. */

export { deleteKv, listKv } from "./databases.ts";
export { KvassError, type KvassErrorCode } from "./errors.ts";
export { openKv } from "./open.ts";
export type {
  AtomicCheck,
  AtomicOperation,
  CommitOptions,
  ExpireOptions,
  HistoryOptions,
  Kv,
  KvChange,
  KvChangeEvent,
  KvChangesOptions,
  KvCommit,
  KvCommitError,
  KvCommitResult,
  KvConsistencyLevel,
  KvDamage,
  KvDatabase,
  KvDurability,
  KvEntries,
  KvEntry,
  KvEntryMaybe,
  KvKey,
  KvKeyEntry,
  KvKeyListOptions,
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
