//! One ordered view of memtables and tables.

use crate::error::Result;
use crate::memtable::Memtable;
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::storage::Storage;
use crate::version::Version;
use std::marker::PhantomData;
use std::rc::Rc;

/// A range and a snapshot to read it at.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The first key that belongs to it.
    pub start: Vec<u8>,
    /// The first key past it.
    pub end: Vec<u8>,
    /// Whether it goes from `end` to `start`.
    pub reverse: bool,
    /// The commits and the time it sees.
    pub snapshot: Snapshot,
}

/// A scan under way; keeps the tables it reads open.
pub struct Merge<S: Storage> {
    storage: PhantomData<S>,
}

impl<S: Storage> Merge<S> {
    /// The visible entries of a range. `memtables` are in any order.
    pub fn scan(_memtables: &[Rc<Memtable>], _version: &Version<S>, _scan: Scan) -> Merge<S> {
        unimplemented!()
    }

    /// The next visible entry (its op is a `Set`), or None at the end.
    ///
    /// # Errors
    /// Those of [`crate::table::Table::get`].
    pub async fn next(&mut self) -> Result<Option<Record<'_>>> {
        unimplemented!()
    }

    /// Hands entries to `visit` until it returns false (that entry is used up) or there are no
    /// more; whether there may be more. No future is made for an entry, only for a block that
    /// has to be loaded.
    ///
    /// # Errors
    /// Those of [`crate::table::Table::get`].
    pub async fn fill(&mut self, _visit: impl FnMut(Record<'_>) -> bool) -> Result<bool> {
        unimplemented!()
    }
}
