//! A guide to a block: where to begin a search, found without looking into the block.
//!
//! A binary search over the restarts of a block reads keys that lie far apart, each in memory that
//! the processor waits for. A guide has four bytes of each key side by side instead, as the index
//! of a memtable has eight: a search waits for the guide, then for the entry. It is made when a
//! block comes into the cache, where it lies in front of the block, and counts as part of it.
//!
//! ```text
//! +--------------+--------------+-----+-----------+-----------+-----+-----------------+
//! | window, 4 B  | window, 4 B  | ... | place u16 | place u16 | ... | the block       |
//! +--------------+--------------+-----+-----------+-----------+-----+-----------------+
//!
//! entries   users/ada | users/alan | users/grace      all begin with the same `skip` bytes, 6
//! windows   "ada\0"   | "alan"     | "grac"           the four bytes behind those, as an integer
//! places    0         | 31         | 67               where the entries are in the block
//! ```
//!
//! A block of many entries has windows for its restarts only. All of it is in memory alone: how a
//! block is stored does not depend on it.

use super::block::{Block, Entry};
use crate::bytes::{Bytes, common_prefix};
use crate::error::Result;
use std::rc::Rc;

/// So many bytes of a key are in its window.
const WINDOW_BYTES: usize = 4;
/// What a guide takes for an entry: a window and a place.
const SLOT_BYTES: usize = WINDOW_BYTES + size_of::<u16>();
/// With more entries than this a block has windows for its restarts only.
const ENTRIES_MAX: usize = 64;
/// Every so many windows one is looked at first, all of which the processor loads at once.
const STRIDE: usize = 8;

/// Where a search is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the entry that was decoded, all before which come before the key. What it shares with the
    /// one before it, it shares with the key.
    AtEntry,
    /// The entry that was decoded is the first that comes after the key, which is not there.
    Past,
    /// All entries come before the key.
    End,
    /// The guide can't tell.
    Unknown,
}

/// What there is to know of a guide beside its windows and places; by default of none.
#[derive(Clone, Copy, Default)]
pub struct Guide {
    /// How many windows there are.
    slots: u16,
    /// All keys begin with the same bytes, at least so many.
    skip: u16,
    /// Where in the block the first key is.
    first_key: u16,
    /// Whether there is a window for each entry.
    is_full: bool,
}

impl Guide {
    /// The guide of a block, and the block's bytes behind its windows and places. None where the
    /// block is too large for one.
    ///
    /// # Errors
    /// `Corruption` where it holds no valid entries.
    pub fn new(block: &Block) -> Result<Option<(Guide, Bytes)>> {
        if block.bytes().len() > usize::from(u16::MAX) {
            return Ok(None);
        }
        let skip = shared_by_all(block)?;
        let (mut slots, mut restarts) = (Vec::new(), Vec::new());
        let (mut key, mut at) = (Vec::new(), 0);
        while at < block.entries_end() {
            let entry = block.entry(at)?;
            block.put_key(&entry, &mut key);
            let slot = (window(&key, skip), at as u16);
            if block.interval_start(restarts.len())? == at {
                restarts.push(slot);
            }
            slots.push(slot);
            at = entry.end;
        }
        let is_full = slots.len() <= ENTRIES_MAX;
        let slots = if is_full { slots } else { restarts };
        let mut buffer = Vec::with_capacity(slots.len() * SLOT_BYTES + block.bytes().len());
        slots.iter().for_each(|(window, _)| buffer.extend_from_slice(&window.to_ne_bytes()));
        slots.iter().for_each(|(_, at)| buffer.extend_from_slice(&at.to_ne_bytes()));
        let start = buffer.len();
        buffer.extend_from_slice(block.bytes());
        let buffer = Rc::from(buffer);
        let guide = Guide {
            slots: slots.len() as u16,
            skip: skip as u16,
            first_key: block.entry(0)?.suffix_at as u16,
            is_full,
        };
        Ok(Bytes::slice(&buffer, start..buffer.len()).map(|bytes| (guide, bytes)))
    }

    /// What it takes beside the block, in bytes.
    pub fn bytes(self) -> usize {
        usize::from(self.slots) * SLOT_BYTES
    }

    /// Where in `block`, which it is of, to begin with the search for a key.
    ///
    /// # Errors
    /// `Corruption` where the block holds no valid entries.
    #[inline]
    pub(super) fn start(self, block: &Block, key: &[u8], entry: &mut Entry) -> Result<Start> {
        let Some((sought, after)) = self.rank(block, key) else { return Ok(Start::Unknown) };
        // Where only restarts have windows, the key may lie between the one before and the next.
        let number = if self.is_full { after } else { after.saturating_sub(1) };
        let Some(at) = self.place(block, number) else { return Ok(Start::End) };
        block.decode(at, entry)?;
        if self.is_full && self.window(block, number) != Some(sought) {
            return Ok(Start::Past);
        }
        // What it shares with the one before is known to be in the key as far as the window goes; a
        // restart shares nothing.
        let window_end = usize::from(self.skip) + WINDOW_BYTES;
        let known = if self.is_full { key.len().min(window_end) } else { 0 };
        Ok(if entry.shared <= known { Start::AtEntry } else { Start::Unknown })
    }

    /// The number of the first entry past the key, or of entries where there is none. None where
    /// windows alone don't tell.
    #[inline]
    pub(super) fn number_past(self, block: &Block, key: &[u8]) -> Option<usize> {
        let (sought, after) = self.rank(block, key)?;
        (self.is_full && self.window(block, after) != Some(sought)).then_some(after)
    }

    /// The window of a key that begins as all of the block do, and how many are less.
    #[inline]
    fn rank(self, block: &Block, key: &[u8]) -> Option<(u32, usize)> {
        let (first_key, skip) = (usize::from(self.first_key), usize::from(self.skip));
        let shared_by_all = block.bytes().get(first_key..first_key + skip);
        let windows = self.windows(block);
        if windows.is_empty() || key.get(..skip) != shared_by_all {
            return None;
        }
        let sought = window(key, skip);
        Some((sought, count_below(windows, sought)))
    }

    #[inline]
    fn windows(self, block: &Block) -> &[[u8; WINDOW_BYTES]] {
        let front = block.before(self.bytes());
        let (windows, _) = front.as_chunks();
        windows.get(..usize::from(self.slots)).unwrap_or_default()
    }

    #[inline]
    fn window(self, block: &Block, number: usize) -> Option<u32> {
        self.windows(block).get(number).map(|window| u32::from_ne_bytes(*window))
    }

    /// Where the entry with this number is, if there is one.
    #[inline]
    fn place(self, block: &Block, number: usize) -> Option<usize> {
        let (places, _) = block.before(usize::from(self.slots) * size_of::<u16>()).as_chunks();
        places.get(number).map(|place| u16::from_ne_bytes(*place).into())
    }
}

/// How many of the windows, which are in order, are less than `sought`.
#[inline]
fn count_below(windows: &[[u8; WINDOW_BYTES]], sought: u32) -> usize {
    let is_below = |window: &[u8; WINDOW_BYTES]| u32::from_ne_bytes(*window) < sought;
    let strides = windows.as_chunks::<STRIDE>().0;
    let below = STRIDE * strides.iter().filter(|[.., last]| is_below(last)).count();
    let rest = windows.get(below..).unwrap_or_default();
    below + rest.iter().take(STRIDE).filter(|window| is_below(window)).count()
}

/// How many bytes all keys of the block begin with: those that its first and its last key do.
fn shared_by_all(block: &Block) -> Result<usize> {
    let first = block.entry(0)?;
    let mut at = block.interval_start(block.restarts().saturating_sub(1))?;
    let mut last = Vec::new();
    while at < block.entries_end() {
        let entry = block.entry(at)?;
        block.put_key(&entry, &mut last);
        at = entry.end;
    }
    Ok(common_prefix(block.suffix(&first), &last))
}

/// The bytes of a key behind `skip`, zeros where it has none any more, so that they compare as the
/// keys do.
#[inline]
fn window(key: &[u8], skip: usize) -> u32 {
    let rest = key.get(skip..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk() {
        return u32::from_be_bytes(*bytes);
    }
    let mut bytes = [0; WINDOW_BYTES];
    bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::at;
    use crate::record::{Op, Record};
    use crate::stamp::Stamp;
    use crate::table::block::{DATA_INTERVAL, Reached};
    use crate::table::block_builder::{BlockBuilder, Compressor};
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A block of these keys, each with so many versions.
    fn block(keys: &BTreeSet<Vec<u8>>, versions: u64) -> Block {
        let mut builder = BlockBuilder::new(DATA_INTERVAL);
        for key in keys {
            for version in (1..=versions).rev() {
                let op = Op::Set { value: b"value", expires_at: 0, in_blob: false };
                builder.add(Record { key, stamp: at(10 * version), op });
            }
        }
        let handle = builder.close(1, 0, &mut Compressor::new(false));
        let stored = handle.len as usize - 9;
        Block::new(Bytes::copy(&builder.closed()[..stored]), 1, 0).unwrap()
    }

    /// Looks for every key, and for keys and stamps around them, with and without the guide.
    fn agrees(keys: &BTreeSet<Vec<u8>>, versions: u64, others: &[Vec<u8>]) {
        let block = block(keys, versions);
        let guided = block.clone().guided();
        assert!(guided.guide().bytes() > 0);
        for key in keys.iter().chain(others) {
            let (longer, shorter) = ([key, &[0][..]].concat(), &key[..key.len() - 1]);
            for key in [key, &longer, shorter] {
                for stamp in [Stamp::MAX, at(10), at(15), Stamp::ZERO] {
                    let (mut found, mut sought) = (Entry::default(), Entry::default());
                    let reached = guided.find(key, stamp, &mut found).unwrap();
                    assert_eq!(reached, block.search(key, stamp, &mut sought).unwrap());
                    if reached != Reached::End {
                        assert_eq!(found.end, sought.end, "{key:?} {stamp}");
                    }
                }
            }
        }
    }

    /// Keys of few different bytes: prefixes of each other, with zeros at their ends.
    fn keys(front: usize) -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0), Just(1), Just(255)], 1..8)
            .prop_map(move |rest| [vec![7; front], rest].concat())
    }

    proptest! {
        #[test]
        fn a_guided_search_stops_where_one_without_a_guide_does(
            (set, others) in (0usize..12).prop_flat_map(|front| {
                (btree_set(keys(front), 1..150), vec(keys(front), 20))
            }),
            strangers in vec(keys(0), 5),
            versions in 1u64..4,
        ) {
            agrees(&set, versions, &[others, strangers].concat());
        }
    }

    #[test]
    fn a_key_is_found_at_once_where_its_neighbours_share_little_with_it() {
        let keys: BTreeSet<Vec<u8>> =
            (0..50u32).map(|i| format!("user{}", i.wrapping_mul(0x9e37_79b9)).into()).collect();
        let guided = block(&keys, 1).guided();
        for key in &keys {
            let start = guided.guide().start(&guided, key, &mut Entry::default());
            assert_eq!(start, Ok(Start::AtEntry), "{key:?}");
        }
    }

    #[test]
    fn a_block_that_is_too_large_or_damaged_has_no_guide() {
        let keys = (0..4_000u32).map(|i| i.to_be_bytes().to_vec()).collect();
        assert_eq!(block(&keys, 2).guided().guide().bytes(), 0);
        let damaged = Block::new(Bytes::copy(&[9, 0, 0, 0, 0, 1, 0, 0, 0]), 1, 0).unwrap();
        assert_eq!(damaged.clone().guided().guide().bytes(), 0);
        assert!(damaged.guided().find(b"key", Stamp::MAX, &mut Entry::default()).is_err());
    }
}
