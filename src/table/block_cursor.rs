//! Walks the entries of one block after another, in one direction.
//!
//! Forward, a key is put together in place from the one before it. In reverse that is impossible,
//! so the interval of entries after a restart is put together as a whole and then taken from its
//! end. Both reuse their buffers: a step allocates nothing.

use super::block::{Block, DATA_INTERVAL, Entry, Handle, Part, Reached};
use crate::error::Result;
use crate::memtable::OwnedOp;
use crate::record::{Op, Record, order};
use crate::stamp::Stamp;
use core::cmp::Ordering;
use core::ops::Range;

/// A place in a block.
pub struct BlockCursor {
    reverse: bool,
    block: Option<Block>,
    entry: Entry,
    /// Where the current key lies in `keys`.
    key: Range<usize>,
    /// Forward: the current key. In reverse: the keys of an interval, end to end.
    keys: Vec<u8>,
    /// In reverse: the entries of the interval that are still to come, with their keys.
    waiting: Vec<(Entry, Range<usize>)>,
    /// In reverse: the interval that `waiting` is from.
    restart: usize,
    same_key: bool,
}

impl BlockCursor {
    /// A cursor that is in no block yet.
    pub fn new(reverse: bool) -> BlockCursor {
        BlockCursor {
            reverse,
            block: None,
            entry: Entry::default(),
            key: 0..0,
            keys: Vec::with_capacity(if reverse { 512 } else { 64 }),
            waiting: Vec::with_capacity(if reverse { DATA_INTERVAL } else { 0 }),
            restart: 0,
            same_key: false,
        }
    }

    /// Goes to the first entry of `block`, in reverse to the last one.
    ///
    /// # Errors
    /// `Corruption`, here and below, where there is no valid entry.
    pub fn enter(&mut self, block: Block) -> Result<bool> {
        self.begin(block);
        self.step()
    }

    /// Goes before the first entry of `block`, in reverse behind the last one.
    pub fn begin(&mut self, block: Block) {
        self.waiting.clear();
        self.restart = block.restarts();
        self.entry = Entry::default();
        self.block = Some(block);
    }

    /// Goes to the first entry at or past (`key`, `stamp`) of `block`; in reverse to the last one
    /// before it, or with `inclusive` to the same one as forward would (the last one, if there is
    /// none). False where there is no such entry.
    pub fn seek(
        &mut self,
        block: Block,
        key: &[u8],
        stamp: Stamp,
        inclusive: bool,
    ) -> Result<bool> {
        if self.reverse {
            return self.seek_reverse(block, key, stamp, inclusive);
        }
        self.keys.clear();
        let found = block.search(key, stamp, &mut self.entry)? != Reached::End;
        if found {
            // A search stops at an entry that shares with `key` what it shares with the entry
            // before it.
            self.keys.extend_from_slice(key.get(..self.entry.shared).unwrap_or(key));
            self.keys.extend_from_slice(block.suffix(&self.entry));
            self.key = 0..self.keys.len();
        }
        self.same_key = false;
        self.block = Some(block);
        Ok(found)
    }

    fn seek_reverse(
        &mut self,
        block: Block,
        key: &[u8],
        stamp: Stamp,
        inclusive: bool,
    ) -> Result<bool> {
        self.restart = block.restart_before(key, stamp)?;
        let limit = Some((key, stamp));
        let met = self.gather(&block, limit, inclusive)?;
        if inclusive && !met && self.restart + 1 < block.restarts() {
            self.restart += 1;
            self.gather(&block, limit, true)?;
        }
        self.block = Some(block);
        self.step()
    }

    /// Goes to the next entry, in reverse to the one before; false, and nowhere, at the end of
    /// the block.
    #[inline]
    pub fn step(&mut self) -> Result<bool> {
        if self.reverse { self.step_reverse() } else { self.step_forward() }
    }

    #[inline(never)]
    fn step_forward(&mut self) -> Result<bool> {
        let Some(block) = &self.block else { return Ok(false) };
        if self.entry.end >= block.entries_end() {
            return Ok(false);
        }
        let entry = block.entry(self.entry.end)?;
        let suffix = block.suffix(&entry);
        self.same_key = match entry.shared {
            shared if shared > self.keys.len() => return Err(block.damaged()),
            shared if shared == self.keys.len() => suffix.is_empty(),
            0 => suffix == self.keys,
            _ => false,
        };
        block.put_key(&entry, &mut self.keys);
        self.key = 0..self.keys.len();
        self.entry = entry;
        Ok(true)
    }

    #[inline(never)]
    fn step_reverse(&mut self) -> Result<bool> {
        loop {
            if let Some((entry, key)) = self.waiting.pop() {
                (self.entry, self.key) = (entry, key);
                return Ok(true);
            }
            if self.restart == 0 {
                return Ok(false);
            }
            let Some(block) = self.block.take() else { return Ok(false) };
            self.restart -= 1;
            self.gather(&block, None, false)?;
            self.block = Some(block);
        }
    }

    /// Puts the entries of an interval in `waiting`, up to the first one at or past `limit`, with
    /// `inclusive` that one too; whether there was such a one.
    fn gather(
        &mut self,
        block: &Block,
        limit: Option<(&[u8], Stamp)>,
        inclusive: bool,
    ) -> Result<bool> {
        self.keys.clear();
        self.waiting.clear();
        let mut at = block.interval_start(self.restart)?;
        let end = block.interval_start(self.restart + 1)?;
        let mut before = 0..0;
        while at < end {
            let entry = block.entry(at)?;
            if entry.shared > before.len() {
                return Err(block.damaged());
            }
            let start = self.keys.len();
            self.keys.extend_from_within(before.start..before.start + entry.shared);
            self.keys.extend_from_slice(block.suffix(&entry));
            let key = start..self.keys.len();
            let met = limit.is_some_and(|limit| {
                let bytes = self.keys.get(key.clone()).unwrap_or_default();
                order((bytes, entry.stamp), limit) != Ordering::Less
            });
            if !met || inclusive {
                self.waiting.push((entry, key.clone()));
            }
            if met {
                return Ok(true);
            }
            before = key;
            at = entry.end;
        }
        Ok(false)
    }

    /// Forward: whether the entry is another version of the key before it, which may have been
    /// in the block before.
    #[inline]
    pub fn same_key(&self) -> bool {
        self.same_key
    }

    /// The current key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.keys.get(self.key.clone()).unwrap_or_default()
    }

    /// The current stamp.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        self.entry.stamp
    }

    /// The current entry.
    #[inline]
    pub fn record(&self) -> Record<'_> {
        let op = self.block.as_ref().map_or(Op::Delete, |block| block.op(&self.entry));
        Record { key: self.key(), stamp: self.entry.stamp, op }
    }

    /// The current op, which goes on sharing the block.
    pub fn owned_op(&self) -> OwnedOp {
        self.block.as_ref().map_or(OwnedOp::Delete, |block| block.owned_op(&self.entry))
    }

    /// The block that the current index entry points to.
    pub fn handle(&self) -> Result<Handle> {
        self.block.as_ref().map_or(Ok(Handle::default()), |block| block.handle(&self.entry))
    }

    /// What the current entry of the top of the index points to.
    pub fn part(&self) -> Result<Part> {
        let nowhere = Part { leaf: Handle::default(), filter: None };
        self.block.as_ref().map_or(Ok(nowhere), |block| block.part(&self.entry))
    }
}
