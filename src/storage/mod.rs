//! Numbered files: everything the engine needs of a disk.
//!
//! A back end keeps files under numbers of its own choosing and hands out the number of a removed
//! one again (on OPFS making a file is asynchronous and fails at a full quota, so files are pooled
//! and reused): which file is what stands in the manifest. The [`MANIFEST_SLOTS`] always exist
//! logically; the rest come from `create`.

use crate::error::Result;

#[cfg(not(target_arch = "wasm32"))]
pub mod directory;
pub mod file_map;
pub mod memory;
pub mod simulated;

#[cfg(not(target_arch = "wasm32"))]
pub use directory::DirectoryStorage;
pub use memory::MemoryStorage;
pub use simulated::SimulatedStorage;

/// The physical number of a file within one database.
pub type FileNo = u32;

/// The two slots of the manifest: opened first, closed last, never handed out by `create`.
pub const MANIFEST_SLOTS: [FileNo; 2] = [0, 1];

/// Whether a write is acknowledged before or after it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Durability {
    /// Handed to the storage; survives the tab, perhaps not a power cut.
    Relaxed,
    /// Flushed: survives a power cut.
    Strict,
}

/// Files of one database, exclusively held for as long as the value lives.
///
/// All methods take `&self`: calls may overlap in time, but the engine never writes one file
/// from two places at once, and nothing is read from a range that is being written. A future
/// that is dropped leaves its call either done or not begun.
///
/// # Errors
/// `QuotaExceeded` when the storage is full, `Io` for everything else that fails, a short write
/// included; `Corruption` where a file that must be there is not.
pub trait Storage: 'static {
    /// The files besides the manifest slots that hold at least one byte, in any order.
    fn list(&self) -> impl Future<Output = Result<Vec<FileNo>>>;

    /// Called once after the manifest has been read, before anything else is: the files in `live`
    /// are the database's and will be adopted. The first of them are read next: `logs` of them
    /// whole, then the beginnings of some. What that takes, and what it takes for `adopt` and for
    /// the first calls of `create`, may be done for all at once; what fails of it is told where it
    /// is needed.
    fn prepare(&self, _live: &[FileNo], _logs: usize) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Called once after the manifest has been read, before any `create`: the files in `live`
    /// are the database's (a missing one is reported when it is read, and its number is in use
    /// until it is removed), every other becomes a spare and loses its bytes.
    fn adopt(&self, live: &[FileNo]) -> impl Future<Output = Result<()>>;

    /// A file that holds no bytes, made or taken from the spares, under an unused number.
    fn create(&self) -> impl Future<Output = Result<FileNo>>;

    /// The length of a file in bytes; 0 for a manifest slot that was never written.
    fn len(&self, file: FileNo) -> impl Future<Output = Result<u64>>;

    /// Fills `buffer` from `offset` on; returns how many bytes there were, less than asked for only
    /// at the end of the file or where bytes before it are lost, as a piece of a file in IndexedDB
    /// may be. Then `buffer` has those behind the lost ones too, in their places.
    fn read(
        &self,
        file: FileNo,
        offset: u64,
        buffer: &mut [u8],
    ) -> impl Future<Output = Result<usize>>;

    /// Writes all of `data` at `offset` (at most the current length: no holes), and with
    /// `Strict` flushes the file in the same step.
    fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> impl Future<Output = Result<()>>;

    /// Makes all writes to `file` that have returned durable.
    fn sync(&self, file: FileNo) -> impl Future<Output = Result<()>>;

    /// Whether a file is flushed along the way while it grows, so that a [`Storage::sync`] at its
    /// end is a short one. Where not, it is for the writer of a long file to see to that.
    fn flushes_ahead(&self) -> bool {
        false
    }

    /// Whether no write ever is durable without those that had returned before it, to whichever
    /// file: what is only to be durable before something else need not be synced then.
    fn is_ordered(&self) -> bool {
        false
    }

    /// Cuts a file to `len` bytes (at most its current length).
    fn truncate(&self, file: FileNo, len: u64) -> impl Future<Output = Result<()>>;

    /// Gives a file up: its bytes are freed and its number may be handed out again.
    fn remove(&self, file: FileNo) -> impl Future<Output = Result<()>>;

    /// Bytes that all files occupy.
    fn usage(&self) -> impl Future<Output = Result<u64>>;

    /// Lets go of everything held, the manifest slots last. Later calls fail with `Closed`.
    fn close(&self) -> impl Future<Output = Result<()>>;
}
