//! The suite of the storage back ends, on the two that need no browser.
#![cfg(not(target_arch = "wasm32"))]

#[path = "common/storage_suite.rs"]
mod storage_suite;

use kvass::env::manual::block_on;
use kvass::storage::{MemoryStorage, SimulatedStorage};
use std::cell::RefCell;

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

/// The simulated disk, every call of which is pending a few times.
struct Simulated(RefCell<SimulatedStorage>);

impl storage_suite::Opener for Simulated {
    type Storage = SimulatedStorage;

    async fn open(&self) -> SimulatedStorage {
        let opened = self.0.borrow().restart();
        opened.set_polls_max(3);
        self.0.replace(opened.clone());
        opened
    }

    fn persists(&self) -> bool {
        true
    }
}

#[test]
fn memory_does_what_every_storage_has_to_do() {
    block_on(storage_suite::run(|_| Memory));
}

#[test]
fn the_simulated_disk_does_what_every_storage_has_to_do() {
    block_on(storage_suite::run(|_| Simulated(RefCell::new(SimulatedStorage::new(1)))));
}
