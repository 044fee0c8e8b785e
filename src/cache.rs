//! The block cache: verified blocks of all tables, within a budget of bytes.
//!
//! Blocks are given up by the CLOCK rule (Corbató, 1968): a hand goes round, passes over a block
//! that was used since it came by, and takes the first one that was not. A block comes in unused,
//! so that a scan gives up its own blocks before those that are read again and again.
//!
//! Blocks are found by hash chains that run through the slots themselves: next to no code, where
//! a general hash map would be a few KB of the download.

use crate::table::block::Block;
use std::cell::{Cell, Ref, RefCell};

/// What a block occupies beside its bytes, roughly.
const OVERHEAD_BYTES: usize = 96;
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

/// The index that ends a chain; no slot has it.
const END: u32 = u32::MAX;

#[derive(Default)]
struct Blocks {
    ring: Vec<Slot>,
    /// The first slot of each chain. As many as a power of two says, and no fewer than slots.
    chains: Vec<u32>,
    hand: usize,
    bytes: usize,
}

/// A cache line of most processors: to look at a block is to wait for one.
#[repr(align(64))]
struct Slot {
    table: u64,
    block: Block,
    /// The next slot of the chain.
    next: u32,
    used: Cell<bool>,
}

const _: () = assert!(size_of::<Slot>() == 64);

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
        let index = blocks.find((table, offset)) as usize;
        let slot = Ref::filter_map(blocks, |blocks| blocks.ring.get(index)).ok();
        let counter = if slot.is_some() { &self.hits } else { &self.misses };
        counter.set(counter.get() + 1);
        slot.map(|slot| {
            slot.used.set(true);
            Ref::map(slot, |slot| &slot.block)
        })
    }

    /// Keeps a block of a table, which has a buffer of its own, if it is not too large.
    pub fn insert(&self, table: u64, block: Block) {
        let slot = Slot { table, block, used: Cell::new(false), next: END };
        if slot.bytes() > self.budget / SHARE_MAX {
            return;
        }
        let mut blocks = self.blocks.borrow_mut();
        if blocks.find(slot.place()) != END {
            return;
        }
        while blocks.bytes + slot.bytes() > self.budget {
            blocks.evict();
        }
        blocks.bytes += slot.bytes();
        blocks.push(slot);
    }

    /// Gives up the blocks of a table.
    pub fn forget(&self, table: u64) {
        let mut blocks = self.blocks.borrow_mut();
        let mut index = 0;
        while let Some(slot) = blocks.ring.get(index) {
            if slot.table == table { blocks.remove(index) } else { index += 1 }
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
            match self.ring.get(self.hand) {
                Some(slot) if slot.used.take() => {
                    self.hand += 1;
                }
                Some(_) => return self.remove(self.hand),
                None => self.hand = 0,
            }
        }
    }

    /// The index of a block; [`END`] where it is not there.
    fn find(&self, place: Place) -> u32 {
        let mut index = self.chains.get(self.chain(place)).copied().unwrap_or(END);
        while let Some(slot) = self.ring.get(index as usize)
            && slot.place() != place
        {
            index = slot.next;
        }
        index
    }

    /// The chain of a place; the places are not chosen by anyone who gains from long chains.
    fn chain(&self, (table, offset): Place) -> usize {
        let mixed = (table.rotate_left(32) ^ offset).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & self.chains.len().wrapping_sub(1)
    }

    fn push(&mut self, slot: Slot) {
        self.ring.push(slot);
        if self.ring.len() <= self.chains.len() {
            return self.link(self.ring.len() - 1);
        }
        self.chains = vec![END; self.ring.len().next_power_of_two()];
        for index in 0..self.ring.len() {
            self.link(index);
        }
    }

    /// Puts a slot at the beginning of its chain.
    fn link(&mut self, index: usize) {
        let Some(place) = self.ring.get(index).map(Slot::place) else { return };
        let chain = self.chain(place);
        if let (Some(first), Some(slot)) = (self.chains.get_mut(chain), self.ring.get_mut(index)) {
            slot.next = std::mem::replace(first, index as u32);
        }
    }

    /// Takes a slot out of its chain.
    fn unlink(&mut self, index: usize) {
        let Some(slot) = self.ring.get(index) else { return };
        let (chain, next) = (self.chain(slot.place()), slot.next);
        let mut link = self.chains.get_mut(chain);
        while let Some(&other) = link.as_deref()
            && other as usize != index
        {
            link = self.ring.get_mut(other as usize).map(|slot| &mut slot.next);
        }
        if let Some(link) = link {
            *link = next;
        }
    }

    /// Removes a slot; the last one takes its index.
    fn remove(&mut self, index: usize) {
        let last = self.ring.len() - 1;
        self.unlink(index);
        if index != last {
            self.unlink(last);
        }
        self.bytes -= self.ring.swap_remove(index).bytes();
        self.link(index);
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
