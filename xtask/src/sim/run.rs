//! Runs seeds, catches what goes wrong, and shrinks it.

use super::oracle::Failure;
use super::plan::Plan;
use super::report::Counts;
use super::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a plan.
pub struct Ran {
    pub counts: Counts,
    pub failure: Option<Failure>,
    pub trace: Vec<String>,
}

/// Runs a plan; a panic is a failure too.
pub fn run(plan: &Plan, traced: bool) -> Ran {
    let mut world = World::new(plan.clone(), traced);
    let verdict = catch_unwind(AssertUnwindSafe(|| world.run()));
    let failure = match verdict {
        Ok(verdict) => verdict.err(),
        Err(panic) => Some(Failure { check: "nothing panics", detail: message(&*panic) }),
    };
    let mut counts = std::mem::take(&mut world.counts);
    counts.runs = 1;
    Ran { counts, failure, trace: world.trace.take().unwrap_or_default() }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Leaves out steps for as long as the same check fails; returns the smallest plan found.
pub fn shrink(plan: &Plan, failure: &Failure) -> Plan {
    let fails = |plan: &Plan| run(plan, false).failure.is_some_and(|it| it.check == failure.check);
    let mut smallest = plan.clone();
    let mut size = smallest.steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let before = smallest.steps.len();
        while at < smallest.steps.len() {
            let mut shorter = smallest.clone();
            shorter.steps.drain(at..(at + size).min(shorter.steps.len()));
            match fails(&shorter) {
                true => smallest = shorter,
                false => at += size,
            }
        }
        if size == 1 && smallest.steps.len() == before {
            return simplify(smallest, fails);
        }
        size = size.div_ceil(2).max(1);
    }
}

/// Takes away what makes a plan harder to follow and is not needed for it to fail.
fn simplify(plan: Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut smallest = plan;
    let mut attempt = |change: &dyn Fn(&mut Plan)| {
        let mut simpler = smallest.clone();
        change(&mut simpler);
        if fails(&simpler) {
            smallest = simpler;
        }
    };
    attempt(&|plan| plan.config.polls_max = 0);
    attempt(&|plan| plan.config.turn_polls = 0);
    attempt(&|plan| plan.config.slices = false);
    smallest
}
