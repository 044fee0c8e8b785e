//! Sorted tables: immutable files of versions, in the order of [`crate::record::order`].
//!
//! docs/FORMAT.md has the bytes. A [`builder::TableBuilder`] writes one, front to back; a
//! [`Table`] reads it: the footer and the top of the index when it is first used, index leaves,
//! filter and data blocks through the block cache, so that memory does not grow with the data.

use crate::cache::Cache;
use crate::error::Result;
use crate::record::Found;
use crate::stamp::Stamp;
use crate::storage::{FileNo, Storage};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub mod builder;

/// What the manifest keeps of a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TableMeta {
    /// Its number, never given to another table.
    pub id: u64,
    /// The file it is in.
    pub file: FileNo,
    /// Mixed into all its checksums, so that blocks of another table are not taken for its own.
    pub salt: u64,
    /// The length of the file.
    pub bytes: u64,
    /// How many of its versions set a value.
    pub sets: u64,
    /// How many of its versions delete.
    pub deletes: u64,
    /// The first key.
    pub smallest: Box<[u8]>,
    /// The last key.
    pub largest: Box<[u8]>,
    /// The least stamp.
    pub oldest: Stamp,
    /// The greatest stamp.
    pub newest: Stamp,
}

impl TableMeta {
    /// Whether the table may hold keys in `start..end`; no `end` is no bound.
    pub fn overlaps(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        *self.largest >= *start && end.is_none_or(|end| *self.smallest < *end)
    }
}

/// What all tables of an open database share.
pub struct Tables<S> {
    /// Where the files live.
    pub storage: Rc<S>,
    /// The blocks in memory.
    pub cache: Cache,
    /// Files of retired tables that nobody reads any more: the database removes them.
    pub garbage: RefCell<Vec<FileNo>>,
}

/// An open table. Opening one reads nothing yet.
pub struct Table<S: Storage> {
    shared: Rc<Tables<S>>,
    meta: TableMeta,
    retired: Cell<bool>,
}

impl<S: Storage> Table<S> {
    /// The table that `meta` describes.
    pub fn new(shared: Rc<Tables<S>>, meta: TableMeta) -> Rc<Table<S>> {
        Rc::new(Table { shared, meta, retired: Cell::new(false) })
    }

    /// What the manifest keeps of it.
    pub fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// The newest version of `key` at or below `at`.
    ///
    /// # Errors
    /// `Corruption` where a block it needs is damaged, `NewerFormat`, and those of the storage.
    pub async fn get(&self, _key: &[u8], _at: Stamp) -> Result<Option<Found>> {
        unimplemented!()
    }

    /// Marks the table as replaced: its file becomes garbage once the last reader lets it go.
    pub fn retire(&self) {
        self.retired.set(true);
    }
}

impl<S: Storage> Drop for Table<S> {
    fn drop(&mut self) {
        if self.retired.get() {
            self.shared.garbage.borrow_mut().push(self.meta.file);
        }
    }
}
