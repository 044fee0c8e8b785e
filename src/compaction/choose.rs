//! The policy: a pure function of what the manifest says of the tables.

use super::Choice;
use crate::limits::Budgets;
use crate::table::TableMeta;

/// Level 0 and the levels below it: with the default budgets room for petabytes.
const LEVELS_MAX: usize = 8;

/// What to compact next, if any level is over its size: of the level that is furthest over it,
/// in level 0 the oldest table and all that overlap with it, in the others the table that costs
/// least to merge for its size.
pub fn choose(levels: &[Vec<&TableMeta>], budgets: &Budgets) -> Option<Choice> {
    let fullness = |level: &usize| fullness_percent(levels, *level, budgets);
    let level = (0..levels.len().min(LEVELS_MAX - 1))
        .rev()
        .max_by_key(fullness)
        .filter(|level| fullness(level) >= 100)?;
    let tables = levels.get(level)?;
    let below = levels.get(level + 1).map_or(&[][..], Vec::as_slice);
    let upper = match level {
        0 => oldest_and_overlapping(tables),
        _ => tables
            .iter()
            .min_by_key(|table| cost_permille(table, below))
            .copied()
            .into_iter()
            .collect(),
    };
    let (smallest, largest) = hull(&upper)?;
    let lower = below.iter().filter(|table| meets(table, smallest, largest));
    Some(Choice {
        level,
        upper: upper.iter().map(|table| table.id).collect(),
        lower: lower.map(|table| table.id).collect(),
    })
}

/// How full a level is; from 100 on it gives tables away.
fn fullness_percent(levels: &[Vec<&TableMeta>], level: usize, budgets: &Budgets) -> u64 {
    let Some(tables) = levels.get(level) else { return 0 };
    if level == 0 {
        return tables.len() as u64 * 100 / budgets.level0_tables.max(1) as u64;
    }
    let room = budgets.level_growth.saturating_pow(level as u32 - 1);
    let room = budgets.level1_bytes.saturating_mul(room).max(1);
    // Full is not over full: a level may hold what it has room for.
    bytes_of(tables.iter().copied()).saturating_sub(1).saturating_mul(100) / room
}

fn bytes_of<'a>(tables: impl Iterator<Item = &'a TableMeta>) -> u64 {
    tables.fold(0, |sum, table| sum.saturating_add(table.bytes))
}

/// The bytes that have to be rewritten below for a thousand bytes of this table.
fn cost_permille(table: &TableMeta, below: &[&TableMeta]) -> u64 {
    let overlapping = below.iter().filter(|other| meets(other, &table.smallest, &table.largest));
    bytes_of(overlapping.copied()).saturating_mul(1000) / table.bytes.max(1)
}

/// The oldest table of level 0 with every one that overlaps with it, or with one that does: what
/// stays behind has no older version of a key that goes down.
fn oldest_and_overlapping<'a>(tables: &[&'a TableMeta]) -> Vec<&'a TableMeta> {
    let mut chosen: Vec<&TableMeta> = tables.last().copied().into_iter().collect();
    loop {
        let Some((smallest, largest)) = hull(&chosen) else { return chosen };
        let wider: Vec<&TableMeta> =
            tables.iter().filter(|table| meets(table, smallest, largest)).copied().collect();
        if wider.len() == chosen.len() {
            return chosen;
        }
        chosen = wider;
    }
}

/// The first and the last key of all these tables.
fn hull<'a>(tables: &[&'a TableMeta]) -> Option<(&'a [u8], &'a [u8])> {
    let smallest = tables.iter().map(|table| &*table.smallest).min()?;
    let largest = tables.iter().map(|table| &*table.largest).max()?;
    Some((smallest, largest))
}

fn meets(table: &TableMeta, smallest: &[u8], largest: &[u8]) -> bool {
    *table.smallest <= *largest && *smallest <= *table.largest
}

#[cfg(test)]
mod tests {
    use super::*;
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
        }
    }

    fn budgets() -> Budgets {
        Budgets { level0_tables: 3, level1_bytes: 100, level_growth: 10, ..Budgets::default() }
    }

    fn chosen(levels: &[Vec<TableMeta>]) -> Option<(usize, Vec<u64>, Vec<u64>)> {
        let shape: Vec<Vec<&TableMeta>> =
            levels.iter().map(|level| level.iter().collect()).collect();
        choose(&shape, &budgets()).map(|choice| (choice.level, choice.upper, choice.lower))
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
        let choice = choose(&shape, &budgets()).unwrap();
        assert_eq!((choice.upper.as_slice(), choice.is_move()), (&[6][..], true));
    }

    #[test]
    fn a_deeper_level_gives_away_the_table_that_is_cheapest_to_merge() {
        let level1 = vec![table(1, "a", "c", 60), table(2, "d", "f", 60), table(3, "g", "i", 30)];
        let level2 = vec![table(4, "a", "b", 100), table(5, "c", "e", 20), table(6, "h", "h", 50)];
        assert_eq!(chosen(&[vec![], level1, level2]), Some((1, vec![2], vec![5])));
    }
}
