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
use crate::table::block_cursor::{SAME_KEY, shared};
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
    /// Whether deleted ranges are of interest.
    hides: bool,
    /// The cursor was put on an entry that no step has looked at, whose key shares so many bytes
    /// with the one that the cursor came from; or before a table without any entries.
    fresh: Option<usize>,
    /// What the key of the entry, or of the next one, shares with that of the entry before.
    shared: usize,
    /// What the key under the cursor shares with that of the entry.
    ahead: usize,
    /// The last step led to an entry.
    shown: bool,
    /// The last key that it stood on before the last load.
    last: Vec<u8>,
    /// Forward: a version of the key under the cursor was an entry.
    taken: bool,
    /// Forward: the block reaches past the end of the range.
    meets_end: bool,
    /// In reverse: nothing before the cursor is in the range.
    past_start: bool,
    held: Option<Held>,
    held_key: Vec<u8>,
    /// Entries that were hidden by deleted ranges, since the last skip.
    passed: u32,
    /// Versions of one key that were passed in a row.
    versions: u32,
    /// Everything up to this edge that is older than the stamp is hidden.
    skip: Option<(Rc<[u8]>, Stamp)>,
    /// The table entered last and its deleted ranges, until the merge has taken them.
    ranges: Option<(Rc<Table<S>>, RangeBlock)>,
}

/// In reverse the versions of a key come oldest first, so where another one may follow, the last
/// one that the scan can see is held until another key shows that it was the newest.
///
/// In both directions a table of deleted ranges only is stopped at: a delete of stamp zero, which
/// nobody shows, stands where its first range begins. So no range is read long before its time.
struct Held {
    stamp: Stamp,
    op: OwnedOp,
}

/// Where the cursor was moved.
enum Move {
    /// To an entry, whose key shares so much with that of the one before.
    Entry(usize),
    /// Nowhere.
    Other(Step),
}

impl<S: Storage> RunCursor<S> {
    /// What `scan` can see of `tables`, which are in the order of its direction.
    pub fn scan(tables: Vec<Rc<Table<S>>>, scan: Rc<Scan>) -> RunCursor<S> {
        RunCursor { scan: Some(scan), ..RunCursor::all(tables, true) }
    }

    /// All versions in `tables`; where that `hides` some of them with their deleted ranges too.
    pub fn all(tables: Vec<Rc<Table<S>>>, hides: bool) -> RunCursor<S> {
        RunCursor {
            tables: tables.into_iter(),
            cursor: None,
            scan: None,
            hides,
            fresh: None,
            // The first entry is compared as a whole.
            shared: 0,
            ahead: SAME_KEY,
            shown: false,
            last: Vec::new(),
            taken: false,
            meets_end: false,
            past_start: false,
            held: None,
            held_key: Vec::new(),
            passed: 0,
            versions: 0,
            skip: None,
            ranges: None,
        }
    }

    /// Takes note that a deleted range hides the current entry, and all up to `edge` that are older
    /// than `stamp`.
    pub fn pass(&mut self, edge: Rc<[u8]>, stamp: Stamp) {
        self.passed += 1;
        let is_older = |meta: &TableMeta| meta.newest < stamp || planted(Bug::SkipDropsNewer);
        let skips = self.cursor.as_ref().is_some_and(|cursor| is_older(cursor.meta()));
        if self.passed >= PASSED_MAX && skips {
            self.passed = 0;
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
        let reverse = self.reverse();
        let hidden = |meta: &TableMeta| {
            let before = if reverse { *edge <= *meta.smallest } else { *meta.largest < *edge };
            before && meta.newest < stamp
        };
        (self.taken, self.fresh) = (false, None);
        if let Some(cursor) = &mut self.cursor
            && !hidden(cursor.meta())
        {
            let stamp = match &self.scan {
                Some(scan) if !reverse => scan.snapshot.stamp,
                _ => Stamp::MAX,
            };
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
        if let Some(cursor) = &self.cursor {
            self.last.clear();
            self.last.extend_from_slice(cursor.key());
        }
        let mut found = match (self.skip.take(), &mut self.cursor) {
            (Some((edge, stamp)), _) => self.skip_to(&edge, stamp).await?,
            (None, Some(cursor)) => cursor.next_block().await?,
            (None, None) => false,
        };
        let reverse = self.reverse();
        while !found && self.ranges.is_none() {
            self.cursor = None;
            let Some(table) = self.tables.next() else { return Ok(()) };
            if self.hides {
                self.ranges = table.ranges_left().await?.map(|ranges| (table.clone(), ranges));
            }
            if self.ranges.is_some() && table.meta().is_empty() {
                self.stop_at(table.meta());
                return Ok(());
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
        if let Some(cursor) = &self.cursor {
            self.fresh = Some(shared(&self.last, cursor.key()));
            self.meets_end =
                self.scan.as_ref().is_some_and(|scan| cursor.block_end() >= &*scan.end);
        }
        Ok(())
    }

    /// Stands before a table of deleted ranges only.
    fn stop_at(&mut self, table: &TableMeta) {
        self.fresh = Some(SAME_KEY);
        if self.held.is_none() {
            let edge = if self.reverse() { &table.largest } else { &table.smallest };
            self.shared = self.shared.min(shared(&self.last, edge));
            self.held = Some(Held { stamp: Stamp::ZERO, op: OwnedOp::Delete });
            for key in [&mut self.held_key, &mut self.last] {
                key.clear();
                key.extend_from_slice(edge);
            }
        }
    }

    fn reverse(&self) -> bool {
        self.scan.as_ref().is_some_and(|scan| scan.reverse)
    }

    #[inline(always)]
    pub fn step(&mut self) -> Result<Step> {
        if std::mem::take(&mut self.shown) {
            self.shared = std::mem::replace(&mut self.ahead, SAME_KEY);
            self.held = None;
        }
        let step = match &self.scan {
            None => self.step_version(),
            Some(scan) if scan.reverse => self.step_reverse(),
            Some(_) => self.step_forward(),
        }?;
        self.shown = step == Step::Entry;
        Ok(step)
    }

    /// From an entry of a scan: takes those that follow at once, as far as nothing but their stamps
    /// has to be looked at, for as long as `take` is content with an entry, told what its key
    /// shares with the one before. Forward, older versions of the same key are among them.
    pub fn run_on(&mut self, mut take: impl FnMut(Record<'_>, usize) -> bool) {
        let (Some(scan), Some(cursor)) = (&self.scan, &mut self.cursor) else { return };
        let is_elsewhere = self.held.is_some() || self.fresh.is_some() || self.skip.is_some();
        if is_elsewhere || (self.meets_end && !scan.reverse) {
            return;
        }
        let newest = scan.snapshot.stamp;
        let mut take = |record: Record<'_>, shared| record.stamp <= newest && take(record, shared);
        cursor.run_on(&scan.start, &mut take);
    }

    /// Moves to the next version, whichever it is: what its key shares with the one before, or
    /// where else that leads.
    #[inline]
    fn move_cursor(&mut self) -> Result<Move> {
        if self.skip.is_some() {
            return Ok(Move::Other(Step::Load));
        }
        let Some(cursor) = &mut self.cursor else {
            return Ok(match (self.fresh.take(), self.tables.len()) {
                (Some(shared), _) => Move::Entry(shared),
                (None, 0) => Move::Other(Step::End),
                (None, _) => Move::Other(Step::Load),
            });
        };
        Ok(match self.fresh.take() {
            Some(shared) => Move::Entry(shared),
            None if cursor.step()? => Move::Entry(cursor.shared()),
            None => Move::Other(Step::Load),
        })
    }

    fn step_version(&mut self) -> Result<Step> {
        match self.move_cursor()? {
            Move::Other(step) => Ok(step),
            Move::Entry(shared) => {
                self.shared = self.shared.min(shared);
                Ok(Step::Entry)
            }
        }
    }

    #[inline(never)]
    fn step_forward(&mut self) -> Result<Step> {
        loop {
            let shared = match self.move_cursor()? {
                Move::Entry(shared) => shared,
                Move::Other(step) => return Ok(step),
            };
            self.shared = self.shared.min(shared);
            let (Some(scan), Some(cursor)) = (&self.scan, &self.cursor) else {
                return Ok(Step::Entry);
            };
            if self.meets_end && cursor.key() >= &*scan.end {
                return Ok(Step::End);
            }
            self.taken &= shared == SAME_KEY;
            if !self.taken && cursor.stamp() <= scan.snapshot.stamp {
                self.taken = true;
                return Ok(Step::Entry);
            }
            self.versions = if shared == SAME_KEY { self.versions + 1 } else { 0 };
            if self.versions >= PASSED_MAX {
                // Of this key there may be any number, for as long as a list keeps them.
                self.versions = 0;
                let behind: &[u8] = if self.taken { &[0] } else { &[] };
                self.skip = Some(([cursor.key(), behind].concat().into(), Stamp::ZERO));
                return Ok(Step::Load);
            }
        }
    }

    #[inline(never)]
    fn step_reverse(&mut self) -> Result<Step> {
        while !self.past_start {
            let shared = match self.move_cursor()? {
                Move::Entry(shared) => shared,
                Move::Other(Step::Load) => return Ok(Step::Load),
                Move::Other(_) => break,
            };
            if self.held.is_none() {
                self.shared = self.shared.min(shared);
            } else if shared != SAME_KEY {
                // The cursor waits on the next key.
                (self.ahead, self.fresh) = (shared, Some(SAME_KEY));
                break;
            }
            let (Some(scan), Some(cursor)) = (&self.scan, &self.cursor) else { break };
            let key = cursor.key();
            if key < &*scan.start {
                self.past_start = true;
            } else if cursor.stamp() <= scan.snapshot.stamp {
                if !cursor.may_stay() {
                    self.held = None;
                    return Ok(Step::Entry);
                }
                if self.held.is_none() {
                    self.held_key.clear();
                    self.held_key.extend_from_slice(key);
                }
                self.held = Some(Held { stamp: cursor.stamp(), op: cursor.owned_op() });
            }
        }
        Ok(if self.held.is_some() { Step::Entry } else { Step::End })
    }

    #[inline]
    pub fn record(&self) -> Record<'_> {
        if let Some(Held { stamp, op }) = &self.held {
            return Record { key: &self.held_key, stamp: *stamp, op: op.borrow() };
        }
        match &self.cursor {
            Some(cursor) => cursor.record(),
            None => Record { key: &[], stamp: Stamp::ZERO, op: OwnedOp::Delete.borrow() },
        }
    }

    /// What the key shares with that of the entry before.
    #[inline]
    pub fn shared(&self) -> usize {
        self.shared
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        match (&self.held, &self.cursor) {
            (Some(_), _) => &self.held_key,
            (None, Some(cursor)) => cursor.key(),
            (None, None) => &[],
        }
    }
}
