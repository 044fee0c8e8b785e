//! Deleted ranges: tombstones that cost the same whatever they cover.
//!
//! A tombstone `start..end` of a commit hides every version in it that is older. As they come,
//! tombstones may overlap, so they are kept in fragments: pieces that don't, each with the stamps
//! of all tombstones over it, oldest first. What deletes a key is then found by one binary search.
//! RocksDB (DeleteRange) and Pebble (keyspan) fragment them so, when they read; here it is done as
//! they come in, which costs no more than finding the place.
//!
//! ```text
//! commits     a---------------m @5        fragments   a-----f @5
//!                   f------------------t @7           f-----m @7 @5
//!                                                     m-----t @7
//! ```
//!
//! A version and a tombstone of one commit never meet: what a commit wrote before it deleted the
//! range is left out of it (see `commit`), and what it wrote after stays, for only older versions
//! are hidden. Versions stay where they are until compaction meets them.

use crate::stamp::Stamp;
use std::rc::Rc;

/// What a fragment occupies in memory beside what it does in a table, roughly.
const OVERHEAD_BYTES: usize = 64;
/// What is added may come to this many times as much as is left of it, see [`Ranges::is_full`].
const ADDED_FACTOR: usize = 4;

/// A stretch of keys over which the same tombstones lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The first key.
    pub start: Rc<[u8]>,
    /// The first key past it.
    pub end: Rc<[u8]>,
    /// The commits that deleted it, oldest first; at least one.
    pub stamps: Vec<Stamp>,
}

impl Fragment {
    /// The newest tombstone at or below `at`; `Stamp::ZERO` where there is none.
    pub fn newest(&self, at: Stamp) -> Stamp {
        let newer = self.stamps.partition_point(|stamp| *stamp <= at);
        let newest = newer.checked_sub(1).and_then(|place| self.stamps.get(place));
        newest.copied().unwrap_or(Stamp::ZERO)
    }

    /// Roughly what it occupies in a table, which has an entry for each stamp.
    pub fn bytes(&self) -> usize {
        stored_bytes(&self.start, &self.end, self.stamps.len())
    }

    /// Drops the stamps below the one that `visible` sees.
    pub fn cut(&mut self, visible: Stamp) {
        let newer = self.stamps.partition_point(|stamp| *stamp <= visible);
        drop(self.stamps.drain(..newer.saturating_sub(1)));
    }

    fn add(&mut self, stamp: Stamp, visible: Stamp) {
        let place = self.stamps.partition_point(|other| *other < stamp);
        if self.stamps.get(place) != Some(&stamp) {
            self.stamps.insert(place, stamp);
        }
        self.cut(visible);
    }
}

/// The newest tombstone over a key, and between which keys it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// The commit that deleted the range; `Stamp::ZERO` where none did.
    pub stamp: Stamp,
    /// The first key of which this holds; None where it holds of all before.
    pub start: Option<Rc<[u8]>>,
    /// The first key of which it does not; None where it holds of all that follow.
    pub end: Option<Rc<[u8]>>,
}

/// Fragments, in the order of keys.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    fragments: Vec<Fragment>,
    /// What they occupy in a table.
    bytes: usize,
    /// The same of all tombstones that were ever added, each by itself.
    added: usize,
}

impl Ranges {
    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// The fragments.
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    /// Roughly the memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes + self.fragments.len() * OVERHEAD_BYTES
    }

    /// Whether they occupy `max` bytes of a table, or could after an open: that adds again what the
    /// log has, and drops nothing that a list could see.
    pub fn is_full(&self, max: usize) -> bool {
        self.bytes.max(self.added / ADDED_FACTOR) >= max
    }

    /// Adds a tombstone; an empty range adds nothing. Of the stamps over the same keys, those are
    /// dropped that neither `visible` nor any later snapshot needs.
    pub fn insert(&mut self, start: &Rc<[u8]>, end: &Rc<[u8]>, stamp: Stamp, visible: Stamp) {
        if start >= end {
            return;
        }
        self.split(start);
        self.split(end);
        // Neighbours that only touch it take part, for they may become one with it.
        let from = self.fragments.partition_point(|old| old.end < *start);
        let (mut parts, mut met, mut at) = (Vec::new(), 0, start);
        let gap = |start: &Rc<[u8]>, end: &Rc<[u8]>| Fragment {
            start: start.clone(),
            end: end.clone(),
            stamps: vec![stamp],
        };
        for old in self.fragments.iter_mut().skip(from).take_while(|old| old.start <= *end) {
            met += 1;
            self.bytes -= old.bytes();
            let stamps = std::mem::take(&mut old.stamps);
            let old: &Fragment = old;
            let mut piece = Fragment { start: old.start.clone(), end: old.end.clone(), stamps };
            if old.start >= *start {
                if *at < old.start {
                    push(&mut parts, gap(at, &old.start));
                }
                at = (&old.end).min(end);
                if old.start < *end {
                    piece.add(stamp, visible);
                }
            }
            push(&mut parts, piece);
        }
        if at < end {
            push(&mut parts, gap(at, end));
        }
        self.bytes += parts.iter().map(Fragment::bytes).sum::<usize>();
        self.added += stored_bytes(start, end, 1);
        drop(self.fragments.splice(from..from + met, parts));
    }

    /// Sees to it that no fragment reaches over this key.
    fn split(&mut self, key: &Rc<[u8]>) {
        let place = self.fragments.partition_point(|old| old.end <= *key);
        if let Some(old) = self.fragments.get_mut(place).filter(|old| old.start < *key) {
            let rest = Fragment { start: key.clone(), ..old.clone() };
            self.bytes -= old.bytes();
            old.end = key.clone();
            self.bytes += old.bytes() + rest.bytes();
            self.fragments.insert(place + 1, rest);
        }
    }

    /// Takes out the first fragments.
    pub fn forget(&mut self, count: usize) {
        let forgotten = self.fragments.drain(..count);
        self.bytes -= forgotten.map(|one| one.bytes()).sum::<usize>();
    }

    /// The newest tombstone over `key` at or below `at`; `Stamp::ZERO` where there is none.
    pub fn newest(&self, key: &[u8], at: Stamp) -> Stamp {
        let place = self.fragments.partition_point(|fragment| *fragment.end <= *key);
        match self.fragments.get(place) {
            Some(fragment) if *fragment.start <= *key => fragment.newest(at),
            _ => Stamp::ZERO,
        }
    }

    /// As [`Ranges::newest`], with the keys around of which the same is true.
    pub fn cover(&self, key: &[u8], at: Stamp) -> Cover {
        let place = self.fragments.partition_point(|fragment| *fragment.end <= *key);
        match self.fragments.get(place) {
            Some(fragment) if *fragment.start <= *key => {
                let Fragment { start, end, .. } = fragment.clone();
                Cover { stamp: fragment.newest(at), start: Some(start), end: Some(end) }
            }
            next => {
                let before = place.checked_sub(1).and_then(|before| self.fragments.get(before));
                Cover {
                    stamp: Stamp::ZERO,
                    start: before.map(|fragment| fragment.end.clone()),
                    end: next.map(|fragment| fragment.start.clone()),
                }
            }
        }
    }

    /// Undoes every tombstone above `published`.
    pub fn roll_back(&mut self, published: Stamp) {
        self.fragments.retain_mut(|fragment| {
            fragment.stamps.retain(|stamp| *stamp <= published);
            !fragment.stamps.is_empty()
        });
        self.bytes = self.fragments.iter().map(Fragment::bytes).sum();
    }
}

/// What so many tombstones over the same keys occupy in a table, roughly.
fn stored_bytes(start: &[u8], end: &[u8], stamps: usize) -> usize {
    stamps * (start.len() + end.len() + size_of::<Stamp>())
}

/// Appends a piece. Those that touch and have the same stamps become one.
fn push(parts: &mut Vec<Fragment>, piece: Fragment) {
    match parts.last_mut() {
        Some(last) if last.end == piece.start && last.stamps == piece.stamps => {
            last.end = piece.end;
        }
        _ => parts.push(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::at;
    use proptest::prelude::*;

    fn ranges(list: &[(&str, &str, u64)], visible: u64) -> Ranges {
        let mut ranges = Ranges::default();
        for (start, end, counter) in list {
            let (start, end) = (Rc::from(start.as_bytes()), Rc::from(end.as_bytes()));
            ranges.insert(&start, &end, at(*counter), at(visible));
        }
        ranges
    }

    fn shown(ranges: &Ranges) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fragment = |one: &Fragment| {
            let stamps = one.stamps.iter().rev().map(|stamp| format!(" {}", stamp.counter));
            format!("{}-{}{}", text(&one.start), text(&one.end), stamps.collect::<String>())
        };
        ranges.fragments().iter().map(fragment).collect()
    }

    #[test]
    fn tombstones_that_overlap_become_fragments_that_do_not() {
        let two = ranges(&[("a", "m", 5), ("f", "t", 7)], 0);
        assert_eq!(shown(&two), ["a-f 5", "f-m 7 5", "m-t 7"]);
        let gaps = ranges(&[("c", "d", 1), ("f", "g", 2), ("a", "z", 3)], 0);
        assert_eq!(shown(&gaps), ["a-c 3", "c-d 3 1", "d-f 3", "f-g 3 2", "g-z 3"]);
        assert!(ranges(&[("b", "b", 1), ("c", "a", 2)], 0).is_empty());
    }

    #[test]
    fn what_no_snapshot_needs_takes_no_memory() {
        let mut list: Vec<_> = (1..100).map(|counter| ("c", "d", counter)).collect();
        list.push(("a", "z", 100));
        let one = ranges(&list, 100);
        assert_eq!(shown(&one), ["a-z 100"]);
        assert_eq!(one.bytes(), ranges(&[("a", "z", 100)], 0).bytes());
        let mut rolled_back = ranges(&[("a", "d", 1), ("b", "c", 2), ("x", "y", 3)], 1);
        rolled_back.roll_back(at(1));
        assert_eq!(shown(&rolled_back), ["a-b 1", "b-c 1", "c-d 1"]);
    }

    type Tombstone = (u8, u8, u64);

    fn newest(list: &[Tombstone], key: u8, seen: u64) -> Stamp {
        let over = list
            .iter()
            .filter(|(start, end, counter)| (*start..*end).contains(&key) && *counter <= seen);
        over.map(|(_, _, counter)| at(*counter)).max().unwrap_or(Stamp::ZERO)
    }

    proptest! {
        #[test]
        fn fragments_answer_as_the_list_of_tombstones_does(
            list in proptest::collection::vec((0u8..20, 0u8..20, 1u64..30), 0..40),
            visible in 0u64..30,
        ) {
            let mut ranges = Ranges::default();
            for (start, end, counter) in &list {
                ranges.insert(&Rc::from([*start]), &Rc::from([*end]), at(*counter), at(visible));
            }
            let fragments = ranges.fragments();
            prop_assert!(fragments.iter().all(|one| one.start < one.end));
            prop_assert!(fragments.is_sorted_by(|a, b| a.end <= b.start));
            prop_assert!(fragments.iter().all(|one| one.stamps.is_sorted_by(|a, b| a < b)));
            let bytes: usize = fragments.iter().map(|one| one.bytes() + OVERHEAD_BYTES).sum();
            prop_assert_eq!(bytes, ranges.bytes());
            for (key, seen) in (0..21u8).flat_map(|key| (visible..31).map(move |at| (key, at))) {
                let cover = ranges.cover(&[key], at(seen));
                prop_assert_eq!(cover.stamp, newest(&list, key, seen));
                prop_assert_eq!(ranges.newest(&[key], at(seen)), cover.stamp);
                let from = cover.start.map_or(0, |start| start[0]);
                let to = cover.end.map_or(21, |end| end[0]);
                prop_assert!((from..to).contains(&key));
                prop_assert!((from..to).all(|key| newest(&list, key, seen) == cover.stamp));
            }
        }
    }
}
