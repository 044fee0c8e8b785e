//! A version: which tables make up the database at one moment. Immutable; a flush or a
//! compaction makes the next one, and readers of this one are not disturbed.

use crate::error::Result;
use crate::planted::{Bug, planted};
use crate::record::Found;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{self, Loaded, Stop, Table, TableMeta, Wanted};
use std::rc::Rc;

/// The tables of a database, by level. Level 0 is ordered by age, newest first, and its tables
/// overlap; each deeper level is ordered by key and its tables don't. Of one key, all versions in
/// a level are newer than those in deeper levels, and a deeper level has them in one table.
pub struct Version<S: Storage> {
    levels: Vec<Vec<Rc<Table<S>>>>,
}

/// The first key of some, and the first past them.
pub type KeySpan<'a> = (&'a [u8], &'a [u8]);

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
                let table = open.cloned().unwrap_or(table);
                let before = |other: &Rc<Table<S>>| match number {
                    0 if planted(Bug::Level0Reversed) => other.meta().newest < table.meta().newest,
                    0 => other.meta().newest > table.meta().newest,
                    _ => other.meta().smallest < table.meta().smallest,
                };
                let place = level.partition_point(before);
                level.insert(place, table);
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

    /// About how many bytes of tables of `level` and deeper a deleted range hides, as far as they
    /// meet `piece` of it, large values included: all of a table that lies in the range and the
    /// piece, half of one that either of them cuts, and nothing where the range could be the
    /// smallest part of it.
    pub fn hidden_bytes(&self, level: usize, (start, end): KeySpan<'_>, piece: KeySpan<'_>) -> u64 {
        let mut sum = 0u64;
        for (number, tables) in self.levels.iter().enumerate().skip(level) {
            let from = match number {
                0 => 0,
                _ => tables.partition_point(|table| *table.meta().largest < *piece.0),
            };
            for meta in tables.iter().skip(from).map(|table| table.meta()) {
                if number > 0 && *piece.1 <= *meta.smallest {
                    break;
                }
                let begins = *start <= *meta.smallest;
                let ends = *meta.largest < *end;
                let whole = *piece.0 <= *meta.smallest && *meta.largest < *piece.1;
                let all = meta.held_bytes();
                let bytes = match (meta.overlaps(piece.0, Some(piece.1)), begins || ends) {
                    (true, true) if whole => all,
                    (true, true) => all / 2,
                    _ => 0,
                };
                sum = sum.saturating_add(bytes);
            }
        }
        sum
    }

    /// The newest version of a key.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn find(&self, wanted: Wanted<'_>) -> Result<Option<Found>> {
        table::resolve(|loaded| self.look_up(loaded, wanted)).await
    }

    /// The same in `level`, which is not level 0, and deeper.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn find_from(&self, level: usize, wanted: Wanted<'_>) -> Result<Option<Found>> {
        let levels = self.levels.get(level..).unwrap_or_default();
        table::resolve(|loaded| look_up_in(levels, loaded, wanted)).await
    }

    /// The same, as far as what is in memory or was `loaded` tells.
    #[inline]
    pub fn look_up(
        &self,
        loaded: &Loaded,
        wanted: Wanted<'_>,
    ) -> core::result::Result<Option<Found>, Stop<'_, S>> {
        let Some((level0, deeper)) = self.levels.split_first() else { return Ok(None) };
        for table in level0 {
            if let Some(found) = table.look_up(loaded, wanted)? {
                return Ok(Some(found));
            }
        }
        look_up_in(deeper, loaded, wanted)
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

/// The same, in levels below level 0.
#[inline]
fn look_up_in<'a, S: Storage>(
    levels: &'a [Vec<Rc<Table<S>>>],
    loaded: &Loaded,
    wanted: Wanted<'_>,
) -> core::result::Result<Option<Found>, Stop<'a, S>> {
    for level in levels {
        let place = level.partition_point(|table| *table.meta().largest < *wanted.key);
        let Some(table) = level.get(place) else { continue };
        if let Some(found) = table.look_up(loaded, wanted)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Budgets;
    use crate::model::{Model, at, open, place, shared, write};

    #[test]
    fn a_table_that_moves_to_another_level_stays_the_table_its_readers_hold() {
        let tables = shared(Rc::default());
        let model = Model::from([(place(b"a", at(1)), None)]);
        let before = open(&tables, 1, &model, &Budgets::default());
        let version = Version::empty().apply(vec![(0, before.clone())], &[]);
        let again = Table::new(tables.clone(), before.meta().clone());
        let moved = version.apply(vec![(1, again)], &[1]);
        assert!(moved.levels()[0].is_empty());
        assert!(Rc::ptr_eq(&moved.levels()[1][0], &before));
    }

    #[test]
    fn levels_are_in_order_whatever_order_tables_come_in() {
        let tables = shared(Rc::default());
        let table = |id: u64, key: &[u8], counter| {
            let meta = write(
                &tables,
                id,
                &Model::from([(place(key, at(counter)), None)]),
                &<_>::default(),
            );
            Table::new(tables.clone(), meta)
        };
        let added = vec![
            (0, table(1, b"a", 7)),
            (0, table(2, b"a", 9)),
            (0, table(3, b"a", 8)),
            (2, table(4, b"b", 1)),
            (2, table(5, b"a", 2)),
        ];
        let version = Version::empty().apply(added, &[]);
        let ids: Vec<Vec<u64>> = version
            .shape()
            .iter()
            .map(|level| level.iter().map(|meta| meta.id).collect())
            .collect();
        assert_eq!(ids, [vec![2, 3, 1], vec![], vec![5, 4]]);
        let runs = version.runs(b"a", b"b", at(7));
        assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }
}
