//! Reads tables that follow each other (a level, or one table of level 0) as one sequence: of
//! all their versions, or of the newest version of each key that a scan can see.

use super::Scan;
use super::source::Step;
use crate::error::Result;
use crate::memtable::OwnedOp;
use crate::record::Record;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{Table, TableCursor};
use std::rc::Rc;

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
        }
    }

    /// Goes on to the next block, or the first one of the next table.
    pub async fn load(&mut self) -> Result<()> {
        let mut found = match &mut self.cursor {
            Some(cursor) => cursor.next_block().await?,
            None => false,
        };
        while !found {
            self.cursor = None;
            let Some(table) = self.tables.next() else { return Ok(()) };
            let reverse = self.scan.as_ref().is_some_and(|scan| scan.reverse);
            let cursor = self.cursor.insert(TableCursor::new(table, reverse, self.scan.is_none()));
            found = match &self.scan {
                None => cursor.enter().await?,
                Some(scan) if reverse => cursor.seek(&scan.end, Stamp::MAX).await?,
                Some(scan) => cursor.seek(&scan.start, scan.snapshot.stamp).await?,
            };
        }
        self.fresh = true;
        if let (Some(scan), Some(cursor)) = (&self.scan, &self.cursor) {
            self.meets_end = cursor.block_end() >= &*scan.end;
        }
        Ok(())
    }

    #[inline]
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
        let Some(cursor) = &mut self.cursor else {
            let step = if self.tables.len() == 0 { Step::End } else { Step::Load };
            return Ok(step);
        };
        if std::mem::take(&mut self.fresh) || cursor.step()? {
            return Ok(Step::Entry);
        }
        Ok(Step::Load)
    }

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
