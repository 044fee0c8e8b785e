//! The policy: a pure function of what the manifest says of the tables.

use super::Choice;
use super::levels::{LEVELS_MAX, Levels, bytes_of, hull, meets};
use crate::limits::Budgets;
use crate::stamp::Stamp;
use crate::table::TableMeta;

/// A table is looked at for its tombstones once they are at least one of so many versions.
const TOMBSTONES_SHARE: u64 = 4;
/// Tombstones are moved down where that frees at least so many of a thousand bytes it rewrites.
const LEAST_GAIN: u64 = 250;

/// What to compact next, if anything.
///
/// First a level that is over its size, the one that is furthest: of level 0 the oldest table and
/// all that hang together with it, of the others the table that costs least to merge for its
/// size, of equals the oldest. Where all are within their size, tables of many tombstones: one
/// that hides data moves down to it, and one with nothing below is written anew without those that
/// every reader sees. `retained` is what the oldest reader sees.
pub fn choose(levels: &[Vec<&TableMeta>], budgets: &Budgets, retained: Stamp) -> Option<Choice> {
    let levels = Levels { tables: levels, budgets };
    let fullest = (0..levels.tables.len().min(LEVELS_MAX - 1))
        .rev()
        .max_by_key(|level| levels.fullness_percent(*level))
        .filter(|level| levels.fullness_percent(*level) >= 100);
    match fullest {
        Some(level) => give_away(&levels, level),
        None => reclaim(&levels, retained),
    }
}

/// The tables that a level gives to the next one first.
pub(super) fn give_away(levels: &Levels<'_>, level: usize) -> Option<Choice> {
    if level == 0 {
        let oldest = levels.level(0).last();
        return move_down(levels, 0, &oldest.map_or(Vec::new(), |table| group_of(table, levels)));
    }
    let tables = levels.level(level);
    let cost = |place: &usize| {
        tables.get(*place).map(|table| (cost_permille(levels, level, table), table.id))
    };
    let cheapest = (0..tables.len()).min_by_key(cost)?;
    move_down(levels, level, with_small_neighbours(levels, level, cheapest))
}

/// A table, and if it is small for the next level, those behind it that fill up a table there
/// without any to merge with: so that tables that only ever move grow all the same.
fn with_small_neighbours<'a>(
    levels: &Levels<'a>,
    level: usize,
    place: usize,
) -> &'a [&'a TableMeta] {
    let size = levels.budgets.table_bytes_at(level + 1);
    let tables = levels.level(level).get(place..).unwrap_or_default();
    let Some((first, others)) = tables.split_first() else { return &[] };
    let moves =
        |last: &TableMeta| levels.meeting(level + 1, &first.smallest, &last.largest).is_empty();
    if first.bytes > size / 4 || !moves(first) {
        return tables.get(..1).unwrap_or_default();
    }
    let mut bytes = first.bytes;
    let fitting = others.iter().take_while(|table| {
        bytes += table.bytes;
        bytes <= size && moves(table)
    });
    tables.get(..=fitting.count()).unwrap_or_default()
}

fn move_down(levels: &Levels<'_>, level: usize, upper: &[&TableMeta]) -> Option<Choice> {
    let (smallest, largest) = hull(upper)?;
    let lower = levels.meeting(level + 1, smallest, largest);
    Some(Choice {
        level,
        target: level + 1,
        upper: upper.iter().map(|table| table.id).collect(),
        lower: lower.iter().map(|table| table.id).collect(),
    })
}

/// The bytes that have to be rewritten below for a thousand bytes of this table.
fn cost_permille(levels: &Levels<'_>, level: usize, table: &TableMeta) -> u64 {
    let overlapping = levels.meeting(level + 1, &table.smallest, &table.largest);
    bytes_of(overlapping).saturating_mul(1000) / table.bytes.max(1)
}

/// A table of level 0 with every one that overlaps with it, or with one that does: what stays
/// behind has no older version of a key that goes down.
fn group_of<'a>(table: &'a TableMeta, levels: &Levels<'a>) -> Vec<&'a TableMeta> {
    let mut chosen = vec![table];
    loop {
        let Some((smallest, largest)) = hull(&chosen) else { return chosen };
        let tables = levels.level(0).iter().copied();
        let wider: Vec<_> = tables.filter(|table| meets(table, smallest, largest)).collect();
        if wider.len() == chosen.len() {
            return chosen;
        }
        chosen = wider;
    }
}

/// The compaction that gives most space back for its work, if one is worth it. Deeper levels come
/// first among equals: what hides data there is freed by it, and need not be merged with.
fn reclaim(levels: &Levels<'_>, retained: Stamp) -> Option<Choice> {
    let mut best: Option<(u64, Choice)> = None;
    let mut offer = |gain_permille: u64, choice: Option<Choice>| {
        let better = best.as_ref().is_none_or(|(gain, _)| *gain < gain_permille);
        if let Some(choice) = choice
            && better
            && gain_permille >= LEAST_GAIN
        {
            best = Some((gain_permille, choice));
        }
    };
    for level in (1..levels.tables.len()).rev() {
        for table in levels.level(level).iter().filter(|table| is_sparse(&[table])) {
            if levels.lies_deeper(level, &table.smallest, &table.largest) {
                if level + 1 < LEVELS_MAX {
                    let gain = gain_permille(levels, level, &[table], retained);
                    offer(gain, move_down(levels, level, &[table]));
                }
            } else if table.newest <= retained {
                offer(spare_permille(table), Some(rewrite(level, table)));
            }
        }
    }
    for oldest in levels.level(0).iter().rev() {
        let group = group_of(oldest, levels);
        if is_sparse(&group) {
            offer(gain_permille(levels, 0, &group, retained), move_down(levels, 0, &group));
        }
    }
    best.map(|(_, choice)| choice)
}

/// One table written anew in its level.
fn rewrite(level: usize, table: &TableMeta) -> Choice {
    Choice { level, target: level, upper: vec![table.id], lower: Vec::new() }
}

/// Whether tombstones make up enough of these tables to look at them: fewer are enough where what
/// they may hide is larger than its place in a table, in a blob file. One of a range may hide any
/// number of entries, and of others it is known that they hide large values.
fn is_sparse(tables: &[&TableMeta]) -> bool {
    let (versions, deletes) = (versions_of(tables), deletes_of(tables));
    let weight = TOMBSTONES_SHARE.saturating_mul(held_by(tables) / bytes_of(tables).max(1));
    let deletes_much = deletes > 0 && deletes.saturating_mul(weight) >= versions;
    deletes_much || tables.iter().any(|table| table.ranges > 0 || table.hidden > 0)
}

/// The bytes of these tables and of the large values that they point to.
fn held_by(tables: &[&TableMeta]) -> u64 {
    tables.iter().fold(0, |sum, table| sum.saturating_add(table.held_bytes()))
}

fn deletes_of(tables: &[&TableMeta]) -> u64 {
    tables.iter().fold(0, |sum, table| sum.saturating_add(table.deletes))
}

fn versions_of(tables: &[&TableMeta]) -> u64 {
    tables.iter().fold(deletes_of(tables), |sum, table| sum.saturating_add(table.sets))
}

/// How much of a table goes when it is written anew without tombstones and what they hide in it.
fn spare_permille(table: &TableMeta) -> u64 {
    let hidden = table.hidden.min(table.bytes).saturating_mul(1000) / table.bytes.max(1);
    match table.deletes.saturating_mul(1000).checked_div(versions_of(&[table])) {
        Some(deletes) => deletes.saturating_add(hidden),
        None => 1000,
    }
}

/// What moving these tables down frees in the end for a thousand bytes that it rewrites: each
/// tombstone hides one entry of the usual size in each deeper level, as far as there are any, and
/// what was found when they were written: that ranges hide, and large values. The tombstones
/// themselves count where nothing is left for them to hide.
fn gain_permille(levels: &Levels<'_>, level: usize, upper: &[&TableMeta], retained: Stamp) -> u64 {
    let Some((smallest, largest)) = hull(upper) else { return 0 };
    let deletes = deletes_of(upper);
    let hidden = |deep: usize| {
        let met = levels.meeting(deep, smallest, largest);
        let entry_bytes = held_by(met) / versions_of(met).max(1);
        deletes.saturating_mul(entry_bytes).min(held_by(met))
    };
    let (own, lower) = (bytes_of(upper), bytes_of(levels.meeting(level + 1, smallest, largest)));
    let deeper = || level + 1..levels.tables.len();
    let met = |deep| held_by(levels.meeting(deep, smallest, largest));
    let all = deeper().map(met).fold(held_by(upper), u64::saturating_add);
    // What a reader may still see is not freed yet.
    let known = upper.iter().filter(|table| table.newest <= retained);
    let known = known.fold(0u64, |sum, table| sum.saturating_add(table.hidden));
    let mut gain = deeper().map(hidden).fold(known.min(all), u64::saturating_add);
    if !levels.lies_deeper(level + 1, smallest, largest) {
        let dropped = held_by(upper).saturating_mul(deletes) / versions_of(upper).max(1);
        gain = gain.saturating_add(dropped);
    }
    gain.saturating_mul(1000) / own.saturating_add(lower).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobUse;
    use crate::stamp::Stamp;

    fn table(id: u64, smallest: &str, largest: &str, bytes: u64) -> TableMeta {
        TableMeta {
            id,
            file: id as u32,
            salt: 0,
            bytes,
            sets: 1,
            deletes: 0,
            smallest: smallest.as_bytes().into(),
            largest: largest.as_bytes().into(),
            oldest: Stamp::ZERO,
            newest: Stamp::ZERO,
            ranges: 0,
            hidden: 0,
            blobs: Vec::new(),
        }
    }

    fn budgets() -> Budgets {
        Budgets { level0_tables: 3, level1_bytes: 100, level_growth: 10, ..Budgets::default() }
    }

    fn chosen(levels: &[Vec<TableMeta>]) -> Option<(usize, Vec<u64>, Vec<u64>)> {
        let shape: Vec<Vec<&TableMeta>> =
            levels.iter().map(|level| level.iter().collect()).collect();
        choose(&shape, &budgets(), Stamp::MAX)
            .map(|choice| (choice.level, choice.upper, choice.lower))
    }

    #[test]
    fn levels_within_their_size_are_left_alone() {
        let level0 = vec![table(3, "a", "z", 900), table(2, "a", "z", 900)];
        let level1 = vec![table(1, "a", "z", 100)];
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[level0, level1, vec![table(0, "a", "z", 1000)]]), None);
    }

    #[test]
    fn level_0_gives_away_its_oldest_table_with_all_that_hang_together_with_it() {
        let level0 = vec![
            table(9, "x", "z", 10),
            table(8, "c", "f", 10),
            table(7, "e", "j", 10),
            table(6, "a", "d", 10),
        ];
        let level1 = vec![table(1, "0", "9", 10), table(2, "j", "k", 10), table(3, "l", "w", 10)];
        assert_eq!(chosen(&[level0, level1]), Some((0, vec![8, 7, 6], vec![2])));
    }

    #[test]
    fn a_table_that_meets_no_other_moves_down_as_it_is() {
        let level0 = [("m", "o"), ("j", "l"), ("g", "i")];
        let level0 = level0.iter().zip(4..).map(|((a, b), id)| table(id, a, b, 10)).collect();
        let levels: [Vec<TableMeta>; 2] = [level0, vec![table(1, "a", "f", 10)]];
        let shape: Vec<Vec<&TableMeta>> =
            levels.iter().map(|level| level.iter().collect()).collect();
        let choice = choose(&shape, &budgets(), Stamp::MAX).unwrap();
        assert_eq!((choice.upper.as_slice(), choice.is_move()), (&[6][..], true));
    }

    #[test]
    fn a_deeper_level_gives_away_the_table_that_is_cheapest_to_merge() {
        let level1 = vec![table(1, "a", "c", 60), table(2, "d", "f", 60), table(3, "g", "i", 30)];
        let level2 = vec![table(4, "a", "b", 100), table(5, "c", "e", 20), table(6, "h", "h", 50)];
        assert_eq!(chosen(&[vec![], level1, level2]), Some((1, vec![2], vec![5])));
    }

    /// A table of which so many versions delete.
    fn sparse(id: u64, span: (&str, &str), bytes: u64, sets: u64, deletes: u64) -> TableMeta {
        TableMeta { sets, deletes, ..table(id, span.0, span.1, bytes) }
    }

    #[test]
    fn tombstones_move_down_to_what_they_hide_where_that_frees_enough() {
        let data = |id, bytes| TableMeta { sets: 10, ..table(id, "a", "k", bytes) };
        let level1 = vec![sparse(1, ("a", "k"), 20, 0, 10), table(2, "x", "z", 60)];
        let levels = [vec![], level1.clone(), vec![data(3, 100)]];
        assert_eq!(chosen(&levels), Some((1, vec![1], vec![3])));
        let levels = [vec![], level1.clone(), vec![], vec![data(3, 100)]];
        assert_eq!(chosen(&levels), Some((1, vec![1], vec![])), "nearer to it, for nothing");
        let other = sparse(3, ("a", "k"), 900, 10_000, 0);
        assert_eq!(chosen(&[vec![], level1, vec![other]]), None, "10 of 10,000 entries");
    }

    #[test]
    fn a_deleted_range_moves_down_to_what_it_hides_however_few_tombstones_that_takes() {
        let range = |id, hidden| TableMeta { ranges: 1, hidden, ..table(id, "a", "k", 20) };
        let data = |id, bytes| TableMeta { sets: 10_000, ..table(id, "a", "j", bytes) };
        let levels = |hidden| [vec![], vec![range(1, hidden)], vec![data(2, 900)]];
        assert_eq!(chosen(&levels(500)), Some((1, vec![1], vec![2])));
        assert_eq!(chosen(&levels(100)), None, "it would rewrite 920 bytes to free 100");
        let gone = [vec![], vec![range(1, 500)], vec![TableMeta { ..table(2, "x", "z", 900) }]];
        assert_eq!(chosen(&gone), Some((1, vec![1], vec![])), "nothing is left to hide");
    }

    #[test]
    fn tombstones_that_are_known_to_hide_large_values_move_down_wherever_in_level_0_they_are() {
        let known = |hidden| TableMeta { hidden, ..sparse(5, ("e", "e"), 20, 9, 1) };
        let blobs = vec![BlobUse { id: 7, bytes: 1_000 }];
        let holds = TableMeta { sets: 10_000, blobs, ..table(1, "d", "f", 900) };
        let levels = |hidden| {
            let level0 = vec![known(hidden), table(4, "a", "b", 10)];
            [level0, vec![], vec![holds.clone()]]
        };
        assert_eq!(chosen(&levels(1_000)), Some((0, vec![5], vec![])));
        assert_eq!(chosen(&levels(0)), None);
    }

    #[test]
    fn tombstones_with_nothing_below_go_once_no_reader_is_older() {
        let newest = Stamp { epoch: 1, counter: 9 };
        let bottom = TableMeta { newest, ..sparse(1, ("a", "k"), 50, 5, 5) };
        let levels = [vec![], vec![&bottom]];
        let old = Stamp { epoch: 1, counter: 8 };
        assert_eq!(choose(&levels, &budgets(), old), None);
        let choice = choose(&levels, &budgets(), newest).unwrap();
        assert_eq!((choice.level, choice.target, choice.is_move()), (1, 1, false));
    }

    #[test]
    fn a_level_above_the_deepest_has_no_more_room_than_bounds_what_is_out_of_date() {
        let level1 = vec![table(1, "a", "m", 60), table(2, "n", "z", 40)];
        let level2: Vec<_> = (3..8).map(|id| table(id, "a", "b", 100)).collect();
        let mut levels = vec![vec![], level1, level2, vec![table(9, "a", "z", 2_000)]];
        assert_eq!(chosen(&levels).map(|choice| choice.0), Some(2), "500 bytes above 2,000");
        levels[3][0].bytes = 6_000;
        assert_eq!(chosen(&levels), None);
    }

    #[test]
    fn small_tables_that_would_only_move_become_one_on_the_way() {
        let budgets = Budgets { table_bytes: 60, ..budgets() };
        let spans = [("a", "b"), ("c", "d"), ("e", "f"), ("g", "h"), ("i", "j")];
        let level1: Vec<_> =
            spans.iter().zip(1..).map(|((a, b), id)| table(id, a, b, 30)).collect();
        let level2 = [table(9, "h", "h", 10)];
        let levels = [vec![], level1.iter().collect(), level2.iter().collect()];
        let choice = choose(&levels, &budgets, Stamp::MAX).unwrap();
        assert_eq!((choice.upper.as_slice(), choice.is_move()), (&[1, 2, 3][..], false));
    }
}
