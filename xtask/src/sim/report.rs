//! What runs came across, added up.

use kvass::commit::Outcome;
use kvass::error::Error;
use kvass::storage::simulated::Fault;
use std::fmt;

/// Counts of one run or of many.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub runs: u64,
    pub commits: u64,
    pub published: u64,
    pub refused: u64,
    pub checks_failed: u64,
    pub reads: u64,
    pub closes: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub lost: u64,
    pub revived: u64,
    pub resent: u64,
    pub failed_calls: u64,
    pub short_calls: u64,
    pub quotas: u64,
    pub bit_flips: u64,
    pub clock_jumps: u64,
    pub abandoned: u64,
    pub recoveries: u64,
    /// Times that entries expired on a full disk.
    pub full_expiries: u64,
    /// Times that a reserve was spent, and a commit refused for that.
    pub spent_reserves: u64,
}

impl Counts {
    /// How many faults may have led to a repair.
    pub fn faults(&self) -> u64 {
        self.failed_calls + self.short_calls + self.quotas + self.abandoned
    }

    pub fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Fail(_) => self.failed_calls += 1,
            Fault::Short => self.short_calls += 1,
            Fault::PowerCut => {}
        }
    }

    pub fn answer(&mut self, answer: &Result<Outcome, Error>) {
        match answer {
            Ok(Outcome::Committed(_)) => {}
            Ok(Outcome::CheckFailed(_)) => self.checks_failed += 1,
            Err(_) => self.refused += 1,
        }
    }

    pub fn add(&mut self, other: &Counts) {
        let pairs = self.fields_mut().into_iter().zip(other.clone().fields_mut().map(|it| *it));
        pairs.for_each(|(sum, count)| *sum += count);
    }

    fn fields_mut(&mut self) -> [&mut u64; 21] {
        [
            &mut self.runs,
            &mut self.commits,
            &mut self.published,
            &mut self.refused,
            &mut self.checks_failed,
            &mut self.reads,
            &mut self.closes,
            &mut self.kills,
            &mut self.power_cuts,
            &mut self.lost,
            &mut self.revived,
            &mut self.resent,
            &mut self.failed_calls,
            &mut self.short_calls,
            &mut self.quotas,
            &mut self.bit_flips,
            &mut self.clock_jumps,
            &mut self.abandoned,
            &mut self.recoveries,
            &mut self.full_expiries,
            &mut self.spent_reserves,
        ]
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let it = self;
        writeln!(f, "runs           {:>10}", it.runs)?;
        writeln!(
            f,
            "commits        {:>10}   {} published, {} refused by a fault, {} by a check",
            it.commits, it.published, it.refused, it.checks_failed
        )?;
        writeln!(f, "reads          {:>10}   gets, lists, counts, readings of changes", it.reads)?;
        writeln!(
            f,
            "ends           {:>10}   {} power cuts, {} killed, {} closed",
            it.power_cuts + it.kills,
            it.power_cuts,
            it.kills,
            it.closes
        )?;
        writeln!(
            f,
            "lost           {:>10}   gone with the power; {} unanswered came back, {} sent again",
            it.lost, it.revived, it.resent
        )?;
        let faults = [
            ("failed calls", it.failed_calls),
            ("short calls", it.short_calls),
            ("full disks", it.quotas),
            ("dropped futures", it.abandoned),
            ("clock jumps", it.clock_jumps),
            ("flipped bits", it.bit_flips),
        ];
        let faults = faults.map(|(name, count)| format!("{count} {name}"));
        write!(
            f,
            "faults         {}; recovered {}, deleted on a full disk {}, spent reserves {} times",
            faults.join(", "),
            it.recoveries,
            it.full_expiries,
            it.spent_reserves
        )
    }
}
