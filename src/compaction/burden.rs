//! How much writers are slowed down: by a pure function of what the manifest says of the tables.

use super::levels::Levels;
use crate::limits::Budgets;
use crate::table::TableMeta;

/// The burden while a memtable is written out: it is in a table before the next one is full.
const FLUSH_BURDEN: u64 = 4;
/// Levels as full as this, in percent, are on their way to being compacted: no burden.
const PRESSURE_FREE: u64 = 150;
/// A burden of one for each so many percent above that. Compaction reads ten to twenty bytes for
/// each that is written, so writers are as fast as it is at 250 to 350 percent.
const PRESSURE_PER_BURDEN: u64 = 10;

/// How many bytes of background work a writer has to wait for, for each byte that it writes: none
/// while compaction keeps up, and more the further it is behind, so that writers slow down
/// gradually until both are equally fast, and never have to stop.
pub fn burden(flushing: bool, levels: &[Vec<&TableMeta>], budgets: &Budgets) -> u64 {
    let pressure = Levels { tables: levels, budgets }.pressure_percent();
    let flush = if flushing { FLUSH_BURDEN } else { 0 };
    flush + pressure.saturating_sub(PRESSURE_FREE) / PRESSURE_PER_BURDEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burden_rises_gradually_with_what_compaction_is_behind() {
        let table = TableMeta { bytes: 1, ..TableMeta::default() };
        let budgets = Budgets { level0_tables: 4, ..Budgets::default() };
        let burdens: Vec<u64> =
            (0..40).map(|count| burden(false, &[vec![&table; count]], &budgets)).collect();
        assert!(burdens.iter().take(7).all(|burden| *burden == 0), "{burdens:?}");
        assert!(burdens.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] <= 3));
        assert!(burdens[16] > 20);
        assert_eq!(burden(true, &[], &budgets), FLUSH_BURDEN);
    }
}
