//! The memtable: the newest commits, sorted, in memory; its content is in the write-ahead log.
//!
//! An [`index`] of user keys, each with a chain of its versions, newest first. Most chains have
//! one link: an older version is cut off as soon as no snapshot can see it, so a counter that is
//! summed a million times stays one entry.
//!
//! Deleted ranges lie beside the entries that they hide, which stay until they are flushed.

use crate::bytes::Bytes;
use crate::ranges::{Cover, Ranges};
use crate::record::{Found, Op};
use crate::stamp::Stamp;
use index::Index;
use std::cell::{Cell, Ref, RefCell};
use std::ops::Bound;
use std::rc::Rc;

mod index;
mod page;

pub use page::Page;

/// What one version occupies beside its key and value, roughly: nodes, counters, stamp.
const OVERHEAD_BYTES: usize = 96;

/// What a version says of its key, owned.
#[derive(Clone, Debug)]
pub enum OwnedOp {
    /// As [`Op::Set`].
    Set {
        /// As in [`Op::Set`].
        value: Bytes,
        /// Milliseconds since the Unix epoch; 0 is never.
        expires_at: u64,
        /// As in [`Op::Set`].
        in_blob: bool,
    },
    /// As [`Op::Delete`].
    Delete,
}

impl OwnedOp {
    /// The same, borrowed.
    pub fn borrow(&self) -> Op<'_> {
        match self {
            OwnedOp::Set { value, expires_at, in_blob } => {
                Op::Set { value, expires_at: *expires_at, in_blob: *in_blob }
            }
            OwnedOp::Delete => Op::Delete,
        }
    }

    /// As the answer of a point read.
    pub fn found(self, stamp: Stamp) -> Found {
        match self {
            OwnedOp::Set { value, expires_at, in_blob } => {
                Found::Set { stamp, value, expires_at, in_blob }
            }
            OwnedOp::Delete => Found::Delete { stamp },
        }
    }

    fn value(&self) -> Option<&Bytes> {
        match self {
            OwnedOp::Set { value, .. } => Some(value),
            OwnedOp::Delete => None,
        }
    }
}

struct Link {
    stamp: Stamp,
    op: OwnedOp,
    older: Option<Box<Link>>,
}

/// One by one: a chain may be longer than the stack is deep.
impl Drop for Link {
    fn drop(&mut self) {
        let mut next = self.older.take();
        while let Some(mut link) = next {
            next = link.older.take();
        }
    }
}

/// A sorted table in memory. All methods borrow for their own duration only, so a scan and a
/// commit take turns freely.
#[derive(Default)]
pub struct Memtable {
    entries: RefCell<Index<Link>>,
    ranges: RefCell<Ranges>,
    bytes: Cell<usize>,
    sets: Cell<u64>,
    deletes: Cell<u64>,
    /// How many deletes were ever inserted, also those that are gone.
    deleted: Cell<u64>,
    /// What was last the oldest snapshot that a chain was cut at, and the first commit for which it
    /// was that: chains with a newer head are cut already.
    cut_at: Cell<Stamp>,
    cut_since: Cell<Stamp>,
}

impl Memtable {
    /// Adds a version, which is newer than all there are of its key or of the same commit (then
    /// it takes that one's place). Versions that neither `visible` nor any later snapshot can
    /// see are cut off. Values may share buffers with each other: such memory counts until the
    /// last of them is gone. What somebody else holds then counts on.
    pub fn insert(&self, key: &[u8], stamp: Stamp, op: OwnedOp, visible: Stamp) {
        let mut entries = self.entries.borrow_mut();
        let mut added = key.len() + op.value().map_or(0, |value| value.len()) + OVERHEAD_BYTES;
        let mut freed = 0;
        self.count(&op, 1);
        self.deleted.set(self.deleted.get() + u64::from(op.value().is_none()));
        if self.cut_at.replace(visible) != visible {
            self.cut_since.set(stamp);
        }
        match entries.find(key) {
            Err(place) => entries.insert(place, key, Link { stamp, op, older: None }),
            Ok(place) => {
                added -= key.len();
                let Some(head) = entries.at_mut(place) else { return };
                let mut older = std::mem::replace(head, Link { stamp, op, older: None });
                let is_cut = visible < stamp && older.stamp >= self.cut_since.get();
                if older.stamp == stamp {
                    freed += self.forget(&older);
                    head.older = older.older.take();
                } else {
                    head.older = Some(Box::new(older));
                }
                if !is_cut {
                    freed += self.cut(head, visible);
                }
            }
        }
        self.bytes.set((self.bytes.get() + added).saturating_sub(freed));
    }

    /// Hides all that is older than `stamp` in `start..end`. `visible` is as for
    /// [`Memtable::insert`].
    pub fn delete_range(&self, start: &Rc<[u8]>, end: &Rc<[u8]>, stamp: Stamp, visible: Stamp) {
        self.ranges.borrow_mut().insert(start, end, stamp, visible);
    }

    /// The deleted ranges.
    pub fn ranges(&self) -> Ref<'_, Ranges> {
        self.ranges.borrow()
    }

    /// Whether ranges were deleted.
    pub fn has_ranges(&self) -> bool {
        !self.ranges.borrow().is_empty()
    }

    /// The newest deleted range over a key at or below `at`.
    pub fn cover(&self, key: &[u8], at: Stamp) -> Cover {
        self.ranges.borrow().cover(key, at)
    }

    /// Drops every version that a snapshot at or above `visible` cannot see; returns the bytes
    /// they occupied.
    fn cut(&self, head: &mut Link, visible: Stamp) -> usize {
        let mut link = head;
        while link.stamp > visible {
            match &mut link.older {
                Some(older) => link = older,
                None => return 0,
            }
        }
        let mut freed = 0;
        let mut dropped = link.older.take();
        while let Some(mut old) = dropped {
            freed += self.forget(&old);
            dropped = old.older.take();
        }
        freed
    }

    /// Counts a version that is about to be dropped; returns the bytes that it occupied.
    fn forget(&self, link: &Link) -> usize {
        self.count(&link.op, -1);
        link.op.value().map_or(0, Bytes::alone) + OVERHEAD_BYTES
    }

    fn count(&self, op: &OwnedOp, by: i64) {
        let counter = match op {
            OwnedOp::Set { .. } => &self.sets,
            OwnedOp::Delete => &self.deletes,
        };
        counter.set(counter.get().saturating_add_signed(by));
    }

    /// The newest version of a key at or below `at`; a delete where a range that was deleted hides
    /// it, or would hide an older one.
    /// `hash` is the key's.
    pub fn get(&self, key: &[u8], hash: u64, at: Stamp) -> Option<Found> {
        let deleted = self.ranges.borrow().newest(key, at);
        Found::newer(self.version(key, hash, at), deleted)
    }

    fn version(&self, key: &[u8], hash: u64, at: Stamp) -> Option<Found> {
        if self.entries.borrow().unhashed() > 0 {
            self.entries.borrow_mut().hash_new();
        }
        let entries = self.entries.borrow();
        let mut link = entries.get(key, hash)?;
        while link.stamp > at {
            link = link.older.as_deref()?;
        }
        Some(link.op.clone().found(link.stamp))
    }

    /// Appends the newest version at or below `at` of up to `count` keys within the bounds to
    /// `out`, in ascending or, with `reverse`, descending order of keys. Keys that have no such
    /// version count too; returns the last key looked at, or None once the range is exhausted.
    pub fn page(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        at: Stamp,
        reverse: bool,
        count: usize,
        out: &mut Page,
    ) -> Option<Vec<u8>> {
        let entries = self.entries.borrow();
        let (mut low, mut high) = entries.between(bounds);
        let mut last = &[][..];
        for _ in 0..count {
            if low >= high {
                return None;
            }
            let place = if reverse { entries.before(high) } else { low };
            match reverse {
                true => high = place,
                false => low = entries.after(place),
            }
            let (key, head) = entries.at(place)?;
            let mut link = Some(head);
            while let Some(newer) = link.filter(|link| link.stamp > at) {
                link = newer.older.as_deref();
            }
            if let Some(Link { stamp, op, .. }) = link {
                out.push(key, *stamp, op.clone());
            }
            last = key;
        }
        Some(last.to_vec())
    }

    /// Appends all versions of up to `count` keys after `after`, newest first for each key;
    /// returns the last key looked at, or None once there are no more.
    pub fn versions(&self, after: Option<&[u8]>, count: usize, out: &mut Page) -> Option<Vec<u8>> {
        let entries = self.entries.borrow();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut place, _) = entries.between((from, Bound::Unbounded));
        let mut last = &[][..];
        for _ in 0..count {
            let (key, head) = entries.at(place)?;
            place = entries.after(place);
            out.push(key, head.stamp, head.op.clone());
            let mut link = head.older.as_deref();
            while let Some(Link { stamp, op, older }) = link {
                out.push_older(*stamp, op.clone());
                link = older.as_deref();
            }
            last = key;
        }
        Some(last.to_vec())
    }

    /// Undoes every version above `published`: what a failed write left behind.
    pub fn roll_back(&self, published: Stamp) {
        let mut kept = Index::default();
        let mut freed = 0;
        self.entries.take().into_each(|key, head| {
            let mut link = Some(head);
            while let Some(mut newer) = link.take_if(|link| link.stamp > published) {
                freed += self.forget(&newer);
                link = newer.older.take().map(|older| *older);
            }
            match (link, kept.find(key)) {
                (Some(link), Err(place)) => kept.insert(place, key, link),
                _ => freed += key.len(),
            }
        });
        *self.entries.borrow_mut() = kept;
        self.ranges.borrow_mut().roll_back(published);
        self.bytes.set(self.bytes.get().saturating_sub(freed));
    }

    /// Roughly the memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.get() + self.ranges.borrow().bytes()
    }

    /// Whether nothing was ever inserted or deleted.
    pub fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty() && !self.has_ranges()
    }

    /// The number of versions that set and that delete, in this order.
    pub fn counts(&self) -> (u64, u64) {
        (self.sets.get(), self.deletes.get())
    }

    /// How many deletes were ever inserted, also those that are gone: it never falls.
    pub fn deleted(&self) -> u64 {
        self.deleted.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Pack;
    use crate::hash::xxh3_64;

    fn at(counter: u64) -> Stamp {
        Stamp { epoch: 1, counter }
    }

    fn set(table: &Memtable, key: &str, counter: u64, visible: u64) {
        let op = OwnedOp::Set {
            value: Bytes::copy(&counter.to_be_bytes()),
            expires_at: 0,
            in_blob: false,
        };
        table.insert(key.as_bytes(), at(counter), op, at(visible));
    }

    fn stamp_at(table: &Memtable, key: &str, counter: u64) -> Option<u64> {
        table.get(key.as_bytes(), xxh3_64(key.as_bytes()), at(counter)).map(|found| match found {
            Found::Set { stamp, .. } | Found::Delete { stamp } => stamp.counter,
        })
    }

    #[test]
    fn a_snapshot_sees_the_newest_version_at_or_below_it() {
        let table = Memtable::default();
        for counter in [1, 3, 5] {
            set(&table, "a", counter, 0);
        }
        assert_eq!(stamp_at(&table, "a", 0), None);
        assert_eq!(stamp_at(&table, "a", 2), Some(1));
        assert_eq!(stamp_at(&table, "a", 9), Some(5));
        table.insert(b"a", at(6), OwnedOp::Delete, at(0));
        let deleted = Some(Found::Delete { stamp: at(6) });
        assert_eq!(table.get(b"a", xxh3_64(b"a"), at(6)), deleted);
    }

    #[test]
    fn versions_that_no_snapshot_can_see_take_no_memory() {
        let table = Memtable::default();
        set(&table, "counter", 1, 0);
        let one = table.bytes();
        for counter in 2..1000 {
            set(&table, "counter", counter, counter - 1);
        }
        assert!(table.bytes() <= 2 * one, "{} bytes", table.bytes());
        assert_eq!(stamp_at(&table, "counter", 998), Some(998));
        assert_eq!(table.counts(), (2, 0));
    }

    #[test]
    fn memory_that_values_share_counts_until_the_last_of_them_is_gone() {
        let table = Memtable::default();
        let commit = |counter: u64, keys: &[&str]| {
            let mut pack = Pack::new(&vec![7; 1000 * keys.len()]);
            for key in keys {
                let op = OwnedOp::Set { value: pack.take(1000), expires_at: 0, in_blob: false };
                table.insert(key.as_bytes(), at(counter), op, at(counter));
            }
        };
        commit(1, &["a", "b"]);
        let two = table.bytes();
        assert_eq!(two, 2 * (1 + 1000 + OVERHEAD_BYTES));
        (2..100).for_each(|counter| commit(counter, &["a", "b"]));
        assert_eq!(table.bytes(), two, "all that was there before has gone");
        (100..200).for_each(|counter| commit(counter, &["a"]));
        assert_eq!(table.bytes(), two + 1000, "a value keeps the one beside it");
        commit(200, &["b"]);
        assert_eq!(table.bytes(), two);
    }

    #[test]
    fn a_chain_that_a_list_keeps_long_costs_no_walk_along_it_and_no_stack() {
        let table = Memtable::default();
        set(&table, "other", 1, 0);
        for counter in 2..300_000 {
            set(&table, "counter", counter, 1);
        }
        assert_eq!(stamp_at(&table, "counter", 299_999), Some(299_999));
        assert_eq!(table.counts(), (299_999, 0));
        set(&table, "counter", 300_000, 299_998);
        assert_eq!(table.counts(), (4, 0), "what was let go of is cut off");
        set(&table, "counter", 300_001, 300_001);
        set(&table, "counter", 300_002, 300_002);
        assert_eq!(table.counts(), (2, 0), "and goes on being, also where nobody lags behind");
    }

    #[test]
    fn rolling_back_leaves_exactly_the_published_versions() {
        let table = Memtable::default();
        set(&table, "a", 1, 0);
        set(&table, "b", 2, 1);
        let before = table.bytes();
        set(&table, "a", 3, 2);
        set(&table, "c", 4, 2);
        table.roll_back(at(2));
        assert_eq!(stamp_at(&table, "a", 9), Some(1));
        assert_eq!(stamp_at(&table, "b", 9), Some(2));
        assert_eq!(stamp_at(&table, "c", 9), None);
        assert_eq!(table.bytes(), before);
    }

    #[test]
    fn pages_walk_the_range_in_both_directions() {
        let table = Memtable::default();
        for (index, key) in ["a", "b", "c", "d"].iter().enumerate() {
            set(&table, key, index as u64 + 1, 0);
        }
        let bounds = (Bound::Included(&b"a"[..]), Bound::Excluded(&b"d"[..]));
        let mut out = Page::default();
        let last = table.page(bounds, at(9), true, 2, &mut out);
        assert_eq!(last.as_deref(), Some(&b"b"[..]));
        let keys: Vec<_> = out.iter().map(|record| record.key).collect();
        assert_eq!(keys, [&b"c"[..], b"b"]);
        out.clear();
        assert_eq!(table.page(bounds, at(2), false, 9, &mut out), None);
        assert_eq!(out.len(), 2, "c is newer than the snapshot");
    }
}
