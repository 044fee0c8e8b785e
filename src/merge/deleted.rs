//! What a scan must not show because a range was deleted.
//!
//! Every source can have deleted ranges, and each hides what is older in all sources. They are
//! looked up once for a stretch of keys: until the next place, in the direction of the scan, where
//! any source has another answer.

use crate::error::Result;
use crate::memtable::Memtable;
use crate::planted::{Bug, planted};
use crate::ranges::Cover;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{RangeBlock, Table};
use std::rc::Rc;

/// The deleted ranges of the sources that a scan has come to.
pub struct Deleted<S: Storage> {
    sources: Vec<Deleter<S>>,
    at: Stamp,
    reverse: bool,
    /// The newest tombstone over the keys up to the edges below.
    stamp: Stamp,
    /// Up to here it is that one for certain; None: that is not known.
    certain: Option<Edge>,
    /// Up to here that tombstone reaches, whatever other sources say.
    reach: Edge,
}

enum Deleter<S: Storage> {
    Memory(Rc<Memtable>),
    Table(Rc<Table<S>>, RangeBlock),
}

/// Where a stretch of keys ends: forward the first key past it, in reverse its first key. None: it
/// has no end.
type Edge = Option<Rc<[u8]>>;

impl<S: Storage> Deleted<S> {
    /// For a scan that sees the commits through `at`.
    pub fn new(at: Stamp, reverse: bool) -> Deleted<S> {
        let (sources, stamp) = (Vec::new(), Stamp::ZERO);
        Deleted { sources, at, reverse, stamp, certain: None, reach: None }
    }

    /// Takes a memtable into account. What is deleted after this is not seen by the scan.
    pub fn add_memtable(&mut self, memtable: &Rc<Memtable>) {
        if memtable.has_ranges() {
            self.sources.push(Deleter::Memory(memtable.clone()));
        }
    }

    /// Takes a table into account: before any key is shown that it spans.
    pub fn add_table(&mut self, table: Rc<Table<S>>, ranges: RangeBlock) {
        self.sources.push(Deleter::Table(table, ranges));
        self.certain = None;
    }

    /// Whether no source has deleted ranges.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether a version is hidden. Keys come in the order of the scan.
    ///
    /// # Errors
    /// Those of [`RangeBlock::cover`].
    pub fn hides(&mut self, key: &[u8], stamp: Stamp) -> Result<bool> {
        let within = |edge: &Edge| match edge {
            None => true,
            Some(edge) if self.reverse => **edge <= *key,
            Some(edge) => *key < **edge,
        };
        if stamp < self.stamp && within(&self.reach) {
            return Ok(true);
        }
        if !self.certain.as_ref().is_some_and(within) {
            self.look_up(key)?;
        }
        Ok(stamp < self.stamp)
    }

    /// The tombstone that hid the last version, and how far it reaches.
    pub fn reach(&self) -> Option<(Rc<[u8]>, Stamp)> {
        self.reach.clone().map(|edge| (edge, self.stamp))
    }

    fn look_up(&mut self, key: &[u8]) -> Result<()> {
        let at = if planted(Bug::RangeNotCutAtSnapshot) { Stamp::MAX } else { self.at };
        let reverse = self.reverse;
        self.sources.retain(|source| !source.is_passed(key, reverse));
        (self.stamp, self.reach) = (Stamp::ZERO, None);
        let mut nearest: Edge = None;
        for source in &self.sources {
            let cover = source.cover(key, at)?;
            let edge = if reverse { cover.start } else { cover.end };
            if cover.stamp > self.stamp {
                (self.stamp, self.reach) = (cover.stamp, edge.clone());
            }
            nearest = match (nearest, edge) {
                (Some(a), Some(b)) => Some(if reverse { a.max(b) } else { a.min(b) }),
                (a, b) => a.or(b),
            };
        }
        self.certain = Some(nearest);
        Ok(())
    }
}

impl<S: Storage> Deleter<S> {
    fn cover(&self, key: &[u8], at: Stamp) -> Result<Cover> {
        match self {
            Deleter::Memory(memtable) => Ok(memtable.cover(key, at)),
            Deleter::Table(_, ranges) => ranges.cover(key, at),
        }
    }

    /// Whether the scan, at this key, is past all that it deletes; its block can go then.
    fn is_passed(&self, key: &[u8], reverse: bool) -> bool {
        match self {
            Deleter::Memory(_) => false,
            Deleter::Table(table, _) if reverse => *key < *table.meta().smallest,
            Deleter::Table(table, _) => *table.meta().largest < *key,
        }
    }
}
