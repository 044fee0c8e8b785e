//! What `npm test` runs of the simulator.

use super::exhaustive::{Subsets, cover_all};
use super::plan::Plan;
use super::planted::{HINTS, find};
use super::seeds::SEEDS;
use super::{fresh_seed, metamorphic, run};
use kvass::planted::BUGS;

const FRESH_RUNS: u64 = 300;
/// Where the seed that is known to find a bug finds it no more, so many others are tried.
const PLANTED_RUNS: u64 = 3_000;

#[track_caller]
fn assert_passes(plan: &Plan, context: &str) {
    if let Some(failure) = run::run(plan, false).failure {
        let again = format!("cargo run --release -p xtask -- sim --seed {} --runs 1", plan.seed);
        panic!("{context}: {}: {}\nagain: {again}", failure.check, failure.detail);
    }
}

#[test]
fn fresh_seeds_pass() {
    let first = fresh_seed();
    println!("seeds {first} to {}", first + FRESH_RUNS - 1);
    (first..first + FRESH_RUNS).for_each(|seed| assert_passes(&Plan::of(seed), "a fresh seed"));
}

#[test]
fn seeds_that_failed_once_pass() {
    for (seed, drawn, found) in SEEDS {
        assert_passes(&Plan::drawn(seed, drawn), found);
        assert_passes(&Plan::of(seed), found);
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in BUGS {
        let hint = HINTS.iter().find(|(hinted, _)| *hinted == bug).map_or(1, |(_, seed)| *seed);
        let found = find(bug, hint, 1).or_else(|| find(bug, 1, PLANTED_RUNS));
        let (seed, failure) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?}: seed {seed}: {}: {}", failure.check, failure.detail);
    }
}

#[test]
fn at_every_crash_point_what_was_promised_survives() {
    for covered in cover_all(Subsets::Thinned) {
        let detail =
            covered.failure.map(|failure| format!("{}: {}", failure.check, failure.detail));
        assert_eq!(detail, None, "{}", covered.name);
    }
}

#[test]
fn the_same_operations_give_the_same_answers_under_any_configuration() {
    (1..=10).for_each(|seed| assert_eq!(metamorphic::difference(seed), None));
}
