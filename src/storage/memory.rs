//! Files in memory: the storage of `storage: "memory"`, gone when it is dropped.
//!
//! A file is a list of chunks of one size, so that a growing file is never copied. Nothing here
//! is ever durable, and nothing ever waits.

use super::file_map::FileMap;
use super::{Durability, FileNo, MANIFEST_SLOTS, Storage};
use crate::error::{Code, Error, Result};
use std::cell::RefCell;

const CHUNK_BYTES: usize = 64 * 1024;

/// A [`Storage`] without a disk.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    files: FileMap<File>,
    closed: bool,
}

/// Every chunk but the last one is full.
#[derive(Debug, Default)]
struct File {
    chunks: Vec<Vec<u8>>,
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state.borrow_mut();
        if state.closed {
            return Err(Error::new(Code::Closed, "the storage was closed"));
        }
        f(&mut state)
    }
}

impl State {
    fn file(&mut self, file: FileNo) -> Result<&mut File> {
        if MANIFEST_SLOTS.contains(&file) {
            return Ok(self.files.entry(file));
        }
        let missing = || Error::corruption(file, 0, "the file is missing");
        self.files.get_mut(file).ok_or_else(missing)
    }

    fn create(&mut self) -> FileNo {
        let number = self.files.unused();
        self.files.entry(number);
        number
    }
}

impl File {
    fn len(&self) -> u64 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_BYTES;
        (full + self.chunks.last().map_or(0, Vec::len)) as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let (mut chunk, mut within) = split(offset);
        let mut done = 0;
        while let Some(to) = buffer.get_mut(done..)
            && let Some(from) = self.chunks.get(chunk).and_then(|bytes| bytes.get(within..))
            && !to.is_empty()
            && !from.is_empty()
        {
            let step = to.len().min(from.len());
            copy(from, to);
            done += step;
            (chunk, within) = (chunk + 1, 0);
        }
        done
    }

    fn write(&mut self, offset: u64, mut data: &[u8]) {
        let (mut chunk, mut within) = split(offset);
        while !data.is_empty() {
            if chunk == self.chunks.len() {
                self.chunks.push(Vec::new());
            }
            let Some(bytes) = self.chunks.get_mut(chunk) else { return };
            let (now, later) = data.split_at(data.len().min(CHUNK_BYTES - within));
            let (over, beyond) = now.split_at(now.len().min(bytes.len().saturating_sub(within)));
            copy(over, bytes.get_mut(within..).unwrap_or_default());
            bytes.extend_from_slice(beyond);
            data = later;
            (chunk, within) = (chunk + 1, 0);
        }
    }

    fn truncate(&mut self, len: u64) {
        let (chunk, within) = split(len);
        self.chunks.truncate(chunk + usize::from(within > 0));
        if let Some(last) = self.chunks.get_mut(chunk) {
            last.truncate(within);
        }
    }
}

/// The chunk of an offset, and the place in it.
fn split(offset: u64) -> (usize, usize) {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    (offset / CHUNK_BYTES, offset % CHUNK_BYTES)
}

/// Copies as many bytes as both sides have.
fn copy(from: &[u8], to: &mut [u8]) {
    let len = from.len().min(to.len());
    let (from, to) = (from.split_at(len).0, to.split_at_mut(len).0);
    to.copy_from_slice(from);
}

impl Storage for MemoryStorage {
    async fn list(&self) -> Result<Vec<FileNo>> {
        self.with(|state| {
            let holding = state.files.iter().filter(|(_, file)| file.len() > 0);
            let numbers = holding.map(|(number, _)| number);
            Ok(numbers.filter(|number| !MANIFEST_SLOTS.contains(number)).collect())
        })
    }

    async fn adopt(&self, live: &[FileNo]) -> Result<()> {
        self.with(|state| {
            let kept = |number| MANIFEST_SLOTS.contains(&number) || live.contains(&number);
            state.files.retain(|number, _| kept(number));
            Ok(())
        })
    }

    async fn create(&self) -> Result<FileNo> {
        self.with(|state| Ok(state.create()))
    }

    async fn len(&self, file: FileNo) -> Result<u64> {
        self.with(|state| Ok(state.file(file)?.len()))
    }

    async fn read(&self, file: FileNo, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.with(|state| Ok(state.file(file)?.read(offset, buffer)))
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        _durability: Durability,
    ) -> Result<()> {
        self.with(|state| {
            let bytes = state.file(file)?;
            if offset > bytes.len() {
                return Err(Error::io("a write past the end of the file").at(file, offset));
            }
            bytes.write(offset, data);
            Ok(())
        })
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        self.with(|state| state.file(file).map(|_| ()))
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        self.with(|state| {
            let bytes = state.file(file)?;
            if len > bytes.len() {
                return Err(Error::io("a cut past the end of the file").at(file, len));
            }
            bytes.truncate(len);
            Ok(())
        })
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        self.with(|state| {
            state.file(file)?;
            state.files.remove(file);
            Ok(())
        })
    }

    async fn usage(&self) -> Result<u64> {
        self.with(|state| Ok(state.files.iter().map(|(_, file)| file.len()).sum()))
    }

    async fn close(&self) -> Result<()> {
        self.with(|state| {
            state.closed = true;
            state.files = FileMap::default();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::manual::block_on;
    use crate::rng::Rng;

    #[test]
    fn a_file_reads_back_as_one_byte_string_would() {
        let storage = MemoryStorage::new();
        let rng = Rng::new(1);
        block_on(async {
            let file = storage.create().await?;
            let mut model = Vec::new();
            for _ in 0..60 {
                let offset = rng.below(model.len() as u64 + 1) as usize;
                let data = rng.bytes(rng.below(3 * CHUNK_BYTES as u64) as usize);
                storage.write(file, offset as u64, &data, Durability::Relaxed).await?;
                model.resize(model.len().max(offset + data.len()), 0);
                model[offset..offset + data.len()].copy_from_slice(&data);
                if rng.one_in(4) {
                    model.truncate(rng.below(model.len() as u64 + 1) as usize);
                    storage.truncate(file, model.len() as u64).await?;
                }
                assert_eq!(storage.len(file).await?, model.len() as u64);
                let from = rng.below(model.len() as u64 + 10) as usize;
                let mut buffer = vec![0; rng.below(2 * CHUNK_BYTES as u64) as usize];
                let read = storage.read(file, from as u64, &mut buffer).await?;
                let rest = model.get(from..).unwrap_or_default();
                assert_eq!(buffer[..read], rest[..rest.len().min(buffer.len())]);
            }
            Ok::<(), Error>(())
        })
        .unwrap();
    }

    #[test]
    fn misuse_is_a_typed_error() {
        let storage = MemoryStorage::new();
        block_on(async {
            assert_eq!(storage.len(7).await.unwrap_err().code(), Code::Corruption);
            let file = storage.create().await.unwrap();
            let hole = storage.write(file, 1, b"x", Durability::Strict).await;
            assert_eq!(hole.unwrap_err().code(), Code::Io);
            storage.close().await.unwrap();
            assert_eq!(storage.list().await.unwrap_err().code(), Code::Closed);
        });
    }

    #[test]
    fn adopting_keeps_the_live_files_and_the_manifest_only() {
        let storage = MemoryStorage::new();
        block_on(async {
            for number in [0, 1, 2, 3, 4] {
                if number > 1 {
                    assert_eq!(storage.create().await.unwrap(), number);
                }
                storage.write(number, 0, b"x", Durability::Strict).await.unwrap();
            }
            storage.adopt(&[3]).await.unwrap();
            assert_eq!(storage.list().await.unwrap(), [3]);
            assert_eq!(storage.usage().await.unwrap(), 3);
            assert_eq!(storage.create().await.unwrap(), 2);
        });
    }
}
