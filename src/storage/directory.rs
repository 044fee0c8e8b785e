//! Files in a directory of the operating system: what benchmarks and tools run on natively.
//!
//! File `n` of the database is the file named `n`. A file named `lock`, which is locked for as
//! long as the value lives, keeps a second process out.

use super::{Durability, FileNo, MANIFEST_SLOTS, Storage};
use crate::error::{Code, Error, Result};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::{self, JoinHandle};

/// A file that has so many bytes to flush is flushed while it goes on being written.
const AHEAD_BYTES: usize = 1024 * 1024;

/// A [`Storage`] in a directory. Every call but [`Storage::sync`] is done when it is first polled.
#[derive(Debug)]
pub struct DirectoryStorage {
    directory: PathBuf,
    /// None once it was closed.
    open: RefCell<Option<Files>>,
    /// A file was made or removed and the directory not flushed since.
    renamed: Cell<bool>,
}

#[derive(Debug)]
struct Files {
    by_number: BTreeMap<FileNo, OpenFile>,
    /// Held for its lock.
    _lock: File,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<File>,
    len: u64,
    /// Bytes written since a flush was last begun.
    unflushed: usize,
    /// The flush that was begun ahead of [`Storage::sync`], which tells of its failure.
    ahead: Option<Flush>,
}

type Flush = JoinHandle<io::Result<()>>;

impl DirectoryStorage {
    /// The database in `directory`, which is made where it is missing.
    ///
    /// # Errors
    /// `Busy` where another process has it open, `Io` where it can't be opened.
    pub fn open(directory: &Path) -> Result<DirectoryStorage> {
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::create(directory.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(Code::Busy, "another process has the database open"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut by_number = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(number) = name.to_str().and_then(|name| name.parse().ok()) {
                by_number.insert(number, OpenFile::open(directory, number)?);
            }
        }
        for slot in MANIFEST_SLOTS {
            by_number.insert(slot, OpenFile::open(directory, slot)?);
        }
        let open = RefCell::new(Some(Files { by_number, _lock: lock }));
        Ok(DirectoryStorage { directory: directory.into(), open, renamed: Cell::new(true) })
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<FileNo, OpenFile>) -> Result<T>) -> Result<T> {
        match &mut *self.open.borrow_mut() {
            Some(files) => f(&mut files.by_number),
            None => Err(Error::new(Code::Closed, "the storage was closed")),
        }
    }

    fn with_file<T>(
        &self,
        file: FileNo,
        f: impl FnOnce(&mut OpenFile) -> io::Result<T>,
    ) -> Result<T> {
        self.with(|files| match files.get_mut(&file) {
            Some(open) => f(open).map_err(failed),
            None => Err(Error::corruption(file, 0, "the file is missing")),
        })
    }

    fn delete(&self, file: FileNo) -> Result<()> {
        self.renamed.set(true);
        fs::remove_file(self.directory.join(file.to_string())).map_err(failed)
    }

    /// A file is only as durable as its name.
    fn sync_names(&self) -> io::Result<()> {
        if cfg!(unix) && self.renamed.replace(false) {
            let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
            self.renamed.set(synced.is_err());
            return synced;
        }
        Ok(())
    }
}

impl OpenFile {
    fn open(directory: &Path, number: FileNo) -> Result<OpenFile> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(directory.join(number.to_string())).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(OpenFile { file: Arc::new(file), len, unflushed: 0, ahead: None })
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_at(&self.file, offset, data)?;
        self.len = self.len.max(offset + data.len() as u64);
        self.unflushed += data.len();
        let goes_on = self.ahead.as_ref().is_some_and(|ahead| !ahead.is_finished());
        if self.unflushed >= AHEAD_BYTES && !goes_on {
            self.ahead = Some(self.begin_flush()?);
        }
        Ok(())
    }

    /// Flushes the file on a thread. It fails where one that was begun ahead has.
    fn begin_flush(&mut self) -> io::Result<Flush> {
        self.begin_flush_on(thread::Builder::new())
    }

    fn begin_flush_on(&mut self, thread: thread::Builder) -> io::Result<Flush> {
        let file = self.file.clone();
        let (hand_over, handed_over) = mpsc::channel::<Flush>();
        let flush = thread.spawn(move || {
            handed_over.recv().map_or(Ok(()), outcome)?;
            file.sync_data()
        })?;
        // Only now: where there was no thread for it, the next flush has to tell of the one before.
        if let Some(ahead) = self.ahead.take() {
            hand_over.send(ahead).map_err(io::Error::other)?;
        }
        self.unflushed = 0;
        Ok(flush)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buffer.len().min(rest);
        read_at(&self.file, offset, buffer.split_at_mut(len).0)?;
        Ok(len)
    }
}

/// Waits for a flush, which is done on a thread so that a disk that takes its time keeps nothing
/// else waiting.
///
/// Those who wait for it ask again and again, because tests and tools run futures by polling them.
async fn ended(flush: Flush) -> io::Result<()> {
    let mut flush = Some(flush);
    let ended = poll_fn(|context| match flush.take_if(|flush| flush.is_finished()) {
        Some(flush) => Poll::Ready(outcome(flush)),
        None => {
            context.waker().wake_by_ref();
            thread::yield_now();
            Poll::Pending
        }
    });
    ended.await
}

fn outcome(flush: Flush) -> io::Result<()> {
    flush.join().unwrap_or_else(|_| Err(io::Error::other("the thread of a flush has ended")))
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, data, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(data)
}

fn failed(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(Code::QuotaExceeded, "the disk is full: free some space")
        }
        _ => Error::io(error.to_string()),
    }
}

impl Storage for DirectoryStorage {
    async fn list(&self) -> Result<Vec<FileNo>> {
        self.with(|files| {
            let holding = files.iter().filter(|(_, open)| open.len > 0);
            let numbers = holding.map(|(number, _)| *number);
            Ok(numbers.filter(|number| !MANIFEST_SLOTS.contains(number)).collect())
        })
    }

    async fn adopt(&self, live: &[FileNo]) -> Result<()> {
        self.with(|files| {
            let kept = |number| MANIFEST_SLOTS.contains(number) || live.contains(number);
            let spare: Vec<FileNo> = files.keys().filter(|number| !kept(number)).copied().collect();
            for number in spare {
                files.remove(&number);
                self.delete(number)?;
            }
            Ok(())
        })
    }

    async fn create(&self) -> Result<FileNo> {
        self.with(|files| {
            let taken = |number: &FileNo| files.contains_key(number);
            let unused = (MANIFEST_SLOTS.len() as FileNo..).find(|number| !taken(number));
            let number = unused.ok_or_else(|| Error::io("all file numbers are in use"))?;
            files.insert(number, OpenFile::open(&self.directory, number)?);
            self.renamed.set(true);
            Ok(number)
        })
    }

    async fn len(&self, file: FileNo) -> Result<u64> {
        self.with_file(file, |open| Ok(open.len))
    }

    async fn read(&self, file: FileNo, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.with_file(file, |open| open.read(offset, buffer))
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        self.with_file(file, |open| {
            if offset > open.len {
                return Err(io::Error::other("a write past the end of the file"));
            }
            open.write(offset, data)
        })
        .map_err(|error| error.at(file, offset))?;
        match durability {
            Durability::Relaxed => Ok(()),
            Durability::Strict => self.sync(file).await,
        }
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        let flush = self.with_file(file, OpenFile::begin_flush)?;
        ended(flush).await.and_then(|()| self.sync_names()).map_err(failed)
    }

    fn flushes_ahead(&self) -> bool {
        true
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        self.with_file(file, |open| {
            if len > open.len {
                return Err(io::Error::other("a cut past the end of the file"));
            }
            open.file.set_len(len)?;
            open.len = len;
            Ok(())
        })
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        self.with_file(file, |_| Ok(()))?;
        self.with(|files| {
            files.remove(&file);
            self.delete(file)
        })
    }

    async fn usage(&self) -> Result<u64> {
        self.with(|files| Ok(files.values().map(|open| open.len).sum()))
    }

    async fn close(&self) -> Result<()> {
        self.with(|_| Ok(()))?;
        *self.open.borrow_mut() = None;
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_flush_tells_of_one_begun_ahead_that_failed() {
        // Nothing that is written there can be flushed.
        let file = File::options().write(true).open("/dev/null").expect("it is always there");
        let mut open = OpenFile { file: Arc::new(file), len: 0, unflushed: 0, ahead: None };
        open.write(0, &vec![0; AHEAD_BYTES - 1]).expect("it takes all");
        assert!(open.ahead.is_none());
        open.write(0, &[0]).expect("it takes all");
        assert!(open.ahead.is_some());
        let fit = File::open(env!("CARGO_MANIFEST_DIR")).expect("the package is there");
        open.file = Arc::new(fit);
        // No machine has memory for such a stack.
        let unfit = thread::Builder::new().stack_size(1 << 60);
        open.begin_flush_on(unfit).expect_err("there is no thread");
        outcome(open.begin_flush().expect("a thread"))
            .expect_err("what went before was not flushed");
        outcome(open.begin_flush().expect("a thread")).expect("the file itself can be flushed");
    }
}
