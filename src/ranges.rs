//! Deleted ranges: tombstones that cost the same whatever they cover.
//!
//! A tombstone `start..end` of a commit hides every version in it that is older. As they come,
//! tombstones may overlap, so they are kept in fragments: pieces that don't, each with the stamps
//! of all tombstones over it, newest first. What deletes a key is then found by one binary search.
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

/// What a fragment occupies beside its ends and stamps, roughly.
const OVERHEAD_BYTES: usize = 64;

/// A stretch of keys over which the same tombstones lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The first key.
    pub start: Rc<[u8]>,
    /// The first key past it.
    pub end: Rc<[u8]>,
    /// The commits that deleted it, newest first; at least one.
    pub stamps: Vec<Stamp>,
}

impl Fragment {
    /// The newest tombstone at or below `at`; `Stamp::ZERO` where there is none.
    pub fn newest(&self, at: Stamp) -> Stamp {
        self.stamps.iter().find(|stamp| **stamp <= at).copied().unwrap_or(Stamp::ZERO)
    }

    fn bytes(&self) -> usize {
        self.start.len() + self.end.len() + self.stamps.len() * size_of::<Stamp>() + OVERHEAD_BYTES
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
    bytes: usize,
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
        self.bytes
    }

    /// Adds a tombstone; an empty range adds nothing. Of the stamps over the same keys, those are
    /// dropped that neither `visible` nor any later snapshot needs.
    pub fn insert(&mut self, start: &Rc<[u8]>, end: &Rc<[u8]>, stamp: Stamp, visible: Stamp) {
        if start >= end {
            return;
        }
        // Neighbours that only touch it take part, for they may become one with it.
        let from = self.fragments.partition_point(|old| old.end < *start);
        let to = self.fragments.partition_point(|old| old.start <= *end);
        let mut parts = Parts::default();
        let mut at = start;
        for old in self.fragments.get(from..to).unwrap_or_default() {
            self.bytes = self.bytes.saturating_sub(old.bytes());
            parts.push(&old.start, (&old.end).min(start), &old.stamps);
            let (inner_start, inner_end) = ((&old.start).max(start), (&old.end).min(end));
            parts.push(at, inner_start.min(end), &[stamp]);
            if inner_start < inner_end {
                parts.push(inner_start, inner_end, &with(&old.stamps, stamp, visible));
            }
            at = at.max(inner_end);
            parts.push((&old.start).max(end), &old.end, &old.stamps);
        }
        parts.push(at, end, &[stamp]);
        self.bytes += parts.0.iter().map(Fragment::bytes).sum::<usize>();
        drop(self.fragments.splice(from..to, parts.0));
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

    /// Whether all versions up to `newest` of all keys from `smallest` to `largest` are hidden by
    /// tombstones at or below `at`.
    pub fn hides(&self, smallest: &[u8], largest: &[u8], newest: Stamp, at: Stamp) -> bool {
        let mut key = smallest;
        let from = self.fragments.partition_point(|fragment| *fragment.end <= *smallest);
        for fragment in self.fragments.iter().skip(from) {
            if *fragment.start > *key || fragment.newest(at) <= newest {
                return false;
            }
            key = &fragment.end;
            if *key > *largest {
                return true;
            }
        }
        false
    }

    /// Drops what neither `visible` nor a later snapshot needs, and in the fragments for which
    /// nothing is left to hide (`hides` says so by their ends) what every one of them sees.
    pub fn settle(&mut self, visible: Stamp, hides: impl Fn(&[u8], &[u8]) -> bool) {
        self.change(|fragment| {
            cut(&mut fragment.stamps, visible);
            let seen_by_all = fragment.stamps.last().is_some_and(|stamp| *stamp <= visible);
            if seen_by_all && !hides(&fragment.start, &fragment.end) {
                fragment.stamps.pop();
            }
        });
    }

    /// Undoes every tombstone above `published`.
    pub fn roll_back(&mut self, published: Stamp) {
        self.change(|fragment| fragment.stamps.retain(|stamp| *stamp <= published));
    }

    fn change(&mut self, mut change: impl FnMut(&mut Fragment)) {
        self.fragments.retain_mut(|fragment| {
            change(fragment);
            !fragment.stamps.is_empty()
        });
        self.bytes = self.fragments.iter().map(Fragment::bytes).sum();
    }
}

/// Pieces in the order of keys. Those that touch and have the same stamps become one.
#[derive(Default)]
struct Parts(Vec<Fragment>);

impl Parts {
    /// Adds a piece; an empty one is none.
    fn push(&mut self, start: &Rc<[u8]>, end: &Rc<[u8]>, stamps: &[Stamp]) {
        if start >= end {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.end == *start && last.stamps == stamps => last.end = end.clone(),
            _ => self.0.push(Fragment {
                start: start.clone(),
                end: end.clone(),
                stamps: stamps.to_vec(),
            }),
        }
    }
}

/// `stamps` with one more, without those that no snapshot needs.
fn with(stamps: &[Stamp], stamp: Stamp, visible: Stamp) -> Vec<Stamp> {
    let place = stamps.partition_point(|other| *other > stamp);
    let mut all = stamps.to_vec();
    if all.get(place) != Some(&stamp) {
        all.insert(place, stamp);
    }
    cut(&mut all, visible);
    all
}

/// Drops the stamps below the one that `visible` sees.
fn cut(stamps: &mut Vec<Stamp>, visible: Stamp) {
    let newer = stamps.partition_point(|stamp| *stamp > visible);
    stamps.truncate(newer + 1);
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
            let stamps = one.stamps.iter().map(|stamp| format!(" {}", stamp.counter));
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

    #[test]
    fn a_stretch_is_hidden_where_no_key_of_it_is_left_out() {
        let three = ranges(&[("b", "d", 5), ("d", "f", 9), ("g", "h", 9)], 0);
        let hides = |from: &str, to: &str, newest, seen| {
            three.hides(from.as_bytes(), to.as_bytes(), at(newest), at(seen))
        };
        assert!(hides("b", "e", 4, 9) && hides("d", "ezz", 8, 9));
        assert!(!hides("b", "e", 5, 9), "as new as its tombstone");
        assert!(!hides("b", "e", 4, 8), "the second is not seen");
        assert!(!hides("b", "f", 4, 9), "the end does not belong");
        assert!(!hides("b", "gg", 4, 9) && !hides("a", "c", 4, 9), "there are gaps");
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
            prop_assert!(fragments.iter().all(|one| one.stamps.is_sorted_by(|a, b| a > b)));
            let bytes: usize = fragments.iter().map(Fragment::bytes).sum();
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
