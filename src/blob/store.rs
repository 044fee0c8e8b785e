//! The blob files of an open database: which there are, which one is written, and reading them.

use super::stream::{self, Stretch};
use super::{BlobMeta, HEADER_BYTES, Pointer, RESERVE_ID};
use crate::bytes::Bytes;
use crate::error::{Code, Error, Result};
use crate::external::External;
use crate::signal::Turnstile;
use crate::storage::{FileNo, Storage};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A blob file. Whoever may read it holds an `Rc`, and while somebody does it is not removed.
#[derive(Debug)]
pub struct BlobFile {
    meta: BlobMeta,
    len: Cell<u64>,
    logs_before: Cell<u64>,
    /// The header is known to be right.
    checked: Cell<bool>,
    /// A value in it could not be moved to another file.
    damaged: Cell<bool>,
    /// The manifest does not name it any more.
    retired: Cell<bool>,
}

impl BlobFile {
    /// The file that `meta` describes.
    pub fn new(meta: BlobMeta) -> Rc<BlobFile> {
        Rc::new(BlobFile {
            len: Cell::new(meta.bytes),
            logs_before: Cell::new(meta.logs_before),
            checked: Cell::new(false),
            damaged: Cell::new(false),
            retired: Cell::new(false),
            meta,
        })
    }

    /// What the manifest kept of it when it was opened.
    pub fn meta(&self) -> &BlobMeta {
        &self.meta
    }

    /// What the manifest is to keep of it.
    pub fn describe(&self) -> BlobMeta {
        let bytes = if self.is_sealed() { self.size() } else { 0 };
        BlobMeta { bytes, logs_before: self.logs_before.get(), ..self.meta.clone() }
    }

    /// Its length in bytes, as far as values were written.
    pub fn size(&self) -> u64 {
        self.len.get()
    }

    /// Notes a value that could not be moved: the file is not to be emptied again.
    pub fn note_damage(&self) {
        self.damaged.set(true);
    }

    /// Takes back values at its end that nothing points at.
    pub fn shrink(&self, len: u64) {
        self.len.set(len.min(self.size()));
    }

    /// Notes that there are values up to here.
    pub fn grow(&self, len: u64) {
        self.len.set(len);
    }

    pub(super) fn seed(&self, offset: u64) -> u64 {
        self.meta.salt.wrapping_add(offset)
    }

    /// Whether nothing but the list of all files has it.
    fn is_garbage(file: &Rc<BlobFile>) -> bool {
        file.retired.get() && Rc::strong_count(file) == 1
    }

    fn is_sealed(&self) -> bool {
        self.logs_before.get() != u64::MAX
    }

    /// Ends it: logs from the number `next_log` on don't point into it.
    fn seal(&self, next_log: u64) {
        self.logs_before.set(self.logs_before.get().min(next_log));
    }

    /// Looks at the header, the first time.
    pub(super) async fn check<S: Storage>(&self, storage: &S) -> Result<()> {
        if !self.checked.get() {
            let mut header = [0; HEADER_BYTES];
            let read = storage.read(self.meta.file, 0, &mut header).await?;
            self.meta.check_header(header.get(..read).unwrap_or_default())?;
            self.checked.set(true);
        }
        Ok(())
    }
}

/// A large value that can be read, also when it is overwritten meanwhile.
#[derive(Clone, Debug)]
pub struct Large {
    pub(super) file: Rc<BlobFile>,
    pub(super) pointer: Pointer,
}

impl Large {
    /// Where it is.
    pub fn pointer(&self) -> Pointer {
        self.pointer
    }

    /// A damaged length must not have memory taken for it.
    pub(super) fn check_bounds(&self) -> Result<()> {
        let Pointer { offset, len, .. } = self.pointer;
        match offset.checked_add(len) {
            Some(end) if offset >= HEADER_BYTES as u64 && end <= self.file.size() => Ok(()),
            _ => {
                let message = "a large value lies outside of its file";
                Err(Error::corruption(self.file.meta.file, offset, message))
            }
        }
    }

    /// The file it is in.
    pub fn file(&self) -> &BlobFile {
        &self.file
    }
}

/// A value as readers get it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Tag byte and payload.
    Inline(Bytes),
    /// One that is not in the engine's memory: from a blob file, or moved out.
    Large {
        /// The tag byte.
        kind: u8,
        /// The payload.
        payload: External,
    },
}

impl Value {
    /// Moves the value out of the engine's memory where it is longer than `max` bytes. Returns how
    /// many it takes there.
    ///
    /// # Errors
    /// `TooLarge` where there is no memory for it.
    pub fn confine(&mut self, max: usize) -> Result<usize> {
        match self {
            Value::Inline(bytes) if bytes.len() <= max => Ok(bytes.len()),
            Value::Inline(bytes) => {
                if let Some((&kind, bytes)) = bytes.split_first() {
                    let mut payload = External::zeroed(bytes.len())?;
                    payload.fill(0, bytes);
                    *self = Value::Large { kind, payload };
                }
                Ok(0)
            }
            Value::Large { .. } => Ok(0),
        }
    }

    /// Copies the value, so that it does not keep the block in memory that it was read from.
    pub fn leave_block(&mut self) {
        if let Value::Inline(bytes) = self {
            *bytes = Bytes::copy(bytes);
        }
    }

    /// Tag byte and payload in one piece: for tests and tools.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Value::Inline(bytes) => bytes.to_vec(),
            Value::Large { kind, payload } => [&[*kind], &**payload].concat(),
        }
    }
}

/// The blob files of a database.
#[derive(Default)]
pub struct Blobs {
    /// Those that the manifest names, and those that are still read.
    files: RefCell<Vec<Rc<BlobFile>>>,
    /// The one that is written to.
    active: RefCell<Option<Rc<BlobFile>>>,
    /// The one that compaction goes on with: each having a file of its own would make many.
    receiving: RefCell<Option<Rc<BlobFile>>>,
    /// Those with values that are not flushed yet.
    unflushed: RefCell<Vec<FileNo>>,
    /// Those that are being flushed.
    flushing: RefCell<Vec<FileNo>>,
    /// Less than half of these lives.
    stale: RefCell<Vec<u64>>,
    /// Bytes written since the memtable was frozen.
    recent_bytes: Cell<u64>,
    /// One value is read at a time: all go through the same buffer.
    reading: Turnstile,
    scratch: Cell<Vec<u8>>,
}

impl Blobs {
    /// Takes in the files that the manifest of an open names, and goes on with the one that was
    /// written last where it has room: less than `bytes_max`. The logs of this open have numbers
    /// from `next_log` on: into a file that is not gone on with they don't point.
    ///
    /// # Errors
    /// Those of asking the storage.
    pub async fn open<S: Storage>(
        storage: &S,
        metas: &[BlobMeta],
        next_log: u64,
        bytes_max: u64,
    ) -> Result<Blobs> {
        let blobs = Blobs::default();
        for meta in metas.iter().filter(|meta| meta.id != RESERVE_ID) {
            let file = BlobFile::new(meta.clone());
            if !file.is_sealed() {
                // One that is missing or damaged is reported when it is read.
                let whole = match storage.len(meta.file).await {
                    Ok(len) => {
                        file.grow(len);
                        file.check(storage).await
                    }
                    Err(error) => Err(error),
                };
                match whole {
                    Ok(()) if file.size() < bytes_max => {
                        if let Some(before) = blobs.active.replace(Some(file.clone())) {
                            before.seal(next_log);
                        }
                    }
                    Err(error) if !error.is_damage() => return Err(error),
                    _ => file.seal(next_log),
                }
            }
            if meta.logs_before == 0 {
                *blobs.receiving.borrow_mut() = Some(file.clone());
            }
            blobs.files.borrow_mut().push(file);
        }
        Ok(blobs)
    }

    /// The file that a compaction goes on with, as it is now, if it has room: less than
    /// `bytes_max`. It is given back by [`Blobs::receive`] once the manifest has what was added.
    pub fn take_receiving(&self, bytes_max: u64) -> Option<Rc<BlobFile>> {
        let file = self.receiving.take()?;
        let is_alive = !file.retired.get() && !self.stale.borrow().contains(&file.meta.id);
        (is_alive && file.size() < bytes_max).then(|| BlobFile::new(file.describe()))
    }

    /// Has the next compaction go on with a file.
    pub fn receive(&self, file: Option<Rc<BlobFile>>) {
        *self.receiving.borrow_mut() = file;
    }

    /// The file with this number.
    pub fn find(&self, id: u64) -> Option<Rc<BlobFile>> {
        self.files.borrow().iter().find(|file| file.meta.id == id).cloned()
    }

    /// All files: what is held stays, and so do the values in it.
    pub fn hold(&self) -> Vec<Rc<BlobFile>> {
        self.files.borrow().clone()
    }

    /// The sizes of the files that the manifest names, in bytes.
    pub fn sizes(&self) -> Vec<u64> {
        let files = self.files.borrow();
        files.iter().filter(|file| !file.retired.get()).map(|file| file.size()).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.borrow().is_empty()
    }

    /// Adds a file.
    pub fn add(&self, file: Rc<BlobFile>) {
        self.files.borrow_mut().push(file);
    }

    /// The file that is written to.
    pub fn active(&self) -> Option<Rc<BlobFile>> {
        self.active.borrow().clone()
    }

    /// Has another file written to, or none; logs from `next_log` on don't point into the one
    /// before.
    pub fn switch(&self, to: Option<Rc<BlobFile>>, next_log: u64) {
        if let Some(before) = self.active.replace(to) {
            before.seal(next_log);
        }
    }

    /// Notes that a value was appended to `file`, which, unless it `is_flushed`, is to be flushed
    /// before any log points at it.
    pub fn wrote(&self, file: &BlobFile, bytes: u64, is_flushed: bool) {
        self.recent_bytes.set(self.recent_bytes.get() + bytes);
        let mut unflushed = self.unflushed.borrow_mut();
        if !is_flushed && !unflushed.contains(&file.meta.file) {
            unflushed.push(file.meta.file);
        }
    }

    /// Whether a file has values that are not known to be flushed.
    pub fn is_unflushed(&self, file: &BlobFile) -> bool {
        let lists = [&self.unflushed, &self.flushing];
        lists.into_iter().any(|list| list.borrow().contains(&file.meta.file))
    }

    /// The files to be flushed before a log points at what was written. Once that is done
    /// [`Blobs::flushed`] is to be called.
    pub fn take_unflushed(&self) -> Vec<FileNo> {
        let files = self.unflushed.take();
        self.flushing.borrow_mut().clone_from(&files);
        files
    }

    /// The files that were taken are flushed.
    pub fn flushed(&self) {
        self.flushing.borrow_mut().clear();
    }

    /// Nothing will point at what is not flushed.
    pub fn forget_unflushed(&self) {
        self.unflushed.borrow_mut().clear();
        self.flushed();
    }

    /// Bytes written since the last call of [`Blobs::forget_recent`].
    pub fn recent_bytes(&self) -> u64 {
        self.recent_bytes.get()
    }

    /// Notes that the logs that an open has read point at so many bytes.
    pub fn recall_recent(&self, bytes: u64) {
        self.recent_bytes.set(bytes);
    }

    /// See [`Blobs::recent_bytes`].
    pub fn forget_recent(&self) {
        self.recent_bytes.set(0);
    }

    /// Those of which less than half lives, so that compaction is to move it.
    pub fn stale(&self) -> Vec<u64> {
        self.stale.borrow().clone()
    }

    /// Brings `metas` up to date, before they go to the manifest.
    pub fn describe(&self, metas: &mut [BlobMeta]) {
        for meta in metas {
            if let Some(file) = self.find(meta.id) {
                *meta = file.describe();
            }
        }
    }

    /// Takes note of what the manifest names, and which of it is `stale`.
    pub fn follow(&self, metas: &[BlobMeta], mut stale: Vec<u64>) {
        for file in self.files.borrow().iter() {
            file.retired.set(!metas.iter().any(|meta| meta.id == file.meta.id));
            stale.retain(|id| *id != file.meta.id || !file.damaged.get());
        }
        // Held by nobody it is garbage: nothing may be moved for long.
        self.receiving.borrow_mut().take_if(|file| file.retired.get());
        *self.stale.borrow_mut() = stale;
    }

    /// Whether there are files that nothing names or reads any more.
    pub fn has_garbage(&self) -> bool {
        self.files.borrow().iter().any(BlobFile::is_garbage)
    }

    /// The files that nothing names or reads any more.
    pub fn take_garbage(&self) -> Vec<FileNo> {
        let mut garbage = Vec::new();
        self.files.borrow_mut().retain(|file| {
            let goes = BlobFile::is_garbage(file);
            if goes {
                garbage.push(file.meta.file);
            }
            !goes
        });
        // A commit that failed may have left values to be flushed that nothing points at.
        self.unflushed.borrow_mut().retain(|file| !garbage.contains(file));
        garbage
    }

    /// The value that an encoded pointer points at.
    ///
    /// # Errors
    /// `Corruption` where it is no pointer, or the manifest names no such file.
    pub fn locate(&self, pointer: &[u8]) -> Result<Large> {
        let damaged = |message| Error::new(Code::Corruption, message);
        let pointer = Pointer::decode(pointer)
            .ok_or_else(|| damaged("a pointer to a large value is damaged"))?;
        let file = self.find(pointer.blob);
        let file = file.ok_or_else(|| damaged("the manifest lacks the file of a large value"))?;
        Ok(Large { file, pointer })
    }

    /// Reads a value; calls `pause` after each stretch.
    ///
    /// # Errors
    /// `Corruption` with file and offset where it is damaged, and those of the storage and of
    /// `pause`.
    pub async fn read<S: Storage>(
        &self,
        storage: &S,
        large: &Large,
        stretch: Stretch,
        pause: impl AsyncFn() -> Result<()>,
    ) -> Result<Value> {
        let _turn = self.reading.enter().await;
        let Pointer { len, kind, .. } = large.pointer;
        large.check_bounds()?;
        let mut payload = External::zeroed(usize::try_from(len).unwrap_or(usize::MAX))?;
        let scratch = self.scratch.take();
        let mut fill = |at: u64, piece: &[u8]| payload.fill(at as usize, piece);
        let used = stream::read_pieces(storage, large, scratch, stretch, pause, &mut fill).await?;
        self.scratch.set(used);
        Ok(Value::Large { kind, payload })
    }
}
