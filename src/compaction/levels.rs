//! The levels as the policy sees them: what the manifest says of the tables, and how much each
//! level has room for.

use crate::limits::Budgets;
use crate::table::TableMeta;

/// Level 0 and the levels below it: with the default budgets room for petabytes.
pub const LEVELS_MAX: usize = 8;

/// The tables of a database by level, in the order of [`crate::version::Version`].
pub struct Levels<'a> {
    pub tables: &'a [Vec<&'a TableMeta>],
    pub budgets: &'a Budgets,
}

impl<'a> Levels<'a> {
    /// The tables of a level.
    pub fn level(&self, level: usize) -> &'a [&'a TableMeta] {
        self.tables.get(level).map_or(&[], Vec::as_slice)
    }

    /// The tables of a level below level 0 that may hold keys from `smallest` through `largest`.
    pub fn meeting(&self, level: usize, smallest: &[u8], largest: &[u8]) -> &'a [&'a TableMeta] {
        let tables = self.level(level);
        let from = tables.partition_point(|table| *table.largest < *smallest);
        let to = tables.partition_point(|table| *table.smallest <= *largest);
        tables.get(from..to).unwrap_or_default()
    }

    /// Whether a level below `level` may hold keys from `smallest` through `largest`.
    pub fn lies_deeper(&self, level: usize, smallest: &[u8], largest: &[u8]) -> bool {
        (level + 1..self.tables.len()).any(|deep| !self.meeting(deep, smallest, largest).is_empty())
    }

    /// The deepest level that has tables.
    pub fn deepest(&self) -> usize {
        self.tables.iter().rposition(|tables| !tables.is_empty()).unwrap_or(0)
    }

    /// How full a level is; from 100 on it gives tables away.
    ///
    /// The deepest level has the room of its number. A level above has at most that, but no more
    /// than a `level_growth`th of the one below where that is deep enough: what lies above the
    /// deepest level may be out of date, so this bounds the space of what is
    /// (`level_compaction_dynamic_level_bytes` of RocksDB has the idea).
    pub fn fullness_percent(&self, level: usize) -> u64 {
        let deepest = self.deepest();
        let room = match level {
            0 => return self.level0_percent(),
            _ if level < deepest => {
                let below = self.budgets.level_growth.saturating_pow((deepest - level) as u32);
                let share = bytes_of(self.level(deepest)) / below.max(1);
                share.max(self.budgets.level1_bytes).min(self.room(level))
            }
            _ => self.room(level),
        };
        percent(bytes_of(self.level(level)), room)
    }

    /// How far compaction is behind: the fullness of the level that is furthest over the room of
    /// its number.
    pub fn pressure_percent(&self) -> u64 {
        let deeper = (1..self.tables.len())
            .map(|level| percent(bytes_of(self.level(level)), self.room(level)));
        deeper.fold(self.level0_percent(), u64::max)
    }

    fn level0_percent(&self) -> u64 {
        self.level(0).len() as u64 * 100 / self.budgets.level0_tables.max(1) as u64
    }

    fn room(&self, level: usize) -> u64 {
        let times = self.budgets.level_growth.saturating_pow((level as u32).saturating_sub(1));
        self.budgets.level1_bytes.saturating_mul(times)
    }
}

/// Full is not over full: a level may hold what it has room for.
fn percent(bytes: u64, room: u64) -> u64 {
    bytes.saturating_sub(1).saturating_mul(100) / room.max(1)
}

/// The bytes of some tables together.
pub fn bytes_of(tables: &[&TableMeta]) -> u64 {
    tables.iter().fold(0, |sum, table| sum.saturating_add(table.bytes))
}

/// The first and the last key of all these tables.
pub fn hull<'a>(tables: &[&'a TableMeta]) -> Option<(&'a [u8], &'a [u8])> {
    let smallest = tables.iter().map(|table| &*table.smallest).min()?;
    let largest = tables.iter().map(|table| &*table.largest).max()?;
    Some((smallest, largest))
}

/// Whether a table may hold keys from `smallest` through `largest`.
pub fn meets(table: &TableMeta, smallest: &[u8], largest: &[u8]) -> bool {
    *table.smallest <= *largest && *smallest <= *table.largest
}
