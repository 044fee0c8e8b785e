//! What to compact while nobody writes: levels within their sizes, so that reads have fewer sorted
//! runs to merge.

use super::Choice;
use super::choose::give_away;
use super::levels::{LEVELS_MAX, Levels, bytes_of, hull};
use crate::limits::Budgets;
use crate::table::TableMeta;

/// A step towards fewer runs: one for the level that takes the least rewriting to be merged into
/// the next, if no more than `allowance` bytes of tables are rewritten for all of it.
///
/// Each step rewrites its part of that. Where what it writes is taken off the allowance, there is
/// enough for the next one, unless that meets what this one has made: then the level stays as it is
/// until more was written.
pub fn merge_runs(levels: &[Vec<&TableMeta>], budgets: &Budgets, allowance: u64) -> Option<Choice> {
    let levels = &Levels { tables: levels, budgets };
    let upper = 0..levels.deepest().clamp(1, LEVELS_MAX - 1);
    let upper = upper.filter(|level| !levels.level(*level).is_empty());
    let (cost, level) = upper.map(|level| (cost(levels, level), level)).min()?;
    if cost <= allowance { give_away(levels, level) } else { None }
}

/// The bytes that are rewritten to merge a level into the next one, at the most.
fn cost(levels: &Levels<'_>, level: usize) -> u64 {
    let merging = |upper: &[&TableMeta]| {
        let (smallest, largest) = hull(upper).unwrap_or_default();
        let lower = levels.meeting(level + 1, smallest, largest);
        bytes_of(upper).saturating_add(bytes_of(lower))
    };
    let at_once = if level == 0 { usize::MAX } else { 1 };
    levels.level(level).chunks(at_once).map(merging).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(id: u64, smallest: &str, largest: &str, bytes: u64) -> TableMeta {
        let (smallest, largest) = (smallest.as_bytes().into(), largest.as_bytes().into());
        TableMeta { id, bytes, smallest, largest, ..TableMeta::default() }
    }

    /// The level of the choice, and the tables in it.
    fn chosen(levels: &[Vec<TableMeta>], allowance: u64) -> Option<(usize, Vec<u64>)> {
        let shape: Vec<Vec<&TableMeta>> =
            levels.iter().map(|level| level.iter().collect()).collect();
        let choice = merge_runs(&shape, &Budgets::default(), allowance)?;
        Some((choice.level, [choice.upper, choice.lower].concat()))
    }

    #[test]
    fn level_0_goes_down_at_rest_however_few_tables_it_has() {
        let levels = [vec![table(2, "a", "z", 10)], vec![table(1, "a", "z", 90)]];
        assert_eq!(chosen(&levels, 100), Some((0, vec![2, 1])));
        assert_eq!(chosen(&levels[..1], 100), Some((0, vec![2])));
    }

    #[test]
    fn a_level_is_left_alone_at_rest_where_no_allowance_covers_all_of_it() {
        let level1 = vec![table(4, "a", "b", 10), table(5, "c", "d", 20)];
        let level2 = vec![table(1, "a", "b", 40), table(2, "b", "c", 50), table(3, "e", "f", 60)];
        let levels = [vec![], level1, level2];
        // Both rewrite table 2.
        assert_eq!(chosen(&levels, 170), Some((1, vec![5, 2])));
        assert_eq!(chosen(&levels, 169), None);
        assert_eq!(chosen(&levels, 0), None);
    }

    #[test]
    fn what_takes_the_least_rewriting_goes_first() {
        let small = vec![table(3, "a", "z", 10)];
        let levels =
            |a, b| [small.clone(), vec![table(2, "a", "z", a)], vec![table(1, "a", "z", b)]];
        assert_eq!(chosen(&levels(50, 100), 1_000), Some((0, vec![3, 2])));
        assert_eq!(chosen(&levels(50, 5), 1_000), Some((1, vec![2, 1])));
    }

    #[test]
    fn one_run_is_all_that_is_left_at_rest_and_stays_as_it_is() {
        let levels = [vec![], vec![], vec![table(1, "a", "b", 10), table(2, "c", "d", 10)]];
        assert_eq!(chosen(&levels, u64::MAX), None);
        assert_eq!(chosen(&[], u64::MAX), None);
        assert_eq!(chosen(&[vec![], vec![]], u64::MAX), None);
    }
}
