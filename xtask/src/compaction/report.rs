//! What came of a run.

/// Figures of a run; bytes unless they say otherwise.
#[derive(Default)]
pub struct Report {
    /// Keys and values put in.
    pub put: u64,
    /// Tables written by flushes.
    pub flushed: u64,
    /// Tables written by compactions, and how many compactions and moves there were.
    pub compacted: u64,
    pub compactions: u64,
    pub moves: u64,
    /// Of `compacted`, what was written while nobody else wrote.
    pub rested: u64,
    /// Sorted runs that were left after each rest: their sum and the number of rests.
    pub rest_runs: (usize, usize),
    /// What the largest compaction read.
    pub compaction_max: u64,
    /// Sorted runs that a read may have to look into, at the most, and their sum and number over
    /// all versions.
    pub runs_max: usize,
    pub runs: (usize, usize),
    /// What the tables occupied at the most for what was alive, in permille, once that was as
    /// much as level 1 has room for.
    pub space_max_permille: u64,
    /// What all tables hold at the end, and what of it is alive.
    pub held: u64,
    pub alive: u64,
    /// Background work that one write waited for, at the most, and all of them.
    pub wait_max: u64,
    pub waited: u64,
    /// Tables and bytes by level at the end.
    pub levels: Vec<(usize, u64)>,
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Report {
    pub const TITLES: &str = concat!(
        "pattern     MiB put  write  at rest  runs avg/max  at rest  space end/max",
        "  compactions + moves  largest  longest wait  waits  levels",
    );

    pub const LEGEND: &str = "\
write: bytes of tables written for each byte put, the log not counted; of them at rest, while nobody
writes. runs: sorted ones, that a get without filters looks into; after each rest on average. space:
bytes of tables for each that is alive, in the end and at most.
largest: what one compaction read, MiB. longest wait: background work that one write waited for,
KiB; waits: for each byte put. levels: tables and MiB.";

    pub fn write_amplification(&self) -> f64 {
        (self.flushed + self.compacted) as f64 / self.put as f64
    }

    /// What is done for readers while nobody writes.
    pub fn write_amplification_at_rest(&self) -> f64 {
        self.rested as f64 / self.put as f64
    }

    pub fn space_amplification(&self) -> f64 {
        self.held as f64 / self.alive.max(1) as f64
    }

    pub fn row(&self, name: &str) -> String {
        let space = match self.alive {
            0 => "-".into(),
            _ => format!("{:.2}", self.space_amplification()),
        };
        let mean = |(sum, count): (usize, usize)| sum as f64 / count.max(1) as f64;
        let rested = self.write_amplification_at_rest();
        let levels = self.levels.iter();
        let levels: Vec<_> =
            levels.map(|(tables, bytes)| format!("{tables}:{:.0}", mib(*bytes))).collect();
        [
            format!("{name:<11} {:>7.0}  {:>5.2}", mib(self.put), self.write_amplification()),
            format!("{rested:>7.2}  {:>8.1}/{:<3}", mean(self.runs), self.runs_max),
            format!("{:>7.1}", mean(self.rest_runs)),
            format!("{space:>8}/{:<4.1}", self.space_max_permille as f64 / 1000.0),
            format!("{:>11} + {:<5}", self.compactions, self.moves),
            format!("{:>7.1}", mib(self.compaction_max)),
            format!("{:>12.0}", self.wait_max as f64 / 1024.0),
            format!("{:>5.2}", self.waited as f64 / self.put as f64),
            levels.join(" "),
        ]
        .join("  ")
    }
}
