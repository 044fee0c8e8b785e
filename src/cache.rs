//! The block cache: verified blocks of all tables, within a budget of bytes.
//!
//! Blocks are given up by the CLOCK rule (Corbató, 1968): a hand goes round, passes over a block
//! that was used since it came by, and takes the first one that was not. A block comes in unused,
//! so that a scan gives up its own blocks before those that are read again and again.

use crate::bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

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

#[derive(Default)]
struct Blocks {
    ring: Vec<Slot>,
    indices: HashMap<Place, usize, BuildHasherDefault<PlaceHasher>>,
    hand: usize,
    bytes: usize,
}

struct Slot {
    place: Place,
    block: Bytes,
    used: bool,
}

impl Slot {
    fn bytes(&self) -> usize {
        self.block.len() + OVERHEAD_BYTES
    }
}

impl Cache {
    /// A cache that holds at most `budget` bytes.
    pub fn new(budget: usize) -> Cache {
        Cache { budget, blocks: RefCell::default(), hits: Cell::new(0), misses: Cell::new(0) }
    }

    /// The block at `offset` of a table.
    pub fn get(&self, table: u64, offset: u64) -> Option<Bytes> {
        let mut blocks = self.blocks.borrow_mut();
        let index = blocks.indices.get(&(table, offset)).copied();
        let slot = index.and_then(|index| blocks.ring.get_mut(index));
        let counter = if slot.is_some() { &self.hits } else { &self.misses };
        counter.set(counter.get() + 1);
        slot.map(|slot| {
            slot.used = true;
            slot.block.clone()
        })
    }

    /// Keeps a block, which has a buffer of its own, if it is not too large.
    pub fn insert(&self, table: u64, offset: u64, block: Bytes) {
        let slot = Slot { place: (table, offset), block, used: false };
        if slot.bytes() > self.budget / SHARE_MAX {
            return;
        }
        let mut blocks = self.blocks.borrow_mut();
        if blocks.indices.contains_key(&slot.place) {
            return;
        }
        while blocks.bytes + slot.bytes() > self.budget {
            blocks.evict();
        }
        let index = blocks.ring.len();
        blocks.bytes += slot.bytes();
        blocks.indices.insert(slot.place, index);
        blocks.ring.push(slot);
    }

    /// Gives up the blocks of a table.
    pub fn forget(&self, table: u64) {
        let mut blocks = self.blocks.borrow_mut();
        let mut index = 0;
        while let Some(slot) = blocks.ring.get(index) {
            if slot.place.0 == table { blocks.remove(index) } else { index += 1 }
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
            match self.ring.get_mut(self.hand) {
                Some(slot) if slot.used => {
                    slot.used = false;
                    self.hand += 1;
                }
                Some(_) => return self.remove(self.hand),
                None => self.hand = 0,
            }
        }
    }

    /// Removes a slot; the last one takes its index.
    fn remove(&mut self, index: usize) {
        let slot = self.ring.swap_remove(index);
        self.bytes -= slot.bytes();
        self.indices.remove(&slot.place);
        if let Some(moved) = self.ring.get(index) {
            self.indices.insert(moved.place, index);
        }
    }
}

/// Mixes the two numbers of a place; they are not chosen by anyone who gains from collisions.
#[derive(Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_budget_holds_and_every_hit_is_the_block_that_was_put_in() {
        let cache = Cache::new(10_000);
        let rng = Rng::new(1);
        let block = |table: u64, offset: u64| Bytes::copy(&vec![(table ^ offset) as u8; 500]);
        for _ in 0..20_000 {
            let (table, offset) = (rng.below(4), rng.below(20));
            match cache.get(table, offset) {
                Some(found) => assert_eq!(found, block(table, offset)),
                None => cache.insert(table, offset, block(table, offset)),
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
        cache.insert(1, 0, Bytes::copy(&[1; 1_000]));
        for offset in 0..1_000 {
            assert!(cache.get(1, 0).is_some());
            cache.insert(2, offset, Bytes::copy(&[2; 1_000]));
        }
    }

    #[test]
    fn a_block_that_would_fill_the_cache_is_not_kept() {
        let cache = Cache::new(8_000);
        cache.insert(1, 0, Bytes::copy(&[0; 1_001]));
        assert_eq!(cache.stats().bytes, 0);
    }
}
