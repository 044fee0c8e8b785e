//! The storages of the browser as one type, so that the engine is compiled once.

use crate::error::{Code, Result};
use crate::storage::{Durability, FileNo, MemoryStorage, Storage};
use crate::wasm::indexeddb::IndexedDb;
use crate::wasm::opfs::Opfs;
use js_sys::Function;

/// Where the files of a database are.
pub enum WebStorage {
    /// The origin private file system.
    Opfs(Opfs),
    /// An IndexedDB database.
    IndexedDb(IndexedDb),
    /// Nowhere: gone with the worker.
    Memory(MemoryStorage),
}

/// The storage that a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// OPFS where it works, IndexedDB where it is missing.
    Auto,
    /// OPFS or an error.
    Opfs,
    /// IndexedDB or an error.
    IndexedDb,
    /// Memory.
    Memory,
}

impl WebStorage {
    /// Opens the files of the database `name`, which this value owns from then on.
    /// `open_directory` is what [`Opfs::open`] needs, `open_indexeddb` what [`IndexedDb::open`]
    /// does. Where `Auto` did not get OPFS, it
    /// returns the reason too.
    ///
    /// # Errors
    /// Those of [`Opfs::open`] and [`IndexedDb::open`]. `Auto` turns to IndexedDB on
    /// `Unsupported` only: files that are busy, damaged or that fail are OPFS's all the same,
    /// and another storage would show an empty database in their place.
    pub async fn open(
        name: &str,
        wanted: Wanted,
        open_directory: &Function,
        open_indexeddb: &Function,
    ) -> Result<(WebStorage, Option<String>)> {
        if wanted == Wanted::Memory {
            return Ok((WebStorage::Memory(MemoryStorage::new()), None));
        }
        let mut reason = None;
        if wanted != Wanted::IndexedDb {
            match Opfs::open(name, open_directory).await {
                Err(error) if error.code() == Code::Unsupported && wanted == Wanted::Auto => {
                    reason = Some(error.message().to_owned());
                }
                outcome => return outcome.map(|opfs| (WebStorage::Opfs(opfs), None)),
            }
        }
        let opened = IndexedDb::open(name, open_indexeddb).await;
        opened.map(|indexeddb| (WebStorage::IndexedDb(indexeddb), reason))
    }

    /// The name of the storage, as options and status spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            WebStorage::Opfs(_) => "opfs",
            WebStorage::IndexedDb(_) => "indexeddb",
            WebStorage::Memory(_) => "memory",
        }
    }
}

/// The same call on whichever storage it is.
macro_rules! forward {
    ($self:ident, $storage:ident => $call:expr) => {
        match $self {
            WebStorage::Opfs($storage) => $call.await,
            WebStorage::IndexedDb($storage) => $call.await,
            WebStorage::Memory($storage) => $call.await,
        }
    };
}

impl Storage for WebStorage {
    async fn list(&self) -> Result<Vec<FileNo>> {
        forward!(self, storage => storage.list())
    }

    async fn prepare(&self, live: &[FileNo], logs: usize) {
        match self {
            WebStorage::Opfs(opfs) => opfs.prepare(live, logs).await,
            WebStorage::IndexedDb(indexeddb) => indexeddb.begin_to_prepare(live, logs),
            WebStorage::Memory(_) => {}
        }
    }

    async fn adopt(&self, live: &[FileNo]) -> Result<()> {
        forward!(self, storage => storage.adopt(live))
    }

    async fn create(&self) -> Result<FileNo> {
        forward!(self, storage => storage.create())
    }

    async fn len(&self, file: FileNo) -> Result<u64> {
        forward!(self, storage => storage.len(file))
    }

    async fn read(&self, file: FileNo, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        forward!(self, storage => storage.read(file, offset, buffer))
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        forward!(self, storage => storage.write(file, offset, data, durability))
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        forward!(self, storage => storage.sync(file))
    }

    fn is_ordered(&self) -> bool {
        matches!(self, WebStorage::IndexedDb(_))
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        forward!(self, storage => storage.truncate(file, len))
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        forward!(self, storage => storage.remove(file))
    }

    async fn usage(&self) -> Result<u64> {
        forward!(self, storage => storage.usage())
    }

    async fn close(&self) -> Result<()> {
        forward!(self, storage => storage.close())
    }
}
