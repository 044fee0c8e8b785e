//! What a merge reads from: a memtable, or a run of tables.

use super::Scan;
use super::code::Code;
use super::run::RunCursor;
use crate::bytes::common_prefix;
use crate::error::Result;
use crate::memtable::{Memtable, Page};
use crate::record::{Op, Record};
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{RangeBlock, Table};
use std::ops::Bound;
use std::rc::Rc;

/// Where a step has led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To an entry.
    Entry,
    /// To the end: there is nothing more.
    End,
    /// To the end of what is in memory, or of what is looked at in a row: what is missing has to be
    /// loaded, then the step taken again.
    Load,
}

/// One of the sorted sequences that are merged.
pub enum Source<S: Storage> {
    /// Commits that are not in tables yet.
    Memory(MemoryCursor),
    /// Tables that follow each other.
    Run(Box<RunCursor<S>>),
}

impl<S: Storage> Source<S> {
    #[inline]
    pub fn step(&mut self) -> Result<Step> {
        match self {
            Source::Memory(cursor) => Ok(cursor.step()),
            Source::Run(cursor) => cursor.step(),
        }
    }

    pub async fn load(&mut self) -> Result<()> {
        match self {
            Source::Memory(_) => Ok(()),
            Source::Run(cursor) => cursor.load().await,
        }
    }

    /// The deleted ranges of a table that the last load has come to.
    pub fn take_ranges(&mut self) -> Option<(Rc<Table<S>>, RangeBlock)> {
        match self {
            Source::Memory(_) => None,
            Source::Run(cursor) => cursor.take_ranges(),
        }
    }

    #[inline]
    pub fn record(&self) -> Record<'_> {
        match self {
            Source::Memory(cursor) => cursor.record(),
            Source::Run(cursor) => cursor.record(),
        }
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        match self {
            Source::Memory(cursor) => cursor.record().key,
            Source::Run(cursor) => cursor.key(),
        }
    }

    /// The code of the entry for the one before it.
    pub fn code(&self, reverse: bool) -> Code {
        match self {
            Source::Memory(cursor) => Code::new(cursor.record().key, cursor.shared, reverse),
            Source::Run(cursor) => Code::new(cursor.key(), cursor.shared(), reverse),
        }
    }
}

/// The first page is small, for the short lists; pages grow up to [`PAGE_MAX`] keys.
const PAGE_MIN: usize = 8;
const PAGE_MAX: usize = 256;

/// Reads a memtable in pages, so that commits can go on between them.
pub struct MemoryCursor {
    memtable: Rc<Memtable>,
    scan: Rc<Scan>,
    page: Page,
    page_keys: usize,
    /// One past the place of the current entry in `page`.
    next: usize,
    /// What the current key and the one before it share.
    shared: usize,
    /// The key of the last entry of the page before.
    before: Vec<u8>,
    /// The last key that a page has looked at.
    last: Option<Vec<u8>>,
    exhausted: bool,
}

impl MemoryCursor {
    /// A cursor before the first entry. The range of `scan` is not empty.
    pub fn new(memtable: Rc<Memtable>, scan: Rc<Scan>) -> MemoryCursor {
        MemoryCursor {
            memtable,
            scan,
            page: Page::default(),
            page_keys: PAGE_MIN,
            next: 0,
            shared: 0,
            before: Vec::new(),
            last: None,
            exhausted: false,
        }
    }

    fn step(&mut self) -> Step {
        if self.next >= self.page.len() {
            if self.exhausted {
                return Step::End;
            }
            self.turn_page();
            if self.page.is_empty() {
                // Whatever is on it is newer than the snapshot: that may go on for many pages.
                return Step::Load;
            }
        }
        let key_at = |place| self.page.get(place).map(|record: Record<'_>| record.key);
        let before = self.next.checked_sub(1).and_then(key_at).unwrap_or(&self.before);
        self.shared = common_prefix(before, key_at(self.next).unwrap_or_default());
        self.next += 1;
        Step::Entry
    }

    fn turn_page(&mut self) {
        let Scan { start, end, reverse, snapshot } = &*self.scan;
        let (mut from, mut to) = (Bound::Included(&**start), Bound::Excluded(&**end));
        match &self.last {
            Some(last) if *reverse => to = Bound::Excluded(last),
            Some(last) => from = Bound::Excluded(last),
            None => {}
        }
        if let Some(before) = self.page.len().checked_sub(1).and_then(|last| self.page.get(last)) {
            self.before.clear();
            self.before.extend_from_slice(before.key);
        }
        self.page.clear();
        self.next = 0;
        let page = &mut self.page;
        let last = self.memtable.page((from, to), snapshot.stamp, *reverse, self.page_keys, page);
        self.exhausted = last.is_none();
        self.last = last;
        self.page_keys = (2 * self.page_keys).min(PAGE_MAX);
    }

    fn record(&self) -> Record<'_> {
        let current = self.next.checked_sub(1).and_then(|place| self.page.get(place));
        current.unwrap_or(Record { key: &[], stamp: Stamp::ZERO, op: Op::Delete })
    }
}
