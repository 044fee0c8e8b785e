//! A version: which tables make up the database at one moment. Immutable; a flush or a
//! compaction makes the next one, and readers of this one are not disturbed.

use crate::error::Result;
use crate::record::Found;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{Table, TableMeta};
use std::rc::Rc;

/// The tables of a database, by level. Level 0 is ordered by age, newest first, and its tables
/// overlap; each deeper level is ordered by key and its tables don't.
pub struct Version<S: Storage> {
    levels: Vec<Vec<Rc<Table<S>>>>,
}

impl<S: Storage> Version<S> {
    /// A version without tables.
    pub fn empty() -> Version<S> {
        Version { levels: Vec::new() }
    }

    /// The next version: without the tables whose ids are in `removed`, then with `added` in the
    /// levels they name. A table that moves to another level is in both.
    pub fn apply(&self, _added: Vec<(usize, Rc<Table<S>>)>, _removed: &[u64]) -> Version<S> {
        unimplemented!()
    }

    /// The tables, by level.
    pub fn levels(&self) -> &[Vec<Rc<Table<S>>>] {
        &self.levels
    }

    /// What the manifest keeps of every table, by level.
    pub fn shape(&self) -> Vec<Vec<&TableMeta>> {
        self.levels.iter().map(|level| level.iter().map(|table| table.meta()).collect()).collect()
    }

    /// The newest version of `key` at or below `at`.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn get(&self, _key: &[u8], _at: Stamp) -> Result<Option<Found>> {
        unimplemented!()
    }
}
