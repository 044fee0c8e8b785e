//! Writes versions to one table after another, and lets requests run in between.

use super::tombstones::RANGE_COST;
use super::{Employer, Failure};
use crate::blob::{Append, BlobFile, BlobMeta, Blobs, PIECE_BYTES, Pieces};
use crate::env::Env;
use crate::error::{Code, Result};
use crate::limits::Budgets;
use crate::planted::{Bug, planted};
use crate::ranges::Fragment;
use crate::record::{Op, Record};
use crate::stamp::Stamp;
use crate::storage::{FileNo, Storage};
use crate::table::{TableBuilder, TableMeta};
use crate::version::Version;
use std::rc::Rc;

/// A flush or compaction breathes after this much work, in bytes of keys and values.
pub const STRIDE_BYTES: usize = 32 * 1024;
/// What a version costs beside its bytes, in bytes that could be copied meanwhile.
const VERSION_COST: usize = 64;

/// What was written.
#[derive(Debug, Default)]
pub struct Output {
    /// Tables, in the order of keys.
    pub tables: Vec<TableMeta>,
    /// Blob files that values were moved to, of which the first may be known already.
    pub blobs: Vec<BlobMeta>,
}

/// The tables written so far, and the one that is open.
pub struct Writer<'a, E: Env, B> {
    env: &'a E,
    budgets: &'a Budgets,
    table_bytes: u64,
    range_bytes: usize,
    /// What the tables go on top of, from this level on.
    below: (&'a Version<E::Storage>, usize),
    employer: &'a B,
    open: Option<TableBuilder<E::Storage>>,
    /// The deleted ranges that go to the open table, in the order of keys, as wholes: what lies
    /// before `written_to`, the first key past the last finished table, is in that already.
    ranges: Vec<Fragment>,
    /// What they occupy there.
    pending_bytes: usize,
    written_to: Vec<u8>,
    tables: Vec<TableMeta>,
    /// The values that were moved; the last file is open. The first may be one of an earlier
    /// compaction that goes on, from this length.
    blobs: Vec<Rc<BlobFile>>,
    went_on_from: Option<u64>,
    files: Vec<FileNo>,
    work: usize,
}

impl<'a, E: Env, B: Employer> Writer<'a, E, B> {
    /// A writer that begins a new table once one is larger than `table_bytes`, or has deleted
    /// ranges of `range_bytes`. The tables go on top of those of a version, `below` its level.
    pub fn new(
        env: &'a E,
        budgets: &'a Budgets,
        (table_bytes, range_bytes): (u64, usize),
        below: (&'a Version<E::Storage>, usize),
        employer: &'a B,
    ) -> Self {
        let (tables, blobs, files) = (Vec::new(), Vec::new(), Vec::new());
        Writer {
            env,
            budgets,
            table_bytes,
            range_bytes,
            below,
            employer,
            open: None,
            ranges: Vec::new(),
            pending_bytes: 0,
            written_to: Vec::new(),
            tables,
            blobs,
            went_on_from: None,
            files,
            work: 0,
        }
    }

    /// Has a deleted range written. They come in order, each after the versions before its start
    /// and before those behind its end. True where the open table has as many of them as it may.
    pub fn delete(&mut self, range: Fragment) -> bool {
        self.pending_bytes += range.bytes();
        self.ranges.push(range);
        self.pending_bytes >= self.range_bytes
    }

    /// Appends a version to the open table, which tombstones of ranges hide up to `deleted`. False,
    /// and nothing is done, where it is to begin the next one: all versions of a key go to the same
    /// table.
    pub fn add(&mut self, record: Record<'_>, deleted: Stamp) -> Result<bool> {
        let Some(table) = &mut self.open else { return Ok(false) };
        if table.bytes() >= self.table_bytes && table.last_key() != record.key {
            return Ok(false);
        }
        table.add(record)?;
        if record.stamp < deleted {
            table.hide(bytes_of(&record) as u64);
        }
        Ok(true)
    }

    /// Counts large values in tables below that versions in the open table delete.
    pub fn hide(&mut self, bytes: u64) {
        if let Some(table) = &mut self.open {
            table.hide(bytes);
        }
    }

    /// Finishes the open table, if there is one, and begins the next. `over` is the deleted range
    /// that begins before its first version and ends behind it.
    pub async fn begin_table(&mut self, over: Option<Fragment>) -> Result<()> {
        if self.open.is_some() {
            self.finish_table(true, over).await?;
        }
        self.open_table().await
    }

    async fn open_table(&mut self) -> Result<()> {
        let (file, id, salt) = self.create().await?;
        let storage = self.env.storage().clone();
        self.open = Some(TableBuilder::new(storage, file, id, salt, self.budgets));
        Ok(())
    }

    /// A file with a number and a salt.
    async fn create(&mut self) -> Result<(FileNo, u64, u64)> {
        let file = self.env.storage().create().await?;
        self.files.push(file);
        let mut salt = [0; 8];
        self.env.fill_random(&mut salt);
        Ok((file, self.employer.next_id(), u64::from_le_bytes(salt)))
    }

    /// Copies the value that an encoded pointer points at to a new blob file, and returns the
    /// pointer to it there; None for one that is damaged and stays where it is.
    pub async fn move_value(&mut self, blobs: &Blobs, pointer: &[u8]) -> Result<Option<Vec<u8>>> {
        let large = blobs.locate(pointer)?;
        let storage = &**self.env.storage();
        let bytes_max = self.budgets.blob_bytes;
        if self.blobs.is_empty()
            && let Some(blob) = blobs.take_receiving(bytes_max)
        {
            self.went_on_from = Some(blob.size());
            self.blobs.push(blob);
        }
        let to = match self.blobs.last().filter(|blob| blob.size() < bytes_max) {
            Some(blob) => blob.clone(),
            None => {
                let (file, id, salt) = self.create().await?;
                let blob = BlobFile::new(BlobMeta { id, file, salt, bytes: 0, logs_before: 0 });
                self.blobs.push(blob.clone());
                blob
            }
        };
        let pieces = Pieces::of_blob(&large, Vec::new());
        let mut append = Append::new(&to, large.pointer().kind, pieces);
        loop {
            match append.step(storage).await {
                Ok(None) => self.employer.breathe(PIECE_BYTES).await?,
                Ok(Some(moved)) => return Ok(Some(moved.encode())),
                Err(error) if error.code() == Code::Corruption => {
                    large.file().note_damage();
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Finishes the open table with the deleted ranges there are, if another `follows` up to just
    /// behind the last key in it, and with what lies before that of the one that goes on over it.
    /// So the tables of a level share no key: a range that goes on begins the next table.
    pub async fn finish_table(&mut self, follows: bool, over: Option<Fragment>) -> Result<()> {
        if self.open.is_none() {
            self.open_table().await?;
        }
        let Some(mut table) = self.open.take() else { return Ok(()) };
        let mut ranges = std::mem::take(&mut self.ranges);
        let last_start = ranges.last().map_or(&[][..], |range| &range.start);
        let mut behind = table.last_key().max(last_start).to_vec();
        behind.push(0);
        for range in ranges.iter().chain(&over) {
            let start = (&*range.start).max(&*self.written_to);
            let end = if follows { (&*range.end).min(&*behind) } else { &*range.end };
            if start < end {
                let (version, level) = self.below;
                let whole = (&*range.start, &*range.end);
                table.hide(version.hidden_bytes(level, whole, (start, end)));
                table.add_range(start, end, &range.stamps);
            }
            if self.has_worked(range.bytes() + RANGE_COST) {
                self.breathe().await?;
            }
        }
        // The others end before the last one starts.
        self.ranges.extend(ranges.pop().filter(|last| follows && *last.end > *behind));
        self.pending_bytes = self.ranges.iter().map(Fragment::bytes).sum();
        self.written_to = match over {
            Some(over) if planted(Bug::RangeEndsWithTable) => over.end.to_vec(),
            _ => behind,
        };
        self.tables.push(table.finish().await?);
        Ok(())
    }

    /// Counts what reading `record` took; whether it is time for [`Writer::breathe`].
    pub fn has_read(&mut self, record: &Record<'_>) -> bool {
        self.has_worked(bytes_of(record) + VERSION_COST)
    }

    /// Counts other work, in the bytes that could be copied meanwhile.
    pub fn has_worked(&mut self, bytes: usize) -> bool {
        self.work += bytes;
        self.work >= STRIDE_BYTES
    }

    /// Writes what has gathered and lets requests run.
    pub async fn breathe(&mut self) -> Result<()> {
        if let Some(table) = &mut self.open {
            table.flush_if_due().await?;
        }
        let worked = std::mem::take(&mut self.work);
        self.employer.breathe(worked).await
    }

    async fn finish_files(&mut self) -> Result<()> {
        if self.open.is_some() || !self.ranges.is_empty() {
            self.finish_table(false, None).await?;
        }
        for blob in &self.blobs {
            self.env.storage().sync(blob.meta().file).await?;
        }
        Ok(())
    }

    /// Finishes the last table and makes all durable, unless `written` is an error.
    pub async fn finish(mut self, written: Result<()>) -> core::result::Result<Output, Failure> {
        let finished = match written {
            Ok(()) => self.finish_files().await,
            Err(error) => Err(error),
        };
        match finished {
            Ok(()) => {
                let blobs = self.blobs.iter().map(|blob| blob.describe()).collect();
                Ok(Output { tables: self.tables, blobs })
            }
            Err(error) => {
                if let (Some(blob), Some(len)) = (self.blobs.first(), self.went_on_from) {
                    // Where this fails it is dead space.
                    let _ = self.env.storage().truncate(blob.meta().file, len).await;
                }
                Err(Failure { error, files: self.files })
            }
        }
    }
}

/// The bytes of a key and its value.
fn bytes_of(record: &Record<'_>) -> usize {
    let value_bytes = match record.op {
        Op::Set { value, .. } => value.len(),
        Op::Delete => 0,
    };
    record.key.len() + value_bytes
}
