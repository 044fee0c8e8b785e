//! Shows that the simulator is sharp: each planted bug must be found.

use super::oracle::Failure;
use super::plan::Plan;
use super::run;
use kvass::planted::{BUGS, Bug, plant};
use std::process::ExitCode;

/// Seeds that find what others find rarely.
#[cfg(test)]
pub const HINTS: [(Bug, u64); 3] =
    [(Bug::ExpiryNotFinal, 259), (Bug::FloorNotStored, 55), (Bug::OutcomesNotCarried, 100)];

/// Runs seeds with a bug switched on until one fails; returns it and why.
pub fn find(bug: Bug, seed: u64, runs: u64) -> Option<(u64, Failure)> {
    plant(Some(bug));
    let found = (seed..seed.saturating_add(runs))
        .find_map(|seed| Some((seed, run::run(&Plan::of(seed), false).failure?)));
    plant(None);
    found
}

/// Looks for every planted bug.
pub fn main(seed: u64, runs: u64) -> ExitCode {
    let found = find_all(seed, runs);
    for (bug, found) in BUGS.iter().zip(&found) {
        match found {
            Some((at, failure)) => {
                println!("{bug:?}: after {} runs, {}", at - seed + 1, failure.check);
            }
            None => println!("{bug:?}: NOT FOUND in {runs} runs"),
        }
    }
    let count = found.iter().flatten().count();
    println!("{count} of {} planted bugs found", BUGS.len());
    if count == BUGS.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The bugs are switched on for one thread each.
fn find_all(seed: u64, runs: u64) -> Vec<Option<(u64, Failure)>> {
    let (some, others) = BUGS.split_at(BUGS.len() / 2);
    let find_part =
        |bugs: &[Bug]| -> Vec<_> { bugs.iter().map(|bug| find(*bug, seed, runs)).collect() };
    std::thread::scope(|scope| {
        let others = scope.spawn(|| find_part(others));
        let mut found = find_part(some);
        found.extend(others.join().unwrap_or_default());
        found
    })
}
