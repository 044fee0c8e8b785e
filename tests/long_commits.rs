//! A long commit lets others run while it is taken in, and is all or nothing to them all the same.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{START_MS, commit, delete_range, key, set, sum};
use kvass::commit::Outcome;
use kvass::db::{ChangeKind, CommitEvent, Db, Options, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::{Code, Result};
use kvass::snapshot::Snapshot;
use kvass::storage::Durability;
use kvass::storage::simulated::{Call, Fault, SimulatedStorage};
use kvass::wire::{Blob, Check, Commit, Mutation};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

type Store = Rc<Db<ManualEnv<SimulatedStorage>>>;

/// Entries before, which the commit overwrites or deletes, and entries after.
const BEFORE: u64 = 300;
const AFTER: u64 = 2_000;

fn open(disk: &SimulatedStorage, seed: u64) -> Store {
    let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, seed);
    env.set_turn_polls(1);
    env.set_slice_used_up(true);
    block_on(Db::open(env, Options::default())).expect("it opens")
}

fn place(index: u64) -> Vec<u8> {
    key(&[&format!("{index:08}")])
}

fn apply(db: &Store, commit: &Commit<'_>) -> Result<Outcome> {
    block_on(db.commit(&[commit])).pop().expect("an answer")
}

/// A database with some entries, every third key.
fn with_entries(disk: &SimulatedStorage) -> Store {
    let db = open(disk, 1);
    let keys: Vec<_> = (0..BEFORE).map(|index| place(index * 3)).collect();
    let sets = keys.iter().map(|key| set(key, &[3, 1])).collect();
    apply(&db, &commit(vec![], sets)).expect("it commits");
    db
}

fn absent(key: &[u8]) -> Check<'_> {
    Check { key: Blob(key), versionstamp: None }
}

fn count(db: &Store, snapshot: Snapshot) -> u64 {
    let range = Range { start: &[1], end: &[0xff], reverse: false };
    block_on(db.count(range, snapshot)).expect("it reads")
}

/// Deletes what there is, and sets other keys.
fn long<'a>(keys: &'a [Vec<u8>], ends: &'a [Vec<u8>; 2]) -> Commit<'a> {
    let deleted = delete_range(&ends[0], &ends[1]);
    let sets = keys.iter().map(|key| set(key, &[3, 2]));
    commit(vec![], [deleted].into_iter().chain(sets).collect::<Vec<Mutation<'_>>>())
}

fn keys() -> (Vec<Vec<u8>>, [Vec<u8>; 2]) {
    ((0..AFTER).map(place).collect(), [place(0), place(BEFORE * 3)])
}

#[test]
fn nobody_sees_a_part_of_a_commit_that_is_taken_in_and_nothing_is_decided_on_it() {
    let mut overlaps = 0;
    for seed in 0..10 {
        let disk = SimulatedStorage::new(seed);
        let db = with_entries(&disk);
        disk.set_polls_max(3);
        let (keys, ends) = keys();
        let (long, before) = (long(&keys, &ends), db.visible());
        // On its way to the log while the long one begins, and published in the midst of it.
        let other = place(AFTER + 1);
        let small = commit(vec![], vec![set(&other, &[3, 3])]);
        let smalls = [&small];
        let (mut first, mut context) =
            (pin!(db.commit(&smalls)), Context::from_waker(Waker::noop()));
        let mut first_done = first.as_mut().poll(&mut context).is_ready();
        overlaps += u32::from(!first_done);
        let longs = [&long];
        let mut taken_in = pin!(db.commit(&longs));
        // Decided after it: its key is there by then.
        let late = commit(vec![absent(&keys[0])], vec![set(&keys[0], &[3, 4])]);
        let lates = [&late];
        let mut last = pin!(db.commit(&lates));
        let mut pauses = 0;
        let outcome = loop {
            if let Poll::Ready(outcomes) = taken_in.as_mut().poll(&mut context) {
                break outcomes[0].clone();
            }
            assert!(last.as_mut().poll(&mut context).is_pending());
            first_done = first_done || first.as_mut().poll(&mut context).is_ready();
            if first_done && db.assigned().counter == before.counter + 1 {
                pauses += 1;
                block_on(db.flush()).expect("it flushes what was decided");
                let snapshot = db.snapshot();
                assert_eq!(snapshot.stamp.counter, before.counter + 1, "seed {seed}");
                assert_eq!(count(&db, snapshot), BEFORE + 1, "seed {seed}");
            }
        };
        assert!(pauses >= 5, "{pauses} pauses");
        assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
        assert_eq!(block_on(last)[0], Ok(Outcome::CheckFailed(0)));
        assert_eq!(count(&db, db.snapshot()), AFTER + 1);
    }
    assert!(overlaps > 0, "a write is under way when a long commit begins");
}

#[test]
fn a_commit_that_is_abandoned_while_it_is_taken_in_leaves_nothing_behind() {
    for polls in 1.. {
        let disk = SimulatedStorage::new(polls);
        let db = with_entries(&disk);
        let (keys, ends) = keys();
        let long = long(&keys, &ends);
        let mut ended = false;
        {
            let longs = [&long];
            let mut taken_in = pin!(db.commit(&longs));
            for _ in 0..polls {
                let mut context = Context::from_waker(Waker::noop());
                ended = ended || taken_in.as_mut().poll(&mut context).is_ready();
            }
        }
        if ended {
            assert!(polls > 10, "it was over after {polls} polls");
            return;
        }
        let other = place(AFTER + 1);
        apply(&db, &commit(vec![], vec![set(&other, &[3, 3])])).expect("it commits");
        assert_eq!(count(&db, db.snapshot()), BEFORE + 1, "after {polls} polls");
        drop(db);
        let db = open(&disk, 2);
        assert_eq!(count(&db, db.snapshot()), BEFORE + 1, "after {polls} polls and an open");
    }
}

#[test]
fn a_commit_that_is_taken_in_while_the_database_is_closed_is_durable_or_refused() {
    let mut acknowledged = 0;
    for polls in 0..14 {
        let disk = SimulatedStorage::new(polls);
        let db = with_entries(&disk);
        let (keys, ends) = keys();
        let long = long(&keys, &ends);
        let late_key = place(AFTER + 1);
        let late = commit(vec![], vec![set(&late_key, &[3, 3])]);
        let (longs, lates) = ([&long], [&late]);
        let mut context = Context::from_waker(Waker::noop());
        let mut taken_in = pin!(db.commit(&longs));
        for _ in 0..polls {
            assert!(taken_in.as_mut().poll(&mut context).is_pending());
        }
        let (mut closing, mut last) = (pin!(db.close()), pin!(db.commit(&lates)));
        let (mut closed, mut outcome, mut refused) = (None, None, None);
        while closed.is_none() || outcome.is_none() || refused.is_none() {
            if closed.is_none()
                && let Poll::Ready(result) = closing.as_mut().poll(&mut context)
            {
                closed = Some(result);
            }
            if outcome.is_none()
                && let Poll::Ready(outcomes) = taken_in.as_mut().poll(&mut context)
            {
                outcome = Some(outcomes[0].clone());
            }
            if refused.is_none()
                && let Poll::Ready(outcomes) = last.as_mut().poll(&mut context)
            {
                refused = Some(outcomes[0].clone());
            }
        }
        assert_eq!(closed, Some(Ok(())), "after {polls} polls");
        let refused = refused.and_then(|refused| Some(refused.err()?.code()));
        assert_eq!(refused, Some(Code::Closed), "after {polls} polls");
        let reopened = open(&disk.crash_keeping(0), 2);
        let kept = match outcome {
            Some(Ok(_)) => AFTER,
            outcome => {
                let code = outcome.and_then(|outcome| Some(outcome.err()?.code()));
                assert_eq!(code, Some(Code::Closed), "after {polls} polls");
                BEFORE
            }
        };
        acknowledged += u32::from(kept == AFTER);
        assert_eq!(count(&reopened, reopened.snapshot()), kept, "after {polls} polls");
    }
    assert!(acknowledged > 8, "{acknowledged} were under way");
}

#[test]
fn a_write_that_fails_while_a_commit_is_taken_in_undoes_it_too() {
    for polls in 2..20 {
        let disk = SimulatedStorage::new(polls);
        let db = with_entries(&disk);
        let (keys, ends) = keys();
        let long = long(&keys, &ends);
        disk.set_polls_max(2 * polls as u32);
        disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
        let other = place(AFTER + 1);
        let small = commit(vec![], vec![set(&other, &[3, 3])]);
        let (smalls, longs) = ([&small], [&long]);
        let mut context = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (pin!(db.commit(&smalls)), pin!(db.commit(&longs)));
        let (mut failed, mut undone) = (None, None);
        while failed.is_none() || undone.is_none() {
            if undone.is_none()
                && let Poll::Ready(outcomes) = second.as_mut().poll(&mut context)
            {
                undone = Some(outcomes[0].clone());
            }
            if failed.is_none()
                && let Poll::Ready(outcomes) = first.as_mut().poll(&mut context)
            {
                failed = Some(outcomes[0].clone());
            }
        }
        let code =
            |outcome: Option<Result<Outcome>>| outcome.and_then(|one| Some(one.err()?.code()));
        assert_eq!((code(failed), code(undone)), (Some(Code::Io), Some(Code::Io)), "{polls}");
        assert_eq!(count(&db, db.snapshot()), BEFORE);
        apply(&db, &small).expect("it is repaired");
        assert_eq!(count(&db, db.snapshot()), BEFORE + 1);
        let reopened = open(&disk, 2);
        assert_eq!(count(&reopened, reopened.snapshot()), BEFORE + 1);
    }
}

#[test]
fn wherever_in_a_commit_another_write_fails_nothing_of_it_is_left() {
    for polls in 1.. {
        let disk = SimulatedStorage::new(polls);
        let db = with_entries(&disk);
        let (keys, ends) = keys();
        let long = long(&keys, &ends);
        let (other, durability) = (place(AFTER + 1), Some(Durability::Strict));
        let small = Commit { durability, ..commit(vec![], vec![set(&other, &[3, 3])]) };
        let (smalls, longs) = ([&small], [&long]);
        let mut context = Context::from_waker(Waker::noop());
        // It lets others join before it writes.
        let mut first = pin!(db.commit(&smalls));
        assert!(first.as_mut().poll(&mut context).is_pending());
        let mut taken_in = pin!(db.commit(&longs));
        (0..polls).for_each(|_| assert!(taken_in.as_mut().poll(&mut context).is_pending()));
        if db.assigned().counter == db.visible().counter + 2 {
            assert!(polls > 10, "it was there after {polls} polls");
            return;
        }
        disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
        assert!(block_on(first)[0].is_err());
        assert!(block_on(taken_in)[0].is_err(), "after {polls} polls");
        apply(&db, &small).expect("it is repaired");
        assert_eq!(count(&db, db.snapshot()), BEFORE + 1, "after {polls} polls");
    }
}

#[test]
fn who_begins_to_listen_while_a_commit_is_taken_in_is_told_of_all_of_it() {
    let db = with_entries(&SimulatedStorage::new(1));
    let (keys, ends) = keys();
    let long = long(&keys, &ends);
    let longs = [&long];
    let mut taken_in = pin!(db.commit(&longs));
    let mut context = Context::from_waker(Waker::noop());
    // Once it is staged, and some of it is in memory.
    for _ in 0..12 {
        assert!(taken_in.as_mut().poll(&mut context).is_pending());
    }
    let events: Rc<RefCell<Vec<CommitEvent>>> = Rc::default();
    let heard = events.clone();
    db.observe(Some(Rc::new(move |event| heard.borrow_mut().push(event))));
    while taken_in.as_mut().poll(&mut context).is_pending() {}
    let events = events.take();
    assert_eq!(events.len(), 1);
    let changes = &events[0].changes;
    assert!(matches!(changes[0].change, ChangeKind::DeleteRange(_)));
    let told: Vec<_> = changes[1..].iter().map(|change| change.key.to_vec()).collect();
    assert!(told == keys, "each change once, in order");
}

#[test]
fn a_commit_goes_by_one_time_however_long_it_is_taken_in() {
    let disk = SimulatedStorage::new(1);
    let db = open(&disk, 1);
    let (k, five) = (key(&["n"]), [&[2][..], &5u64.to_le_bytes()].concat());
    let (ten, expire_in_ms) = ([&[2][..], &10u64.to_le_bytes()].concat(), Some(100));
    let (key, value, stamp_key) = (Blob(&k), Blob(&five), false);
    let lasting = Mutation::Set { key, value, expire_in_ms, stamp_key };
    let Ok(Outcome::Committed(stamp)) = apply(&db, &commit(vec![], vec![lasting])) else {
        panic!("it commits")
    };
    let check = Check { key, versionstamp: Some(stamp.to_bytes()) };
    let keys: Vec<_> = (0..AFTER).map(place).collect();
    let sets = keys.iter().map(|key| set(key, &[3, 2]));
    let long = commit(vec![check], sets.chain([sum(&k, &five)]).collect());
    let longs = [&long];
    let mut taken_in = pin!(db.commit(&longs));
    let mut context = Context::from_waker(Waker::noop());
    assert!(taken_in.as_mut().poll(&mut context).is_pending());
    // What the check has found expires before the sum looks at it.
    db.env().set_now_ms(START_MS + 100);
    let answers = loop {
        if let Poll::Ready(answers) = taken_in.as_mut().poll(&mut context) {
            break answers;
        }
    };
    assert!(matches!(answers[0], Ok(Outcome::Committed(_))), "{answers:?}");
    let found = block_on(db.get(&k, db.snapshot())).expect("it reads");
    assert_eq!(found.map(|(_, value)| value.to_vec()), Some(ten));
}
