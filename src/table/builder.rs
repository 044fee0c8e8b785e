//! Writes a table, front to back, in pieces.

use super::TableMeta;
use crate::error::Result;
use crate::limits::Budgets;
use crate::record::Record;
use crate::storage::{FileNo, Storage};
use std::marker::PhantomData;
use std::rc::Rc;

/// Writes one table into a file that holds no bytes yet.
pub struct TableBuilder<S: Storage> {
    storage: PhantomData<S>,
}

impl<S: Storage> TableBuilder<S> {
    /// A builder of the table `id`; `salt` is random.
    pub fn new(_: Rc<S>, _file: FileNo, _id: u64, _salt: u64, _: &Budgets) -> TableBuilder<S> {
        unimplemented!()
    }

    /// Appends a version, which sorts after all before it.
    pub fn add(&mut self, _record: Record<'_>) -> Result<()> {
        unimplemented!()
    }

    /// Writes what has gathered, if it is enough for a write.
    pub async fn flush_if_due(&mut self) -> Result<()> {
        unimplemented!()
    }

    /// The size of the file so far, in bytes.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Writes the rest and flushes the file.
    pub async fn finish(self) -> Result<TableMeta> {
        unimplemented!()
    }
}
