//! Which versions a compaction keeps, and which deleted ranges.

use crate::planted::{Bug, planted};
use crate::ranges::Ranges;
use crate::record::{Op, Record, alive};
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{Table, TableMeta};
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
    /// What is deleted in the tables that are merged.
    ranges: Ranges,
    /// How many of its fragments end before `key`.
    passed: usize,
}

impl<'a, S: Storage> Survivors<'a, S> {
    /// `deeper` are all levels below those that are merged.
    pub fn new(
        retained: Snapshot,
        deeper: impl Iterator<Item = &'a [Rc<Table<S>>]>,
    ) -> Survivors<'a, S> {
        Survivors {
            retained,
            deeper: deeper.collect(),
            key: Vec::new(),
            settled: false,
            ranges: Ranges::default(),
            passed: 0,
        }
    }

    /// Has all versions dropped that `ranges` hide from every reader; returns the ranges that are
    /// to be written. One that every reader sees is dropped where nothing deeper is left to hide.
    pub fn delete(&mut self, ranges: Ranges) -> Ranges {
        let mut kept = ranges.clone();
        kept.settle(self.retained.stamp, |start, end| {
            !planted(Bug::RangeDroppedEarly)
                && self.deeper.iter().any(|level| {
                    let from = level.partition_point(|table| *table.meta().largest < *start);
                    level.get(from).is_some_and(|table| *table.meta().smallest < *end)
                })
        });
        self.ranges = ranges;
        kept
    }

    /// Whether no reader sees anything of this table: it need not be read.
    pub fn hides(&self, table: &TableMeta) -> bool {
        let TableMeta { smallest, largest, newest, .. } = table;
        self.ranges.hides(smallest, largest, *newest, self.retained.stamp)
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
        if self.is_deleted(record.stamp) {
            self.settled = true;
            return None;
        }
        let op = match record.op {
            Op::Set { expires_at, .. } if !alive(expires_at, self.retained.time_ms) => Op::Delete,
            op => op,
        };
        self.settled = record.stamp <= self.retained.stamp;
        let is_settled = self.settled && op == Op::Delete;
        if is_settled && (planted(Bug::TombstoneDroppedEarly) || !self.lies_deeper()) {
            return None;
        }
        Some(Record { op, ..record })
    }

    /// Whether a range that every reader sees deleted hides a version of the key.
    fn is_deleted(&mut self, stamp: Stamp) -> bool {
        let key = self.key.as_slice();
        let fragments = self.ranges.fragments();
        while fragments.get(self.passed).is_some_and(|fragment| *fragment.end <= *key) {
            self.passed += 1;
        }
        fragments.get(self.passed).is_some_and(|fragment| {
            let at = match planted(Bug::RangeIgnoresSnapshot) {
                true => Stamp::MAX,
                false => self.retained.stamp,
            };
            *fragment.start <= *key && stamp < fragment.newest(at)
        })
    }

    /// Whether a deeper level may hold versions of the key.
    fn lies_deeper(&mut self) -> bool {
        let key = self.key.as_slice();
        self.deeper.iter_mut().any(|level| {
            // Keys come in order: tables before this one are done with.
            while let [first, rest @ ..] = *level
                && *first.meta().largest < *key
            {
                *level = rest;
            }
            level.first().is_some_and(|table| table.meta().spans(key))
        })
    }
}
