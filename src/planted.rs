//! Bugs that can be switched on one at a time, so that the simulator can be shown to find them.
//!
//! Only the feature `planted`, which nothing but developer tools asks for, makes them possible;
//! without it [`planted`] is a constant and what depends on it is not compiled.

/// A bug of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A strict group is written and not flushed.
    DroppedFlush,
    /// Waiting for a flush ends once the commit is visible.
    FlushNotAwaited,
    /// Commits are visible and acknowledged before they are appended.
    PublishedBeforeAppend,
    /// A failed group is answered as if it had been written.
    FailedGroupAcknowledged,
    /// A failed write is not repaired.
    PoisonIgnored,
    /// A repair starts new logs and writes no table.
    RepairWithoutTable,
    /// A short write of the log counts as whole.
    ShortWriteAccepted,
    /// The log moves on, and the old one is not flushed.
    RotationWithoutFlush,
    /// An open builds on a log that it has not flushed.
    ReplayedLogNotFlushed,
    /// A new log is named by the manifest before its file is durable.
    NewLogNotFlushed,
    /// Recovery believes every record.
    ChecksumIgnored,
    /// Recovery takes damage to what was flushed for a tail that a crash tore.
    DamageTakenForTornTail,
    /// Records say that more is durable than is.
    DurableOverstated,
    /// The manifest names a table that is not flushed.
    TableNotFlushed,
    /// A manifest counts before it is flushed.
    ManifestNotFlushed,
    /// A manifest is written over the current one.
    ManifestOverCurrent,
    /// Files of a compaction's inputs go before the manifest without them is stored.
    FilesRemovedEarly,
    /// An open's epoch is not stored.
    EpochNotStored,
    /// A frozen memtable is let go of before its table can be read.
    MemtableDroppedEarly,
    /// A tombstone is dropped though deeper levels have what it hides.
    TombstoneDroppedEarly,
    /// Compaction drops what a snapshot still sees.
    SnapshotIgnored,
    /// A memtable drops what a snapshot still sees.
    SnapshotIgnoredInMemory,
    /// The tables of level 0 are read oldest first.
    Level0Reversed,
    /// A filter excludes keys that are there.
    FilterFalseNegative,
    /// Checks are decided on what is visible, not on what was decided before.
    CheckOnVisible,
    /// A read finds what has expired.
    ExpiredStaysVisible,
    /// A replay forgets the entries that an expiry deleted.
    ExpiryNotFinal,
    /// A replay forgets when its entries expire.
    ExpiryIndexNotReplayed,
    /// Of the commits published together observers hear all but the last.
    EventLost,
    /// What came of a client's commits is forgotten with the log that says it.
    OutcomesNotCarried,
    /// What came of a client's commits is not replayed.
    OutcomesNotReplayed,
    /// A deleted range is dropped though deeper levels have what it hides.
    RangeDroppedEarly,
    /// Compaction drops what a deleted range hides, though a snapshot still sees it.
    RangeIgnoresSnapshot,
    /// A scan takes a range for deleted that its snapshot still sees.
    RangeNotCutAtSnapshot,
    /// A deleted range ends with the table that it begins in.
    RangeEndsWithTable,
    /// Skipping what a range hides, a scan skips what is newer than the range too.
    SkipDropsNewer,
    /// A replay forgets deleted ranges.
    RangeNotReplayed,
    /// A flushed memtable leaves its deleted ranges behind.
    RangeNotFlushed,
    /// What a commit wrote before it deleted the range is written all the same.
    RangeSparesOwnCommit,
    /// What compaction adds to a blob file of an earlier one is not counted as part of it.
    MovedNotCounted,
    /// Once the space in reserve is given up, what is written takes it too.
    ReserveForAll,
    /// A log is let go of, and nothing says that its commits are gone from the change log.
    HistoryGap,
    /// A reader of the change log begins behind commits that it has not heard of.
    ReaderSkips,
    /// A reader of the change log hears again of what it has.
    ChangesRepeated,
    /// Who has caught up misses the commits that are on their way.
    CatchUpGap,
    /// A watch forgets the commits that come while its first state is read.
    HeldEventsLost,
    /// A read does not see the commits that its client sent before.
    ReadPassesWrite,
    /// Each page of a list has a snapshot of its own.
    PagesOfDifferentSnapshots,
    /// A new host drops at once what lists of the one before still see.
    GraceMissing,
    /// The manifest does not say from which snapshot on versions are all there.
    FloorNotStored,
    /// A replay cuts off versions that lists of the host before still see.
    ReplayCutsVersions,
    /// A list goes on at a snapshot whose last commits a power cut has taken.
    LostCommitsUnnoticed,
    /// The log points at a large value that is not flushed.
    LargeNotFlushed,
    /// A table does not say which blob files it points into.
    BlobUseNotCounted,
    /// A commit has its stamp while others run and only a part of it is there.
    HalfAssigned,
    /// What was there of a commit that goes no further stays.
    HalfKept,
}

/// All of them.
pub const BUGS: [Bug; 56] = [
    Bug::DroppedFlush,
    Bug::FlushNotAwaited,
    Bug::PublishedBeforeAppend,
    Bug::FailedGroupAcknowledged,
    Bug::PoisonIgnored,
    Bug::RepairWithoutTable,
    Bug::ShortWriteAccepted,
    Bug::RotationWithoutFlush,
    Bug::ReplayedLogNotFlushed,
    Bug::NewLogNotFlushed,
    Bug::ChecksumIgnored,
    Bug::DamageTakenForTornTail,
    Bug::DurableOverstated,
    Bug::TableNotFlushed,
    Bug::ManifestNotFlushed,
    Bug::ManifestOverCurrent,
    Bug::FilesRemovedEarly,
    Bug::EpochNotStored,
    Bug::MemtableDroppedEarly,
    Bug::TombstoneDroppedEarly,
    Bug::SnapshotIgnored,
    Bug::SnapshotIgnoredInMemory,
    Bug::Level0Reversed,
    Bug::FilterFalseNegative,
    Bug::CheckOnVisible,
    Bug::ExpiredStaysVisible,
    Bug::ExpiryNotFinal,
    Bug::ExpiryIndexNotReplayed,
    Bug::EventLost,
    Bug::OutcomesNotCarried,
    Bug::OutcomesNotReplayed,
    Bug::RangeDroppedEarly,
    Bug::RangeIgnoresSnapshot,
    Bug::RangeNotCutAtSnapshot,
    Bug::RangeEndsWithTable,
    Bug::SkipDropsNewer,
    Bug::RangeNotReplayed,
    Bug::RangeNotFlushed,
    Bug::RangeSparesOwnCommit,
    Bug::MovedNotCounted,
    Bug::ReserveForAll,
    Bug::HistoryGap,
    Bug::ReaderSkips,
    Bug::ChangesRepeated,
    Bug::CatchUpGap,
    Bug::HeldEventsLost,
    Bug::ReadPassesWrite,
    Bug::PagesOfDifferentSnapshots,
    Bug::GraceMissing,
    Bug::FloorNotStored,
    Bug::ReplayCutsVersions,
    Bug::LostCommitsUnnoticed,
    Bug::LargeNotFlushed,
    Bug::BlobUseNotCounted,
    Bug::HalfAssigned,
    Bug::HalfKept,
];

#[cfg(all(feature = "planted", target_arch = "wasm32"))]
compile_error!("the download has no planted bugs: build it without the feature `planted`");

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches a bug on for this thread, and all others off.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is switched on.
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub use switch::{plant, planted};

/// Whether this bug is switched on: never in this build.
#[cfg(not(feature = "planted"))]
pub const fn planted(_: Bug) -> bool {
    false
}
