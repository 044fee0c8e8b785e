//! One run: a database on a simulated disk, the tasks that use it, and the oracle that judges
//! what they see.

use super::changes::Heard;
use super::clients::{Batch, Clients};
use super::leases::Grant;
use super::lists::Listing;
use super::model::{Key, Row};
use super::oracle::{
    Failure, Fate, Oracle, Sent, Submission, Verdict, fail, marker_key, marker_value,
};
use super::pages::Pages;
use super::plan::{Action, CommitPlan, Expectation, Plan, Step};
use super::report::Counts;
use super::sent::{key_of, range_of, sent, wire};
use super::tasks::{Polled, Tasks};
use kvass::commit::Outcome;
use kvass::db::{CommitEvent, Db, Options};
use kvass::env::manual::ManualEnv;
use kvass::error::{Code, Error, Result};
use kvass::rng::Rng;
use kvass::snapshot::Snapshot;
use kvass::stamp::Stamp;
use kvass::storage::SimulatedStorage;
use kvass::wire::{Commit, Request};
use std::cell::RefCell;
use std::rc::Rc;

pub type Disk = SimulatedStorage;
pub type Database = Db<ManualEnv<Disk>>;

/// When simulations begin, in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_700_000_000_000;
/// A run whose tasks take more polls than this to end goes round in circles.
const POLLS_MAX: u32 = 200_000;
/// The least and the greatest key there can be, the engine's own included.
pub const EVERYTHING: (&[u8], &[u8]) = (&[0], &[0xff]);

/// What a task ended with.
pub enum Done {
    Commit { first: u64, answers: Vec<Result<Outcome>> },
    Read { key: Key, snapshot: Snapshot, found: Result<Option<(Stamp, Vec<u8>)>> },
    List { from: Key, to: Key, reverse: bool, limit: usize, snapshot: Snapshot, listed: Listed },
    Count { range: (Key, Key), snapshot: Snapshot, count: Result<u64> },
    Changes(Heard),
    Flush { covers: Stamp, result: Result<()> },
    Close { result: Result<()> },
    Other { what: &'static str, result: Result<()> },
}

pub type Listed = Result<Vec<Row>>;

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
    pub clients: Clients,
    /// Clients of a host, where there is one.
    pub pages: Option<Pages>,
    events: Rc<RefCell<Vec<CommitEvent>>>,
    pub leases: Vec<Grant>,
    /// Lists that rest between two pages, by their clients.
    pub resting: Vec<(u8, Listing)>,
    /// How many opens there were that were used, and engine time when the last one began.
    pub attended: u64,
    pub attended_ms: u64,
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
            clients: Clients::default(),
            pages: None,
            events: Rc::default(),
            leases: Vec::new(),
            resting: Vec::new(),
            attended: 0,
            attended_ms: 0,
        }
    }

    /// The same run on another disk, with no database open.
    pub fn fork(&self, disk: Disk) -> World {
        World {
            disk,
            oracle: self.oracle.clone(),
            clock_ms: self.clock_ms,
            opens: self.opens,
            ..World::new(self.plan.clone(), false)
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
        let (budgets, history) = (config.budgets.clone(), config.history);
        (env, Options { budgets, history, ..Options::default() })
    }

    /// Listens to a database that has been opened.
    pub fn attend(&mut self, db: Rc<Database>) -> Verdict {
        let events = self.events.clone();
        self.events.borrow_mut().clear();
        (self.attended, self.attended_ms) = (self.attended + 1, db.now_ms());
        if !self.plan.config.hands_over {
            self.leases.clear();
            self.resting.clear();
        }
        self.oracle.acknowledged = Stamp::ZERO;
        self.db = Some(db.clone());
        if self.plan.config.hosted {
            return self.connect_pages(db);
        }
        db.observe(Some(Rc::new(move |event| events.borrow_mut().push(event))));
        Ok(())
    }

    pub fn step(&mut self, step: &Step) -> Verdict {
        let rng = Rng::new(step.seed);
        self.say(|| format!("{:?}", step.action));
        match &step.action {
            Action::Commit(commits) => self.commit(commits, &rng),
            Action::Get(place) if self.pages.is_some() => self.ask_get(key_of(*place), &rng),
            Action::Get(place) => self.get(key_of(*place)),
            Action::List { from, to, reverse, limit } => {
                let (a, b) = (key_of(*from), key_of(*to));
                let (from, to) = (a.clone().min(b.clone()), a.max(b));
                match self.pages {
                    Some(_) => self.ask_list((from, to), *reverse, *limit, &rng),
                    None => self.list(from, to, *reverse, *limit, None),
                }
            }
            Action::Count { from, to } => {
                let range = range_of(*from, *to);
                if self.pages.is_some() { self.ask_count(range, &rng) } else { self.count(range) }
            }
            Action::Changes => self.read_changes(&rng),
            Action::Watch(places) => {
                self.ask_watch(places.iter().map(|place| key_of(*place)).collect(), &rng)
            }
            Action::Subscribe { from, to } => self.ask_changes(range_of(*from, *to), None, &rng),
            Action::Unsubscribe => self.unsubscribe(&rng),
            Action::Tick => self.tick(),
            Action::Lease => self.lease(),
            Action::ReadLease => self.read_lease(&rng).and_then(|()| self.read_on(&rng)),
            Action::ReleaseLease => self.release_lease(&rng),
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
        self.counts.commits += commits.len() as u64;
        let strict = commits.iter().map(|commit| commit.strict).collect();
        let batch = self.clients.batch(rng, first, strict, db.epoch());
        if self.pages.is_some() {
            let sent = self.oracle.submissions.iter_mut().skip(first as usize - 1);
            sent.for_each(|submission| submission.line = batch.line());
        }
        self.send(batch, 0)
    }

    /// Sends a batch of commits; `resend_of` is the epoch in which it was sent before.
    pub fn send(&mut self, batch: Batch, resend_of: u32) -> Verdict {
        let db = self.db()?;
        let Batch { first, strict, .. } = batch.clone();
        let submissions = &self.oracle.submissions[first as usize - 1..];
        let sent: Vec<Submission> = submissions[..strict.len()].to_vec();
        let origin = self.clients.origin(&batch, resend_of);
        self.clients.unanswered.push(batch);
        let label = first << 8 | sent.len() as u64;
        if let (Some(origin), true) = (&origin, self.pages.is_some()) {
            let commits = sent.iter().zip(strict);
            let commits = commits.map(|(it, strict)| wire(&it.checks, &it.mutations, strict));
            return self.send_frame(origin, first, commits.map(Request::Commit).collect(), label);
        }
        let polled = self.tasks.spawn(label, async move {
            let commits = sent.iter().zip(strict);
            let commits: Vec<_> =
                commits.map(|(it, strict)| wire(&it.checks, &it.mutations, strict)).collect();
            let commits: Vec<&Commit<'_>> = commits.iter().collect();
            let answers = match &origin {
                Some(origin) => db.commit_from(Some(origin), &commits).await,
                None => db.commit(&commits).await,
            };
            Done::Commit { first, answers }
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
            line: 0,
            strict: plan.strict == Some(true),
            checks: checks.collect(),
            mutations: std::iter::once(marker).chain(mutations).collect(),
            since_ms,
            fate: Fate::UnderWay,
            may_be_passed: false,
        }
    }

    /// What a worker does from time to time.
    fn tick(&mut self) -> Verdict {
        let Some(pages) = &self.pages else { return Ok(()) };
        let host = pages.host.clone();
        self.other("a tick", |_| async move {
            host.tick().await;
            Ok(())
        })
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
            self.clients.unanswered.retain(|batch| batch.first != first);
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
        if self.pages.is_some() {
            return self.read_mail();
        }
        self.events.take().iter().try_for_each(|event| self.published(event))
    }

    /// An observer hears of a commit.
    pub fn published(&mut self, event: &CommitEvent) -> Verdict {
        self.say(|| format!("    published {}, {} changes", event.stamp, event.changes.len()));
        self.counts.published += 1;
        self.oracle.event(event, self.db()?.now_ms())
    }

    /// A commit is answered; of those that were sent together it may be the last.
    pub fn answered(&mut self, number: u64, last: u64, answer: &Result<Outcome>) -> Verdict {
        if number == last {
            self.clients.unanswered.retain(|batch| !batch.has(number));
        }
        self.say(|| format!("    commit {number} is answered {answer:?}"));
        self.counts.answer(answer);
        self.oracle.answer(number, answer, self.db()?.now_ms())
    }

    fn done(&mut self, done: Done) -> Verdict {
        match done {
            Done::Commit { first, answers } => {
                let last = first + answers.len() as u64 - 1;
                let mut answers = (first..).zip(&answers);
                answers.try_for_each(|(number, answer)| self.answered(number, last, answer))
            }
            Done::Read { key, snapshot, found } => {
                let Some(found) = self.readable("a read", found)? else { return Ok(()) };
                let found = found.as_ref().map(|(stamp, value)| (*stamp, value.as_slice()));
                let read = self.oracle.model.check(&key, snapshot.into(), found);
                self.counts.reads += 1;
                read.or_else(|detail| fail("reads answer as the model does", detail))
            }
            Done::List { from, to, reverse, limit, snapshot, listed } => {
                let Some(rows) = self.readable("a list", listed)? else { return Ok(()) };
                self.counts.reads += 1;
                let listed = self.check_list((&from, &to), reverse, limit, snapshot.into(), &rows);
                listed.or_else(|detail| fail("lists answer as the model does", detail))
            }
            Done::Count { range, snapshot, count } => self.counted(&range, snapshot.into(), count),
            Done::Changes(heard) => self.heard_changes(heard),
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
    pub fn readable<T>(
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
}

/// Errors that a fault of the storage may lead to.
pub fn storage_error(error: &Error) -> bool {
    matches!(error.code(), Code::Io | Code::QuotaExceeded | Code::OutcomeUnknown)
}
