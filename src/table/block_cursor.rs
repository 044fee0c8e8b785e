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
    interval: Interval,
    /// The interval before, whose buffers are used again.
    spare: Interval,
    /// The place of the current entry in the interval.
    at: usize,
    /// So many entries of the interval are still to come.
    left: usize,
    /// Where the interval to come begins; in reverse, where it ends.
    restart: usize,
    /// What the current key and the one before it on the way share.
    shared: usize,
}

/// The entries from one restart to the next.
#[derive(Default)]
struct Interval {
    /// They, and others behind them.
    entries: Vec<Placed>,
    /// How many they are.
    count: usize,
    /// All keys, end to end.
    keys: Vec<u8>,
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

/// So many entries an interval has, and two that stay from the one before.
const SLOTS: usize = DATA_INTERVAL + 2;

/// No place in an interval.
const NOWHERE: usize = usize::MAX;

impl BlockCursor {
    /// A cursor that is in no block yet.
    pub fn new(reverse: bool) -> BlockCursor {
        BlockCursor {
            reverse,
            block: None,
            interval: Interval::default(),
            spare: Interval::default(),
            at: NOWHERE,
            left: 0,
            restart: 0,
            shared: 0,
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
        (self.at, self.left) = (NOWHERE, 0);
        self.interval.put_together(&block, restart)?;
        let len = self.interval.count;
        let before = self.interval.count_before(key, stamp);
        if !self.reverse {
            self.left = len - before;
            self.restart = restart + 1;
        } else if inclusive && before == len && restart + 1 < block.restarts() {
            // The one at or past it is the first of the next interval.
            self.interval.put_together(&block, restart + 1)?;
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
        if self.left <= usize::from(self.reverse) {
            self.turn()?;
        }
        let Some(left) = self.left.checked_sub(1) else { return Ok(false) };
        let at = self.place(left);
        self.shared = self.shared_at(at);
        (self.at, self.left) = (at, left);
        Ok(true)
    }

    /// Takes further steps within the block for as long as `take` is content with the entry that
    /// one would lead to, told what its key and the one before it share. In reverse that is as far
    /// as no other version of an entry's key may follow, and no key before `start`.
    pub fn run_on(&mut self, start: &[u8], mut take: impl FnMut(Record<'_>, usize) -> bool) {
        loop {
            if (self.reverse && self.interval.key(0) < start) || !self.walk(&mut take) {
                return;
            }
            // An error is met again by the next step.
            if !self.turn().unwrap_or(false) {
                return;
            }
        }
    }

    /// Takes such steps within the interval; whether it is used up.
    fn walk(&mut self, take: &mut impl FnMut(Record<'_>, usize) -> bool) -> bool {
        let Some(block) = &self.block else { return false };
        while self.left > usize::from(self.reverse) {
            let left = self.left - 1;
            let at = self.place(left);
            let Some(next) = self.interval.entries.get(at) else { return false };
            if self.reverse && next.shared == SAME_KEY {
                return false;
            }
            let key = self.interval.keys.get(next.key.clone()).unwrap_or_default();
            let record = Record { key, stamp: next.entry.stamp, op: block.op(&next.entry) };
            let shared = self.shared_at(at);
            if !take(record, shared) {
                return false;
            }
            (self.at, self.left, self.shared) = (at, left, shared);
        }
        true
    }

    /// Where the entry is that is followed by so many of the interval.
    #[inline]
    fn place(&self, left: usize) -> usize {
        if self.reverse { left } else { self.interval.count - 1 - left }
    }

    /// What the keys of the current entry and of the next one, which is at this place, share.
    #[inline]
    fn shared_at(&self, next: usize) -> usize {
        let later = if self.reverse { self.at } else { next };
        self.interval.entries.get(later).map_or(0, |placed| placed.shared)
    }

    /// Goes on to the next interval of the block; false where there is none. The current entry
    /// stays until the step that follows, for its key. In reverse the first entry may be left: it
    /// stays too, because only the last one of the next interval tells whether its key is the
    /// same.
    #[inline(never)]
    fn turn(&mut self) -> Result<bool> {
        let Some(block) = &self.block else { return Ok(false) };
        let next = match self.reverse {
            true => self.restart.checked_sub(1),
            false => Some(self.restart).filter(|restart| *restart < block.restarts()),
        };
        let Some(next) = next else { return Ok(false) };
        std::mem::swap(&mut self.interval, &mut self.spare);
        let (at, left) = (self.at, self.left);
        (self.at, self.left) = (NOWHERE, 0);
        self.interval.put_together(block, next)?;
        let count = self.interval.count;
        if self.reverse {
            self.left = count + usize::from(left > 0 && self.interval.adopt(&self.spare, 0, count));
            self.restart = next;
        } else {
            self.left = count;
            self.restart = next + 1;
        }
        let slot = self.left;
        if self.interval.adopt(&self.spare, at, slot) {
            self.at = slot;
            if !self.reverse {
                self.interval.compare(0, slot);
            }
        }
        Ok(true)
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
        self.interval.entries.get(self.at)
    }

    /// The current entry and its block; None where it is nowhere.
    #[inline]
    fn entry(&self) -> Option<(&Block, &Entry)> {
        Some((self.block.as_ref()?, &self.placed()?.entry))
    }

    /// The current key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.interval.key(self.at)
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

impl Interval {
    /// The key of an entry.
    #[inline]
    fn key(&self, at: usize) -> &[u8] {
        let placed = self.entries.get(at);
        placed.and_then(|placed| self.keys.get(placed.key.clone())).unwrap_or_default()
    }

    /// How many of its entries come before (`key`, `stamp`).
    fn count_before(&self, key: &[u8], stamp: Stamp) -> usize {
        let comes_before = |placed: &Placed| {
            let found = self.keys.get(placed.key.clone()).unwrap_or_default();
            order((found, placed.entry.stamp), (key, stamp)) == Ordering::Less
        };
        self.entries.get(..self.count).unwrap_or_default().partition_point(comes_before)
    }

    /// Becomes that of a block behind a restart; of one entry at least.
    fn put_together(&mut self, block: &Block, restart: usize) -> Result<()> {
        self.keys.clear();
        if self.entries.is_empty() {
            self.entries = vec![Placed::default(); SLOTS];
        }
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

    /// Puts an entry of the interval `from` in a slot behind its own entries; false where there is
    /// none in that place. In reverse the one in the slot before it comes next.
    fn adopt(&mut self, from: &Interval, at: usize, slot: usize) -> bool {
        let Some(Placed { entry, .. }) = from.entries.get(at) else { return false };
        let start = self.keys.len();
        self.keys.extend_from_slice(from.key(at));
        let adopted = Placed { entry: *entry, key: start..self.keys.len(), shared: 0 };
        match self.entries.get_mut(slot) {
            Some(placed) => *placed = adopted,
            None => self.entries.push(adopted),
        }
        self.compare(slot, slot - 1);
        true
    }

    /// Takes note of what the key of an entry and that of another one share.
    fn compare(&mut self, at: usize, other: usize) {
        let shared = shared(self.key(at), self.key(other));
        if let Some(placed) = self.entries.get_mut(at) {
            placed.shared = shared;
        }
    }
}
