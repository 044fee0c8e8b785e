//! What `npm test` runs of the simulator.

use super::plan::Plan;
use super::seeds::SEEDS;
use super::{fresh_seed, run};

const FRESH_RUNS: u64 = 300;

#[track_caller]
fn assert_passes(seed: u64, context: &str) {
    if let Some(failure) = run::run(&Plan::of(seed), false).failure {
        let again = format!("cargo run --release -p xtask -- sim --seed {seed} --runs 1");
        panic!("{context}: {}: {}\nagain: {again}", failure.check, failure.detail);
    }
}

#[test]
fn fresh_seeds_pass() {
    let first = fresh_seed();
    println!("seeds {first} to {}", first + FRESH_RUNS - 1);
    (first..first + FRESH_RUNS).for_each(|seed| assert_passes(seed, "a fresh seed"));
}

#[test]
fn seeds_that_failed_once_pass() {
    SEEDS.iter().for_each(|(seed, found)| assert_passes(*seed, found));
}
