//! One ordered view of memtables and tables: a k-way merge.
//!
//! A scan sees, of each key in its range, the newest version at or below its snapshot, and that
//! only if it is a value that is alive at the snapshot's time. Compaction sees all versions.
//!
//! There are few sources (memtables, tables of level 0, one run a level), so they are compared
//! one by one, by [`code`]s that say how their keys differ. While one source stays ahead of the
//! second, each entry costs one comparison of two integers. Entries are never moved or copied on
//! the way: the current one is where its source stands. What deleted ranges hide is skipped, at a
//! stretch where that saves reading. Much may be passed before anything is found, so the caller
//! gets a word in every so often.

use crate::error::{Error, Result};
use crate::memtable::Memtable;
use crate::record::{Op, Record, alive};
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::Table;
use crate::table::block_cursor::SAME_KEY;
use crate::version::Version;
use code::Code;
use core::cmp::Ordering;
use deleted::Deleted;
use run::RunCursor;
use source::{MemoryCursor, Source};
use std::rc::Rc;

mod code;
mod deleted;
mod run;
mod source;
#[cfg(test)]
mod tests;

pub use source::Step;

/// After so many entries, shown or passed over, the caller gets a word in.
const STRIDE: u32 = 256;

/// A range and a snapshot to read it at.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The first key that belongs to it.
    pub start: Vec<u8>,
    /// The first key past it.
    pub end: Vec<u8>,
    /// Whether it goes from `end` to `start`.
    pub reverse: bool,
    /// The commits and the time it sees.
    pub snapshot: Snapshot,
}

/// A merge under way; keeps the tables it reads open.
pub struct Merge<S: Storage> {
    sources: Vec<Source<S>>,
    /// What a scan sees; None for all versions.
    snapshot: Option<Snapshot>,
    deleted: Deleted<S>,
    reverse: bool,
    /// The sources that stand on an entry, the one that comes first last.
    order: Vec<Turn>,
    /// So many of them, the last ones, have to take a step.
    behind: usize,
    /// The first entry has been looked at.
    used: bool,
    /// How many more are, before the caller gets a word in.
    stride: u32,
    /// A step or a load failed or was left unfinished: where the sources stand is not known.
    broken: bool,
}

/// A source that stands on an entry.
#[derive(Clone, Copy)]
struct Turn {
    /// Of its key, for that of the source that comes before; of the first, for the last entry.
    code: Code,
    /// Where it is in the list of sources.
    place: usize,
}

impl<S: Storage> Merge<S> {
    /// The visible entries of a range. `memtables` are in any order.
    pub fn scan(memtables: &[Rc<Memtable>], version: &Version<S>, scan: Scan) -> Merge<S> {
        let scan = Rc::new(scan);
        let mut sources = Vec::new();
        let mut deleted = Deleted::new(scan.snapshot.stamp, scan.reverse);
        if scan.start < scan.end {
            memtables.iter().for_each(|memtable| deleted.add_memtable(memtable));
            let memory =
                |memtable: &Rc<Memtable>| MemoryCursor::new(memtable.clone(), scan.clone());
            sources.extend(memtables.iter().map(memory).map(Source::Memory));
            for mut run in version.runs(&scan.start, &scan.end, scan.snapshot.stamp) {
                if scan.reverse {
                    run.reverse();
                }
                sources.push(Source::Run(Box::new(RunCursor::scan(run, scan.clone()))));
            }
        }
        Merge::new(sources, Some(scan.snapshot), deleted, scan.reverse)
    }

    /// All versions in these runs of tables, in the order of [`crate::record::order`], without
    /// those that their deleted ranges hide from every reader from `retained` on, if that is said.
    pub fn versions(runs: Vec<Vec<Rc<Table<S>>>>, retained: Option<Stamp>) -> Merge<S> {
        let source = |run| Source::Run(Box::new(RunCursor::all(run, retained.is_some())));
        let deleted = Deleted::new(retained.unwrap_or(Stamp::ZERO), false);
        Merge::new(runs.into_iter().map(source).collect(), None, deleted, false)
    }

    fn new(
        sources: Vec<Source<S>>,
        snapshot: Option<Snapshot>,
        deleted: Deleted<S>,
        reverse: bool,
    ) -> Merge<S> {
        let order: Vec<_> =
            (0..sources.len()).map(|place| Turn { code: Code::SAME, place }).collect();
        let behind = order.len();
        let (used, stride, broken) = (false, STRIDE, false);
        Merge { sources, snapshot, deleted, reverse, order, behind, used, stride, broken }
    }

    /// Hands entries to `visit` until it returns false (that entry is used up) or there are no
    /// more; whether there may be more. No future is made for an entry, only for a block that has
    /// to be loaded and where the caller gets a word in: it is what `pause` comes to then.
    ///
    /// # Errors
    /// Those of [`Table::get`] and of `pause`.
    pub async fn fill(
        &mut self,
        pause: impl AsyncFn() -> Result<()>,
        mut visit: impl FnMut(Record<'_>) -> bool,
    ) -> Result<bool> {
        loop {
            match self.step()? {
                Step::Entry => {
                    if self.record().is_some_and(|record| !visit(record)) || self.run_on(&mut visit)
                    {
                        return Ok(true);
                    }
                }
                Step::End => return Ok(false),
                Step::Load => {
                    self.load().await?;
                    pause().await?;
                }
            }
        }
    }

    /// Hands out what follows in the first source, as far as that is in the same block and comes
    /// before what all others stand on; whether `visit` has had enough. This saves nearly every
    /// entry of a long scan the way through all of its cursors.
    fn run_on(&mut self, visit: &mut dyn FnMut(Record<'_>) -> bool) -> bool {
        let second = self.order.len().checked_sub(2).and_then(|second| self.order.get(second));
        let limit = second.map_or(Code::LAST, |turn| turn.code);
        let (Some(snapshot), Some(first)) = (&self.snapshot, self.order.last_mut()) else {
            return false;
        };
        let Some(Source::Run(run)) = self.sources.get_mut(first.place) else { return false };
        if !self.deleted.is_empty() {
            return false;
        }
        let mut enough = false;
        run.run_on(|record, shared| {
            if enough || shared == SAME_KEY {
                return !enough;
            }
            let code = Code::new(record.key, shared, self.reverse);
            if code >= limit {
                return false;
            }
            first.code = code;
            enough = sees(snapshot, &record) && !visit(record);
            true
        });
        enough
    }

    /// Moves to the next entry, as far as that is possible without loading a block; after so many
    /// entries, [`Step::Load`] has nothing to load and is for the caller to do something else.
    ///
    /// # Errors
    /// `Corruption` where there is no valid entry. After an error, or a load that was dropped
    /// before its end, every step fails: entries could be missing.
    pub fn step(&mut self) -> Result<Step> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(Error::io("the scan was broken off: begin another"));
        }
        let step = self.advance()?;
        self.broken = false;
        Ok(step)
    }

    fn advance(&mut self) -> Result<Step> {
        loop {
            if self.used {
                let Some(left) = self.stride.checked_sub(1) else {
                    self.stride = STRIDE;
                    return Ok(Step::Load);
                };
                (self.used, self.stride) = (false, left);
                self.leave();
            }
            while let Some((at, place)) = self.next_behind()
                && let Some(source) = self.sources.get_mut(place)
            {
                match source.step()? {
                    Step::Load => return Ok(Step::Load),
                    Step::Entry => {
                        let code = source.code(self.reverse);
                        self.line_up(at, Turn { code, place });
                    }
                    Step::End => drop(self.order.remove(at)),
                }
                self.behind -= 1;
            }
            self.used = true;
            if !self.deleted.is_empty() && self.pass_deleted()? {
                continue;
            }
            match self.record() {
                None => return Ok(Step::End),
                Some(record) if self.shows(&record) => return Ok(Step::Entry),
                Some(_) => {}
            }
        }
    }

    /// The next source that has to take a step: its place in the order and among the sources.
    #[inline]
    fn next_behind(&self) -> Option<(usize, usize)> {
        let at = self.order.len() - self.behind;
        self.order.get(at).map(|turn| (at, turn.place))
    }

    /// Whether a deleted range hides the current entry. Its source hears how far that goes.
    #[inline(never)]
    fn pass_deleted(&mut self) -> Result<bool> {
        let first = self.order.last().and_then(|turn| self.sources.get_mut(turn.place));
        let Some(source) = first else { return Ok(false) };
        let record = source.record();
        if !self.deleted.hides(record.key, record.stamp)? {
            return Ok(false);
        }
        if let (Source::Run(run), Some((edge, stamp))) = (source, self.deleted.reach()) {
            run.pass(edge, stamp);
        }
        Ok(true)
    }

    /// Loads what the last [`Merge::step`] found missing.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn load(&mut self) -> Result<()> {
        self.broken = true;
        if let Some((_, place)) = self.next_behind()
            && let Some(source) = self.sources.get_mut(place)
        {
            source.load().await?;
            if let Some((table, ranges)) = source.take_ranges() {
                self.deleted.add_table(table, ranges);
            }
        }
        self.broken = false;
        Ok(())
    }

    /// The current entry; None at the end.
    #[inline]
    pub fn record(&self) -> Option<Record<'_>> {
        Some(self.source(self.order.last()?.place)?.record())
    }

    #[inline]
    fn source(&self, place: usize) -> Option<&Source<S>> {
        self.sources.get(place)
    }

    fn shows(&self, record: &Record<'_>) -> bool {
        match &self.snapshot {
            Some(snapshot) => sees(snapshot, record),
            None => record.stamp > Stamp::ZERO,
        }
    }

    /// Has the first source take a step; in a scan, all that stand on older versions of its key.
    fn leave(&mut self) {
        let is_older = |turn: &&Turn| self.snapshot.is_some() && turn.code == Code::SAME;
        let others = self.order.iter().rev().skip(1);
        self.behind = self.order.len().min(1) + others.take_while(is_older).count();
    }

    /// Puts a source, at `at` of the order, where its entry belongs among those further down.
    fn line_up(&mut self, mut at: usize, mut turn: Turn) {
        while let Some(down) = at.checked_sub(1)
            && let Some(&other) = self.order.get(down)
        {
            if turn.code <= other.code {
                if turn.code < other.code {
                    break;
                }
                let (order, later) = self.compare(turn, other);
                if order == Ordering::Less {
                    self.set_turn(down, Turn { code: later, ..other });
                    break;
                }
                turn.code = later;
            }
            self.set_turn(at, other);
            at = down;
        }
        self.set_turn(at, turn);
    }

    #[inline]
    fn set_turn(&mut self, at: usize, turn: Turn) {
        if let Some(old) = self.order.get_mut(at) {
            *old = turn;
        }
    }

    /// Compares the entries of two sources that have the same code; with the code that the later
    /// one has for the first.
    #[inline(never)]
    fn compare(&self, turn: Turn, other: Turn) -> (Ordering, Code) {
        let (Some(a), Some(b)) = (self.source(turn.place), self.source(other.place)) else {
            return (Ordering::Equal, turn.code);
        };
        let (by_key, shared) = turn.code.compare(a.key(), b.key(), self.reverse);
        let order = by_key.then_with(|| b.record().stamp.cmp(&a.record().stamp));
        let later = if order.is_lt() { b } else { a };
        (order, Code::new(later.key(), shared, self.reverse))
    }
}

/// Whether a version that a scan has come to is a value that is alive.
#[inline]
fn sees(snapshot: &Snapshot, record: &Record<'_>) -> bool {
    match record.op {
        Op::Set { expires_at, .. } => alive(expires_at, snapshot.time_ms),
        Op::Delete => false,
    }
}
