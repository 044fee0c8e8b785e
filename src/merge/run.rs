//! Reads tables that follow each other (a level, or one table of level 0) as one sequence: of
//! all their versions, or of the newest version of each key that a scan can see.

use super::Scan;
use super::source::Step;
use crate::error::Result;
use crate::memtable::OwnedOp;
use crate::planted::{Bug, planted};
use crate::record::Record;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{RangeBlock, Table, TableCursor, TableMeta};
use std::rc::Rc;

/// After so many entries that deleted ranges hide, the rest of them is skipped: finding the next
/// place costs about as much as so many steps.
const PASSED_MAX: u32 = 32;

/// A place in a run of tables.
pub struct RunCursor<S: Storage> {
    /// The tables still to come, in the order of reading.
    tables: std::vec::IntoIter<Rc<Table<S>>>,
    cursor: Option<TableCursor<S>>,
    /// None: all versions of all keys.
    scan: Option<Rc<Scan>>,
    /// The cursor was put on an entry that no step has looked at.
    fresh: bool,
    /// Forward: a version of the key under the cursor was an entry.
    taken: bool,
    /// Forward: the block reaches past the end of the range.
    meets_end: bool,
    /// In reverse: nothing before the cursor is in the range.
    past_start: bool,
    held: Held,
    /// Entries that were hidden by deleted ranges, since the last skip.
    passed: u32,
    /// Everything up to this edge that is older than the stamp is hidden.
    skip: Option<(Rc<[u8]>, Stamp)>,
    /// The table entered last and its deleted ranges, until the merge has taken them.
    ranges: Option<(Rc<Table<S>>, RangeBlock)>,
}

/// In reverse the versions of a key come oldest first, so the last one that the scan can see is
/// held until another key shows that it was the newest.
#[derive(Default)]
struct Held {
    key: Vec<u8>,
    version: Option<(Stamp, OwnedOp)>,
    /// It was an entry; the next step lets it go.
    shown: bool,
}

impl<S: Storage> RunCursor<S> {
    /// What `scan` can see of `tables`, which are in the order of its direction.
    pub fn scan(tables: Vec<Rc<Table<S>>>, scan: Rc<Scan>) -> RunCursor<S> {
        RunCursor { scan: Some(scan), ..RunCursor::all(tables) }
    }

    /// All versions in `tables`.
    pub fn all(tables: Vec<Rc<Table<S>>>) -> RunCursor<S> {
        RunCursor {
            tables: tables.into_iter(),
            cursor: None,
            scan: None,
            fresh: false,
            taken: false,
            meets_end: false,
            past_start: false,
            held: Held::default(),
            passed: 0,
            skip: None,
            ranges: None,
        }
    }

    /// Takes note that a deleted range hides the current entry, and all up to `edge` that are older
    /// than `stamp`.
    pub fn pass(&mut self, edge: Rc<[u8]>, stamp: Stamp) {
        self.passed += 1;
        let skips = self.cursor.as_ref().is_some_and(|cursor| cursor.meta().newest < stamp);
        if self.passed >= PASSED_MAX && skips {
            self.passed = 0;
            if planted(Bug::SkipDropsNewer) {
                self.held.version = None;
            }
            self.skip = Some((edge, stamp));
        }
    }

    /// The deleted ranges of the table that the last load has come to.
    pub fn take_ranges(&mut self) -> Option<(Rc<Table<S>>, RangeBlock)> {
        self.ranges.take()
    }

    /// Goes to the edge of what is hidden; whether there is an entry behind it in the same table.
    /// Tables that lie before it as a whole are not read.
    async fn skip_to(&mut self, edge: &[u8], stamp: Stamp) -> Result<bool> {
        let Some(scan) = &self.scan else { return Ok(false) };
        let hidden = |meta: &TableMeta| {
            let before = if scan.reverse { *edge <= *meta.smallest } else { *meta.largest < *edge };
            before && meta.newest < stamp
        };
        (self.taken, self.fresh) = (false, false);
        if let Some(cursor) = &mut self.cursor
            && !hidden(cursor.meta())
        {
            let stamp = if scan.reverse { Stamp::MAX } else { scan.snapshot.stamp };
            if cursor.seek(edge, stamp).await? {
                return Ok(true);
            }
        }
        while self.tables.as_slice().first().is_some_and(|table| hidden(table.meta())) {
            self.tables.next();
        }
        Ok(false)
    }

    /// Goes on to the next block, or the first one of the next table.
    pub async fn load(&mut self) -> Result<()> {
        let mut found = match (self.skip.take(), &mut self.cursor) {
            (Some((edge, stamp)), _) => self.skip_to(&edge, stamp).await?,
            (None, Some(cursor)) => cursor.next_block().await?,
            (None, None) => false,
        };
        // A table of deleted ranges only is handed on before the next one is entered.
        while !found && self.ranges.is_none() {
            self.cursor = None;
            let Some(table) = self.tables.next() else { return Ok(()) };
            let reverse = self.scan.as_ref().is_some_and(|scan| scan.reverse);
            if self.scan.is_some() {
                self.ranges = table.ranges_left().await?.map(|ranges| (table.clone(), ranges));
            }
            let cursor = self.cursor.insert(TableCursor::new(table, reverse, self.scan.is_none()));
            found = match &self.scan {
                None => cursor.enter().await?,
                Some(scan) if reverse => cursor.seek(&scan.end, Stamp::MAX).await?,
                Some(scan) => cursor.seek(&scan.start, scan.snapshot.stamp).await?,
            };
        }
        if !found {
            self.cursor = None;
            return Ok(());
        }
        self.fresh = true;
        if let (Some(scan), Some(cursor)) = (&self.scan, &self.cursor) {
            self.meets_end = cursor.block_end() >= &*scan.end;
        }
        Ok(())
    }

    #[inline(always)]
    pub fn step(&mut self) -> Result<Step> {
        match &self.scan {
            None => self.move_cursor(),
            Some(scan) if scan.reverse => self.step_reverse(),
            Some(_) => self.step_forward(),
        }
    }

    /// Moves to the next version, whichever it is.
    #[inline]
    fn move_cursor(&mut self) -> Result<Step> {
        if self.skip.is_some() {
            return Ok(Step::Load);
        }
        let Some(cursor) = &mut self.cursor else {
            let step = if self.tables.len() == 0 { Step::End } else { Step::Load };
            return Ok(step);
        };
        if std::mem::take(&mut self.fresh) || cursor.step()? {
            return Ok(Step::Entry);
        }
        Ok(Step::Load)
    }

    #[inline(never)]
    fn step_forward(&mut self) -> Result<Step> {
        loop {
            match self.move_cursor()? {
                Step::Entry => {}
                step => return Ok(step),
            }
            let (Some(scan), Some(cursor)) = (&self.scan, &self.cursor) else {
                return Ok(Step::End);
            };
            if self.meets_end && cursor.key() >= &*scan.end {
                return Ok(Step::End);
            }
            self.taken &= cursor.same_key();
            if !self.taken && cursor.stamp() <= scan.snapshot.stamp {
                self.taken = true;
                return Ok(Step::Entry);
            }
        }
    }

    #[inline(never)]
    fn step_reverse(&mut self) -> Result<Step> {
        if std::mem::take(&mut self.held.shown) {
            self.held.version = None;
        }
        while !self.past_start {
            match self.move_cursor()? {
                Step::Entry => {}
                Step::Load => return Ok(Step::Load),
                Step::End => break,
            }
            let (Some(scan), Some(cursor)) = (&self.scan, &self.cursor) else { break };
            let key = cursor.key();
            if key < &*scan.start {
                self.past_start = true;
            } else if self.held.version.is_some() && self.held.key != key {
                self.fresh = true;
                break;
            } else if cursor.stamp() <= scan.snapshot.stamp {
                if self.held.version.is_none() {
                    self.held.key.clear();
                    self.held.key.extend_from_slice(key);
                }
                self.held.version = Some((cursor.stamp(), cursor.owned_op()));
            }
        }
        self.held.shown = self.held.version.is_some();
        Ok(if self.held.shown { Step::Entry } else { Step::End })
    }

    #[inline]
    pub fn record(&self) -> Record<'_> {
        if let Some((stamp, op)) = &self.held.version {
            return Record { key: &self.held.key, stamp: *stamp, op: op.borrow() };
        }
        match &self.cursor {
            Some(cursor) => cursor.record(),
            None => Record { key: &[], stamp: Stamp::ZERO, op: OwnedOp::Delete.borrow() },
        }
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        match (&self.held.version, &self.cursor) {
            (Some(_), _) => &self.held.key,
            (None, Some(cursor)) => cursor.key(),
            (None, None) => &[],
        }
    }
}
