//! Reads: a key, several keys, a range, each on one snapshot.

use super::{Db, View};
use crate::blob::Value;
use crate::env::Env;
use crate::error::Result;
use crate::merge::{Merge, Scan};
use crate::planted::{Bug, planted};
#[cfg(not(target_arch = "wasm32"))]
use crate::record::Op;
use crate::record::{Found, Record, alive};
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::table::{self, Wanted};

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

/// An entry that owns its bytes.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedEntry {
    /// The encoded key.
    pub key: Vec<u8>,
    /// The commit that wrote it.
    pub stamp: Stamp,
    /// Tag byte and payload.
    pub value: Vec<u8>,
    /// Milliseconds since the Unix epoch; 0 is never.
    pub expires_at: u64,
}

impl<E: Env> Db<E> {
    /// The value of a key and the commit that wrote it; None where it is absent or expired.
    ///
    /// # Errors
    /// `Corruption` where the block that would hold it is damaged; the storage's errors.
    pub async fn get(&self, key: &[u8], snapshot: Snapshot) -> Result<Option<(Stamp, Value)>> {
        self.check_open()?;
        if self.scanned {
            return self.get_scanned(key, snapshot).await;
        }
        // Held until a large value is located, which keeps its file from then on.
        let view = self.view();
        let found = find_in(&view, key, snapshot.stamp).await?;
        let Some(Found::Set { stamp, value, expires_at, in_blob }) = found else { return Ok(None) };
        if !alive(expires_at, snapshot.time_ms) && !planted(Bug::ExpiredStaysVisible) {
            return Ok(None);
        }
        if !in_blob {
            return Ok(Some((stamp, Value::Inline(value))));
        }
        let large = self.tables.blobs.locate(&value)?;
        drop(view);
        Ok(Some((stamp, self.read_large(&large).await?)))
    }

    /// Hands the entries of a range to `sink` in order until it returns false; returns whether
    /// the range was read to its end. Large values are to be [located](Db::locate) at once. Other
    /// requests run in between.
    ///
    /// # Errors
    /// As [`Db::get`]; what was handed out before an error is right. `Closed` where the database is
    /// closed meanwhile.
    pub async fn list(
        &self,
        range: Range<'_>,
        snapshot: Snapshot,
        mut sink: impl FnMut(Record<'_>) -> bool,
    ) -> Result<bool> {
        self.list_to(range, snapshot, &mut sink).await
    }

    /// The same, compiled once: nearly all entries are handed out by one call each as it is.
    pub(crate) async fn list_to(
        &self,
        range: Range<'_>,
        snapshot: Snapshot,
        sink: &mut dyn FnMut(Record<'_>) -> bool,
    ) -> Result<bool> {
        self.check_open()?;
        let _turn = self.turn_of_scanned().await;
        let _pin = self.snapshots.pin(snapshot.stamp);
        // A table holds the files that it points into, a memtable that was flushed does not.
        let _files = self.tables.blobs.hold();
        Ok(!self.scan(range, snapshot).fill(self.pause(), sink).await?)
    }

    /// How many entries a range has.
    ///
    /// # Errors
    /// As [`Db::list`].
    pub async fn count(&self, range: Range<'_>, snapshot: Snapshot) -> Result<u64> {
        let mut count = 0;
        let mut counting = |_: Record<'_>| {
            count += 1;
            true
        };
        self.list_to(range, snapshot, &mut counting).await?;
        Ok(count)
    }

    /// The visible entries of a range.
    pub(super) fn scan(&self, range: Range<'_>, snapshot: Snapshot) -> Merge<E::Storage> {
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

    /// The entries of a range with their values, large ones too: for tests and tools.
    ///
    /// # Errors
    /// As [`Db::get`].
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn entries(&self, range: Range<'_>, snapshot: Snapshot) -> Result<Vec<OwnedEntry>> {
        let (mut entries, mut located) = (Vec::new(), Vec::new());
        self.list(range, snapshot, |Record { key, stamp, op }| {
            located.push(self.locate(op));
            if let Op::Set { value, expires_at, .. } = op {
                let (key, value) = (key.to_vec(), value.to_vec());
                entries.push(OwnedEntry { key, stamp, value, expires_at });
            }
            true
        })
        .await?;
        let mut read = Vec::new();
        for (mut entry, large) in entries.into_iter().zip(located) {
            let value = match large {
                Ok(Some(large)) => self.read_large(&large).await.map(Some),
                outcome => outcome.map(|_| None),
            };
            match value {
                Ok(value) => {
                    entry.value = value.map_or(entry.value, |value| value.to_vec());
                    read.push(entry);
                }
                Err(error) => self.pass_over(error)?,
            }
        }
        Ok(read)
    }

    /// The newest version of a key at or below `at`, tombstones and expired entries included.
    pub(super) async fn find(&self, key: &[u8], at: Stamp) -> Result<Option<Found>> {
        find_in(&self.view(), key, at).await
    }
}

async fn find_in<E: Env>(view: &View<E>, key: &[u8], at: Stamp) -> Result<Option<Found>> {
    let hash = table::hash(key);
    if let Some(found) = view.active.get(key, hash, at) {
        return Ok(Some(found));
    }
    if let Some(found) = view.frozen.as_ref().and_then(|frozen| frozen.get(key, hash, at)) {
        return Ok(Some(found));
    }
    let wanted = Wanted { key, hash, at };
    view.version.find(wanted).await
}
