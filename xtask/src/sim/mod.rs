//! A deterministic simulation of the whole engine: one seed decides operations, time, faults and
//! scheduling, and everything the database says is compared with a model.
//!
//! [`plan`] draws what happens, [`world`] makes it happen, [`oracle`] judges it while it runs and
//! [`reopen`] after each crash, [`run`] shrinks what fails.

#![allow(clippy::indexing_slicing, reason = "a simulation that breaks may panic")]

mod additions;
mod changes;
mod clients;
mod exhaustive;
mod leases;
mod lists;
mod metamorphic;
mod model;
mod oracle;
mod pages;
mod plan;
mod planted;
mod reads;
mod reopen;
mod report;
mod reserve;
mod run;
mod scenarios;
mod seeds;
mod sent;
mod subscriptions;
mod sums;
mod tasks;
#[cfg(test)]
mod tests;
mod world;

use plan::Plan;
use report::Counts;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::Instant;

pub const USAGE: &str =
    "sim [--seed S] [--runs N] [--planted | --exhaustive | --metamorphic | --listed]
    --seed S     the first seed; without it a fresh one, which is printed
    --runs N     how many seeds from there on (1000)
    --planted    for each planted bug: after how many runs it is found, and by which check
    --exhaustive     short scenarios: every crash point, every subset of what was not synced
    --metamorphic    the same operations under many configurations must give the same answers
    --listed         the seeds that failed once";

/// What the command line asks for.
struct Options {
    seed: u64,
    runs: u64,
    mode: Mode,
}

#[derive(Clone, Copy)]
enum Mode {
    Runs,
    Planted,
    Exhaustive,
    Metamorphic,
    Listed,
}

/// Threads to split seeds over; each run is single-threaded.
const THREADS: u64 = 2;

/// `xtask sim`.
pub fn main(arguments: &[&str]) -> ExitCode {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\nusage: {USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let Options { seed, runs, mode } = options;
    quiet();
    match mode {
        Mode::Exhaustive => return exhaustive::main(),
        Mode::Planted => return planted::main(seed, runs),
        Mode::Metamorphic => return metamorphic::main(seed, runs),
        Mode::Listed => return run_listed(),
        Mode::Runs => println!("seeds {seed} to {}", seed.wrapping_add(runs - 1)),
    }
    #[allow(clippy::disallowed_methods, reason = "it says how long the runs took")]
    let start = Instant::now();
    let (counts, failed) = run_all(seed, runs);
    println!("{counts}");
    let seconds = start.elapsed().as_secs_f64();
    println!("{seconds:.1} s, {:.0} runs a second", counts.runs as f64 / seconds);
    match failed.first() {
        None => ExitCode::SUCCESS,
        Some(_) => {
            explain_first(&failed);
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[&str]) -> Result<Options, String> {
    let mut options = Options { seed: fresh_seed(), runs: 1_000, mode: Mode::Runs };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let mut number = || {
            let value = rest.next().ok_or_else(|| format!("{name} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{value:?} is no number"))
        };
        match *name {
            "--seed" => options.seed = number()?,
            "--planted" => options.mode = Mode::Planted,
            "--exhaustive" => options.mode = Mode::Exhaustive,
            "--listed" => options.mode = Mode::Listed,
            "--metamorphic" => options.mode = Mode::Metamorphic,
            "--runs" => options.runs = number()?.max(1),
            other => return Err(format!("no option {other:?}")),
        }
    }
    Ok(options)
}

/// A seed that differs from run to run; six digits are enough and easy to read.
fn fresh_seed() -> u64 {
    RandomState::new().hash_one(0) % 1_000_000 * 1_000_000
}

/// Failures are told of in the end; the message of each panic on the way is not.
fn quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// A seed and the check that it failed.
type Failed = (u64, &'static str);

/// Runs the seeds; returns what they came across, and those that failed, in order.
fn run_all(seed: u64, runs: u64) -> (Counts, Vec<Failed>) {
    let part = |first: u64| {
        let (mut counts, mut failed) = (Counts::default(), Vec::new());
        for offset in (first..runs).step_by(THREADS as usize) {
            let seed = seed.wrapping_add(offset);
            let ran = run::run(&Plan::of(seed), false);
            counts.add(&ran.counts);
            failed.extend(ran.failure.map(|failure| (seed, failure.check)));
        }
        (counts, failed)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS).map(|first| scope.spawn(move || part(first))).collect();
        let (mut counts, mut failed) = part(0);
        for other in others {
            if let Ok((more, others)) = other.join() {
                counts.add(&more);
                failed.extend(others);
            }
        }
        failed.sort_unstable();
        (counts, failed)
    })
}

/// Runs the seeds that failed once, as they were then and as they are now.
fn run_listed() -> ExitCode {
    let mut failed = false;
    for (seed, drawn, found) in seeds::SEEDS {
        for plan in [Plan::drawn(seed, drawn), Plan::of(seed)] {
            if let Some(failure) = run::run(&plan, false).failure {
                println!("{seed}: {found}: {}: {}", failure.check, failure.detail);
                failed = true;
            }
        }
    }
    println!("{} seeds, each as it was and as it is", seeds::SEEDS.len());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Shrinks the first failure and prints it, step by step.
fn explain_first(failed: &[Failed]) {
    let mut by_check = BTreeMap::<&str, Vec<u64>>::new();
    failed.iter().for_each(|(seed, check)| by_check.entry(check).or_default().push(*seed));
    println!("{} of the seeds failed:", failed.len());
    for (check, seeds) in by_check {
        println!("{:>7} {check}: {:?}", seeds.len(), &seeds[..seeds.len().min(5)]);
    }
    let Some((seed, _)) = failed.first() else { return };
    let plan = Plan::of(*seed);
    let Some(failure) = run::run(&plan, false).failure else { return };
    println!("\nseed {seed}: {}: {}", failure.check, failure.detail);
    println!("again: cargo run --release -p xtask -- sim --seed {seed} --runs 1");
    let smallest = run::shrink(&plan, &failure);
    let ran = run::run(&smallest, true);
    println!("\nthe smallest case: {} of {} steps", smallest.steps.len(), plan.steps.len());
    println!("{:?}", smallest.config);
    ran.trace.iter().for_each(|line| println!("  {line}"));
    if let Some(failure) = ran.failure {
        println!("{}: {}", failure.check, failure.detail);
    }
}
