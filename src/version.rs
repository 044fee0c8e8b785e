//! A version: which tables make up the database at one moment. Immutable; a flush or a
//! compaction makes the next one, and readers of this one are not disturbed.

use crate::error::Result;
use crate::record::Found;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{Table, TableMeta};
use std::rc::Rc;

/// The tables of a database, by level. Level 0 is ordered by age, newest first, and its tables
/// overlap; each deeper level is ordered by key and its tables don't. Of one key, all versions in
/// a level are newer than those in deeper levels, and a deeper level has them in one table.
pub struct Version<S: Storage> {
    levels: Vec<Vec<Rc<Table<S>>>>,
}

impl<S: Storage> Version<S> {
    /// A version without tables.
    pub fn empty() -> Version<S> {
        Version { levels: Vec::new() }
    }

    /// The next version: without the tables whose ids are in `removed`, then with `added` in the
    /// levels they name. A table that moves to another level is in both; it stays the same open
    /// table, so that its file lives as long as its last reader.
    pub fn apply(&self, added: Vec<(usize, Rc<Table<S>>)>, removed: &[u64]) -> Version<S> {
        let mut levels = self.levels.clone();
        for level in &mut levels {
            level.retain(|table| !removed.contains(&table.meta().id));
        }
        for (number, table) in added {
            if levels.len() <= number {
                levels.resize_with(number + 1, Vec::new);
            }
            let id = table.meta().id;
            let open = self.levels.iter().flatten().find(|open| open.meta().id == id);
            if let Some(level) = levels.get_mut(number) {
                level.push(open.cloned().unwrap_or(table));
            }
        }
        for (number, level) in levels.iter_mut().enumerate() {
            match number {
                0 => level.sort_by_key(|table| std::cmp::Reverse(table.meta().newest)),
                _ => level.sort_by(|a, b| a.meta().smallest.cmp(&b.meta().smallest)),
            }
        }
        Version { levels }
    }

    /// The tables, by level.
    pub fn levels(&self) -> &[Vec<Rc<Table<S>>>] {
        &self.levels
    }

    /// What the manifest keeps of every table, by level.
    pub fn shape(&self) -> Vec<Vec<&TableMeta>> {
        self.levels.iter().map(|level| level.iter().map(|table| table.meta()).collect()).collect()
    }

    /// The newest version of `key` at or below `at`.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn get(&self, key: &[u8], at: Stamp) -> Result<Option<Found>> {
        let Some((level0, deeper)) = self.levels.split_first() else { return Ok(None) };
        for table in level0 {
            if let Some(found) = get_from(table, key, at).await? {
                return Ok(Some(found));
            }
        }
        for level in deeper {
            let place = level.partition_point(|table| *table.meta().largest < *key);
            let Some(table) = level.get(place) else { continue };
            if let Some(found) = get_from(table, key, at).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The tables that may hold keys in `start..end` with versions at or below `at`, as runs of
    /// tables that don't overlap and are in the order of keys.
    pub fn runs(&self, start: &[u8], end: &[u8], at: Stamp) -> Vec<Vec<Rc<Table<S>>>> {
        let mut runs = Vec::new();
        for (number, level) in self.levels.iter().enumerate() {
            let holds = |table: &&Rc<Table<S>>| {
                table.meta().oldest <= at && table.meta().overlaps(start, Some(end))
            };
            if number == 0 {
                runs.extend(level.iter().filter(holds).map(|table| vec![table.clone()]));
                continue;
            }
            let from = level.partition_point(|table| *table.meta().largest < *start);
            let to = level.partition_point(|table| *table.meta().smallest < *end);
            let between = level.get(from..to).unwrap_or_default();
            let run: Vec<_> = between.iter().filter(holds).cloned().collect();
            if !run.is_empty() {
                runs.push(run);
            }
        }
        runs
    }
}

async fn get_from<S: Storage>(table: &Table<S>, key: &[u8], at: Stamp) -> Result<Option<Found>> {
    if !table.meta().spans(key) || table.meta().oldest > at {
        return Ok(None);
    }
    table.get(key, at).await
}
