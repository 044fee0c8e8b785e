//! redb: a copy-on-write B-tree.

use super::{CACHE_BYTES, Engine};
use crate::data::{Key, Value};
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

pub struct Redb {
    database: Database,
    /// Kept between reads: beginning a transaction for each get would cost as much again.
    reading: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl Redb {
    fn write(&mut self, entries: &[(Key, Value)], durability: Durability) {
        self.reading = None;
        let mut transaction = self.database.begin_write().expect("a transaction");
        transaction.set_durability(durability).expect("a durability");
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            for (key, value) in entries {
                table.insert(&key[..], &value[..]).expect("an insert");
            }
        }
        transaction.commit().expect("a commit");
    }

    fn reading(&mut self) -> &ReadOnlyTable<&'static [u8], &'static [u8]> {
        self.reading.get_or_insert_with(|| {
            let transaction = self.database.begin_read().expect("a transaction");
            transaction.open_table(TABLE).expect("a table")
        })
    }
}

impl Engine for Redb {
    const NAME: &'static str = "redb";

    fn open(directory: &Path, _memtable_bytes: usize) -> Redb {
        std::fs::create_dir_all(directory).expect("a directory");
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(directory.join("redb"))
            .expect("a database");
        Redb { database, reading: None }
    }

    fn put(&mut self, key: &Key, value: &Value) {
        self.write(&[(*key, *value)], Durability::None);
    }

    fn put_batch(&mut self, entries: &[(Key, Value)]) {
        self.write(entries, Durability::None);
    }

    fn get(&mut self, key: &Key, visit: impl FnOnce(&[u8])) -> bool {
        match self.reading().get(&key[..]).expect("a get") {
            Some(value) => {
                visit(value.value());
                true
            }
            None => false,
        }
    }

    fn scan(&mut self, reverse: bool, mut visit: impl FnMut(&[u8], &[u8])) {
        let range = self.reading().iter().expect("a range");
        let mut visit = |entry: redb::Result<_>| {
            let (key, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) =
                entry.expect("an entry");
            visit(key.value(), value.value());
        };
        if reverse { range.rev().for_each(&mut visit) } else { range.for_each(&mut visit) }
    }

    fn settle(&mut self) {}

    fn close(mut self) {
        self.write(&[], Durability::Immediate);
    }
}
