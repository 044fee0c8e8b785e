//! Walks a table in one direction. Steps within a block are plain calls; only the move to the
//! next block is asynchronous.

use super::block::{Block, Handle};
use super::block_cursor::BlockCursor;
use super::window::Window;
use super::{Table, TableMeta};
use crate::error::Result;
use crate::memtable::OwnedOp;
use crate::record::Record;
use crate::stamp::Stamp;
use crate::storage::Storage;
use std::rc::Rc;

/// A cursor reads so many blocks by themselves before it reads ahead, so that a short list fills
/// the cache and reads no more than it needs.
const SINGLE_READS: u32 = 2;

/// A place in a table. It is nowhere until one of the asynchronous methods has put it somewhere.
pub struct TableCursor<S: Storage> {
    table: Rc<Table<S>>,
    reverse: bool,
    top: BlockCursor,
    leaf: BlockCursor,
    data: BlockCursor,
    /// Data blocks read so far that were not in the cache.
    reads: u32,
    window: Window,
}

impl<S: Storage> TableCursor<S> {
    /// A cursor for one direction. With `bulk` all of the table will be read, once: it reads
    /// much at a time from the beginning and leaves the cache alone.
    pub fn new(table: Rc<Table<S>>, reverse: bool, bulk: bool) -> TableCursor<S> {
        TableCursor {
            table,
            reverse,
            top: BlockCursor::new(reverse),
            leaf: BlockCursor::new(reverse),
            data: BlockCursor::new(reverse),
            reads: if bulk { SINGLE_READS } else { 0 },
            window: Window::default(),
        }
    }

    /// What the manifest keeps of the table.
    pub fn meta(&self) -> &TableMeta {
        self.table.meta()
    }

    /// Whether it goes from the last entry to the first.
    pub fn reverse(&self) -> bool {
        self.reverse
    }

    /// Goes to the first entry, in reverse to the last one.
    ///
    /// # Errors
    /// Those of [`Table::get`], here and below.
    pub async fn enter(&mut self) -> Result<bool> {
        if self.table.meta.is_empty() {
            return Ok(false);
        }
        let Some(top) = self.passing(self.table.top().await)? else { return Ok(false) };
        if !self.top.enter(top)? {
            return Ok(false);
        }
        if let Some(leaf) = self.leaf_block().await? {
            if !self.leaf.enter(leaf)? {
                return Ok(false);
            }
            if let Some(data) = self.data_block().await?
                && self.data.enter(data)?
            {
                return Ok(true);
            }
        }
        self.next_block().await
    }

    /// Goes to the first entry at or past (`key`, `stamp`), in reverse to the last one before it;
    /// false where there is none.
    pub async fn seek(&mut self, key: &[u8], stamp: Stamp) -> Result<bool> {
        if self.table.meta.is_empty() {
            return Ok(false);
        }
        let Some(top) = self.passing(self.table.top().await)? else { return Ok(false) };
        if !self.top.seek(top, key, stamp, true)? {
            return Ok(false);
        }
        if let Some(leaf) = self.leaf_block().await? {
            if !self.leaf.seek(leaf, key, stamp, true)? {
                return Ok(false);
            }
            if let Some(data) = self.data_block().await?
                && self.data.seek(data, key, stamp, false)?
            {
                return Ok(true);
            }
        }
        self.next_block().await
    }

    /// Goes to the first entry of the next block, in reverse to the last one of the block before;
    /// false, and nowhere, at the end of the table.
    pub async fn next_block(&mut self) -> Result<bool> {
        loop {
            if !self.leaf.step()? {
                if !self.top.step()? {
                    return Ok(false);
                }
                let Some(leaf) = self.leaf_block().await? else { continue };
                if !self.leaf.enter(leaf)? {
                    continue;
                }
            }
            if let Some(data) = self.data_block().await?
                && self.data.enter(data)?
            {
                return Ok(true);
            }
        }
    }

    /// Goes to the next entry, in reverse to the one before; false at the end of the block: then
    /// [`TableCursor::next_block`] goes on.
    ///
    /// # Errors
    /// `Corruption` where there is no valid entry.
    #[inline]
    pub fn step(&mut self) -> Result<bool> {
        self.data.step()
    }

    /// As [`BlockCursor::run_on`].
    pub fn run_on(&mut self, start: &[u8], take: impl FnMut(Record<'_>, usize) -> bool) {
        self.data.run_on(start, take);
    }

    /// The current entry.
    #[inline]
    pub fn record(&self) -> Record<'_> {
        self.data.record()
    }

    /// The current key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.data.key()
    }

    /// The current stamp.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        self.data.stamp()
    }

    /// As [`BlockCursor::shared`].
    #[inline]
    pub fn shared(&self) -> usize {
        self.data.shared()
    }

    /// As [`BlockCursor::may_stay`].
    #[inline]
    pub fn may_stay(&self) -> bool {
        self.data.may_stay()
    }

    /// The current op, which goes on sharing its block.
    pub fn owned_op(&self) -> OwnedOp {
        self.data.owned_op()
    }

    /// A key that no key of the current block is greater than.
    pub fn block_end(&self) -> &[u8] {
        self.leaf.key()
    }

    /// The leaf that the top is at; None where it is passed over.
    async fn leaf_block(&self) -> Result<Option<Block>> {
        self.passing(self.table.cached_block(self.top.part()?.leaf).await)
    }

    /// The block that the leaf is at; None where it is passed over.
    async fn data_block(&mut self) -> Result<Option<Block>> {
        let handle = self.leaf.handle()?;
        let block = match self.window.block(&self.table, handle) {
            Ok(None) => self.load(handle).await,
            Ok(Some(bytes)) => self.table.block(bytes, handle),
            Err(error) => Err(error),
        };
        self.passing(block)
    }

    fn passing<T>(&self, read: Result<T>) -> Result<Option<T>> {
        self.table.shared.passing(read)
    }

    async fn load(&mut self, handle: Handle) -> Result<Block> {
        let table = &self.table;
        let cached = table.shared.cache.get(table.meta.id, handle.offset).as_deref().cloned();
        if let Some(block) = cached {
            block.fetch();
            return block.with_entries();
        }
        if self.reads < SINGLE_READS {
            self.reads += 1;
            return table.read_block(handle).await;
        }
        let bytes = self.window.load(table, handle, self.reverse).await?;
        table.block(bytes, handle)
    }
}
