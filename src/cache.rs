//! The block cache: verified blocks of all tables, within a budget of bytes.
//!
//! Blocks are given up by the CLOCK rule (Corbató, 1968): a hand goes round, passes over a block
//! that was used since it came by, and takes the first one that was not. A block comes in unused,
//! so that a scan gives up its own blocks before those that are read again and again.
//!
//! The blocks are the slots of a hash table, by open addressing with linear probing: to find one is
//! to look at one place in memory, and the hand goes through them as they lie. It is next to no
//! code, where a general hash map would be a few KB of the download.

use crate::table::block::Block;
use std::cell::{Cell, Ref, RefCell};

/// What a block occupies beside its bytes, roughly: its slot, and those that are free.
const OVERHEAD_BYTES: usize = 144;
/// The least number of slots, but for none; a power of two, as all are.
const SLOTS_MIN: usize = 64;
/// A block larger than this part of the budget is not kept: it would drive out too many others.
const SHARE_MAX: usize = 8;

/// Blocks in memory, by the id of their table and their offset.
pub struct Cache {
    budget: usize,
    blocks: RefCell<Blocks>,
    hits: Cell<u64>,
    misses: Cell<u64>,
}

/// What the cache has done since the database was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Blocks found.
    pub hits: u64,
    /// Blocks that had to be read.
    pub misses: u64,
    /// Bytes held now.
    pub bytes: usize,
}

type Place = (u64, u64);

#[derive(Default)]
struct Blocks {
    /// As many as a power of two says; three in four are used at most.
    slots: Vec<Option<Slot>>,
    used: usize,
    hand: usize,
    bytes: usize,
}

/// A cache line of most processors: to look at a block is to wait for one.
#[repr(align(64))]
struct Slot {
    table: u64,
    block: Block,
    used: Cell<bool>,
}

const _: () = assert!(size_of::<Option<Slot>>() == 64);

impl Slot {
    fn place(&self) -> Place {
        (self.table, self.block.offset())
    }

    fn bytes(&self) -> usize {
        self.block.size() + OVERHEAD_BYTES
    }
}

impl Cache {
    /// A cache that holds at most `budget` bytes.
    pub fn new(budget: usize) -> Cache {
        Cache { budget, blocks: RefCell::default(), hits: Cell::new(0), misses: Cell::new(0) }
    }

    /// The block at `offset` of a table, to be looked at where it is, for no longer than until the
    /// next call: that is faster than to share it, which writes to the counter of its buffer.
    pub fn get(&self, table: u64, offset: u64) -> Option<Ref<'_, Block>> {
        let blocks = self.blocks.borrow();
        let slot = Ref::filter_map(blocks, |blocks| blocks.find((table, offset))).ok();
        let counter = if slot.is_some() { &self.hits } else { &self.misses };
        counter.set(counter.get() + 1);
        slot.map(|slot| {
            slot.used.set(true);
            Ref::map(slot, |slot| &slot.block)
        })
    }

    /// Keeps a block of a table, which has a buffer of its own, if it is not too large.
    pub fn insert(&self, table: u64, block: Block) {
        let slot = Slot { table, block, used: Cell::new(false) };
        if slot.bytes() > self.budget / SHARE_MAX {
            return;
        }
        let mut blocks = self.blocks.borrow_mut();
        if blocks.find(slot.place()).is_some() {
            return;
        }
        while blocks.bytes + slot.bytes() > self.budget {
            blocks.evict();
        }
        blocks.add(slot);
    }

    /// Gives up the blocks of a table.
    pub fn forget(&self, table: u64) {
        let mut blocks = self.blocks.borrow_mut();
        let mut index = 0;
        while let Some(slot) = blocks.slots.get(index) {
            // Another slot may take the place of one that is removed.
            let is_of_table = slot.as_ref().is_some_and(|slot| slot.table == table);
            if is_of_table { blocks.remove(index) } else { index += 1 }
        }
    }

    /// What it has done.
    pub fn stats(&self) -> CacheStats {
        let bytes = self.blocks.borrow().bytes;
        CacheStats { hits: self.hits.get(), misses: self.misses.get(), bytes }
    }
}

impl Blocks {
    fn evict(&mut self) {
        loop {
            match self.slots.get(self.hand) {
                Some(Some(slot)) if !slot.used.take() => return self.remove(self.hand),
                Some(_) => self.hand += 1,
                None => self.hand = 0,
            }
        }
    }

    fn find(&self, place: Place) -> Option<&Slot> {
        let mut index = self.home(place);
        loop {
            let slot = self.slots.get(index)?.as_ref()?;
            if slot.place() == place {
                return Some(slot);
            }
            index = self.wrapped(index + 1);
        }
    }

    /// The slot that a place takes if it is free. Places are not chosen by anyone who gains from
    /// many that want the same one.
    fn home(&self, (table, offset): Place) -> usize {
        let mixed = (table.rotate_left(32) ^ offset).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.wrapped((mixed >> 32) as usize)
    }

    fn wrapped(&self, index: usize) -> usize {
        index & self.slots.len().wrapping_sub(1)
    }

    /// Adds a block that is not there yet.
    fn add(&mut self, slot: Slot) {
        if self.used >= self.slots.len() / 4 * 3 {
            let mut more = Vec::new();
            more.resize_with((2 * self.slots.len()).max(SLOTS_MIN), || None);
            let old = std::mem::replace(&mut self.slots, more);
            old.into_iter().flatten().for_each(|slot| self.put(slot));
        }
        self.used += 1;
        self.bytes += slot.bytes();
        self.put(slot);
    }

    fn put(&mut self, slot: Slot) {
        let mut index = self.home(slot.place());
        while self.slots.get(index).is_some_and(Option::is_some) {
            index = self.wrapped(index + 1);
        }
        if let Some(free) = self.slots.get_mut(index) {
            *free = Some(slot);
        }
    }

    /// Removes a block, and moves those up that may take its place, so that none lies behind a free
    /// slot that a search would stop at (Knuth, The Art of Computer Programming 6.4, algorithm R).
    fn remove(&mut self, index: usize) {
        let Some(removed) = self.slots.get_mut(index).and_then(Option::take) else { return };
        self.used -= 1;
        self.bytes -= removed.bytes();
        let (mut free, mut index) = (index, index);
        loop {
            index = self.wrapped(index + 1);
            let Some(Some(slot)) = self.slots.get(index) else { return };
            let home = self.home(slot.place());
            if self.wrapped(index.wrapping_sub(home)) >= self.wrapped(index.wrapping_sub(free)) {
                self.slots.swap(free, index);
                free = index;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Bytes;
    use crate::rng::Rng;

    fn block(offset: u64, bytes: &[u8]) -> Block {
        Block::filter(Bytes::copy(bytes), 1, offset)
    }

    #[test]
    fn the_budget_holds_and_every_hit_is_the_block_that_was_put_in() {
        let cache = Cache::new(10_000);
        let rng = Rng::new(1);
        let content = |table: u64, offset: u64| vec![(table ^ offset) as u8; 500];
        for _ in 0..20_000 {
            let (table, offset) = (rng.below(4), rng.below(20));
            match cache.get(table, offset).as_deref().cloned() {
                Some(found) => assert_eq!(found.bytes(), content(table, offset)),
                None => cache.insert(table, block(offset, &content(table, offset))),
            }
            if rng.one_in(1_000) {
                cache.forget(table);
                assert!((0..20).all(|offset| cache.get(table, offset).is_none()));
            }
            assert!(cache.stats().bytes <= 10_000);
        }
        let CacheStats { hits, misses, .. } = cache.stats();
        assert!(hits > 1_000 && misses > 1_000, "{hits} hits, {misses} misses");
    }

    #[test]
    fn a_scan_does_not_drive_out_what_is_read_again() {
        let cache = Cache::new(20 * (1_000 + OVERHEAD_BYTES));
        cache.insert(1, block(0, &[1; 1_000]));
        for offset in 0..1_000 {
            assert!(cache.get(1, 0).is_some());
            cache.insert(2, block(offset, &[2; 1_000]));
        }
    }

    #[test]
    fn a_block_that_would_fill_the_cache_is_not_kept() {
        let cache = Cache::new(8_000);
        cache.insert(1, block(0, &[0; 1_001]));
        assert_eq!(cache.stats().bytes, 0);
    }
}
