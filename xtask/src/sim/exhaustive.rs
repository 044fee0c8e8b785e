//! Short scenarios, cut at every call of the storage, with every subset of what was not synced
//! kept: each image must open and hold what was promised.

use super::oracle::{Failure, Verdict};
use super::plan::{Plan, Step};
use super::scenarios::{Scenario, scenarios};
use super::world::World;
use kvass::db::Db;
use kvass::env::manual::block_on;
use kvass::rng::Rng;
use kvass::storage::simulated::Fault;
use std::process::ExitCode;

/// Of more unsynced changes than these the others are kept.
const CHOICES_MAX: u32 = 10;

/// Which subsets are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subsets {
    All,
    /// None, all, and each change alone dropped.
    #[cfg(test)]
    Thinned,
}

/// What a scenario came to.
pub struct Covered {
    pub name: &'static str,
    pub points: u64,
    pub images: u64,
    pub failure: Option<Failure>,
}

/// `xtask sim --exhaustive`.
pub fn main() -> ExitCode {
    let (mut images, mut failed) = (0, 0);
    for covered in cover_all(Subsets::All) {
        let Covered { name, points, images: count, failure } = covered;
        println!("{count:>7} images of {points:>3} crash points: {name}");
        images += count;
        if let Some(Failure { check, detail }) = failure {
            failed += 1;
            println!("        FAILED: {check}: {detail}");
        }
    }
    println!("{images} images of {} scenarios, {failed} scenarios failed", scenarios().len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Covers every scenario.
pub fn cover_all(subsets: Subsets) -> impl Iterator<Item = Covered> {
    scenarios().into_iter().map(move |scenario| cover(&scenario, subsets))
}

fn cover(scenario: &Scenario, subsets: Subsets) -> Covered {
    let mut covered = Covered { name: scenario.name, points: 0, images: 0, failure: None };
    loop {
        match cut_after(scenario, subsets, &mut covered) {
            Ok(true) => covered.points += 1,
            Ok(false) => return covered,
            Err(failure) => {
                let detail = format!("after {} calls: {}", covered.points, failure.detail);
                covered.failure = Some(Failure { detail, ..failure });
                return covered;
            }
        }
    }
}

/// Cuts the power at the next crash point; false where the scenario was over before that.
fn cut_after(
    scenario: &Scenario,
    subsets: Subsets,
    covered: &mut Covered,
) -> Result<bool, Failure> {
    let rng = Rng::new(1);
    let plan = Plan { seed: 1, config: scenario.config.clone(), steps: Vec::new() };
    let mut world = World::new(plan, false);
    world.open(&rng)?;
    play(&mut world, &scenario.before, &rng)?;
    world.oracle.disturbed = true;
    if scenario.reopens {
        world.disk = world.disk.restart();
    }
    world.disk.inject(None, covered.points, Fault::PowerCut);
    if scenario.reopens {
        let (env, options) = world.environment();
        // It fails once the power is off.
        let _ = block_on(Db::open(env, options));
    } else {
        play(&mut world, &scenario.during, &rng)?;
    }
    if !world.disk.powered_off() {
        return Ok(false);
    }
    let choices = world.disk.choices().min(CHOICES_MAX);
    for kept in masks(choices, subsets) {
        covered.images += 1;
        let image = world.disk.crash_keeping(kept | u64::MAX << choices);
        check(&mut world.fork(image), &rng).map_err(|failure| {
            let detail = format!("keeping {kept:b} of {choices}: {}", failure.detail);
            Failure { detail, ..failure }
        })?;
    }
    Ok(true)
}

fn play(world: &mut World, actions: &[super::plan::Action], rng: &Rng) -> Verdict {
    for action in actions {
        world.step(&Step { seed: rng.next(), action: action.clone() })?;
        world.settle(rng)?;
    }
    Ok(())
}

fn check(world: &mut World, rng: &Rng) -> Verdict {
    let rows = world.cut_opens(&[], rng)?;
    world.reconcile(&rows)
}

fn masks(choices: u32, subsets: Subsets) -> Vec<u64> {
    let all = (1 << choices) - 1;
    match subsets {
        Subsets::All => (0..=all).collect(),
        #[cfg(test)]
        Subsets::Thinned => {
            let mut masks: Vec<u64> = (0..choices).map(|bit| all & !(1 << bit)).collect();
            masks.extend([0, all]);
            masks.sort_unstable();
            masks.dedup();
            masks
        }
    }
}
