//! Commits that are sent again are applied once and answered alike: side by side, after a flush,
//! after crashes, and after any of these again.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{START_MS, commit, key, set, sum, tiny};
use kvass::commit::Outcome;
use kvass::db::{Db, Options};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::{Code, Result};
use kvass::rng::Rng;
use kvass::sessions::Origin;
use kvass::signal::join_all;
use kvass::stamp::Stamp;
use kvass::storage::Durability;
use kvass::storage::simulated::{Call, Fault, SimulatedStorage};
use kvass::wire::{Blob, Check, Commit};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

type Disk = SimulatedStorage;
type Store = Rc<Db<ManualEnv<Disk>>>;

const CLIENT: [u8; 16] = [9; 16];
/// `KvU64` 1 and a value that is no number.
const ONE: &[u8] = &[2, 1, 0, 0, 0, 0, 0, 0, 0];
const TEXT: &[u8] = &[1, 0x61, b'x'];

fn open(disk: &Disk, seed: u64) -> Store {
    let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, seed);
    let options = Options { budgets: tiny(), ..Options::default() };
    block_on(Db::open(env, options)).expect("it opens")
}

fn origin(first: u64, acked_through: u64, resend_of: u32) -> Origin {
    Origin { client: CLIENT, first, acked_through, resend_of }
}

fn send(db: &Store, origin: Origin, commit: Commit<'_>) -> Result<Outcome> {
    block_on(db.commit_from(Some(&origin), &[&commit])).pop().expect("one answer a commit")
}

/// How often commit `n` was applied, and the stamp of the last time.
fn applied(db: &Store, n: u64) -> (u64, Option<Stamp>) {
    let found = block_on(db.get(&counter(n), db.snapshot())).expect("it reads");
    found.map_or((0, None), |(stamp, value)| {
        (u64::from_le_bytes(value.to_vec()[1..].try_into().expect("a u64")), Some(stamp))
    })
}

fn counter(n: u64) -> Vec<u8> {
    key(&["n", &n.to_string()])
}

fn is_unknown(answer: &Result<Outcome>) -> bool {
    answer.as_ref().is_err_and(|error| error.code() == Code::OutcomeUnknown)
}

#[test]
fn a_repeat_is_answered_from_the_record_whatever_it_was_and_whatever_has_changed() {
    let disk = Disk::new(1);
    let mut db = open(&disk, 1);
    let (n, gate) = (counter(1), key(&["gate"]));
    let check = || vec![Check { key: Blob(&gate), versionstamp: None }];
    let add = || commit(vec![], vec![sum(&n, ONE)]);
    let guarded = || commit(check(), vec![set(&n, TEXT)]);
    let mismatch = || commit(vec![], vec![sum(&gate, ONE)]);
    send(&db, origin(1, 0, 0), commit(vec![], vec![set(&gate, TEXT)])).expect("it commits");
    let first = [
        send(&db, origin(2, 0, 0), add()),
        send(&db, origin(3, 0, 0), guarded()),
        send(&db, origin(4, 0, 0), mismatch()),
    ];
    assert!(matches!(first[0], Ok(Outcome::Committed(_))));
    assert_eq!(first[1], Ok(Outcome::CheckFailed(0)));
    assert_eq!(first[2].as_ref().map_err(|error| error.code()), Err(Code::TypeMismatch));
    // By now the check would hold and the sum would fit.
    let change = commit(vec![], vec![common::delete(&gate)]);
    block_on(db.commit(&[&change])).pop().expect("an answer").expect("it commits");
    for round in 0..12 {
        let again = [
            send(&db, origin(2, 0, 1), add()),
            send(&db, origin(3, 0, 1), guarded()),
            send(&db, origin(4, 0, 1), mismatch()),
        ];
        assert_eq!(again, first, "round {round}");
        assert_eq!(applied(&db, 1).0, 1);
        if round % 3 == 1 {
            // What came back from the log goes to a table, and the log goes.
            fill(&db);
        }
        db = open(&disk.restart(), round);
    }
    db.sessions().acknowledge(&CLIENT, 3);
    assert!(is_unknown(&send(&db, origin(2, 3, 1), add())));
    assert_eq!(send(&db, origin(4, 3, 1), mismatch()), first[2]);
    assert_eq!(applied(&db, 1).0, 1);
}

/// Commits of nobody, until the log that was there is in tables.
fn fill(db: &Store) {
    for n in 0..60 {
        let (key, value) = (key(&["fill", &n.to_string()]), [&[3; 1][..], &[0; 200]].concat());
        let commit = commit(vec![], vec![set(&key, &value)]);
        block_on(db.commit(&[&commit])).pop().expect("an answer").expect("it commits");
        block_on(db.upkeep());
    }
}

#[test]
fn a_repeat_is_answered_as_the_commit_was_also_after_a_write_that_failed() {
    let disk = Disk::new(1);
    let db = open(&disk, 1);
    let (n, other) = (counter(1), counter(2));
    let (relaxed, strict) = (None, Some(Durability::Strict));
    let repeat = |durability| {
        let add = Commit { durability, ..commit(vec![], vec![sum(&n, ONE)]) };
        send(&db, origin(1, 0, 1), add)
    };
    let change = commit(vec![], vec![sum(&other, ONE)]);
    let write = || {
        let answer = block_on(db.commit(&[&change])).pop().expect("an answer");
        answer.map_err(|error| error.code())
    };
    let first = repeat(relaxed);
    assert!(matches!(first, Ok(Outcome::Committed(_))));
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    assert_eq!(write(), Err(Code::Io));
    // The repair fails as well.
    for durability in [relaxed, strict] {
        disk.inject(None, 0, Fault::Fail(Code::Io));
        let again = repeat(durability);
        assert!(again == first || durability == strict && is_unknown(&again), "{again:?}");
    }
    assert_eq!(repeat(strict), first);
    // A failure that nobody was there to hear of is told to the next who writes, and no other.
    disk.set_polls_max(100);
    let (commits, mut context) = ([&change], Context::from_waker(Waker::noop()));
    let mut given_up = Box::pin(db.commit(&commits));
    assert!(given_up.as_mut().poll(&mut context).is_pending());
    drop(given_up);
    assert!(db.failure().is_some(), "it was given up in the middle of its write");
    assert_eq!(repeat(relaxed), first);
    assert_eq!(write(), Err(Code::Io));
    assert!(write().is_ok());
    assert_eq!((applied(&db, 1).0, applied(&db, 2).0), (1, 1));
}

#[test]
fn a_relaxed_repeat_is_answered_as_the_commit_was_though_a_strict_one_beside_it_fails() {
    let disk = Disk::new(1);
    let db = open(&disk, 1);
    let (n, other) = (counter(1), counter(2));
    let add = commit(vec![], vec![sum(&n, ONE)]);
    let first = send(&db, origin(1, 0, 0), commit(vec![], vec![sum(&n, ONE)]));
    assert!(matches!(first, Ok(Outcome::Committed(_))));
    let strict =
        Commit { durability: Some(Durability::Strict), ..commit(vec![], vec![sum(&other, ONE)]) };
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    let mut answers = block_on(db.commit_from(Some(&origin(1, 0, 1)), &[&add, &strict]));
    let failed = answers.pop().expect("two answers");
    assert_eq!(failed.map_err(|error| error.code()), Err(Code::Io));
    assert_eq!(answers, [first]);
}

#[test]
fn a_strict_repeat_is_unknown_where_a_flush_has_failed_and_no_repair_was_possible() {
    let disk = Disk::new(1);
    let db = open(&disk, 1);
    let (n, other) = (counter(1), counter(2));
    let add = |key, durability| Commit { durability, ..commit(vec![], vec![sum(key, ONE)]) };
    let first = send(&db, origin(1, 0, 0), add(&n, None));
    assert!(matches!(first, Ok(Outcome::Committed(_))));
    disk.inject(Some(Call::Sync), 0, Fault::Short);
    let strict = Some(Durability::Strict);
    send(&db, origin(2, 0, 0), add(&other, strict)).expect_err("the flush fails");
    assert!(db.unflushed(), "what a flush has given up, no later one makes durable");
    disk.inject(Some(Call::Create), 0, Fault::Fail(Code::Io));
    assert!(is_unknown(&send(&db, origin(1, 0, 1), add(&n, strict))));
    assert_eq!(send(&db, origin(1, 0, 1), add(&n, strict)), first);
}

#[test]
fn a_repeat_that_meets_the_first_on_its_way_waits_and_gets_the_same_answer() {
    for seed in 0..40 {
        let disk = Disk::new(seed);
        let db = open(&disk, seed);
        disk.set_polls_max(6);
        let fails = seed % 4 == 0;
        if fails {
            disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
        }
        let n = counter(1);
        let add = || async {
            let commit = commit(vec![], vec![sum(&n, ONE)]);
            db.commit_from(Some(&origin(1, 0, 0)), &[&commit]).await.pop().expect("an answer")
        };
        let answers = block_on(join_all((0..3).map(|_| add())));
        if fails {
            // The first was undone with those that took its answer, and is as if never sent.
            let again = block_on(add());
            assert!(matches!(again, Ok(Outcome::Committed(_))), "{again:?}");
        } else {
            assert!(answers.iter().all(|answer| answer.is_ok() && *answer == answers[0]));
        }
        assert_eq!(applied(&db, 1).0, 1, "seed {seed}");
    }
}

#[test]
fn a_commit_that_a_fault_undid_is_not_applied_after_a_later_one_of_its_client() {
    let (n, later) = (counter(1), counter(2));
    let code = |sent: Result<Outcome>| sent.map_err(|error| error.code());
    for flushed in [false, true] {
        let disk = Disk::new(7);
        let db = open(&disk, 7);
        disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
        let failed = send(&db, origin(1, 0, 0), commit(vec![], vec![sum(&n, ONE)]));
        assert_eq!(code(failed), Err(Code::Io));
        let add_later = || commit(vec![], vec![sum(&later, ONE)]);
        let applied_later = send(&db, origin(2, 0, 0), add_later()).expect("it commits");
        if flushed {
            fill(&db);
        }
        // The client heard of neither.
        let db = open(&disk.restart(), 8);
        let again = send(&db, origin(1, 0, 1), commit(vec![], vec![sum(&n, ONE)]));
        assert_eq!(code(again), Err(Code::Io));
        assert_eq!(send(&db, origin(2, 0, 1), add_later()), Ok(applied_later));
        assert_eq!((applied(&db, 1).0, applied(&db, 2).0), (0, 1));
    }
}

#[test]
fn a_commit_that_a_fault_undid_is_new_when_sent_again_before_any_later_one() {
    let n = counter(1);
    let disk = Disk::new(7);
    let db = open(&disk, 7);
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    send(&db, origin(1, 0, 0), commit(vec![], vec![sum(&n, ONE)])).expect_err("it fails");
    let db = open(&disk.restart(), 8);
    let again = send(&db, origin(1, 0, 1), commit(vec![], vec![sum(&n, ONE)]));
    assert!(matches!(again, Ok(Outcome::Committed(_))), "{again:?}");
    assert_eq!(applied(&db, 1).0, 1);
}

#[test]
fn a_refusal_that_was_asked_for_strict_survives_a_power_cut() {
    let disk = Disk::new(3);
    let db = open(&disk, 3);
    let n = counter(1);
    let check = || vec![Check { key: Blob(&n), versionstamp: None }];
    send(&db, origin(1, 0, 0), commit(vec![], vec![sum(&n, ONE)])).expect("it commits");
    let mut refused = commit(check(), vec![]);
    refused.durability = Some(Durability::Strict);
    assert_eq!(send(&db, origin(2, 0, 0), refused), Ok(Outcome::CheckFailed(0)));
    let db = open(&disk.crash(&Rng::new(3)), 4);
    let change = commit(vec![], vec![common::delete(&n)]);
    block_on(db.commit(&[&change])).pop().expect("an answer").expect("it commits");
    assert_eq!(send(&db, origin(2, 1, 1), commit(check(), vec![])), Ok(Outcome::CheckFailed(0)));
}

#[test]
fn refused_commits_alone_do_not_make_the_log_grow_without_bound() {
    let disk = Disk::new(5);
    let db = open(&disk, 5);
    let n = counter(1);
    send(&db, origin(1, 0, 0), commit(vec![], vec![sum(&n, ONE)])).expect("it commits");
    for sequence in 2..5_000 {
        let refused = commit(vec![Check { key: Blob(&n), versionstamp: None }], vec![]);
        let answer = send(&db, origin(sequence, sequence - 1, 0), refused);
        assert_eq!(answer, Ok(Outcome::CheckFailed(0)));
        block_on(db.upkeep());
    }
    let log = block_on(db.stats()).expect("figures").wal_bytes;
    assert!(log < 64 * 1024, "{log} bytes of log");
}

/// A client that numbers its commits, forgets no answer and sends what was not answered again.
struct Sender {
    /// The commits without an answer, by sequence, with the epoch they were first sent in.
    waiting: Vec<(u64, u32)>,
    next: u64,
    /// Answered: the sequence, the answer, and whether a power cut can't undo it.
    answered: Vec<(u64, Result<Outcome>, bool)>,
}

impl Sender {
    fn acked_through(&self) -> u64 {
        self.waiting.first().map_or(self.next, |(sequence, _)| *sequence) - 1
    }

    /// Sends what waits again and some more, and gives up after some polls.
    fn live(&mut self, db: &Store, rng: &Rng) {
        let epoch = db.epoch();
        for round in 0..1 + rng.below(8) {
            for _ in 0..rng.below(12) {
                self.waiting.push((self.next, epoch));
                // Reads take sequences too.
                self.next += 1 + rng.below(3) / 2;
            }
            let acked_through = self.acked_through();
            let strict = |n: u64| n.is_multiple_of(3);
            let sends = self.waiting.clone().into_iter().map(|(n, first_sent)| async move {
                let resend_of = if round == 0 { first_sent } else { 0 };
                let (key, gate) = (counter(n), key(&["gate"]));
                let checks = vec![Check { key: Blob(&gate), versionstamp: None }];
                let mut commit = match n % 5 {
                    0 => commit(checks, vec![sum(&key, ONE)]),
                    1 => commit(vec![], vec![sum(&key, ONE), set(&gate, TEXT)]),
                    2 => commit(vec![], vec![sum(&key, ONE), common::delete(&gate)]),
                    _ => commit(vec![], vec![sum(&key, ONE)]),
                };
                commit.durability = strict(n).then_some(Durability::Strict);
                let origin = origin(n, acked_through, resend_of);
                (n, db.commit_from(Some(&origin), &[&commit]).await.pop().expect("an answer"))
            });
            let mut all = pin!(join_all(sends));
            let mut left = if rng.one_in(4) { rng.below(30) } else { u64::MAX };
            let answers = block_on(poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(None);
                }
                left -= 1;
                all.as_mut().poll(context).map(Some)
            }));
            let Some(answers) = answers else { return };
            // Some answers are lost on their way.
            for (n, answer) in answers {
                if !rng.one_in(5) {
                    self.waiting.retain(|(waiting, _)| *waiting != n);
                    self.answered.push((n, answer, strict(n)));
                }
            }
            if rng.one_in(2) {
                block_on(db.upkeep());
            }
        }
    }

    /// Everything that waits gets an answer, and all answers are what happened.
    fn settle(&mut self, db: &Store, lost: bool, context: &str) {
        for n in 1..self.next {
            assert!(applied(db, n).0 <= 1, "{context}: commit {n} was applied twice");
        }
        for (n, answer, strict) in &self.answered {
            let found = applied(db, *n);
            match answer {
                Ok(Outcome::Committed(stamp)) if *strict || !lost => {
                    assert_eq!(found, (1, Some(*stamp)), "{context}: commit {n} was answered");
                }
                Ok(Outcome::Committed(_)) => {}
                Ok(Outcome::CheckFailed(0)) => assert_eq!(found.0, 0, "{context}: {n} refused"),
                other => panic!("{context}: commit {n}: {other:?}"),
            }
        }
    }
}

#[test]
fn through_crashes_and_flushes_every_commit_is_applied_once_and_answered_as_it_went() {
    let mut sent = 0;
    for seed in 0..120 {
        let rng = Rng::new(seed);
        let mut disk = Disk::new(seed);
        let mut sender = Sender { waiting: vec![], next: 1, answered: vec![] };
        let mut lost = false;
        for life in 0..5 {
            let context = format!("seed {seed}, life {life}");
            disk.set_polls_max((seed % 4) as u32);
            let db = open(&disk, seed * 10 + life);
            sender.settle(&db, lost, &context);
            sender.live(&db, &rng);
            drop(db);
            let power_cut = rng.one_in(2);
            lost |= power_cut;
            disk = if power_cut { disk.crash(&rng) } else { disk.restart() };
        }
        sent += sender.next;
    }
    println!("{sent} commits");
}
