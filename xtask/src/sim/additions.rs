//! What was added to the plans of seeds later, each addition drawn for itself.

use super::plan::{Action, COUNTERS, Change, CommitPlan, KEYS, Place, Plan, Step};
use kvass::history::Retention;
use kvass::rng::Rng;

/// Some runs write so many keys.
const MANY_KEYS: u64 = 79;

/// Has ranges deleted and counted, and changes read.
pub fn ranges(plan: &mut Plan, rng: &Rng) {
    plan.config.history = match rng.below(4) {
        0 => Retention { bytes: 0, ..Retention::default() },
        1 => Retention { bytes: 2_000, ms: 100_000 },
        _ => Retention::default(),
    };
    let (deletes_often, many) = (rng.one_in(2), rng.one_in(3));
    for step in std::mem::take(&mut plan.steps) {
        match rng.below(24) {
            0 => {
                let (from, to) = places(rng);
                add(plan, rng, Action::Count { from, to });
            }
            1 => add(plan, rng, Action::Changes),
            _ => {}
        }
        plan.steps.push(step);
        if many && rng.one_in(24) {
            add(plan, rng, Action::Commit(vec![many_sets(rng)]));
            delete_many_and_list(plan, rng);
        }
        let added = plan.steps.last_mut().map(|step| &mut step.action);
        let Some(Action::Commit(commits)) = added else { continue };
        for commit in commits {
            if rng.one_in(if deletes_often { 4 } else { 20 }) {
                delete_range(commit, rng);
            }
        }
    }
    add(plan, rng, Action::Changes);
}

/// Has clients send frames to a host, and subscribe.
pub fn pages(plan: &mut Plan, rng: &Rng) {
    plan.config.hosted = rng.one_in(2);
    if !plan.config.hosted {
        return;
    }
    for step in std::mem::take(&mut plan.steps) {
        plan.steps.push(step);
        let (from, to) = places(rng);
        match rng.below(40) {
            0..2 => {
                let keys = (0..1 + rng.below(4)).map(|_| places(rng).0).collect();
                add(plan, rng, Action::Watch(keys));
            }
            2..4 => add(plan, rng, Action::Subscribe { from, to }),
            4 => add(plan, rng, Action::Unsubscribe),
            5 => add(plan, rng, Action::Tick),
            _ => {}
        }
    }
}

/// Has values written to blob files that have some bytes.
pub fn large(plan: &mut Plan, rng: &Rng) {
    let budgets = &mut plan.config.budgets;
    budgets.large_value_bytes = [30, 100, 32_768][rng.below(3) as usize];
    budgets.blob_bytes = [200, 2_000][rng.below(2) as usize];
    budgets.stretch_bytes = [1, 100, 1_000_000][rng.below(3) as usize];
}

/// Has space kept in reserve, and the disk be full to its last byte now and then.
pub fn reserve(plan: &mut Plan, rng: &Rng) {
    plan.config.budgets.reserve_bytes = [0, 1_000, 6_000][rng.below(3) as usize];
    let is_faulty = plan.steps.iter().any(|step| matches!(step.action, Action::Quota(_)));
    for step in std::mem::take(&mut plan.steps) {
        plan.steps.push(step);
        if is_faulty && rng.one_in(100) {
            add(plan, rng, Action::Quota(Some(rng.below(300))));
        }
    }
}

/// Has tables hold few deleted ranges, of which there are more then.
pub fn range_bytes(plan: &mut Plan, rng: &Rng) {
    plan.config.budgets.range_bytes = [40, 200, 1_000, 256 * 1024][rng.below(4) as usize];
}

/// Has commits and batches of them give way after few mutations.
pub fn rows(plan: &mut Plan, rng: &Rng) {
    plan.config.budgets.mutations_in_a_row = [1, 2, 256][rng.below(3) as usize];
}

/// Has lists go on with the next host: some begin before an open ends, and soon after it more is
/// written and they are read on.
pub fn handover(plan: &mut Plan, rng: &Rng) {
    plan.config.hands_over = true;
    for step in std::mem::take(&mut plan.steps) {
        let ends = matches!(step.action, Action::End(_));
        if ends && rng.one_in(2) {
            add(plan, rng, Action::Lease);
            add(plan, rng, list(rng));
            add(plan, rng, Action::Run(20));
            if rng.one_in(3) {
                add(plan, rng, Action::Commit(vec![overwrite(rng)]));
            }
        }
        plan.steps.push(step);
        if ends && rng.one_in(2) {
            for _ in 0..rng.below(3) {
                add(plan, rng, Action::Commit(vec![overwrite(rng)]));
            }
            if rng.one_in(2) {
                add(plan, rng, Action::Upkeep);
                add(plan, rng, Action::Run(50));
            }
            add(plan, rng, Action::ReadLease);
        }
        match rng.below(40) {
            0 => add(plan, rng, Action::ReleaseLease),
            1 => add(plan, rng, Action::ReadLease),
            _ => {}
        }
    }
}

/// A list of several pages.
fn list(rng: &Rng) -> Action {
    let (from, to) = (Place::Key(0), Place::Key(KEYS));
    Action::List { from, to, reverse: rng.one_in(2), limit: 1 + rng.below(5) as usize }
}

/// Writes some keys, which are likely to be there.
fn overwrite(rng: &Rng) -> CommitPlan {
    let set = |_| Change::Set { place: places(rng).0, bytes: rng.below(200), live_ms: None };
    let strict = rng.one_in(2).then_some(false);
    CommitPlan { strict, checks: Vec::new(), mutations: (0..5).map(set).collect() }
}

fn add(plan: &mut Plan, rng: &Rng, action: Action) {
    plan.steps.push(Step { seed: rng.next(), action });
}

fn delete_range(commit: &mut CommitPlan, rng: &Rng) {
    let (from, to) = places(rng);
    let at = rng.below(commit.mutations.len() as u64 + 1) as usize;
    commit.mutations.insert(at, Change::DeleteRange { from, to });
}

/// More keys than a scan passes by one, before it skips the rest of what is deleted.
fn many_sets(rng: &Rng) -> CommitPlan {
    let first = rng.below(KEYS);
    let keys = first..(first + 40 + rng.below(40)).min(MANY_KEYS);
    let set = |key| Change::Set { place: Place::Key(key), bytes: 5, live_ms: None };
    CommitPlan { strict: None, checks: Vec::new(), mutations: keys.map(set).collect() }
}

/// All of them are deleted but for those that are written after that, and listed.
fn delete_many_and_list(plan: &mut Plan, rng: &Rng) {
    let (first, last) = (Place::Key(0), Place::Key(71));
    add(plan, rng, Action::Upkeep);
    add(plan, rng, Action::Run(200));
    let set = |rng: &Rng| Change::Set {
        place: Place::Key(rng.below(MANY_KEYS)),
        bytes: 5,
        live_ms: None,
    };
    let deleted = Change::DeleteRange { from: first, to: last };
    let count = 3 + rng.below(40);
    let mutations = [deleted].into_iter().chain((0..count).map(|_| set(rng))).collect();
    let delete = CommitPlan { strict: None, checks: Vec::new(), mutations };
    add(plan, rng, Action::Commit(vec![delete]));
    add(plan, rng, Action::List { from: first, to: last, reverse: true, limit: 200 });
}

/// Two keys of one kind: between the kinds lie the marks of the commits.
fn places(rng: &Rng) -> (Place, Place) {
    match rng.below(6) {
        0 => (Place::Counter(rng.below(COUNTERS)), Place::Counter(rng.below(COUNTERS))),
        1 => (Place::Key(rng.below(MANY_KEYS)), Place::Key(rng.below(MANY_KEYS))),
        _ => (Place::Key(rng.below(KEYS)), Place::Key(rng.below(KEYS))),
    }
}
