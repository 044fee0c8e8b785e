//! Which versions a compaction keeps, and which deleted ranges.

use crate::planted::{Bug, planted};
use crate::ranges::Fragment;
use crate::record::{Op, Record, alive};
use crate::snapshot::Snapshot;
use crate::storage::Storage;
use crate::table::Table;
use std::rc::Rc;

/// Looks at all versions in order and drops those that no reader can see: of each key it keeps
/// those newer than the oldest reader, and the one that this reader sees.
pub struct Survivors<'a, S: Storage> {
    /// What the oldest reader sees.
    retained: Snapshot,
    /// The levels below those that are merged.
    deeper: Vec<&'a [Rc<Table<S>>]>,
    key: Vec<u8>,
    /// A version of `key` was met that every reader sees, or one newer than it.
    settled: bool,
}

impl<'a, S: Storage> Survivors<'a, S> {
    /// `deeper` are all levels below those that are merged.
    pub fn new(
        retained: Snapshot,
        deeper: impl Iterator<Item = &'a [Rc<Table<S>>]>,
    ) -> Survivors<'a, S> {
        Survivors { retained, deeper: deeper.collect(), key: Vec::new(), settled: false }
    }

    /// Whether a tombstone of the tables that are merged may hide a large value that they don't
    /// have: they know of something that is hidden, and a deeper table points at large values.
    pub fn may_hide_large(&self, runs: &[Vec<Rc<Table<S>>>]) -> bool {
        let mut deeper = self.deeper.iter().copied().flatten();
        runs.iter().flatten().any(|table| table.meta().hidden > 0)
            && deeper.any(|table| !table.meta().blobs.is_empty())
    }

    /// A deleted range as it is to be written, or None where it is dropped. A tombstone that every
    /// reader sees is dropped where nothing deeper is left for it to hide.
    pub fn settle(&self, mut range: Fragment) -> Option<Fragment> {
        range.cut(self.retained.stamp);
        let seen_by_all = range.stamps.first().is_some_and(|stamp| *stamp <= self.retained.stamp);
        let hides = || self.lies_deeper(&range.start, |smallest| *smallest < *range.end);
        if seen_by_all && (planted(Bug::RangeDroppedEarly) || !hides()) {
            range.stamps.remove(0);
        }
        (!range.stamps.is_empty()).then_some(range)
    }

    /// The version as it is to be written, or None where it is dropped.
    ///
    /// What has expired becomes a tombstone: like one, it hides older versions. A tombstone
    /// that every reader sees is dropped once nothing deeper is left for it to hide.
    pub fn keep<'r>(&mut self, record: Record<'r>) -> Option<Record<'r>> {
        if self.key != record.key {
            self.key.clear();
            self.key.extend_from_slice(record.key);
            self.settled = false;
        } else if self.settled {
            return None;
        }
        let op = match record.op {
            Op::Set { expires_at, .. } if !alive(expires_at, self.retained.time_ms) => Op::Delete,
            op => op,
        };
        self.settled = record.stamp <= self.retained.stamp;
        let hides = || self.lies_deeper(record.key, |smallest| *smallest <= *record.key);
        let is_settled = self.settled && op == Op::Delete;
        if is_settled && (planted(Bug::TombstoneDroppedEarly) || !hides()) {
            return None;
        }
        Some(Record { op, ..record })
    }

    /// Whether a deeper level may hold keys from `start` on, and its first one `is_within`.
    fn lies_deeper(&self, start: &[u8], is_within: impl Fn(&[u8]) -> bool) -> bool {
        self.deeper.iter().any(|level| {
            let from = level.partition_point(|table| *table.meta().largest < *start);
            level.get(from).is_some_and(|table| is_within(&table.meta().smallest))
        })
    }
}
