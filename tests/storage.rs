//! The suite of the storage back ends, on memory.
#![cfg(not(target_arch = "wasm32"))]

#[path = "common/storage_suite.rs"]
mod storage_suite;

use kvass::env::manual::block_on;
use kvass::storage::MemoryStorage;

struct Memory;

impl storage_suite::Opener for Memory {
    type Storage = MemoryStorage;

    async fn open(&self) -> MemoryStorage {
        MemoryStorage::new()
    }

    fn persists(&self) -> bool {
        false
    }
}

#[test]
fn memory_does_what_every_storage_has_to_do() {
    block_on(storage_suite::run(|_| Memory));
}
