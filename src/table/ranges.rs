//! The block of deleted ranges: fragments (see [`crate::ranges`]) as entries of a block. The key of
//! an entry is where the fragment starts, its stamp one of the tombstones over it, and its value
//! where the fragment ends. All entries of a fragment say the same end.

use super::block::Block;
use super::block_cursor::BlockCursor;
use super::{Table, TableMeta};
use crate::error::Result;
use crate::ranges::{Cover, Ranges};
use crate::record::{Op, Record};
use crate::stamp::Stamp;
use crate::storage::Storage;
use std::rc::Rc;

/// The deleted ranges of a table. They share the block that the cache holds.
#[derive(Clone)]
pub struct RangeBlock(Block);

impl<S: Storage> Table<S> {
    /// The deleted ranges; None where there are none.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn ranges(&self) -> Result<Option<RangeBlock>> {
        if self.meta.ranges == 0 {
            return Ok(None);
        }
        let handle = self.ends().await?.ranges;
        Ok(Some(RangeBlock(self.cached_block(handle).await?)))
    }

    /// The same for a scan: None too where they are damaged and that is passed over.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn ranges_left(&self) -> Result<Option<RangeBlock>> {
        Ok(self.shared.passing(self.ranges().await)?.flatten())
    }
}

impl RangeBlock {
    /// # Errors
    /// `Corruption` where the block has no entries.
    pub(super) fn new(block: Block) -> Result<RangeBlock> {
        block.with_entries().map(RangeBlock)
    }

    /// The newest tombstone over `key` at or below `at`, and the keys around of which the same is
    /// true.
    ///
    /// # Errors
    /// `Corruption` where there is no valid entry.
    pub fn cover(&self, key: &[u8], at: Stamp) -> Result<Cover> {
        let mut cover = Cover { stamp: Stamp::ZERO, start: None, end: None };
        // All entries of fragments that start at or before the key come before this place.
        let place = (key, Stamp::ZERO);
        let mut cursor = BlockCursor::new(true);
        let mut found = cursor.seek(self.0.clone(), place.0, place.1, false)?;
        while found {
            let record = cursor.record();
            let end = end_of(&record);
            match &cover.start {
                None if end <= key => {
                    cover.start = Some(Rc::from(end));
                    break;
                }
                None => {
                    cover.start = Some(Rc::from(record.key));
                    cover.end = Some(Rc::from(end));
                }
                Some(start) if **start != *record.key => break,
                Some(_) => {}
            }
            if record.stamp > at {
                break;
            }
            cover.stamp = record.stamp;
            found = cursor.step()?;
        }
        if cover.end.is_none() {
            let mut cursor = BlockCursor::new(false);
            if cursor.seek(self.0.clone(), place.0, place.1, false)? {
                cover.end = Some(Rc::from(cursor.key()));
            }
        }
        Ok(cover)
    }

    /// Whether these are the deleted ranges of a table that `meta` describes.
    ///
    /// # Errors
    /// As [`RangeBlock::cover`].
    pub(super) fn is_of(block: Block, meta: &TableMeta) -> Result<bool> {
        let mut cursor = BlockCursor::new(false);
        let (mut found, mut count) = (cursor.enter(block)?, 0);
        while found {
            let record = cursor.record();
            let end = end_of(&record);
            count += 1;
            let spans = meta.spans(record.key) && record.key < end && *bound(end) <= *meta.largest;
            if !spans || !(meta.oldest..=meta.newest).contains(&record.stamp) {
                return Ok(false);
            }
            found = cursor.step()?;
        }
        Ok(count == meta.ranges)
    }

    /// A cursor at the first tombstone; None where there is none.
    ///
    /// # Errors
    /// As [`RangeBlock::cover`].
    pub fn cursor(self) -> Result<Option<RangeCursor>> {
        let mut cursor = BlockCursor::new(false);
        Ok(cursor.enter(self.0)?.then_some(RangeCursor(cursor)))
    }
}

/// A place among the deleted ranges of a table, in the order of their starts.
pub struct RangeCursor(BlockCursor);

impl RangeCursor {
    /// Where the current one starts.
    pub fn start(&self) -> &[u8] {
        self.0.key()
    }

    /// Adds the current one to `ranges` and goes to the next; false at the end.
    ///
    /// # Errors
    /// As [`RangeBlock::cover`].
    pub fn add_to(&mut self, ranges: &mut Ranges, visible: Stamp) -> Result<bool> {
        let record = self.0.record();
        let (start, end) = (Rc::from(record.key), Rc::from(end_of(&record)));
        ranges.insert(&start, &end, record.stamp, visible);
        self.0.step()
    }
}

/// The last key that a range with this end can hold, or a later one that is no longer: before
/// `a 00` nothing comes after `a`. So tables between which a range was cut share no key.
pub(super) fn bound(end: &[u8]) -> &[u8] {
    end.strip_suffix(&[0]).unwrap_or(end)
}

fn end_of<'a>(record: &Record<'a>) -> &'a [u8] {
    match record.op {
        Op::Set { value, .. } => value,
        Op::Delete => &[],
    }
}
