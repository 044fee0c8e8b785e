//! The short scenarios of which every crash is tried.

use super::plan::{Action, Change, CommitPlan, Config, End, How, Place};
use kvass::error::Code;
use kvass::history::Retention;
use kvass::limits::Budgets;
use kvass::storage::simulated::{Call, Fault};

/// What is done while the power may go, after what was done before.
pub struct Scenario {
    pub name: &'static str,
    pub config: Config,
    pub before: Vec<Action>,
    pub during: Vec<Action>,
    /// Instead of `during` the process ends and the database is opened again.
    pub reopens: bool,
}

fn config() -> Config {
    let budgets = Budgets {
        memtable_bytes: 1_200,
        cache_bytes: 1_000,
        block_bytes: 200,
        table_bytes: 600,
        level0_tables: 2,
        level1_bytes: 1_500,
        level_growth: 3,
        ..Budgets::default()
    };
    Config {
        budgets,
        polls_max: 0,
        turn_polls: 0,
        slices: true,
        history: Retention::default(),
        hosted: false,
        hands_over: false,
    }
}

fn put(key: u64, bytes: u64) -> Change {
    Change::Set { place: Place::Key(key), bytes, live_ms: None }
}

fn expiring(key: u64) -> Change {
    Change::Set { place: Place::Key(key), bytes: 20, live_ms: Some(100) }
}

fn delete(key: u64) -> Change {
    Change::Delete(Place::Key(key))
}

fn plan(strict: bool, mutations: Vec<Change>) -> CommitPlan {
    CommitPlan { strict: Some(strict), checks: Vec::new(), mutations }
}

fn strict(mutations: Vec<Change>) -> Action {
    Action::Commit(vec![plan(true, mutations)])
}

fn relaxed(mutations: Vec<Change>) -> Action {
    Action::Commit(vec![plan(false, mutations)])
}

fn delete_range(from: u64, to: u64) -> Change {
    Change::DeleteRange { from: Place::Key(from), to: Place::Key(to) }
}

/// More than a memtable of commits.
fn fill(from: u64) -> Vec<Action> {
    (from..from + 6).map(|key| relaxed(vec![put(key % 24, 200)])).collect()
}

fn fault(call: Call, after: u64) -> Action {
    Action::Fault { call: Some(call), after, fault: Fault::Fail(Code::Io) }
}

fn short(call: Call) -> Action {
    Action::Fault { call: Some(call), after: 0, fault: Fault::Short }
}

fn kill() -> Action {
    Action::End(End { how: How::Kill, cuts: Vec::new() })
}

fn close() -> Action {
    Action::End(End { how: How::Close, cuts: Vec::new() })
}

fn joined(parts: Vec<Vec<Action>>) -> Vec<Action> {
    parts.concat()
}

/// All of them.
pub fn scenarios() -> Vec<Scenario> {
    [commits(), tables(), ranges(), repairs(), opens()].into_iter().flatten().collect()
}

fn scenario(name: &'static str, before: Vec<Action>, during: Vec<Action>) -> Scenario {
    Scenario { name, config: config(), before, during, reopens: false }
}

fn open(name: &'static str, before: Vec<Action>) -> Scenario {
    Scenario { reopens: true, ..scenario(name, before, Vec::new()) }
}

fn commits() -> Vec<Scenario> {
    let batch = Action::Commit(vec![
        plan(true, vec![put(1, 10)]),
        plan(false, vec![put(2, 10), delete(1)]),
        plan(true, vec![put(1, 20)]),
    ]);
    let sum = || Change::Sum { place: Place::Counter(0), by: 3 };
    vec![
        scenario("a strict commit", vec![], vec![strict(vec![put(1, 10)])]),
        scenario("two strict commits", vec![], vec![strict(vec![put(1, 10)]); 2]),
        scenario(
            "a relaxed commit before a strict one",
            vec![],
            vec![relaxed(vec![put(1, 10)]), strict(vec![put(2, 10)])],
        ),
        scenario(
            "relaxed commits and a flush",
            vec![],
            joined(vec![vec![relaxed(vec![put(1, 10)]); 3], vec![Action::Flush]]),
        ),
        scenario("a batch", vec![], vec![batch]),
        scenario("a large value", vec![], vec![strict(vec![put(1, 5_000)])]),
        scenario("sums", vec![], vec![relaxed(vec![sum()]), strict(vec![sum(), sum()])]),
        scenario(
            "an expiry",
            vec![strict(vec![expiring(1), expiring(2), put(3, 10)])],
            vec![Action::Clock(200), Action::Expire, Action::Flush],
        ),
        scenario(
            "a commit after an expiry",
            vec![strict(vec![expiring(1)]), Action::Clock(200)],
            vec![Action::Expire, strict(vec![put(1, 10)])],
        ),
        scenario(
            "a flush in the background",
            vec![],
            vec![relaxed(vec![put(1, 10)]), Action::FlushInBackground, relaxed(vec![put(2, 9)])],
        ),
    ]
}

fn tables() -> Vec<Scenario> {
    let deletes = || vec![relaxed((0..12).map(delete).collect())];
    let upkeep = || vec![Action::Upkeep];
    vec![
        scenario("a log rotation", vec![], fill(0)),
        scenario("a flush of a memtable", fill(0), upkeep()),
        scenario("commits after a flush", joined(vec![fill(0), upkeep()]), fill(6)),
        scenario(
            "a compaction of level 0",
            joined(vec![fill(0), upkeep(), fill(0), vec![Action::Flush]]),
            upkeep(),
        ),
        scenario("two memtables", fill(0), joined(vec![fill(6), upkeep()])),
        scenario(
            "a trivial move",
            joined(vec![fill(0), upkeep(), fill(12), upkeep()]),
            joined(vec![fill(18), upkeep()]),
        ),
        scenario(
            "tombstones that are dropped",
            joined(vec![fill(0), fill(6), upkeep()]),
            joined(vec![deletes(), fill(12), upkeep(), fill(0), upkeep()]),
        ),
        scenario(
            "a compaction below a snapshot",
            joined(vec![fill(0), upkeep(), vec![Action::Lease], fill(0)]),
            joined(vec![upkeep(), vec![Action::ReadLease], fill(0), upkeep()]),
        ),
        scenario(
            "a compaction of deeper levels",
            joined(vec![fill(0), fill(6), upkeep(), fill(12), fill(18), upkeep()]),
            joined(vec![fill(3), upkeep(), fill(9), upkeep()]),
        ),
    ]
}

fn ranges() -> Vec<Scenario> {
    let deletes = || vec![relaxed(vec![delete_range(2, 8), put(3, 10)])];
    let upkeep = || vec![Action::Upkeep];
    let filled = || joined(vec![fill(0), fill(6), upkeep()]);
    vec![
        scenario("a deleted range", fill(0), vec![strict(vec![delete_range(2, 8)])]),
        scenario("a deleted range of tables", filled(), joined(vec![deletes(), fill(12)])),
        scenario(
            "a deleted range that is flushed",
            filled(),
            joined(vec![deletes(), fill(12), upkeep()]),
        ),
        scenario(
            "a deleted range that is dropped",
            joined(vec![filled(), deletes(), fill(12), upkeep()]),
            joined(vec![fill(6), fill(12), upkeep(), fill(0), upkeep()]),
        ),
        scenario(
            "a deleted range below a snapshot",
            joined(vec![filled(), vec![Action::Lease], deletes()]),
            joined(vec![fill(12), upkeep(), vec![Action::ReadLease], fill(0), upkeep()]),
        ),
    ]
}

fn repairs() -> Vec<Scenario> {
    let before = || vec![strict(vec![put(1, 10)]), relaxed(vec![put(2, 10)])];
    let again =
        || vec![relaxed(vec![put(3, 10)]), strict(vec![put(4, 10)]), strict(vec![put(5, 9)])];
    let after = |fault: Action| joined(vec![vec![fault], again()]);
    vec![
        scenario("a repair after a failed write", before(), after(fault(Call::Write, 0))),
        scenario("a repair after a short write", before(), after(short(Call::Write))),
        scenario("a repair after a failed sync", before(), after(fault(Call::Sync, 0))),
        scenario("a repair after a sync that fell short", before(), after(short(Call::Sync))),
        scenario("a repair on a full disk", before(), after(Action::Quota(Some(30)))),
        scenario(
            "a repair that fails at first",
            before(),
            joined(vec![vec![short(Call::Write), fault(Call::Create, 0)], again()]),
        ),
        scenario(
            "a flush that finds no file",
            fill(0),
            joined(vec![vec![fault(Call::Create, 0), Action::Upkeep], fill(6)]),
        ),
        scenario(
            "a manifest that is not written",
            fill(0),
            joined(vec![vec![fault(Call::Write, 1), Action::Upkeep], fill(6)]),
        ),
        scenario(
            "a manifest that is not flushed",
            fill(0),
            joined(vec![vec![fault(Call::Sync, 2), Action::Upkeep], fill(6), vec![Action::Upkeep]]),
        ),
    ]
}

fn opens() -> Vec<Scenario> {
    let some = || vec![strict(vec![put(1, 10)]), relaxed(vec![put(2, 10)])];
    vec![
        open("an open after nothing", vec![]),
        open("an open after a strict commit", vec![strict(vec![put(1, 10)])]),
        open("an open after relaxed commits", some()),
        open("an open with a frozen memtable", fill(0)),
        open("an open with tables", joined(vec![fill(0), vec![Action::Upkeep], some()])),
        open("an open after a close", joined(vec![some(), vec![close()]])),
        open("an open after many opens", joined(vec![vec![relaxed(vec![put(1, 9)]), kill()]; 5])),
        open("an open after many that wrote little", {
            joined(vec![vec![relaxed(vec![put(1, 9)]), kill()]; 10])
        }),
        scenario("a commit after an open", joined(vec![some(), vec![kill()]]), some()),
        scenario(
            "a memtable on many logs",
            joined(vec![vec![relaxed(vec![put(1, 9)]), kill()]; 9]),
            joined(vec![some(), vec![Action::Upkeep]]),
        ),
    ]
}
