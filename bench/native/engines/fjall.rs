//! fjall: a log-structured tree that flushes and compacts on threads of its own.

use super::{CACHE_BYTES, Engine};
use crate::data::{Key, Value};
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use std::time::Duration;

pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

impl Fjall {
    /// Merges all tables into one level.
    pub fn compact_all(&mut self) {
        self.keyspace.rotate_memtable_and_wait().expect("a flush");
        self.keyspace.major_compact().expect("a compaction");
    }
}

impl Engine for Fjall {
    const NAME: &'static str = "fjall";

    fn open(directory: &Path, memtable_bytes: usize) -> Fjall {
        let database =
            Database::builder(directory).cache_size(CACHE_BYTES as u64).open().expect("a database");
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes as u64);
        let keyspace = database.keyspace("entries", options).expect("a keyspace");
        Fjall { database, keyspace }
    }

    fn put(&mut self, key: &Key, value: &Value) {
        self.keyspace.insert(key, value).expect("an insert");
    }

    fn put_batch(&mut self, entries: &[(Key, Value)]) {
        let mut batch = self.database.batch();
        for (key, value) in entries {
            batch.insert(&self.keyspace, key, value);
        }
        batch.commit().expect("a commit");
    }

    fn get(&mut self, key: &Key, visit: impl FnOnce(&[u8])) -> bool {
        match self.keyspace.get(key).expect("a get") {
            Some(value) => {
                visit(&value);
                true
            }
            None => false,
        }
    }

    fn scan(&mut self, reverse: bool, mut visit: impl FnMut(&[u8], &[u8])) {
        let range = self.keyspace.iter();
        let mut visit = |entry: Guard| {
            let (key, value) = entry.into_inner().expect("an entry");
            visit(&key, &value);
        };
        if reverse { range.rev().for_each(&mut visit) } else { range.for_each(&mut visit) }
    }

    fn settle(&mut self) {
        let busy = |database: &Database| {
            database.outstanding_flushes() > 0 || database.active_compactions() > 0
        };
        // A compaction that ends may start another.
        for _ in 0..3 {
            while busy(&self.database) {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn close(self) {
        self.database.persist(PersistMode::SyncAll).expect("a flush");
    }
}
