//! Reading all of a table, to find what is damaged.
//!
//! It goes on behind damage: what a damaged block of the index points to can't be found, all
//! else is read. Nothing goes through the cache.

use super::block::{Block, Handle, Part};
use super::block_cursor::BlockCursor;
use super::footer::{self, Footer};
use super::ranges::RangeBlock;
use super::window::Window;
use super::{Table, filter};
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::manifest::FORMAT;
use crate::record::{Op, Record, order};
use crate::stamp::Stamp;
use crate::storage::Storage;
use std::rc::Rc;

/// Reads a table, a block a step.
pub struct Verifier<S: Storage> {
    table: Rc<Table<S>>,
    stage: Stage,
    footer: Option<Footer>,
    top: BlockCursor,
    leaf: BlockCursor,
    filter: Option<Bytes>,
    window: Window,
    /// The last version read.
    last: Option<(Vec<u8>, Stamp)>,
    sets: u64,
    deletes: u64,
    is_whole: bool,
    /// Bytes read so far.
    pub bytes: u64,
    /// The damage found so far.
    pub damage: Vec<Error>,
}

/// What is to be read next.
#[derive(Clone, Copy)]
enum Stage {
    Ends,
    Header,
    Ranges(Handle),
    Leaf(Part),
    Filter(Handle),
    Data(Handle),
    Over,
}

impl<S: Storage> Verifier<S> {
    /// One that has read nothing yet.
    pub fn new(table: Rc<Table<S>>) -> Verifier<S> {
        Verifier {
            table,
            stage: Stage::Ends,
            footer: None,
            top: BlockCursor::new(false),
            leaf: BlockCursor::new(false),
            filter: None,
            window: Window::default(),
            last: None,
            sets: 0,
            deletes: 0,
            is_whole: true,
            bytes: 0,
            damage: Vec::new(),
        }
    }

    /// Reads the next part; false once all was read.
    ///
    /// # Errors
    /// Those that don't tell of damage.
    pub async fn step(&mut self) -> Result<bool> {
        let table = &self.table;
        let read = match self.stage {
            Stage::Over => return Ok(false),
            Stage::Ends => table.read_ends().await.map(|(footer, top)| {
                self.bytes += table.meta.bytes - footer.top.offset;
                self.footer = Some(footer);
                top
            }),
            Stage::Header => table.read(0, self.header().len()).await.map(Bytes::from),
            Stage::Leaf(Part { leaf: block, .. }) | Stage::Ranges(block) | Stage::Filter(block) => {
                table.uncached(block).await
            }
            Stage::Data(block) => match self.window.block(table, block).transpose() {
                Some(read) => read,
                None => self.window.load(table, block, false).await,
            },
        };
        let checked = read.and_then(|bytes| self.check(bytes));
        self.note(checked)?;
        let next = self.next();
        self.stage = self.note(next)?.unwrap_or(Stage::Over);
        Ok(true)
    }

    /// Takes note of damage: None then.
    fn note<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_damage() => {
                self.is_whole = false;
                self.damage.push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Checks what was read, and keeps what leads on.
    fn check(&mut self, bytes: Bytes) -> Result<()> {
        let file = self.table.meta.file;
        match self.stage {
            Stage::Ends if self.table.meta.is_empty() => {}
            Stage::Ends => {
                let offset = self.footer.map_or(0, |footer| footer.top.offset);
                self.top.begin(Block::new(bytes, file, offset)?);
            }
            Stage::Header if *bytes != *self.header() => {
                return Err(self.damaged(0, "the header of a table is damaged"));
            }
            Stage::Leaf(part) => self.leaf.begin(Block::new(bytes, file, part.leaf.offset)?),
            Stage::Filter(_) => self.filter = Some(bytes),
            Stage::Data(handle) => self.entries(bytes, handle.offset)?,
            Stage::Ranges(handle) => {
                let block = Block::new(bytes, file, handle.offset)?;
                if !RangeBlock::is_of(block, &self.table.meta)? {
                    let what = "a deleted range lies outside what the manifest says";
                    return Err(self.damaged(handle.offset, what));
                }
            }
            Stage::Header | Stage::Over => {}
        }
        Ok(())
    }

    /// What comes next. Where a block of the index could not be read, its cursor is nowhere.
    fn next(&mut self) -> Result<Stage> {
        let next = match (self.stage, self.footer) {
            (Stage::Ends, Some(_)) => Some(Stage::Header),
            (Stage::Header, Some(Footer { ranges, .. })) if ranges.len > 0 => {
                Some(Stage::Ranges(ranges))
            }
            (Stage::Leaf(Part { filter: Some(filter), .. }), _) => Some(Stage::Filter(filter)),
            (Stage::Leaf(_) | Stage::Filter(_) | Stage::Data(_), _) => self.next_data()?,
            _ => None,
        };
        let next = match next {
            Some(next) => next,
            None => self.next_leaf()?,
        };
        self.bytes += match next {
            Stage::Header => self.header().len() as u64,
            Stage::Leaf(Part { leaf: block, .. })
            | Stage::Ranges(block)
            | Stage::Filter(block)
            | Stage::Data(block) => u64::from(block.len),
            Stage::Ends | Stage::Over => 0,
        };
        Ok(next)
    }

    fn next_data(&mut self) -> Result<Option<Stage>> {
        match self.leaf.step() {
            Ok(true) => Ok(Some(Stage::Data(self.leaf.handle()?))),
            Ok(false) => Ok(None),
            Err(error) => self.note(Err(error)),
        }
    }

    fn next_leaf(&mut self) -> Result<Stage> {
        self.filter = None;
        self.leaf = BlockCursor::new(false);
        if self.top.step()? {
            return Ok(Stage::Leaf(self.top.part()?));
        }
        let meta = &self.table.meta;
        if self.is_whole && (self.sets, self.deletes) != (meta.sets, meta.deletes) {
            return Err(self.damaged(0, "a table holds another number of versions"));
        }
        Ok(Stage::Over)
    }

    /// The header that the table should have.
    fn header(&self) -> Vec<u8> {
        let format = self.footer.map_or(FORMAT, |footer| footer.format);
        footer::header(format, self.table.meta.id, self.table.meta.salt)
    }

    /// Checks the entries of a data block against all that is known of them.
    fn entries(&mut self, bytes: Bytes, offset: u64) -> Result<()> {
        let block = Block::new(bytes, self.table.meta.file, offset)?;
        let mut cursor = BlockCursor::new(false);
        cursor.begin(block);
        while cursor.step()? {
            let Record { key, stamp, op } = cursor.record();
            let last = self.last.as_ref();
            let follows = last.is_none_or(|(last, at)| order((last, *at), (key, stamp)).is_lt());
            let ends = (self.leaf.key(), self.leaf.stamp());
            if !follows || order((key, stamp), ends).is_gt() {
                return Err(self.damaged(offset, "versions stand in a wrong order"));
            }
            let meta = &self.table.meta;
            if !meta.spans(key) || !(meta.oldest..=meta.newest).contains(&stamp) {
                return Err(self.damaged(offset, "a version lies outside what the manifest says"));
            }
            let filter = self.filter.as_ref();
            if !filter.is_none_or(|filter| filter::may_contain(filter, filter::hash(key))) {
                return Err(self.damaged(offset, "a filter lacks a key"));
            }
            match op {
                Op::Set { .. } => self.sets += 1,
                Op::Delete => self.deletes += 1,
            }
            let (last, at) = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
            *at = stamp;
        }
        Ok(())
    }

    fn damaged(&self, offset: u64, what: &'static str) -> Error {
        Error::corruption(self.table.meta.file, offset, what)
    }
}
