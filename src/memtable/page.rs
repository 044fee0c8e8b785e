//! [`Page`]: a part of a memtable, copied out of it so that commits can go on meanwhile.

use super::OwnedOp;
use crate::record::Record;
use crate::stamp::Stamp;

/// Versions of a memtable. Their keys are copied, their values are shared.
#[derive(Default)]
pub struct Page {
    /// The keys, one behind the other.
    keys: Vec<u8>,
    versions: Vec<Version>,
}

struct Version {
    /// Where its key lies.
    start: usize,
    end: usize,
    stamp: Stamp,
    op: OwnedOp,
}

impl Page {
    /// Forgets all versions.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.versions.clear();
    }

    /// Appends the next version of a key.
    pub fn push(&mut self, key: &[u8], stamp: Stamp, op: OwnedOp) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.versions.push(Version { start, end: self.keys.len(), stamp, op });
    }

    /// Appends a version of the same key as the last one.
    pub fn push_older(&mut self, stamp: Stamp, op: OwnedOp) {
        let (start, end) = self.versions.last().map_or((0, 0), |last| (last.start, last.end));
        self.versions.push(Version { start, end, stamp, op });
    }

    /// How many versions there are.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The version at a place; None past the last one.
    pub fn get(&self, place: usize) -> Option<Record<'_>> {
        let Version { start, end, stamp, op } = self.versions.get(place)?;
        let key = self.keys.get(*start..*end).unwrap_or_default();
        Some(Record { key, stamp: *stamp, op: op.borrow() })
    }

    /// All versions, in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.len()).filter_map(|place| self.get(place))
    }
}
