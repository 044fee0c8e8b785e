//! Where commits are in the logs, roughly: a reader of the change log that has heard of most of a
//! log does not read it from the beginning. Kept in memory only, for the logs that this open has
//! read or written.

use crate::planted::{Bug, planted};
use crate::stamp::Stamp;

/// One is kept for this part of a memtable's budget in bytes of a log.
const SHARE: u64 = 64;

/// A place in a log: the commits through one are before it, all later ones behind.
struct Landmark {
    log: u64,
    offset: u64,
    through: Stamp,
}

/// The landmarks of all logs, in the order of their commits.
#[derive(Default)]
pub struct Landmarks {
    all: Vec<Landmark>,
    stride: u64,
}

impl Landmarks {
    /// None yet, for logs of memtables of so many bytes.
    pub fn new(memtable_bytes: usize) -> Landmarks {
        Landmarks { all: Vec::new(), stride: memtable_bytes as u64 / SHARE }
    }

    /// Notes that the commits through `through` end at `offset` of the log with this number, where
    /// that is far enough from the last place that is known.
    pub fn pass(&mut self, log: u64, offset: u64, through: Stamp) {
        let last = self.all.last().filter(|last| last.log == log);
        if offset > last.map_or(0, |last| last.offset) + self.stride {
            self.all.push(Landmark { log, offset, through });
        }
    }

    /// Where to begin to read a log for the commits after `after`; None for its beginning.
    pub fn before(&self, log: u64, after: Stamp) -> Option<u64> {
        let of_log = self.all.iter().rev().filter(|one| one.log == log);
        let mut passed = of_log.skip_while(|one| one.through > after && !planted(Bug::ReaderSkips));
        passed.next().map(|one| one.offset)
    }

    /// Forgets logs before the one with this number.
    pub fn forget_before(&mut self, log: u64) {
        self.all.retain(|one| one.log >= log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_begins_behind_what_it_has_heard_of_and_before_all_else() {
        let stamp = |counter| Stamp { epoch: 1, counter };
        let mut landmarks = Landmarks::new(64 * 10);
        for (log, first) in [(3, 0), (5, 10)] {
            for n in 1..=10 {
                landmarks.pass(log, 100 * n, stamp(first + n));
            }
        }
        assert_eq!(landmarks.before(3, Stamp::ZERO), None);
        assert_eq!(landmarks.before(3, stamp(1)), Some(100));
        assert_eq!(landmarks.before(3, stamp(4)), Some(400));
        assert_eq!(landmarks.before(5, stamp(10)), None);
        assert_eq!(landmarks.before(5, stamp(99)), Some(1_000));
        landmarks.forget_before(5);
        assert_eq!(landmarks.before(3, stamp(4)), None);
        assert_eq!(landmarks.before(5, stamp(11)), Some(100));
    }

    #[test]
    fn few_are_kept() {
        let mut landmarks = Landmarks::new(4 << 20);
        for n in 1..10_000 {
            landmarks.pass(1, 100 * n, Stamp { epoch: 1, counter: n });
        }
        assert!((14..=16).contains(&landmarks.all.len()));
    }
}
