//! One run: a database on a simulated disk, the tasks that use it, and the oracle that judges
//! what they see.

use super::model::{Key, Row};
use super::oracle::{
    Failure, Fate, Oracle, Sent, Submission, Verdict, fail, marker_key, marker_value,
};
use super::plan::{Action, Change, CommitPlan, Expectation, Place, Plan, Step};
use super::report::Counts;
use super::tasks::{Polled, Tasks};
use kvass::commit::Outcome;
use kvass::db::{CommitEvent, Db, Options, Range};
use kvass::env::manual::ManualEnv;
use kvass::error::{Code, Error, Result};
use kvass::rng::Rng;
use kvass::snapshot::Snapshot;
use kvass::stamp::Stamp;
use kvass::storage::{Durability, SimulatedStorage};
use kvass::wire::{Blob, Check, Commit, Mutation};
use std::cell::RefCell;
use std::rc::Rc;

pub type Disk = SimulatedStorage;
pub type Database = Db<ManualEnv<Disk>>;

/// When simulations begin, in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_700_000_000_000;
/// A run whose tasks take more polls than this to end goes round in circles.
const POLLS_MAX: u32 = 2_000_000;
/// The least and the greatest key there can be, the engine's own included.
const EVERYTHING: (&[u8], &[u8]) = (&[0], &[0xff]);

/// What a task ended with.
pub enum Done {
    Commit { first: u64, answers: Vec<Result<Outcome>> },
    Read { key: Key, snapshot: Snapshot, found: Result<Option<(Stamp, Vec<u8>)>> },
    List { from: Key, to: Key, reverse: bool, limit: usize, snapshot: Snapshot, listed: Listed },
    Flush { covers: Stamp, result: Result<()> },
    Close { result: Result<()> },
    Other { what: &'static str, result: Result<()> },
}

type Listed = Result<Vec<Row>>;

struct Lease {
    id: u64,
    renewed_ms: u64,
}

pub struct World {
    pub plan: Plan,
    pub disk: Disk,
    pub db: Option<Rc<Database>>,
    pub oracle: Oracle,
    pub counts: Counts,
    /// Lines for a reader, where they are wanted.
    pub trace: Option<Vec<String>>,
    pub tasks: Tasks<Done>,
    pub clock_ms: u64,
    pub opens: u64,
    pub closed_well: bool,
    events: Rc<RefCell<Vec<CommitEvent>>>,
    leases: Vec<Lease>,
}

impl World {
    pub fn new(plan: Plan, traced: bool) -> World {
        let disk = Disk::new(plan.seed);
        World {
            plan,
            disk,
            db: None,
            oracle: Oracle::default(),
            counts: Counts::default(),
            trace: traced.then(Vec::new),
            tasks: Tasks::new(),
            clock_ms: START_MS,
            opens: 0,
            closed_well: false,
            events: Rc::default(),
            leases: Vec::new(),
        }
    }

    /// Runs the plan and what must hold after any plan.
    pub fn run(&mut self) -> Verdict {
        let rng = Rng::new(self.plan.seed ^ 0x5eed);
        self.open(&rng)?;
        for step in std::mem::take(&mut self.plan.steps) {
            self.step(&step)?;
        }
        self.finish(&rng)
    }

    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    pub fn db(&self) -> std::result::Result<Rc<Database>, Failure> {
        let closed = || Failure { check: "harness", detail: "no database is open".into() };
        self.db.clone().ok_or_else(closed)
    }

    /// An environment for an open, and what the open is given.
    pub fn environment(&mut self) -> (ManualEnv<Disk>, Options) {
        self.opens += 1;
        let (config, seed) = (&self.plan.config, self.plan.seed.wrapping_add(self.opens));
        let env = ManualEnv::new(Rc::new(self.disk.clone()), self.clock_ms, seed);
        env.set_turn_polls(config.turn_polls);
        env.set_slice_used_up(config.slices);
        (env, Options { budgets: config.budgets.clone(), ..Options::default() })
    }

    /// Listens to a database that has been opened.
    pub fn attend(&mut self, db: Rc<Database>) {
        let events = self.events.clone();
        self.events.borrow_mut().clear();
        db.observe(Some(Rc::new(move |event| events.borrow_mut().push(event))));
        self.leases.clear();
        self.oracle.acknowledged = Stamp::ZERO;
        self.db = Some(db);
    }

    fn step(&mut self, step: &Step) -> Verdict {
        let rng = Rng::new(step.seed);
        self.say(|| format!("{:?}", step.action));
        match &step.action {
            Action::Commit(commits) => self.commit(commits, &rng),
            Action::Get(place) => self.get(key_of(*place)),
            Action::List { from, to, reverse, limit } => {
                let (a, b) = (key_of(*from), key_of(*to));
                let snapshot = None;
                self.list(a.clone().min(b.clone()), a.max(b), *reverse, *limit, snapshot)
            }
            Action::Lease => self.lease(),
            Action::ReadLease => self.read_lease(&rng),
            Action::Flush => self.flush(),
            Action::FlushInBackground => self.other("flush in background", |db| async move {
                db.flush_in_background().await;
                Ok(())
            }),
            Action::Upkeep => self.other("upkeep", |db| async move {
                db.upkeep().await;
                Ok(())
            }),
            Action::Expire => self.other("expire", |db| async move { db.expire().await }),
            Action::Run(polls) => (0..*polls).try_for_each(|_| self.poll(&rng).map(|_| ())),
            Action::Settle => self.settle(&rng),
            Action::Clock(by) => self.move_clock(*by),
            Action::Abandon => self.abandon(&rng),
            Action::Fault { call, after, fault } => {
                self.oracle.disturbed = true;
                self.counts.fault(*fault);
                self.disk.inject(*call, *after, *fault);
                Ok(())
            }
            Action::Quota(room) => {
                self.oracle.disturbed = true;
                self.counts.quotas += 1;
                self.disk.set_room_bytes(*room);
                Ok(())
            }
            Action::Recover => self.recover(&rng),
            Action::End(end) => self.end(end, &rng),
        }
    }

    pub fn commit(&mut self, commits: &[CommitPlan], rng: &Rng) -> Verdict {
        let db = self.db()?;
        let first = self.oracle.submissions.len() as u64 + 1;
        let since_ms = db.now_ms();
        for (number, plan) in (first..).zip(commits) {
            let submission = self.submission(plan, number, since_ms, rng);
            self.oracle.submissions.push(submission);
        }
        let sent: Vec<Submission> = self.oracle.submissions[first as usize - 1..].to_vec();
        let durabilities: Vec<_> = commits.iter().map(|commit| commit.strict).collect();
        self.counts.commits += sent.len() as u64;
        let label = first << 8 | sent.len() as u64;
        let polled = self.tasks.spawn(label, async move {
            let commits: Vec<_> = sent.iter().zip(durabilities).map(wire).collect();
            let commits: Vec<&Commit<'_>> = commits.iter().collect();
            Done::Commit { first, answers: db.commit(&commits).await }
        });
        self.polled(polled).map(|_| ())
    }

    fn submission(&self, plan: &CommitPlan, number: u64, since_ms: u64, rng: &Rng) -> Submission {
        let checks = plan.checks.iter().map(|(place, expectation)| {
            let key = key_of(*place);
            let expected = match expectation {
                Expectation::Present => self.oracle.model.at(&key, Stamp::MAX).map(|it| it.stamp),
                Expectation::Absent => None,
                Expectation::Wrong => Some(Stamp { epoch: 9_999, counter: 1 }),
            };
            (key, expected)
        });
        let marker =
            Sent::Set { key: marker_key(number), value: marker_value(number), live_ms: None };
        let mutations = plan.mutations.iter().map(|change| sent(change, number, rng));
        Submission {
            number,
            strict: plan.strict == Some(true),
            checks: checks.collect(),
            mutations: std::iter::once(marker).chain(mutations).collect(),
            since_ms,
            fate: Fate::UnderWay,
        }
    }

    pub fn get(&mut self, key: Key) -> Verdict {
        let db = self.db()?;
        let polled = self.tasks.spawn(0, async move {
            let snapshot = db.snapshot();
            let found = db.get(&key, snapshot).await;
            let found = found.map(|found| found.map(|(stamp, value)| (stamp, value.to_vec())));
            Done::Read { key, snapshot, found }
        });
        self.polled(polled).map(|_| ())
    }

    fn list(
        &mut self,
        from: Key,
        to: Key,
        reverse: bool,
        limit: usize,
        snapshot: Option<Snapshot>,
    ) -> Verdict {
        let db = self.db()?;
        let polled = self.tasks.spawn(0, async move {
            let snapshot = snapshot.unwrap_or_else(|| db.snapshot());
            let listed = rows(&db, (&from, &to), reverse, limit, snapshot).await;
            Done::List { from, to, reverse, limit, snapshot, listed }
        });
        self.polled(polled).map(|_| ())
    }

    fn lease(&mut self) -> Verdict {
        let db = self.db()?;
        let now_ms = db.now_ms();
        let id = db.snapshots().lease(1, db.snapshot(), now_ms);
        self.leases.push(Lease { id, renewed_ms: now_ms });
        Ok(())
    }

    /// A leased snapshot goes on answering as it did, whatever was written since.
    fn read_lease(&mut self, rng: &Rng) -> Verdict {
        let db = self.db()?;
        let chosen = rng.below(self.leases.len() as u64) as usize;
        let Some(lease) = self.leases.get_mut(chosen) else { return Ok(()) };
        let now_ms = db.now_ms();
        match db.snapshots().renew(1, lease.id, now_ms) {
            Ok(snapshot) => {
                lease.renewed_ms = now_ms;
                let (from, to) = (vec![1], EVERYTHING.1.to_vec());
                self.list(from, to, rng.one_in(2), usize::MAX, Some(snapshot))
            }
            Err(_) if now_ms - lease.renewed_ms >= kvass::limits::SNAPSHOT_LEASE_MS => {
                self.leases.swap_remove(chosen);
                Ok(())
            }
            Err(error) => fail("a lease lasts as long as it says", format!("{error:?}")),
        }
    }

    fn flush(&mut self) -> Verdict {
        let db = self.db()?;
        let covers = db.visible();
        let polled =
            self.tasks.spawn(0, async move { Done::Flush { covers, result: db.flush().await } });
        self.polled(polled).map(|_| ())
    }

    pub fn other<F: Future<Output = Result<()>> + 'static>(
        &mut self,
        what: &'static str,
        task: impl FnOnce(Rc<Database>) -> F,
    ) -> Verdict {
        let task = task(self.db()?);
        let polled = self.tasks.spawn(0, async move { Done::Other { what, result: task.await } });
        self.polled(polled).map(|_| ())
    }

    fn abandon(&mut self, rng: &Rng) -> Verdict {
        if let Some(label) = self.tasks.abandon(rng) {
            self.counts.abandoned += 1;
            self.oracle.disturbed = true;
            let first = label >> 8;
            for number in first..first + (label & 0xff) {
                if let Some(submission) = self.oracle.submission(number) {
                    submission.fate = Fate::Abandoned;
                }
            }
        }
        self.drain()
    }

    fn move_clock(&mut self, by: i64) -> Verdict {
        let db = self.db()?;
        // Engine time is looked at before and after, so that both know the same one.
        db.now_ms();
        self.clock_ms = self.clock_ms.saturating_add_signed(by);
        self.counts.clock_jumps += 1;
        db.env().set_now_ms(self.clock_ms);
        db.now_ms();
        Ok(())
    }

    /// Polls a task; false where there is none.
    pub fn poll(&mut self, rng: &Rng) -> std::result::Result<bool, Failure> {
        let polled = self.tasks.poll(rng);
        self.polled(polled)
    }

    pub fn polled(&mut self, polled: Polled<Done>) -> std::result::Result<bool, Failure> {
        self.drain()?;
        match polled {
            Polled::Pending => Ok(true),
            Polled::Idle => Ok(false),
            Polled::Done(done) => self.done(done).map(|()| true),
            Polled::Stalled => {
                let detail = format!("{} tasks wait for nothing", self.tasks.len());
                fail("nothing stalls", detail).map(|()| false)
            }
        }
    }

    /// Runs all tasks to their end.
    pub fn settle(&mut self, rng: &Rng) -> Verdict {
        for _ in 0..POLLS_MAX {
            if !self.poll(rng)? {
                return Ok(());
            }
        }
        fail("everything comes to an end", format!("{} tasks go on for ever", self.tasks.len()))
    }

    /// Takes in what was published.
    fn drain(&mut self) -> Verdict {
        let Some(db) = self.db.clone() else { return Ok(()) };
        for event in self.events.take() {
            self.say(|| format!("    published {}, {} changes", event.stamp, event.changes.len()));
            self.counts.published += 1;
            self.oracle.event(&event, db.now_ms())?;
        }
        Ok(())
    }

    fn done(&mut self, done: Done) -> Verdict {
        let now_ms = self.db()?.now_ms();
        match done {
            Done::Commit { first, answers } => {
                for (number, answer) in (first..).zip(&answers) {
                    self.say(|| format!("    commit {number} is answered {answer:?}"));
                    self.counts.answer(answer);
                    self.oracle.answer(number, answer, now_ms)?;
                }
                Ok(())
            }
            Done::Read { key, snapshot, found } => {
                let Some(found) = self.readable("a read", found)? else { return Ok(()) };
                let found = found.as_ref().map(|(stamp, value)| (*stamp, value.as_slice()));
                let read = self.oracle.model.check(&key, snapshot.stamp, snapshot.time_ms, found);
                self.counts.reads += 1;
                read.or_else(|detail| fail("reads answer as the model does", detail))
            }
            Done::List { from, to, reverse, limit, snapshot, listed } => {
                let Some(rows) = self.readable("a list", listed)? else { return Ok(()) };
                self.counts.reads += 1;
                let listed = self.check_list((&from, &to), reverse, limit, snapshot, &rows);
                listed.or_else(|detail| fail("lists answer as the model does", detail))
            }
            Done::Flush { covers, result } => {
                if self.readable("a flush", result)?.is_some() {
                    self.oracle.durable = self.oracle.durable.max(covers);
                }
                Ok(())
            }
            Done::Close { result } => {
                self.closed_well = result.is_ok();
                self.readable("closing", result).map(|_| ())
            }
            Done::Other { what, result } => self.readable(what, result).map(|_| ()),
        }
    }

    /// None for an error that a fault may have caused.
    fn readable<T>(
        &mut self,
        what: &'static str,
        result: Result<T>,
    ) -> std::result::Result<Option<T>, Failure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.oracle.disturbed && storage_error(&error) => {
                self.say(|| format!("    {what}: {error:?}"));
                Ok(None)
            }
            Err(error) => {
                fail("nothing fails without a fault", format!("{what}: {error:?}")).map(|()| None)
            }
        }
    }

    pub fn check_list(
        &self,
        (from, to): (&[u8], &[u8]),
        reverse: bool,
        limit: usize,
        snapshot: Snapshot,
        rows: &[Row],
    ) -> std::result::Result<(), String> {
        let rising = rows.windows(2).all(|pair| (pair[0].0 < pair[1].0) != reverse);
        if !rising || rows.len() > limit {
            return Err(format!("{} rows of {limit}, out of order", rows.len()));
        }
        let model = &self.oracle.model;
        let inside = |key: &[u8]| from <= key && key < to;
        for (key, stamp, value) in rows {
            if !inside(key) {
                return Err(format!("{key:?} is outside {from:?}..{to:?}"));
            }
            let found = Some((*stamp, value.as_slice()));
            model.check(key, snapshot.stamp, snapshot.time_ms, found)?;
        }
        // What was not listed, of the stretch that was.
        let last = rows.last().filter(|_| rows.len() == limit).map(|row| row.0.as_slice());
        let passed = |key: &[u8]| match last {
            Some(last) if reverse => key > last,
            Some(last) => key < last,
            None => true,
        };
        let mut listed: Vec<&[u8]> = rows.iter().map(|row| row.0.as_slice()).collect();
        listed.sort_unstable();
        for key in model.keys().filter(|key| inside(key) && passed(key)) {
            if listed.binary_search(&key.as_slice()).is_err() {
                model.check(key, snapshot.stamp, snapshot.time_ms, None)?;
            }
        }
        Ok(())
    }
}

/// Errors that a fault of the storage may lead to.
pub fn storage_error(error: &Error) -> bool {
    matches!(error.code(), Code::Io | Code::QuotaExceeded | Code::OutcomeUnknown)
}

/// Lists a range of user keys.
pub async fn rows(
    db: &Database,
    (start, end): (&[u8], &[u8]),
    reverse: bool,
    limit: usize,
    snapshot: Snapshot,
) -> Listed {
    let (mut rows, mut large) = (Vec::new(), Vec::new());
    db.list(Range { start, end, reverse }, snapshot, |record| {
        if let kvass::record::Op::Set { value, .. } = record.op {
            rows.push((record.key.to_vec(), record.stamp, value.to_vec()));
            large.push(db.locate(record.op));
        }
        rows.len() < limit
    })
    .await?;
    for ((_, _, value), large) in rows.iter_mut().zip(large) {
        if let Some(large) = large? {
            *value = db.read_large(&large).await?.to_vec();
        }
    }
    Ok(rows)
}

pub fn key_of(place: Place) -> Key {
    match place {
        // Some keys are prefixes of others, and some are long.
        Place::Key(n) => {
            [&[0x02, b'k'][..], &b"abcdefgh"[..n as usize % 9], &[b'0' + n as u8, 0]].concat()
        }
        Place::Counter(n) => vec![0x02, b'n', b'0' + n as u8, 0],
    }
}

fn u64_value(n: u64) -> Vec<u8> {
    [&[2][..], &n.to_le_bytes()].concat()
}

fn sent(change: &Change, number: u64, rng: &Rng) -> Sent {
    match change {
        Change::Set { place: place @ Place::Counter(_), bytes, live_ms } => {
            Sent::Set { key: key_of(*place), value: u64_value(*bytes), live_ms: *live_ms }
        }
        Change::Set { place, bytes, live_ms } => {
            let text = match rng.one_in(2) {
                true => rng.bytes(*bytes as usize),
                false => vec![b'v'; *bytes as usize],
            };
            let value = [&[3][..], &number.to_le_bytes(), &text].concat();
            Sent::Set { key: key_of(*place), value, live_ms: *live_ms }
        }
        Change::Delete(place) => Sent::Delete { key: key_of(*place) },
        Change::Sum { place, by } => Sent::Sum { key: key_of(*place), value: u64_value(*by) },
    }
}

fn wire((submission, strict): (&Submission, Option<bool>)) -> Commit<'_> {
    let mutations = submission.mutations.iter().map(|mutation| match mutation {
        Sent::Set { key, value, live_ms } => Mutation::Set {
            key: Blob(key),
            value: Blob(value),
            expire_in_ms: *live_ms,
            stamp_key: false,
        },
        Sent::Delete { key } => Mutation::Delete { key: Blob(key) },
        Sent::Sum { key, value } => Mutation::Sum { key: Blob(key), value: Blob(value) },
    });
    let checks = submission
        .checks
        .iter()
        .map(|(key, stamp)| Check { key: Blob(key), versionstamp: stamp.map(Stamp::to_bytes) });
    let durability = strict.map(|strict| match strict {
        true => Durability::Strict,
        false => Durability::Relaxed,
    });
    Commit { checks: checks.collect(), mutations: mutations.collect(), durability }
}
