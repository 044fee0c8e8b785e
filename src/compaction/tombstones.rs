//! The deleted ranges of tables that are merged, in the order of keys. They are read along with the
//! versions: in memory are those that lie over one key, and a few that were passed, however many
//! there are.

use super::STRIDE_BYTES;
use crate::error::Result;
use crate::ranges::{Fragment, Ranges};
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{RangeCursor, Table};
use std::rc::Rc;
use std::vec::IntoIter;

/// What a deleted range costs beside its bytes, in bytes that could be copied meanwhile.
pub const RANGE_COST: usize = 128;
/// Fragments that were passed are let go of so many at a time.
const PASSED_MAX: usize = 64;

/// The next deleted range of a run of tables, None where it was not read yet, and the tables that
/// follow.
type Place<S> = (Option<RangeCursor>, IntoIter<Rc<Table<S>>>);

/// A place among the deleted ranges of several runs of tables.
pub struct Tombstones<S: Storage> {
    /// Of each run that is not at its end.
    runs: Vec<Place<S>>,
    /// Those that were read and not yet let go of, without what no reader needs.
    ranges: Ranges,
    /// How many of them were passed.
    passed: usize,
    /// The oldest reader.
    retained: Stamp,
}

/// What is to be done before a key is looked at.
pub enum Next {
    /// The next tombstone is to be [read](Tombstones::read).
    Read,
    /// This fragment was passed: it ends before the key, and nothing more will lie over it.
    Passed(Fragment),
    /// Nothing: all is known that lies over the key.
    Nothing,
}

impl<S: Storage> Tombstones<S> {
    /// A place before the first of them.
    pub fn new(runs: &[Vec<Rc<Table<S>>>], retained: Stamp) -> Tombstones<S> {
        let with_ranges = |run: &Vec<Rc<Table<S>>>| {
            let tables = run.iter().filter(|table| table.meta().ranges > 0).cloned();
            (None, tables.collect::<Vec<_>>().into_iter())
        };
        let runs = runs.iter().map(with_ranges).collect();
        Tombstones { runs, ranges: Ranges::default(), passed: 0, retained }
    }

    /// What is to be done before `key` is looked at, or before the end. Keys come in order.
    pub fn next(&mut self, key: Option<&[u8]>) -> Next {
        let reached = |place: &[u8]| key.is_none_or(|key| *place <= *key);
        let start = self.runs.get(self.first()).map(start_of);
        // One that begins where another ends may become one with it.
        if let Some(over) = self.over()
            && reached(&over.end)
            && start.is_none_or(|start| *over.end < *start)
        {
            let fragment = over.clone();
            self.passed += 1;
            return Next::Passed(fragment);
        }
        if start.is_some_and(reached) { Next::Read } else { Next::Nothing }
    }

    /// The run of the one that starts first, as far as that is known.
    fn first(&self) -> usize {
        let runs = self.runs.iter().enumerate();
        let first = runs.min_by(|(_, one), (_, other)| start_of(one).cmp(start_of(other)));
        first.map_or(0, |(place, _)| place)
    }

    /// Reads the next tombstone, or the next table of them; returns what that cost.
    ///
    /// # Errors
    /// Those of [`Table::ranges`].
    pub async fn read(&mut self) -> Result<usize> {
        let place = self.first();
        let Some((cursor, tables)) = self.runs.get_mut(place) else { return Ok(0) };
        if let Some(next) = cursor {
            if self.passed >= PASSED_MAX {
                self.ranges.forget(std::mem::take(&mut self.passed));
            }
            let cost = RANGE_COST + next.start().len();
            if !next.add_to(&mut self.ranges, self.retained)? {
                *cursor = None;
            }
            return Ok(cost);
        }
        match tables.next() {
            None => drop(self.runs.swap_remove(place)),
            Some(table) => {
                if let Some(ranges) = table.ranges().await? {
                    *cursor = ranges.cursor()?;
                }
            }
        }
        Ok(STRIDE_BYTES)
    }

    /// The fragment over the key that was looked at last, or the next one.
    pub fn over(&self) -> Option<&Fragment> {
        self.ranges.fragments().get(self.passed)
    }

    /// The newest tombstone at or below `at` over the key that was looked at last.
    pub fn newest(&self, key: &[u8], at: Stamp) -> Stamp {
        let over = self.over().filter(|fragment| *fragment.start <= *key);
        over.map_or(Stamp::ZERO, |fragment| fragment.newest(at))
    }
}

/// Where the next one of a run starts, or the first place of all.
fn start_of<S: Storage>((cursor, _): &Place<S>) -> &[u8] {
    cursor.as_ref().map_or(&[], RangeCursor::start)
}
