//! Walks the entries of one block after another, in one direction.
//!
//! Entries are put together an interval at a time, from one restart to the next, and then taken
//! from either end. Buffers are used again: a step allocates nothing.

use super::block::{Block, DATA_INTERVAL, Entry, Handle, Part};
use crate::bytes::{append, common_prefix, repeat};
use crate::error::Result;
use crate::memtable::OwnedOp;
use crate::record::{Op, Record, order};
use crate::stamp::Stamp;
use core::cmp::Ordering;
use core::ops::Range;

/// In place of how many bytes two keys share: they are the same.
pub const SAME_KEY: usize = usize::MAX;

/// How many bytes two keys share, or [`SAME_KEY`].
#[inline]
pub fn shared(a: &[u8], b: &[u8]) -> usize {
    let common = common_prefix(a, b);
    if common == a.len() && common == b.len() { SAME_KEY } else { common }
}

/// A place in a block.
pub struct BlockCursor {
    reverse: bool,
    block: Option<Block>,
    /// The entries of an interval, and others behind those.
    entries: Vec<Placed>,
    /// How many they are.
    count: usize,
    /// Their keys, end to end.
    keys: Vec<u8>,
    /// The place of the current entry in `entries`.
    at: usize,
    /// So many of `entries` are still to come.
    left: usize,
    /// Where the interval to come begins; in reverse, where it ends.
    restart: usize,
    /// What the current key and the one before it on the way share.
    shared: usize,
    /// The last key of the interval before.
    last: Vec<u8>,
}

/// An entry of an interval.
#[derive(Clone, Default)]
struct Placed {
    entry: Entry,
    /// Where its key lies in `keys`.
    key: Range<usize>,
    /// What its key and that of the entry in front of it in the block share.
    shared: usize,
}

impl BlockCursor {
    /// A cursor that is in no block yet.
    pub fn new(reverse: bool) -> BlockCursor {
        BlockCursor {
            reverse,
            block: None,
            entries: Vec::with_capacity(DATA_INTERVAL),
            keys: Vec::with_capacity(256),
            count: 0,
            at: 0,
            left: 0,
            restart: 0,
            shared: 0,
            last: Vec::new(),
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
        self.left = 0;
        self.restart = if self.reverse { block.restarts() } else { 0 };
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
        let restart = block.restart_before(key, stamp)?;
        self.put_together(&block, restart)?;
        let len = self.count;
        let comes_before = |placed: &Placed| {
            let found = self.keys.get(placed.key.clone()).unwrap_or_default();
            order((found, placed.entry.stamp), (key, stamp)) == Ordering::Less
        };
        let before = self.entries.get(..len).unwrap_or_default().partition_point(comes_before);
        if !self.reverse {
            self.left = len - before;
            self.restart = restart + 1;
        } else if inclusive && before == len && restart + 1 < block.restarts() {
            // The one at or past it is the first of the next interval.
            self.put_together(&block, restart + 1)?;
            self.left = 1;
            self.restart = restart + 1;
        } else {
            self.left = if inclusive { len.min(before + 1) } else { before };
            self.restart = restart;
        }
        self.block = Some(block);
        self.step()
    }

    /// Goes to the next entry, in reverse to the one before; false at the end of the block.
    #[inline]
    pub fn step(&mut self) -> Result<bool> {
        if self.left == 0 {
            return self.turn();
        }
        self.left -= 1;
        if self.reverse {
            self.shared = self.entries.get(self.at).map_or(0, |placed| placed.shared);
            self.at = self.left;
        } else {
            self.at = self.count - 1 - self.left;
            self.shared = self.entries.get(self.at).map_or(0, |placed| placed.shared);
        }
        Ok(true)
    }

    /// Goes on to the next interval.
    #[inline(never)]
    fn turn(&mut self) -> Result<bool> {
        let Some(block) = &self.block else { return Ok(false) };
        let next = match self.reverse {
            true => self.restart.checked_sub(1),
            false => Some(self.restart).filter(|restart| *restart < block.restarts()),
        };
        let Some(next) = next else { return Ok(false) };
        let block = block.clone();
        let mut last = std::mem::take(&mut self.last);
        last.clear();
        last.extend_from_slice(self.key());
        self.put_together(&block, next)?;
        self.left = self.count - 1;
        (self.at, self.restart) = if self.reverse { (self.left, next) } else { (0, next + 1) };
        self.shared = shared(self.key(), &last);
        self.last = last;
        Ok(true)
    }

    /// Puts the entries of an interval in `entries`, at least one.
    fn put_together(&mut self, block: &Block, restart: usize) -> Result<()> {
        self.keys.clear();
        self.left = 0;
        let (start, end) = (block.interval_start(restart)?, block.interval_start(restart + 1)?);
        self.count = self.try_put_together(block.entries(), start, end).unwrap_or(0);
        if self.count == 0 { Err(block.damaged()) } else { Ok(()) }
    }

    /// How many entries there are from `at` to `end`; None where there are no valid ones.
    fn try_put_together(&mut self, bytes: &[u8], mut at: usize, end: usize) -> Option<usize> {
        let (mut count, mut before) = (0, 0..0);
        while at < end {
            if self.entries.len() == count {
                self.entries.push(Placed::default());
            }
            let Placed { entry, key, shared } = self.entries.get_mut(count)?;
            entry.decode(bytes, at)?;
            if entry.shared > before.len() {
                return None;
            }
            let is_same = entry.shared == before.len() && entry.suffix_at == entry.value_at;
            *shared = if is_same { SAME_KEY } else { entry.shared };
            let start = self.keys.len();
            repeat(&mut self.keys, before.start, entry.shared);
            let suffix = bytes.get(entry.suffix_at..)?;
            append(&mut self.keys, suffix, entry.value_at - entry.suffix_at);
            before = start..self.keys.len();
            *key = before.clone();
            at = entry.end;
            count += 1;
        }
        (at == end).then_some(count)
    }

    /// How many bytes the key has in common with the one that the last step came from, also where
    /// that was in another block; [`SAME_KEY`] where it is another version of it.
    pub fn shared(&self) -> usize {
        self.shared
    }

    /// In reverse: whether the next step may lead to another version of the current key.
    #[inline]
    pub fn may_stay(&self) -> bool {
        self.left == 0 || self.placed().is_none_or(|placed| placed.shared == SAME_KEY)
    }

    #[inline]
    fn placed(&self) -> Option<&Placed> {
        self.entries.get(self.at)
    }

    /// The current entry and its block; None where it is nowhere.
    #[inline]
    fn entry(&self) -> Option<(&Block, &Entry)> {
        Some((self.block.as_ref()?, &self.placed()?.entry))
    }

    /// The current key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let key = self.placed().and_then(|placed| self.keys.get(placed.key.clone()));
        key.unwrap_or_default()
    }

    /// The current stamp.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        self.placed().map_or(Stamp::ZERO, |placed| placed.entry.stamp)
    }

    /// The current entry.
    #[inline]
    pub fn record(&self) -> Record<'_> {
        let op = self.entry().map_or(Op::Delete, |(block, entry)| block.op(entry));
        Record { key: self.key(), stamp: self.stamp(), op }
    }

    /// The current op, which goes on sharing the block.
    pub fn owned_op(&self) -> OwnedOp {
        self.entry().map_or(OwnedOp::Delete, |(block, entry)| block.owned_op(entry))
    }

    /// The block that the current index entry points to.
    pub fn handle(&self) -> Result<Handle> {
        self.entry().map_or(Ok(Handle::default()), |(block, entry)| block.handle(entry))
    }

    /// What the current entry of the top of the index points to.
    pub fn part(&self) -> Result<Part> {
        let nowhere = Part { leaf: Handle::default(), filter: None };
        self.entry().map_or(Ok(nowhere), |(block, entry)| block.part(entry))
    }
}
