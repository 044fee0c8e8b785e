//! The compaction policy run without I/O: the tables are lists of numbers, what is chosen, when a
//! writer waits and how large levels are is the engine's own code. Prints how much is written,
//! read and occupied for what was put in, and how long a writer waits.

mod database;
mod pattern;
mod report;

use database::Database;
use kvass::limits::Budgets;
use pattern::PATTERNS;
use report::Report;

/// What a key and a value of the simulated entries have together, in bytes.
pub const ENTRY_BYTES: u64 = 116;
/// Bytes of background work that are done for each byte written without anybody waiting: requests
/// leave the engine at least half of its time.
const IDLE_WORK: u64 = 4;

const USAGE: &str = "usage: xtask compaction [--gib N] [--pattern NAME]... [--level0-tables N]
       [--level1-mib N] [--growth N] [--memtable-mib N] [--table-mib N]
       [--rest-share N]";

/// Runs the patterns that the arguments name, or all.
///
/// # Errors
/// A message about arguments that make no sense.
pub fn main(arguments: &[&str]) -> Result<(), String> {
    let (mut gib, mut chosen, mut budgets) = (1.0, Vec::new(), Budgets::default());
    let mut rest = arguments;
    while let [name, value, others @ ..] = rest {
        let number = || value.parse::<f64>().map_err(|_| format!("no number: {value}\n{USAGE}"));
        let bytes = || number().map(|mib| (mib * f64::from(1 << 20)) as u64);
        match *name {
            "--gib" => gib = number()?,
            "--pattern" => chosen.push(*value),
            "--level0-tables" => budgets.level0_tables = number()? as usize,
            "--level1-mib" => budgets.level1_bytes = bytes()?,
            "--growth" => budgets.level_growth = number()? as u64,
            "--rest-share" => budgets.rest_share = number()? as u64,
            "--memtable-mib" => budgets.memtable_bytes = bytes()? as usize,
            "--table-mib" => budgets.table_bytes = bytes()?,
            _ => return Err(USAGE.into()),
        }
        rest = others;
    }
    if !rest.is_empty() {
        return Err(USAGE.into());
    }
    let known: Vec<&str> = PATTERNS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(*name)) {
        return Err(format!("no pattern {unknown:?}; there are {}", known.join(", ")));
    }
    let entries = (gib * f64::from(1 << 30) / ENTRY_BYTES as f64) as u32;
    println!("{}", Report::TITLES);
    for (name, _) in PATTERNS.iter().filter(|(name, _)| chosen.is_empty() || chosen.contains(name))
    {
        println!("{}", run(name, entries, &budgets).row(name));
    }
    println!("\n{}", Report::LEGEND);
    Ok(())
}

/// Carries out a pattern of `entries` keys, lets compaction finish, and reports.
fn run(name: &str, entries: u32, budgets: &Budgets) -> Report {
    let mut database = Database::new(budgets);
    if let Some((_, pattern)) = PATTERNS.iter().find(|(other, _)| *other == name) {
        pattern(entries, &mut |write| database.write(write));
    }
    database.settle();
    database.report
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvass::compaction;

    /// A 64th of the default everywhere, so that 16 MiB have the levels of 1 GiB.
    fn budgets() -> Budgets {
        let full = Budgets::default();
        Budgets {
            memtable_bytes: full.memtable_bytes / 64,
            table_bytes: full.table_bytes / 64,
            level1_bytes: full.level1_bytes / 64,
            ..full
        }
    }

    #[test]
    fn amplifications_and_waits_stay_within_their_bounds() {
        for (name, written, occupied) in [
            ("sequential", 2.1, 1.1),
            ("scattered", 11.5, 1.1),
            ("uniform", 10.5, 1.3),
            ("zipf", 5.5, 1.3),
            ("overwrite", 7.0, 1.6),
            ("queue", 6.0, 2.0),
            ("delete", 13.5, f64::INFINITY),
            ("pauses", 14.0, 1.1),
        ] {
            let report = run(name, (16 << 20) / ENTRY_BYTES as u32, &budgets());
            println!("{}\n{}", Report::TITLES, report.row(name));
            let owed = report.write_amplification() - report.write_amplification_at_rest();
            assert!(owed <= written, "{name}");
            assert!(report.space_amplification() <= occupied, "{name}");
            assert!(report.runs_max <= 20, "{name}");
            assert!(report.wait_max <= 2 * compaction::STRIDE_BYTES as u64, "{name}");
            assert!(report.compaction_max <= 16 * budgets().table_bytes_at(3), "{name}");
            let allowed = budgets().rest_share * report.flushed;
            assert!(report.rested <= allowed, "{name}: {} of {allowed}", report.rested);
            let left: u64 = report.levels.iter().map(|(_, bytes)| bytes).sum();
            assert!(name != "delete" || left < budgets().memtable_bytes as u64 / 4, "{left} left");
        }
    }
}
