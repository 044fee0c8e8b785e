//! Writes a table, front to back: data blocks, with an index leaf and a filter after as many as
//! the leaf points to, then the deleted ranges, the top of the index and the footer.

use super::TableMeta;
use super::block::{DATA_INTERVAL, Handle, INDEX_INTERVAL, PLAIN, Part, seal};
use super::block_builder::{BlockBuilder, Compressor};
use super::filter::{self, hash};
use super::footer::{self, Footer};
use super::ranges;
use crate::blob::{self, Pointer};
use crate::bytes::common_prefix;
use crate::error::{Error, Result};
use crate::limits::Budgets;
use crate::manifest::FORMAT;
use crate::planted::{Bug, planted};
use crate::record::{Op, Record, order};
use crate::stamp::Stamp;
use crate::storage::{Durability, FileNo, Storage};
use core::cmp::Ordering;
use std::rc::Rc;

/// An index leaf points to as many blocks at least where keys are long for a block: or the top
/// would have nearly all of the index.
const LEAF_MIN: usize = 16;
/// What has gathered is written once it is this much, in bytes.
const WRITE_BYTES: usize = 64 * 1024;
/// What was written is flushed once it is this much, so that no flush takes long.
const SYNC_BYTES: u64 = 1024 * 1024;

/// Writes one table into a file that holds no bytes yet. It holds the open block, the index of
/// the open leaf, a hash for every key below it, and what waits to be written.
pub struct TableBuilder<S: Storage> {
    storage: Rc<S>,
    block_bytes: usize,
    filter_bits: usize,
    meta: TableMeta,
    /// The file from `written` on, up to and including the open data block.
    data: BlockBuilder,
    written: u64,
    synced: u64,
    leaf: BlockBuilder,
    top: BlockBuilder,
    ranges: BlockBuilder,
    compressor: Compressor,
    /// Of the keys below the open leaf.
    hashes: Vec<u64>,
    last: (Vec<u8>, Stamp),
    /// Where the last deleted range ends.
    range_end: Box<[u8]>,
}

impl<S: Storage> TableBuilder<S> {
    /// A builder of the table `id`; `salt` is random.
    pub fn new(
        storage: Rc<S>,
        file: FileNo,
        id: u64,
        salt: u64,
        budgets: &Budgets,
    ) -> TableBuilder<S> {
        let mut data = BlockBuilder::new(DATA_INTERVAL);
        data.append(&footer::header(FORMAT, id, salt));
        TableBuilder {
            storage,
            block_bytes: budgets.block_bytes,
            filter_bits: budgets.filter_bits,
            meta: TableMeta {
                id,
                file,
                salt,
                bytes: 0,
                sets: 0,
                deletes: 0,
                smallest: Box::default(),
                largest: Box::default(),
                oldest: Stamp::MAX,
                newest: Stamp::ZERO,
                ranges: 0,
                hidden: 0,
                blobs: Vec::new(),
            },
            data,
            written: 0,
            synced: 0,
            leaf: BlockBuilder::new(INDEX_INTERVAL),
            top: BlockBuilder::new(INDEX_INTERVAL),
            ranges: BlockBuilder::new(INDEX_INTERVAL),
            compressor: Compressor::new(budgets.compression),
            hashes: Vec::new(),
            last: (Vec::new(), Stamp::ZERO),
            range_end: Box::default(),
        }
    }

    /// Whether there are no versions yet.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty()
    }

    /// The last key added.
    pub fn last_key(&self) -> &[u8] {
        &self.last.0
    }

    /// The size of the file so far, in bytes.
    pub fn bytes(&self) -> u64 {
        self.written + (self.data.closed().len() + self.data.open_bytes()) as u64
    }

    /// Appends a version, which sorts after all before it.
    ///
    /// # Errors
    /// `Io` where it does not: a table out of order would hide data.
    pub fn add(&mut self, record: Record<'_>) -> Result<()> {
        let first = self.is_empty();
        let (last_key, last_stamp) = &self.last;
        let before = order((last_key, *last_stamp), (record.key, record.stamp));
        if !first && before != Ordering::Less {
            return Err(Error::io("a version was added to a table out of order"));
        }
        let new_key = first || *last_key != record.key;
        // A value larger than a block gets one of its own: its neighbours are read without it.
        let value_bytes = match record.op {
            Op::Set { value, .. } => value.len(),
            Op::Delete => 0,
        };
        let open_bytes = self.data.open_bytes();
        if open_bytes >= self.block_bytes || open_bytes > 0 && value_bytes >= self.block_bytes {
            self.close_block(Some(record.key));
        }
        self.data.add(record);
        self.count(&record, new_key);
        if first {
            self.meta.smallest = record.key.into();
        }
        // The versions of a key may go on below the next leaf.
        if new_key || self.hashes.is_empty() {
            self.hashes.push(hash(record.key));
        }
        if new_key {
            self.last.0.clear();
            self.last.0.extend_from_slice(record.key);
        }
        self.last.1 = record.stamp;
        Ok(())
    }

    fn count(&mut self, record: &Record<'_>, is_newest: bool) {
        match record.op {
            Op::Set { value, in_blob, .. } => {
                self.meta.sets += 1;
                let mut bytes = (record.key.len() + value.len()) as u64;
                if in_blob && let Some(pointer) = Pointer::decode(value) {
                    blob::count(&mut self.meta.blobs, pointer);
                    bytes = pointer.len;
                }
                if !is_newest {
                    self.hide(bytes);
                }
            }
            Op::Delete => self.meta.deletes += 1,
        }
        self.date(record.stamp);
    }

    fn date(&mut self, stamp: Stamp) {
        self.meta.oldest = self.meta.oldest.min(stamp);
        self.meta.newest = self.meta.newest.max(stamp);
    }

    /// Counts bytes that the deletes hide, here or in tables below.
    pub fn hide(&mut self, bytes: u64) {
        self.meta.hidden = self.meta.hidden.saturating_add(bytes);
    }

    /// Adds a piece of a deleted range, once all versions are added. Pieces don't overlap and come
    /// in order; `stamps` of one come oldest first.
    pub fn add_range(&mut self, start: &[u8], end: &[u8], stamps: &[Stamp]) {
        for stamp in stamps.iter().rev() {
            let op = Op::Set { value: end, expires_at: 0, in_blob: false };
            self.ranges.add(Record { key: start, stamp: *stamp, op });
            self.date(*stamp);
            self.meta.ranges += 1;
        }
        if self.is_empty() && self.range_end.is_empty() || *start < *self.meta.smallest {
            self.meta.smallest = start.into();
        }
        self.range_end = end.into();
    }

    /// Closes the data block; `next` is the first key of the one after it.
    fn close_block(&mut self, next: Option<&[u8]>) {
        let mut handle = Vec::new();
        let offset = self.offset();
        self.data.close(self.meta.salt, offset, &mut self.compressor).put(&mut handle);
        let op = Op::Set { value: &handle, expires_at: 0, in_blob: false };
        let (key, stamp) = &self.last;
        let shorter = next.and_then(|next| separator(key, next));
        self.leaf.add(match &shorter {
            Some(key) => Record { key, stamp: Stamp::ZERO, op },
            None => Record { key, stamp: *stamp, op },
        });
        let is_long = 4 * self.last.0.len() >= self.block_bytes;
        let has_many = !is_long || self.leaf.entries() >= LEAF_MIN;
        let is_full = self.leaf.open_bytes() >= self.block_bytes && has_many;
        if next.is_none() || is_full {
            self.close_leaf();
        }
    }

    /// Closes the index leaf, behind the data block that was closed just before, and its filter.
    fn close_leaf(&mut self) {
        let offset = self.offset();
        let leaf = self.leaf.close(self.meta.salt, offset, &mut self.compressor);
        self.data.append(self.leaf.closed());
        self.leaf.clear_closed();
        let part = Part { leaf, filter: Some(self.append_filter()) };
        let mut value = Vec::new();
        part.put(&mut value);
        let op = Op::Set { value: &value, expires_at: 0, in_blob: false };
        let (key, stamp) = self.leaf.last();
        self.top.add(Record { key, stamp, op });
    }

    /// Where in the file the next block begins; the open one, if there is one.
    fn offset(&self) -> u64 {
        self.written + self.data.closed().len() as u64
    }

    /// Writes the closed blocks, if they are enough for a write.
    ///
    /// # Errors
    /// Those of [`Storage::write`] and [`Storage::sync`]; the builder is of no use after one.
    pub async fn flush_if_due(&mut self) -> Result<()> {
        if self.data.closed().len() < WRITE_BYTES {
            return Ok(());
        }
        let closed = self.data.closed();
        let written = self.written + closed.len() as u64;
        self.storage.write(self.meta.file, self.written, closed, Durability::Relaxed).await?;
        self.written = written;
        self.data.clear_closed();
        if self.written - self.synced >= SYNC_BYTES && !self.storage.flushes_ahead() {
            self.storage.sync(self.meta.file).await?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Writes the rest and makes the file durable.
    ///
    /// # Errors
    /// Those of [`Storage::write`].
    pub async fn finish(mut self) -> Result<TableMeta> {
        if self.data.open_bytes() > 0 {
            self.close_block(None);
        }
        let deleted = core::mem::replace(&mut self.ranges, BlockBuilder::new(INDEX_INTERVAL));
        let deleted = match deleted.open_bytes() {
            0 => Handle::default(),
            _ => self.append_block(deleted),
        };
        let top = core::mem::replace(&mut self.top, BlockBuilder::new(INDEX_INTERVAL));
        let top = self.append_block(top);
        let footer = Footer {
            top,
            ranges: deleted,
            sets: self.meta.sets,
            deletes: self.meta.deletes,
            id: self.meta.id,
            deleted_ranges: self.meta.ranges,
            format: FORMAT,
        };
        let footer = footer.encode(self.meta.salt, self.offset());
        self.data.append(&footer);
        self.meta.bytes = self.offset();
        let last = core::mem::take(&mut self.last.0);
        self.meta.largest = (&*last).max(ranges::bound(&self.range_end)).into();
        let rest = self.data.closed();
        let durability = match planted(Bug::TableNotFlushed) {
            true => Durability::Relaxed,
            false => Durability::Strict,
        };
        self.storage.write(self.meta.file, self.written, rest, durability).await?;
        Ok(self.meta)
    }

    /// Appends a block that stands by itself, unless it has no entries.
    fn append_block(&mut self, mut block: BlockBuilder) -> Handle {
        let offset = self.offset();
        if block.open_bytes() == 0 {
            return Handle { offset, len: 0 };
        }
        let handle = block.close(self.meta.salt, offset, &mut self.compressor);
        self.data.append(block.closed());
        handle
    }

    fn append_filter(&mut self) -> Handle {
        let offset = self.offset();
        let mut block = Vec::new();
        filter::build(&mut block, &self.hashes, self.filter_bits);
        seal(&mut block, 0, PLAIN, self.meta.salt, offset);
        self.hashes.clear();
        self.data.append(&block);
        Handle { offset, len: block.len() as u32 }
    }
}

/// A key that is greater than `before` and less than `next` and shorter than `before`, if there
/// is one: what `before` has in common with `next` and a little more, its last byte one greater.
fn separator(before: &[u8], next: &[u8]) -> Option<Vec<u8>> {
    let common = common_prefix(before, next);
    let differs = *before.get(common)?;
    let bump = if differs.saturating_add(1) < *next.get(common)? {
        common
    } else {
        let rest = before.get(common + 1..)?;
        common + 1 + rest.iter().position(|byte| *byte != u8::MAX)?
    };
    if bump + 1 >= before.len() {
        return None;
    }
    let mut key = before.get(..=bump)?.to_vec();
    *key.last_mut()? += 1;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_separator_lies_between_its_keys(
            mut keys in vec(vec(prop_oneof![Just(0), Just(1), Just(254), Just(255)], 0..6), 2)
        ) {
            keys.sort();
            if let Some(between) = separator(&keys[0], &keys[1]) {
                prop_assert!(keys[0] < between && between < keys[1], "{between:?}");
                prop_assert!(between.len() < keys[0].len());
            }
        }
    }
}
