//! Point reads: one plain call that looks at what is in memory, where it lies, and is made again
//! once a block that it missed has been read.

use super::block::{Block, Entry, Handle, Part, Reached};
use super::ranges::RangeBlock;
use super::{Ends, Table, Top, filter};
use crate::error::{Error, Result};
use crate::record::Found;
use crate::stamp::Stamp;
use crate::storage::Storage;
use std::cell::{Ref, RefCell};

/// What is looked for: the newest version of a key at or below a stamp.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The encoded key.
    pub key: &'a [u8],
    /// Its [`hash`](super::hash).
    pub hash: u64,
    /// The stamp.
    pub at: Stamp,
}

impl Wanted<'_> {
    /// The version of `key` that a reader at `at` sees.
    pub fn new(key: &[u8], at: Stamp) -> Wanted<'_> {
        Wanted { key, hash: filter::hash(key), at }
    }
}

/// Why a lookup does not come to its end.
pub enum Stop<'a, S: Storage> {
    /// This part of a table is not in memory.
    Missing(&'a Table<S>, Missing),
    /// A block is damaged.
    Failed(Error),
}

impl<S: Storage> From<Error> for Stop<'_, S> {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// A part of a table.
#[derive(Clone, Copy)]
pub enum Missing {
    /// What is read from its end on first use.
    Ends,
    /// A block with entries.
    Block(Handle),
    /// A filter.
    Filter(Handle),
}

/// The blocks that were read for one lookup, with their tables: the cache need not have kept them.
#[derive(Default)]
pub struct Loaded(RefCell<Vec<(u64, Block)>>);

impl Loaded {
    fn get(&self, table: u64, handle: Handle) -> Option<Ref<'_, Block>> {
        let is_it = |(id, block): &&(u64, Block)| *id == table && block.offset() == handle.offset;
        Ref::filter_map(self.0.borrow(), |loaded| loaded.iter().find(is_it).map(|(_, it)| it)).ok()
    }
}

/// Makes a lookup, and again as often as something is missing, which is read.
///
/// # Errors
/// Those of the lookup, and of the storage.
pub async fn resolve<'a, S: Storage, T>(
    look_up: impl Fn(&Loaded) -> core::result::Result<T, Stop<'a, S>>,
) -> Result<T> {
    let loaded = Loaded::default();
    loop {
        let (table, missing) = match look_up(&loaded) {
            Ok(found) => return Ok(found),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Missing(table, missing)) => (table, missing),
        };
        if let Some(block) = table.load(missing).await? {
            loaded.0.borrow_mut().push((table.meta.id, block));
        }
    }
}

impl<S: Storage> Table<S> {
    /// The newest version of a key, a delete where a range that was deleted hides it.
    ///
    /// # Errors
    /// `Corruption` where a block it needs is damaged, `NewerFormat`, and those of the storage.
    pub async fn get(&self, wanted: Wanted<'_>) -> Result<Option<Found>> {
        resolve(|loaded| self.look_up(loaded, wanted)).await
    }

    /// The same, in what is in memory or was `loaded` for it.
    #[inline]
    pub(crate) fn look_up(
        &self,
        loaded: &Loaded,
        wanted: Wanted<'_>,
    ) -> core::result::Result<Option<Found>, Stop<'_, S>> {
        if !self.meta.spans(wanted.key) || self.meta.oldest > wanted.at {
            return Ok(None);
        }
        if self.meta.ranges == 0 {
            return self.version(loaded, wanted);
        }
        let ends = self.ends.get().ok_or(Stop::Missing(self, Missing::Ends))?;
        let ranges = RangeBlock::new(self.in_memory(ends.ranges, loaded)?.clone())?;
        let deleted = ranges.cover(wanted.key, wanted.at)?.stamp;
        let version = if self.meta.is_empty() { None } else { self.version(loaded, wanted)? };
        Ok(Found::newer(version, deleted))
    }

    fn version(
        &self,
        loaded: &Loaded,
        Wanted { key, hash, at }: Wanted<'_>,
    ) -> core::result::Result<Option<Found>, Stop<'_, S>> {
        let ends = self.ends.get().ok_or(Stop::Missing(self, Missing::Ends))?;
        let Some(part) = self.part(ends, loaded, key, at)? else { return Ok(None) };
        let Part { leaf, filter } = part;
        if let Some(handle) = filter {
            let filter = self.cached(handle, loaded);
            let filter = filter.ok_or(Stop::Missing(self, Missing::Filter(handle)))?;
            if !filter::may_contain(filter.bytes(), hash) {
                return Ok(None);
            }
        }
        let leaf = self.in_memory(leaf, loaded)?;
        let mut entry = Entry::default();
        if leaf.find(key, at, &mut entry)? == Reached::End {
            return Ok(None);
        }
        let data = self.in_memory(leaf.handle(&entry)?, loaded)?;
        match data.find(key, at, &mut entry)? {
            Reached::Key => Ok(Some(data.found(&entry))),
            Reached::Past | Reached::End => Ok(None),
        }
    }

    /// The part of the table that may hold a key.
    #[inline]
    fn part(
        &self,
        ends: &Ends,
        loaded: &Loaded,
        key: &[u8],
        at: Stamp,
    ) -> core::result::Result<Option<Part>, Stop<'_, S>> {
        let cached_top;
        let top = match &ends.top {
            Some(Top { block, parts }) => {
                if let Some(number) = block.number_past(key) {
                    return Ok(parts.get(number).copied());
                }
                block
            }
            None => {
                cached_top = self.in_memory(ends.top_at, loaded)?;
                &*cached_top
            }
        };
        let mut entry = Entry::default();
        match top.find(key, at, &mut entry)? {
            Reached::End => Ok(None),
            Reached::Past | Reached::Key => Ok(Some(top.part(&entry)?)),
        }
    }

    /// A block with entries, if it is in memory.
    #[inline]
    fn in_memory<'t: 'r, 'r>(
        &'t self,
        handle: Handle,
        loaded: &'r Loaded,
    ) -> core::result::Result<Ref<'r, Block>, Stop<'t, S>> {
        self.cached(handle, loaded).ok_or(Stop::Missing(self, Missing::Block(handle)))
    }

    #[inline]
    fn cached<'a>(&'a self, handle: Handle, loaded: &'a Loaded) -> Option<Ref<'a, Block>> {
        let cached = self.shared.cache.get(self.meta.id, handle.offset);
        cached.or_else(|| loaded.get(self.meta.id, handle))
    }

    /// Reads a part of the table; the block, if it is one.
    async fn load(&self, missing: Missing) -> Result<Option<Block>> {
        match missing {
            Missing::Ends => self.ends().await.map(|_| None),
            Missing::Block(handle) => self.read_block(handle).await.map(Some),
            Missing::Filter(handle) => self.read_filter(handle).await.map(Some),
        }
    }
}
