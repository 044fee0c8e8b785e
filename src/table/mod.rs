//! Sorted tables: immutable files of versions, in the order of [`crate::record::order`].
//!
//! docs/FORMAT.md has the bytes. A [`builder::TableBuilder`] writes one, front to back; a
//! [`Table`] reads it: the footer and the top of the index when it is first used, index leaves,
//! filters and data blocks through the block cache, so that memory does not grow with the data.

use crate::blob::{BlobFile, BlobUse, Blobs};
use crate::bytes::{Bytes, zeroed};
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::reader::Reader;
use crate::stamp::Stamp;
use crate::storage::{FileNo, Storage};
use block::{Block, Handle, Part};
use footer::{FOOTER_BYTES, Footer};
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

pub(crate) mod block;
mod block_builder;
pub(crate) mod block_cursor;
pub mod builder;
pub mod cursor;
mod filter;
mod footer;
mod guide;
mod lookup;
mod ranges;
#[cfg(test)]
mod tests;
mod verify;
mod window;

pub use builder::TableBuilder;
pub use cursor::TableCursor;
pub use filter::hash;
pub use lookup::{Loaded, Stop, Wanted, resolve};
pub use ranges::{RangeBlock, RangeCursor};
pub use verify::Verifier;

/// Opening a table reads this much of its end: the footer, and the top of the index with it.
const TAIL_BYTES: u64 = 4 * 1024;
/// An open table keeps a top of the index of up to so many bytes; a larger one is cached.
const TOP_BYTES_MAX: usize = 4 * 1024;

/// What the manifest keeps of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TableMeta {
    /// Its number, never given to another table.
    pub id: u64,
    /// The file it is in.
    pub file: FileNo,
    /// Mixed into all its checksums, so that blocks of another table are not taken for its own.
    pub salt: u64,
    /// The length of the file.
    pub bytes: u64,
    /// How many of its versions set a value.
    pub sets: u64,
    /// How many of its versions delete.
    pub deletes: u64,
    /// The first key that it holds or deletes.
    pub smallest: Box<[u8]>,
    /// The last key that it holds, or a later one where a range ends that it deletes; see
    /// [`ranges::bound`].
    pub largest: Box<[u8]>,
    /// The least stamp.
    pub oldest: Stamp,
    /// The greatest stamp.
    pub newest: Stamp,
    /// How many deletes of ranges it holds, counted by fragment and commit.
    pub ranges: u64,
    /// About how many bytes those hide, in this table and as it was written in those below; and how
    /// many of large values are known to be out of date in this table, or deleted in those below.
    pub hidden: u64,
    /// The blob files that its versions point into.
    pub blobs: Vec<BlobUse>,
}

impl TableMeta {
    /// Reads what serde wrote in a manifest of this format; None where it is something else.
    pub(crate) fn decode(rest: &mut Reader<'_>, format: u16) -> Option<TableMeta> {
        Some(TableMeta {
            id: rest.u64()?,
            file: rest.u32()?,
            salt: rest.u64()?,
            bytes: rest.u64()?,
            sets: rest.u64()?,
            deletes: rest.u64()?,
            smallest: rest.bytes()?.into(),
            largest: rest.bytes()?.into(),
            oldest: rest.stamp()?,
            newest: rest.stamp()?,
            ranges: if format >= 2 { rest.u64()? } else { 0 },
            hidden: if format >= 2 { rest.u64()? } else { 0 },
            blobs: if format >= 2 { rest.many(BlobUse::decode)? } else { Vec::new() },
        })
    }

    /// The table in a file that begins with `header`, for who has no manifest: it may hold any key
    /// and stamp. None where the file is something else.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn identify<S: Storage>(
        storage: &Rc<S>,
        header: &[u8],
        file: FileNo,
    ) -> Result<Option<TableMeta>> {
        let Some((id, salt)) = footer::identify(header) else { return Ok(None) };
        let bytes = storage.len(file).await?;
        let (largest, newest) = (Box::from([u8::MAX]), Stamp::MAX);
        let meta = TableMeta { id, file, salt, bytes, largest, newest, ..<_>::default() };
        let tables = Tables::new(storage.clone(), 0, Blobs::default(), None);
        let (footer, _) = Table::new(tables, meta.clone()).read_ends().await?;
        let Footer { sets, deletes, deleted_ranges: ranges, .. } = footer;
        Ok(Some(TableMeta { sets, deletes, ranges, ..meta }))
    }

    /// Whether the table may hold keys in `start..end`; no `end` is no bound.
    pub fn overlaps(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        *self.largest >= *start && end.is_none_or(|end| *self.smallest < *end)
    }

    /// Whether it holds deleted ranges only.
    pub fn is_empty(&self) -> bool {
        self.sets == 0 && self.deletes == 0
    }

    /// Its length in bytes, with the large values that it points to.
    pub fn held_bytes(&self) -> u64 {
        self.blobs.iter().fold(self.bytes, |sum, used| sum.saturating_add(used.bytes))
    }

    /// Whether any version points into a blob file.
    pub fn points_into(&self, blob: u64) -> bool {
        self.blobs.iter().any(|used| used.id == blob)
    }

    /// Whether the table may hold this key.
    pub fn spans(&self, key: &[u8]) -> bool {
        *self.smallest <= *key && *key <= *self.largest
    }
}

/// What all tables of an open database share.
pub struct Tables<S> {
    /// Where the files live.
    pub storage: Rc<S>,
    /// The blocks in memory.
    pub cache: Cache,
    /// The blob files.
    pub blobs: Blobs,
    /// Files of retired tables that nobody reads any more: the database removes them.
    pub garbage: RefCell<Vec<FileNo>>,
    /// Files that a manifest names which could not be stored, and no other: it may be in its slot
    /// until another is, which makes them garbage.
    pub in_doubt: RefCell<Vec<FileNo>>,
    /// Where damage is kept that cursors pass over; None where they stop at it.
    pub passed_over: Option<RefCell<Vec<Error>>>,
    /// How often that happened.
    pub passes: Cell<u64>,
}

/// Places of damage that are kept.
const DAMAGE_MAX: usize = 1_000;

/// Keeps damage, once.
pub fn keep_damage(kept: &mut Vec<Error>, error: Error) {
    if kept.len() < DAMAGE_MAX && !kept.contains(&error) {
        kept.push(error);
    }
}

impl<S> Tables<S> {
    /// No tables yet, in `storage`, with so much memory for blocks and the blob files that there
    /// are. Cursors add to `passed_over`
    /// what they pass over, if there is such a list.
    pub fn new(
        storage: Rc<S>,
        cache_bytes: usize,
        blobs: Blobs,
        passed_over: Option<Vec<Error>>,
    ) -> Rc<Tables<S>> {
        Rc::new(Tables {
            storage,
            cache: Cache::new(cache_bytes),
            blobs,
            garbage: RefCell::default(),
            in_doubt: RefCell::default(),
            passed_over: passed_over.map(RefCell::new),
            passes: Cell::new(0),
        })
    }

    /// What was read; None where it is damaged and is to be passed over.
    pub(crate) fn passing<T>(&self, read: Result<T>) -> Result<Option<T>> {
        match (read, &self.passed_over) {
            (Err(error), Some(kept)) if error.is_damage() => {
                keep_damage(&mut kept.borrow_mut(), error);
                self.passes.set(self.passes.get() + 1);
                Ok(None)
            }
            (read, _) => read.map(Some),
        }
    }
}

/// An open table. Opening one reads nothing yet.
pub struct Table<S: Storage> {
    shared: Rc<Tables<S>>,
    meta: TableMeta,
    ends: OnceCell<Ends>,
    retired: Cell<bool>,
    /// Held, so that they stay as long as the table is read.
    _blobs: Vec<Rc<BlobFile>>,
}

/// What is read from the end of the file on first use, and stays.
struct Ends {
    top_at: Handle,
    ranges: Handle,
    /// The top of the index, if it is small.
    top: Option<Top>,
}

/// The top of an index that stays in memory.
struct Top {
    block: Block,
    /// What its entries point to.
    parts: Vec<Part>,
}

impl Top {
    fn new(block: Block) -> Result<Top> {
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < block.entries_end() {
            let entry = block.entry(at)?;
            parts.push(block.part(&entry)?);
            at = entry.end;
        }
        Ok(Top { block: block.guided(), parts })
    }
}

impl<S: Storage> Table<S> {
    /// The table that `meta` describes.
    pub fn new(shared: Rc<Tables<S>>, meta: TableMeta) -> Rc<Table<S>> {
        let (ends, retired) = (OnceCell::new(), Cell::new(false));
        let _blobs = meta.blobs.iter().filter_map(|used| shared.blobs.find(used.id)).collect();
        Rc::new(Table { shared, meta, ends, retired, _blobs })
    }

    /// What the manifest keeps of it.
    pub fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// Marks the table as replaced: its file becomes garbage once the last reader lets it go.
    pub fn retire(&self) {
        self.retired.set(true);
    }

    async fn ends(&self) -> Result<&Ends> {
        if let Some(ends) = self.ends.get() {
            return Ok(ends);
        }
        let (footer, top) = self.read_ends().await?;
        let top = match top.len() {
            // A copy, for the rest of what was read is of no use any more.
            1..=TOP_BYTES_MAX => Some(Top::new(self.block(Bytes::copy(&top), footer.top)?)?),
            _ => None,
        };
        Ok(self.ends.get_or_init(|| Ends { top_at: footer.top, ranges: footer.ranges, top }))
    }

    /// The top of the index.
    async fn top(&self) -> Result<Block> {
        let ends = self.ends().await?;
        match &ends.top {
            Some(top) => Ok(top.block.clone()),
            None => self.cached_block(ends.top_at).await,
        }
    }

    /// Reads the footer, and the top of the index.
    async fn read_ends(&self) -> Result<(Footer, Bytes)> {
        let TableMeta { file, bytes, salt, id, .. } = self.meta;
        let tail_bytes = bytes.min(TAIL_BYTES);
        let tail_at = bytes - tail_bytes;
        let tail = self.read(tail_at, tail_bytes as usize).await?;
        let footer = Footer::decode(&tail, salt, file, bytes)?;
        if footer.id != id {
            let at = bytes.saturating_sub(FOOTER_BYTES as u64);
            return Err(Error::corruption(file, at, "the footer is of another table"));
        }
        let top = match footer.top.offset.checked_sub(tail_at) {
            _ if self.meta.is_empty() => Bytes::copy(&[]),
            Some(start) => self.verified(&tail, start as usize, footer.top)?,
            None => self.uncached(footer.top).await?,
        };
        Ok((footer, top))
    }

    /// A verified block with entries, through the cache.
    async fn cached_block(&self, handle: Handle) -> Result<Block> {
        let cached = self.shared.cache.get(self.meta.id, handle.offset).as_deref().cloned();
        match cached {
            Some(block) => block.with_entries(),
            None => self.read_block(handle).await?.with_entries(),
        }
    }

    /// A verified block with entries from the file, for the cache too.
    async fn read_block(&self, handle: Handle) -> Result<Block> {
        let bytes = self.uncached(handle).await?;
        Ok(self.keep(self.block(bytes, handle)?.guided()))
    }

    /// A verified filter from the file, for the cache too.
    async fn read_filter(&self, handle: Handle) -> Result<Block> {
        let bytes = self.uncached(handle).await?;
        Ok(self.keep(Block::filter(bytes, self.meta.file, handle.offset)))
    }

    /// Gives a block to the cache.
    fn keep(&self, block: Block) -> Block {
        self.shared.cache.insert(self.meta.id, block.clone());
        block
    }

    /// The block with entries in these bytes.
    fn block(&self, bytes: Bytes, handle: Handle) -> Result<Block> {
        Block::new(bytes, self.meta.file, handle.offset)
    }

    async fn uncached(&self, handle: Handle) -> Result<Bytes> {
        let buffer = self.read(handle.offset, handle.len as usize).await?;
        self.verified(&buffer, 0, handle)
    }

    /// Reads exactly this range of the file.
    async fn read(&self, offset: u64, len: usize) -> Result<Rc<[u8]>> {
        let file = self.meta.file;
        let cut_short = || Error::corruption(file, offset, "a table is cut short");
        if offset.checked_add(len as u64).is_none_or(|end| end > self.meta.bytes) {
            return Err(cut_short());
        }
        let mut buffer = zeroed(len);
        // The buffer was just made and is not shared yet.
        let Some(bytes) = Rc::get_mut(&mut buffer) else { return Err(cut_short()) };
        let read = self.shared.storage.read(file, offset, bytes).await?;
        if read < len { Err(cut_short()) } else { Ok(buffer) }
    }

    /// The bytes of a block that lies at `start` of `buffer`, once its checksum holds.
    fn verified(&self, buffer: &Rc<[u8]>, start: usize, handle: Handle) -> Result<Bytes> {
        let TableMeta { file, salt, .. } = self.meta;
        let range = start..start.saturating_add(handle.len as usize);
        block::open(buffer, range, salt, file, handle.offset)
    }
}

impl<S: Storage> Drop for Table<S> {
    fn drop(&mut self) {
        if self.retired.get() {
            self.shared.cache.forget(self.meta.id);
            self.shared.garbage.borrow_mut().push(self.meta.file);
        }
    }
}
