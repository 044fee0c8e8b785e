//! The keys of a memtable: in their order a B-tree of two levels over entries that never move, and
//! by their hash a table that finds a single one.
//!
//! ```text
//! directory   skip | slot | slot | slot | ...          a slot for the first key of each leaf
//!                     v      v      v
//! leaves      skip | slot | slot | ...                 a slot for each key, up to LEAF_MAX
//!                     v
//! entries     (key, value), in the order in which they came
//!                 ^
//! hashes      bucket | bucket | ...                    half of the hash of a key, and its entry
//! ```
//!
//! A slot holds the number of an entry and eight bytes of its key. All keys of a leaf begin with
//! the same `skip` bytes and the eight are those behind them, so that nearly every comparison is
//! one of two integers that lie side by side: keys are somewhere else in memory, and to look at
//! them is what a search in a large tree takes most of its time for. A get takes the shorter way
//! through the hashes, and where the key is not there it nearly never looks further.

use crate::bytes::{common_prefix, eight_bytes};
use crate::hash::xxh3_64;
use hashes::Hashes;
use std::cmp::Ordering;
use std::ops::Bound;
use std::rc::Rc;

mod hashes;

/// A leaf is split once it has so many slots: 2 KiB.
const LEAF_MAX: usize = 128;
/// Slots are made anew once so many of their eight bytes are the same in all of them.
const STALE_BYTES: usize = 4;
/// Entries are allocated so many at a time, so that none of them is ever copied.
const CHUNK: usize = 256;

/// A sorted map that can be added to.
pub struct Index<V> {
    directory: Run,
    leaves: Vec<Run>,
    hashes: Hashes,
    entries: Entries<V>,
}

/// A place in the order: of an entry, or of one that would stand before it. One past the last
/// slot of a leaf is the first place of the next leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    leaf: usize,
    slot: usize,
}

struct Entries<V>(Vec<Vec<(Rc<[u8]>, V)>>);

#[derive(Default)]
struct Run {
    /// All keys begin with the same bytes, at least so many.
    skip: usize,
    slots: Vec<Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    prefix: u64,
    entry: u32,
}

impl<V> Default for Index<V> {
    fn default() -> Index<V> {
        Index {
            directory: Run::default(),
            leaves: Vec::new(),
            hashes: Hashes::default(),
            entries: Entries(Vec::new()),
        }
    }
}

impl<V> Index<V> {
    /// The place of a key: Ok where it is there, Err where it would be put.
    pub fn find(&self, key: &[u8]) -> Result<Place, Place> {
        let leaf = match self.directory.search(key, &self.entries) {
            Ok(leaf) => leaf,
            Err(after) => after.saturating_sub(1),
        };
        let Some(run) = self.leaves.get(leaf) else { return Err(Place { leaf: 0, slot: 0 }) };
        match run.search(key, &self.entries) {
            Ok(slot) => Ok(Place { leaf, slot }),
            Err(slot) => Err(Place { leaf, slot }),
        }
    }

    /// The value of a key, whose hash is `hash`.
    pub fn get(&self, key: &[u8], hash: u64) -> Option<&V> {
        let entry = self.hashes.find(hash, |entry| self.entries.key(entry) == key)?;
        self.entries.get(entry).map(|(_, value)| value)
    }

    /// The entry at a place.
    pub fn at(&self, place: Place) -> Option<(&Rc<[u8]>, &V)> {
        let slot = self.leaves.get(place.leaf)?.slots.get(place.slot)?;
        self.entries.get(slot.entry).map(|(key, value)| (key, value))
    }

    /// The value at a place, to be changed.
    pub fn at_mut(&mut self, place: Place) -> Option<&mut V> {
        let slot = self.leaves.get(place.leaf)?.slots.get(place.slot)?;
        self.entries.get_mut(slot.entry).map(|(_, value)| value)
    }

    /// Adds an entry where [`Index::find`] has not found its key.
    pub fn insert(&mut self, mut place: Place, key: Rc<[u8]>, value: V) {
        let hash = xxh3_64(&key);
        let entry = self.entries.push((key, value));
        self.hashes.insert(hash, entry);
        if place.slot == 0 {
            // Before all others: the first leaf has another first key.
            if self.leaves.is_empty() {
                self.leaves.push(Run::default());
            } else {
                self.directory.slots.remove(0);
            }
            self.directory.insert(0, entry, &self.entries);
        }
        if self.leaves.get(place.leaf).is_some_and(|leaf| leaf.slots.len() == LEAF_MAX) {
            place = self.split(place, entry);
        }
        if let Some(leaf) = self.leaves.get_mut(place.leaf) {
            leaf.insert(place.slot, entry, &self.entries);
        }
    }

    /// Makes a leaf into two for the sake of a new entry; returns where that goes then.
    fn split(&mut self, Place { leaf, slot }: Place, entry: u32) -> Place {
        // Keys that come in order fill their leaves.
        let appends = slot == LEAF_MAX && leaf + 1 == self.leaves.len();
        let middle = if appends { LEAF_MAX } else { LEAF_MAX / 2 };
        let Some(left) = self.leaves.get_mut(leaf) else { return Place { leaf, slot } };
        let mut right = Run { skip: left.skip, slots: Vec::with_capacity(LEAF_MAX) };
        right.slots.extend_from_slice(left.slots.get(middle..).unwrap_or_default());
        left.slots.truncate(middle);
        left.refresh(&self.entries);
        right.refresh(&self.entries);
        let first = right.slots.first().map_or(entry, |slot| slot.entry);
        self.leaves.insert(leaf + 1, right);
        self.directory.insert(leaf + 1, first, &self.entries);
        match appends || slot > middle {
            true => Place { leaf: leaf + 1, slot: slot - middle },
            false => Place { leaf, slot },
        }
    }

    /// The first place within the lower bound and the first past the upper one.
    pub fn between(&self, (from, to): (Bound<&[u8]>, Bound<&[u8]>)) -> (Place, Place) {
        let start = Place { leaf: 0, slot: 0 };
        let end = Place { leaf: self.leaves.len(), slot: 0 };
        let edge = |bound, open, past_equal| match bound {
            Bound::Unbounded => open,
            Bound::Included(key) => self.edge(key, past_equal),
            Bound::Excluded(key) => self.edge(key, !past_equal),
        };
        (edge(from, start, false), edge(to, end, true))
    }

    fn edge(&self, key: &[u8], past_equal: bool) -> Place {
        match self.find(key) {
            Ok(place) if past_equal => self.after(place),
            Ok(place) => place,
            Err(Place { leaf, slot }) => match slot.checked_sub(1) {
                Some(slot) => self.after(Place { leaf, slot }),
                None => Place { leaf, slot },
            },
        }
    }

    /// The place after that of an entry.
    pub fn after(&self, Place { leaf, slot }: Place) -> Place {
        match self.leaves.get(leaf).is_some_and(|run| slot + 1 < run.slots.len()) {
            true => Place { leaf, slot: slot + 1 },
            false => Place { leaf: leaf + 1, slot: 0 },
        }
    }

    /// The place before another that is not the first.
    pub fn before(&self, Place { leaf, slot }: Place) -> Place {
        match slot.checked_sub(1) {
            Some(slot) => Place { leaf, slot },
            None => {
                let leaf = leaf.saturating_sub(1);
                let slots = self.leaves.get(leaf).map_or(0, |run| run.slots.len());
                Place { leaf, slot: slots.saturating_sub(1) }
            }
        }
    }

    /// All entries, some at a time, in the order in which they came.
    pub fn into_chunks(self) -> Vec<Vec<(Rc<[u8]>, V)>> {
        self.entries.0
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }
}

impl Run {
    /// The place of a key: Ok where it is there, Err where it would be put.
    fn search<V>(&self, key: &[u8], entries: &Entries<V>) -> Result<usize, usize> {
        let ([first, ..], [.., last]) = (&*self.slots, &*self.slots) else { return Err(0) };
        let shared = entries.key(first.entry).get(..self.skip).unwrap_or_default();
        match key.get(..self.skip).unwrap_or(key).cmp(shared) {
            Ordering::Less => return Err(0),
            Ordering::Equal => {}
            Ordering::Greater => return Err(self.slots.len()),
        }
        let prefix = eight_bytes(key, self.skip);
        // Keys that come in order need no search.
        if last.prefix < prefix {
            return Err(self.slots.len());
        }
        self.slots.binary_search_by(|slot| {
            slot.prefix.cmp(&prefix).then_with(|| entries.key(slot.entry).cmp(key))
        })
    }

    fn insert<V>(&mut self, place: usize, entry: u32, entries: &Entries<V>) {
        let slot = Slot { prefix: eight_bytes(entries.key(entry), self.skip), entry };
        let inside = place > 0 && place < self.slots.len();
        self.slots.insert(place, slot);
        if !inside {
            self.refresh(entries);
        }
    }

    /// Makes the slots anew where the keys begin with fewer bytes that are the same than they
    /// are made for, or with many more.
    fn refresh<V>(&mut self, entries: &Entries<V>) {
        let ([first, ..], [.., last]) = (&*self.slots, &*self.slots) else { return };
        let common = common_prefix(entries.key(first.entry), entries.key(last.entry));
        if common < self.skip || common >= self.skip + STALE_BYTES {
            self.skip = common;
            for slot in &mut self.slots {
                slot.prefix = eight_bytes(entries.key(slot.entry), common);
            }
        }
    }
}

impl<V> Entries<V> {
    fn get(&self, entry: u32) -> Option<&(Rc<[u8]>, V)> {
        self.0.get(entry as usize / CHUNK)?.get(entry as usize % CHUNK)
    }

    fn get_mut(&mut self, entry: u32) -> Option<&mut (Rc<[u8]>, V)> {
        self.0.get_mut(entry as usize / CHUNK)?.get_mut(entry as usize % CHUNK)
    }

    fn key(&self, entry: u32) -> &[u8] {
        self.get(entry).map(|(key, _)| &**key).unwrap_or_default()
    }

    /// Adds an entry; returns its number.
    fn push(&mut self, entry: (Rc<[u8]>, V)) -> u32 {
        if self.0.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.0.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.0.len() - 1) * CHUNK;
        let Some(chunk) = self.0.last_mut() else { return 0 };
        chunk.push(entry);
        (before + chunk.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::BTreeMap;

    /// Keys that share long beginnings, some of them beginnings of others.
    fn key(rng: &Rng) -> Vec<u8> {
        let mut key = b"users\0\0\0\0\0\0".repeat(rng.below(3) as usize);
        key.extend((0..rng.below(12)).map(|_| rng.below(3) as u8));
        key
    }

    fn check(index: &Index<u64>, model: &BTreeMap<Vec<u8>, u64>, rng: &Rng) {
        let (a, b) = (key(rng), key(rng));
        let (a, b) = (a.clone().min(b.clone()), a.max(b));
        let bound = |key| match rng.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(key),
            _ => Bound::Excluded(key),
        };
        let bounds = (bound(&*a), bound(&*b));
        if a == b && !matches!(bounds, (Bound::Unbounded, _) | (_, Bound::Unbounded)) {
            return;
        }
        let (low, high) = index.between(bounds);
        let mut wanted: Vec<_> = model.range::<[u8], _>(bounds).collect();
        let mut at = low;
        for (key, value) in &wanted {
            assert!(at < high);
            assert_eq!(index.at(at).map(|(key, value)| (&**key, value)), Some((&***key, *value)));
            at = index.after(at);
        }
        assert!(at >= high, "{at:?} {high:?}");
        let mut at = high;
        while let Some((key, value)) = wanted.pop() {
            at = index.before(at);
            assert_eq!(index.at(at).map(|(key, value)| (&**key, value)), Some((&**key, value)));
        }
        assert_eq!(at, low);
    }

    #[test]
    fn it_answers_as_a_sorted_map_would() {
        for seed in 0..20 {
            let (rng, mut index, mut model) = (Rng::new(seed), Index::default(), BTreeMap::new());
            for value in 0..2_000 {
                let key = key(&rng);
                match index.find(&key) {
                    Ok(place) => *index.at_mut(place).unwrap() = value,
                    Err(place) => index.insert(place, Rc::from(&*key), value),
                }
                model.insert(key, value);
                if value % 20 == 0 {
                    check(&index, &model, &rng);
                }
            }
            for (key, value) in &model {
                assert_eq!(index.get(key, xxh3_64(key)), Some(value));
                let longer = [key, &[9][..]].concat();
                assert_eq!(index.get(&longer, xxh3_64(&longer)), None);
            }
        }
    }

    #[test]
    fn keys_in_order_fill_their_leaves() {
        let mut index = Index::default();
        for number in 0..10 * LEAF_MAX as u32 {
            let key = number.to_be_bytes();
            let place = index.find(&key).unwrap_err();
            index.insert(place, Rc::from(&key[..]), number);
        }
        assert_eq!(index.leaves.len(), 10);
    }
}
