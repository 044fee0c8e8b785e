//! Reads: a key, several keys, a range, each on one snapshot.

use super::Db;
use crate::bytes::Bytes;
use crate::env::Env;
use crate::error::Result;
use crate::merge::{Merge, Scan, Step};
use crate::record::{Found, Record, alive};
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;

/// After so many entries that are counted, the clock is looked at.
const COUNT_STRIDE: u64 = 256;

/// A range of encoded keys.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// The first key, inclusive.
    pub start: &'a [u8],
    /// The end, exclusive.
    pub end: &'a [u8],
    /// Whether it is read from the end down.
    pub reverse: bool,
}

impl<E: Env> Db<E> {
    /// The value of a key and the commit that wrote it; None where it is absent or expired.
    ///
    /// # Errors
    /// `Corruption` where the block that would hold it is damaged; the storage's errors.
    pub async fn get(&self, key: &[u8], snapshot: Snapshot) -> Result<Option<(Stamp, Bytes)>> {
        self.check_open()?;
        Ok(match self.find(key, snapshot.stamp).await? {
            Some(Found::Set { stamp, value, expires_at })
                if alive(expires_at, snapshot.time_ms) =>
            {
                Some((stamp, value))
            }
            _ => None,
        })
    }

    /// Hands the entries of a range to `sink` in order until it returns false; returns whether
    /// the range was read to its end.
    ///
    /// # Errors
    /// As [`Db::get`]; what was handed out before an error is right.
    pub async fn list(
        &self,
        range: Range<'_>,
        snapshot: Snapshot,
        sink: impl FnMut(Record<'_>) -> bool,
    ) -> Result<bool> {
        self.check_open()?;
        let _pin = self.snapshots.pin(snapshot.stamp);
        Ok(!self.scan(range, snapshot).fill(sink).await?)
    }

    /// How many entries a range has. Other requests run in between.
    ///
    /// # Errors
    /// As [`Db::get`]; `Closed` where the database is closed meanwhile.
    pub async fn count(&self, range: Range<'_>, snapshot: Snapshot) -> Result<u64> {
        self.check_open()?;
        let _pin = self.snapshots.pin(snapshot.stamp);
        let mut merge = self.scan(range, snapshot);
        let mut count = 0;
        loop {
            let step = merge.step()?;
            match step {
                Step::Load => merge.load().await?,
                Step::End => return Ok(count),
                Step::Entry => count += 1,
            }
            let pause = step == Step::Load || count.is_multiple_of(COUNT_STRIDE);
            if pause && self.env.slice_used_up() {
                self.env.turn().await;
                self.check_open()?;
            }
        }
    }

    fn scan(&self, range: Range<'_>, snapshot: Snapshot) -> Merge<E::Storage> {
        let view = self.view();
        let memtables: Vec<_> = [Some(&view.active), view.frozen.as_ref()]
            .into_iter()
            .flatten()
            .filter(|memtable| !memtable.is_empty())
            .cloned()
            .collect();
        let (start, end) = (range.start.to_vec(), range.end.to_vec());
        let scan = Scan { start, end, reverse: range.reverse, snapshot };
        Merge::scan(&memtables, &view.version, scan)
    }

    /// The newest version of a key at or below `at`, tombstones and expired entries included.
    pub(super) async fn find(&self, key: &[u8], at: Stamp) -> Result<Option<Found>> {
        let view = self.view();
        if let Some(found) = view.active.get(key, at) {
            return Ok(Some(found));
        }
        if let Some(found) = view.frozen.as_ref().and_then(|frozen| frozen.get(key, at)) {
            return Ok(Some(found));
        }
        view.version.get(key, at).await
    }
}
