//! What a run does, drawn from its seed before it begins: a list of steps, so that a run that
//! fails can be shrunk by leaving steps out.

use super::additions;
use kvass::error::Code;
use kvass::history::Retention;
use kvass::limits::Budgets;
use kvass::rng::Rng;
use kvass::storage::simulated::{Call, Fault};

/// Keys with ordinary values.
pub const KEYS: u64 = 24;
/// Keys with numbers, for `sum`.
pub const COUNTERS: u64 = 3;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    pub config: Config,
    pub steps: Vec<Step>,
}

/// What stays the same over a run.
#[derive(Clone, Debug)]
pub struct Config {
    pub budgets: Budgets,
    /// How long a call of the storage may be pending, in polls.
    pub polls_max: u32,
    /// How long a turn of the event loop takes, in polls.
    pub turn_polls: u32,
    /// Whether compaction yields after every stretch of work.
    pub slices: bool,
    /// How much of the change log is kept.
    pub history: Retention,
    /// Whether clients send frames to a host.
    pub hosted: bool,
    /// Whether lists go on with the next host.
    pub hands_over: bool,
}

/// One action, with the seed of all that is random while it lasts: leaving out other steps leaves
/// that as it was.
#[derive(Clone, Debug)]
pub struct Step {
    pub seed: u64,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// Hands in a batch of commits and goes on.
    Commit(Vec<CommitPlan>),
    /// Reads a key.
    Get(Place),
    /// Reads a range.
    List {
        from: Place,
        to: Place,
        reverse: bool,
        limit: usize,
    },
    /// Counts a range.
    Count {
        from: Place,
        to: Place,
    },
    /// Reads the changes since a commit, drawn when it is done.
    Changes,
    /// A page watches keys.
    Watch(Vec<Place>),
    /// A page subscribes to the changes of a range.
    Subscribe {
        from: Place,
        to: Place,
    },
    /// A page ends a subscription.
    Unsubscribe,
    /// The host does what is due.
    Tick,
    /// Takes a lease on a snapshot.
    Lease,
    /// Lists everything at a leased snapshot, and goes on with a list that rests.
    ReadLease,
    /// Lets go of a lease.
    ReleaseLease,
    Flush,
    FlushInBackground,
    Upkeep,
    Expire,
    /// Polls tasks at random.
    Run(u32),
    /// Runs all tasks to their end.
    Settle,
    /// Moves the clock.
    Clock(i64),
    /// Drops a task where it stands.
    Abandon,
    /// Lets a call of the storage fail.
    Fault {
        call: Option<Call>,
        after: u64,
        fault: Fault,
    },
    /// Bytes that the disk still has room for.
    Quota(Option<u64>),
    /// Ends all faults; then the database must work again.
    Recover,
    /// Ends this open, and opens again.
    End(End),
}

/// How an open ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub how: How,
    /// While opening again, the power goes after so many calls, once for each.
    pub cuts: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// All tasks end, and the database is closed.
    Close,
    /// The process is gone, in the middle of whatever it did.
    Kill,
    /// So is the power.
    PowerCut,
    /// The power goes at the storage's call after so many.
    PowerCutAfter(u64),
}

/// One of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Key(u64),
    Counter(u64),
}

#[derive(Clone, Debug)]
pub struct CommitPlan {
    pub strict: Option<bool>,
    pub checks: Vec<(Place, Expectation)>,
    pub mutations: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
pub enum Expectation {
    /// The versionstamp of the last published version.
    Present,
    /// No entry.
    Absent,
    /// A versionstamp that no commit has.
    Wrong,
}

#[derive(Clone, Copy, Debug)]
pub enum Change {
    Set {
        place: Place,
        bytes: u64,
        live_ms: Option<u64>,
    },
    Delete(Place),
    Sum {
        place: Place,
        by: u64,
    },
    /// Deletes the keys between two places; where they are the same, all keys of that kind.
    DeleteRange {
        from: Place,
        to: Place,
    },
}

/// Up to which addition a seed is drawn. Each draws for itself, so that what was drawn before it
/// stays as it was, and seeds that failed once go on doing what they did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drawn {
    /// Nothing is added.
    Basic,
    /// Ranges are deleted and counted, and changes read since a commit.
    Ranges,
    /// Clients send frames to a host, and subscribe.
    Pages,
    /// Values are large already when they have some bytes.
    Large,
    /// Lists go on with the next host.
    Handover,
    /// There is space in reserve, and the disk is full more often.
    Reserve,
    /// Tables hold few deleted ranges each.
    RangeBytes,
    /// Commits give way in their middle.
    Rows,
}

impl Plan {
    /// The run of a seed.
    pub fn of(seed: u64) -> Plan {
        Plan::drawn(seed, Drawn::Rows)
    }

    /// The run of a seed as it was before later additions.
    pub fn drawn(seed: u64, through: Drawn) -> Plan {
        let mut plan = Plan::basic(seed);
        if through >= Drawn::Ranges {
            additions::ranges(&mut plan, &Rng::new(seed ^ 0x7a6e_9e5d));
        }
        if through >= Drawn::Pages {
            additions::pages(&mut plan, &Rng::new(seed ^ 0x9a9e_5005));
        }
        if through >= Drawn::Large {
            additions::large(&mut plan, &Rng::new(seed ^ 0xb10b_f11e));
        }
        if through >= Drawn::Handover {
            additions::handover(&mut plan, &Rng::new(seed ^ 0x4a9d_03e2));
        }
        if through >= Drawn::Reserve {
            additions::reserve(&mut plan, &Rng::new(seed ^ 0x5a4e_0f11));
        }
        if through >= Drawn::RangeBytes {
            additions::range_bytes(&mut plan, &Rng::new(seed ^ 0x7a46_b17e));
        }
        if through >= Drawn::Rows {
            additions::rows(&mut plan, &Rng::new(seed ^ 0x4053_0f11));
        }
        plan
    }

    fn basic(seed: u64) -> Plan {
        let rng = Rng::new(seed);
        let config = Config::draw(&rng);
        let faulty = rng.one_in(2);
        let count = 10 + rng.below(90);
        let steps = (0..count).map(|_| Step { seed: rng.next(), action: action(&rng, faulty) });
        Plan { seed, config, steps: steps.collect() }
    }
}

impl Config {
    fn draw(rng: &Rng) -> Config {
        Config {
            budgets: Budgets {
                memtable_bytes: [700, 1_500, 4_000][rng.below(3) as usize],
                cache_bytes: [0, 1_000, 100_000][rng.below(3) as usize],
                block_bytes: [100, 300, 1_000][rng.below(3) as usize],
                table_bytes: [400, 2_000][rng.below(2) as usize],
                level0_tables: 1 + rng.below(3) as usize,
                level1_bytes: [800, 3_000][rng.below(2) as usize],
                level_growth: 2 + rng.below(3),
                filter_bits: [1, 10][rng.below(2) as usize],
                ..Budgets::default()
            },
            polls_max: rng.below(4) as u32,
            turn_polls: rng.below(3) as u32,
            slices: rng.one_in(2),
            history: Retention::default(),
            hosted: false,
            hands_over: false,
        }
    }
}

fn action(rng: &Rng, faulty: bool) -> Action {
    match rng.below(100) {
        0..44 => {
            let batch = if rng.one_in(5) { 2 + rng.below(3) } else { 1 };
            Action::Commit((0..batch).map(|_| commit(rng)).collect())
        }
        44..56 => Action::Run(1 + rng.below(30) as u32),
        56..61 => Action::Settle,
        61..66 => Action::Get(place(rng)),
        66..69 => {
            let (from, to) = (Place::Key(rng.below(KEYS)), Place::Key(rng.below(KEYS)));
            let limit = 1 + rng.below(30) as usize;
            Action::List { from, to, reverse: rng.one_in(2), limit }
        }
        69..71 => Action::Lease,
        71..74 => Action::ReadLease,
        74..77 => Action::Flush,
        77..78 => Action::FlushInBackground,
        78..84 => Action::Upkeep,
        84..87 => Action::Expire,
        87..90 => Action::Clock(match rng.below(5) {
            0 => -(rng.below(5_000) as i64),
            1 => rng.below(100_000) as i64,
            _ => rng.below(500) as i64,
        }),
        90..95 if faulty => fault(rng),
        90..95 => Action::Run(5),
        _ => end(rng),
    }
}

fn fault(rng: &Rng) -> Action {
    const CALLS: [Call; 6] =
        [Call::Create, Call::Read, Call::Write, Call::Sync, Call::Truncate, Call::Remove];
    match rng.below(6) {
        0 => Action::Abandon,
        1 => Action::Quota((!rng.one_in(3)).then(|| rng.below(3_000))),
        2 => Action::Recover,
        _ => {
            let call = CALLS[rng.below(CALLS.len() as u64) as usize];
            let code = if rng.one_in(4) { Code::QuotaExceeded } else { Code::Io };
            let fault = if rng.one_in(3) { Fault::Short } else { Fault::Fail(code) };
            Action::Fault { call: Some(call), after: rng.below(6), fault }
        }
    }
}

fn end(rng: &Rng) -> Action {
    let how = match rng.below(8) {
        0 => How::Close,
        1..3 => How::Kill,
        3..5 => How::PowerCutAfter(rng.below(30)),
        _ => How::PowerCut,
    };
    let cuts = if rng.one_in(4) { 1 + rng.below(2) } else { 0 };
    Action::End(End { how, cuts: (0..cuts).map(|_| rng.below(25)).collect() })
}

fn place(rng: &Rng) -> Place {
    if rng.one_in(5) { Place::Counter(rng.below(COUNTERS)) } else { Place::Key(rng.below(KEYS)) }
}

fn commit(rng: &Rng) -> CommitPlan {
    let checks = if rng.one_in(3) { 1 + rng.below(2) } else { 0 };
    let expectation = || match rng.below(6) {
        0 => Expectation::Absent,
        1 => Expectation::Wrong,
        _ => Expectation::Present,
    };
    CommitPlan {
        strict: [None, Some(false), Some(true)][rng.below(3) as usize],
        checks: (0..checks).map(|_| (place(rng), expectation())).collect(),
        mutations: (0..rng.below(5)).map(|_| change(rng)).collect(),
    }
}

fn change(rng: &Rng) -> Change {
    let place = place(rng);
    match rng.below(10) {
        0..3 => Change::Delete(place),
        3..5 if matches!(place, Place::Counter(_)) || rng.one_in(8) => {
            Change::Sum { place, by: rng.below(100) }
        }
        _ => {
            let bytes = if rng.one_in(10) { rng.below(900) } else { rng.below(60) };
            let live_ms = rng.one_in(4).then(|| rng.below(1_000));
            Change::Set { place, bytes, live_ms }
        }
    }
}

/// A commit that nothing but a fault can refuse.
pub fn probe() -> CommitPlan {
    write(10)
}

/// A commit that writes so many bytes.
pub fn write(bytes: u64) -> CommitPlan {
    let mutations = vec![Change::Set { place: Place::Key(0), bytes, live_ms: None }];
    CommitPlan { strict: Some(true), checks: Vec::new(), mutations }
}
