//! The stores that are measured, each used as its documentation says is fast.
//!
//! All of them commit without waiting for the disk. kvass and fjall hand every commit to the
//! operating system, so that it survives the process; redb without durability keeps it in memory.
//!
//! Of a load the time counts until its last commit has returned. In a million entries kvass and
//! fjall fill a few memtables of 64 MiB (kvass three, fjall two: each counts an entry's own way),
//! flush their log when one is full, which their writers wait for, and compact nothing. fjall
//! writes its tables on threads of its own, the first levels without compressing them; kvass writes
//! and compresses them between the commits, on the thread that makes these.

use crate::data::{Key, Value};
use std::path::Path;

mod fjall;
mod kvass;
mod redb;

pub use fjall::Fjall;
pub use kvass::Kvass;
pub use redb::Redb;

/// Blocks kept in memory: all of the data, for reads are measured on a warm cache.
pub const CACHE_BYTES: usize = 512 * 1024 * 1024;
/// fjall's own choice.
pub const LARGE_MEMTABLE_BYTES: usize = 64 * 1024 * 1024;
/// kvass's own choice, made for the memory of a page.
pub const SMALL_MEMTABLE_BYTES: usize = 4 * 1024 * 1024;

/// One store. An error ends the benchmark.
pub trait Engine: Sized {
    const NAME: &'static str;

    /// Opens the database in a directory, or makes it. Memtables, where there are any, are
    /// written to tables at this size.
    fn open(directory: &Path, memtable_bytes: usize) -> Self;

    /// Commits one entry.
    fn put(&mut self, key: &Key, value: &Value);

    /// Commits these entries together.
    fn put_batch(&mut self, entries: &[(Key, Value)]);

    /// Hands the value of a key to `visit`; whether there is one.
    fn get(&mut self, key: &Key, visit: impl FnOnce(&[u8])) -> bool;

    /// Hands all entries to `visit`, in order or from the last to the first.
    fn scan(&mut self, reverse: bool, visit: impl FnMut(&[u8], &[u8]));

    /// Waits until nothing is left to be written or compacted in the background.
    fn settle(&mut self);

    /// Makes everything durable and lets go of the files.
    fn close(self);
}
