//! The keys of a memtable: in their order a B-tree of two levels over numbered entries, and by
//! their hash a table that finds a single one.
//!
//! ```text
//! directory   skip | slot | slot | slot | ...          a slot for the first key of each leaf
//!                     v      v      v
//! leaves      skip | slot | slot | ...                 a slot for each key, up to LEAF_MAX
//!                     v
//! entries     keys and values, in the order in which they came
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

mod hashes;

/// A leaf is split once it has so many slots: 2 KiB.
const LEAF_MAX: usize = 128;
/// Slots are made anew once so many of their eight bytes are the same in all of them.
const STALE_BYTES: usize = 4;
/// Memory is allocated for so many entries at a time.
const CHUNK: usize = 256;
/// Of a new chunk, no more than this is set aside for keys before they are there.
const KEY_BYTES_AHEAD: usize = 16 * CHUNK;

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

/// [`CHUNK`] of them in each but the last.
struct Entries<V>(Vec<Chunk<V>>);

struct Chunk<V> {
    /// The keys, one behind the other.
    keys: Vec<u8>,
    /// Where each of them ends, and where the first one starts.
    ends: Vec<u32>,
    values: Vec<V>,
}

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

    /// How many entries [`Index::get`] does not find before [`Index::hash_new`] is called.
    pub fn unhashed(&self) -> usize {
        self.entries.len() - self.hashes.len()
    }

    /// Has [`Index::get`] find all entries.
    pub fn hash_new(&mut self) {
        let new = self.hashes.len() as u32..self.entries.len() as u32;
        let hash = |entry| xxh3_64(self.entries.key(entry));
        self.hashes.fetch(new.clone().map(hash));
        new.for_each(|entry| self.hashes.insert(hash(entry), entry));
    }

    /// The value of a key, whose hash is `hash`, if that is hashed.
    pub fn get(&self, key: &[u8], hash: u64) -> Option<&V> {
        let entry = self.hashes.find(hash, |entry| self.entries.key(entry) == key)?;
        self.entries.value(entry)
    }

    /// The entry at a place.
    pub fn at(&self, place: Place) -> Option<(&[u8], &V)> {
        let slot = self.leaves.get(place.leaf)?.slots.get(place.slot)?;
        Some((self.entries.key(slot.entry), self.entries.value(slot.entry)?))
    }

    /// The value at a place, to be changed.
    pub fn at_mut(&mut self, place: Place) -> Option<&mut V> {
        let slot = self.leaves.get(place.leaf)?.slots.get(place.slot)?;
        self.entries.value_mut(slot.entry)
    }

    /// Adds an entry where [`Index::find`] has not found its key.
    pub fn insert(&mut self, mut place: Place, key: &[u8], value: V) {
        let entry = self.entries.push(key, value);
        if self.unhashed() == CHUNK {
            self.hash_new();
        }
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

    /// Hands out all entries in the order in which they came.
    pub fn into_each(self, mut visit: impl FnMut(&[u8], V)) {
        for Chunk { keys, ends, values } in self.entries.0 {
            for (place, value) in values.into_iter().enumerate() {
                visit(key_at(&keys, &ends, place), value);
            }
        }
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
    fn value(&self, entry: u32) -> Option<&V> {
        self.0.get(entry as usize / CHUNK)?.values.get(entry as usize % CHUNK)
    }

    fn value_mut(&mut self, entry: u32) -> Option<&mut V> {
        self.0.get_mut(entry as usize / CHUNK)?.values.get_mut(entry as usize % CHUNK)
    }

    fn key(&self, entry: u32) -> &[u8] {
        let Some(Chunk { keys, ends, .. }) = self.0.get(entry as usize / CHUNK) else { return &[] };
        key_at(keys, ends, entry as usize % CHUNK)
    }

    fn len(&self) -> usize {
        let last = self.0.last().map_or(0, |chunk| chunk.values.len());
        self.0.len().saturating_sub(1) * CHUNK + last
    }

    /// Adds an entry; returns its number.
    fn push(&mut self, key: &[u8], value: V) -> u32 {
        let entry = self.len();
        if entry.is_multiple_of(CHUNK) {
            // The keys of one chunk take about as much as those of another.
            let key_bytes = self.0.last().map_or(0, |chunk| chunk.keys.len());
            let keys = Vec::with_capacity(key_bytes.min(KEY_BYTES_AHEAD));
            let mut ends = Vec::with_capacity(CHUNK + 1);
            ends.push(0);
            self.0.push(Chunk { keys, ends, values: Vec::with_capacity(CHUNK) });
        }
        if let Some(chunk) = self.0.last_mut() {
            chunk.keys.extend_from_slice(key);
            chunk.ends.push(chunk.keys.len() as u32);
            chunk.values.push(value);
        }
        entry as u32
    }
}

fn key_at<'a>(keys: &'a [u8], ends: &[u32], place: usize) -> &'a [u8] {
    let Some(&[start, end]) = ends.get(place..).and_then(|ends| ends.first_chunk()) else {
        return &[];
    };
    keys.get(start as usize..end as usize).unwrap_or_default()
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
            assert_eq!(index.at(at), Some((&***key, *value)));
            at = index.after(at);
        }
        assert!(at >= high, "{at:?} {high:?}");
        let mut at = high;
        while let Some((key, value)) = wanted.pop() {
            at = index.before(at);
            assert_eq!(index.at(at), Some((&**key, value)));
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
                    Err(place) => index.insert(place, &key, value),
                }
                model.insert(key, value);
                assert!(index.unhashed() < CHUNK);
                if value % 20 == 0 {
                    check(&index, &model, &rng);
                }
            }
            index.hash_new();
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
            index.insert(place, &key, number);
        }
        assert_eq!(index.leaves.len(), 10);
    }
}
