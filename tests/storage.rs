//! The suite of the storage back ends, on those that need no browser.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::expect_used, reason = "a test that fails may panic")]

#[path = "common/storage_suite.rs"]
mod storage_suite;

use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::storage::{DirectoryStorage, MemoryStorage, SimulatedStorage, Storage};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

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

/// A directory of its own below `target`, empty at first.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("directory").join(name);
        let _ = fs::remove_dir_all(&path);
        Directory(path)
    }
}

impl storage_suite::Opener for Directory {
    type Storage = DirectoryStorage;

    async fn open(&self) -> DirectoryStorage {
        DirectoryStorage::open(&self.0).expect("the directory opens")
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

#[test]
fn a_directory_does_what_every_storage_has_to_do() {
    block_on(storage_suite::run(Directory::new));
}

#[test]
fn a_directory_that_is_open_is_busy_until_it_is_closed() {
    let Directory(path) = Directory::new("busy");
    let storage = DirectoryStorage::open(&path).expect("the directory opens");
    let second = DirectoryStorage::open(&path).expect_err("it is locked");
    assert_eq!(second.code(), Code::Busy);
    block_on(storage.close()).expect("it closes");
    DirectoryStorage::open(&path).expect("the lock is free");
}
