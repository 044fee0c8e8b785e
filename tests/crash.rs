//! The store on a disk that crashes, fails and fills up: what comes back is a prefix of the
//! commits that holds all that was acknowledged, and a failure is told to who must know.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{START_MS, Store, commit, delete, delete_range, key, number, set, tiny_options};
use kvass::commit::Outcome;
use kvass::db::{Db, Options, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::{Code, Result};
use kvass::limits::RETRY_MS;
use kvass::rng::Rng;
use kvass::signal::join_all;
use kvass::storage::Durability;
use kvass::storage::simulated::{Call, Fault, SimulatedStorage};
use kvass::wire::{Blob, Mutation};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

type Disk = SimulatedStorage;
type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// Commits that number themselves: commit `n` writes `n` under "last" and touches a few keys that
/// follow from `n`, so that the state after any prefix can be told.
fn mutations_of(n: u64) -> Vec<Done> {
    let rng = Rng::new(n);
    let mut mutations = vec![Done::Set(key(&["last"]), number(n as f64))];
    for _ in 0..rng.below(4) {
        let place = rng.below(120);
        let name = |place: u64| key(&["k", &format!("{place:03}")]);
        let value = [&[3][..], &n.to_be_bytes(), &rng.bytes(rng.below(60) as usize)].concat();
        mutations.push(match rng.below(16) {
            0..4 => Done::Delete(name(place)),
            4 => Done::DeleteRange(name(place), name(place + rng.below(30))),
            _ => Done::Set(name(place), value),
        });
    }
    mutations
}

/// What a commit does.
enum Done {
    Set(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

impl Done {
    fn apply_to(self, state: &mut State) {
        match self {
            Done::Set(key, value) => drop(state.insert(key, value)),
            Done::Delete(key) => drop(state.remove(&key)),
            Done::DeleteRange(start, end) => {
                state.retain(|key, _| !(&start..&end).contains(&key));
            }
        }
    }
}

fn state_after(n: u64) -> State {
    let mut state = State::new();
    for commit in 1..=n {
        mutations_of(commit).into_iter().for_each(|done| done.apply_to(&mut state));
    }
    state
}

fn state_of(db: &Db<ManualEnv<Disk>>) -> Result<State> {
    let range = Range { start: &[1], end: &[0xff], reverse: false };
    let entries = block_on(db.entries(range, db.snapshot()))?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

/// Fails with the keys that differ, not with everything there is.
#[track_caller]
fn assert_same(found: &State, expected: &State, context: &str) {
    let keys: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differ: Vec<_> =
        keys.into_iter().filter(|key| found.get(*key) != expected.get(*key)).collect();
    assert!(differ.is_empty(), "{context}: {} keys differ, {:?}", differ.len(), differ.first());
}

fn last_of(state: &State) -> u64 {
    state.get(&key(&["last"])).map_or(0, |value| {
        f64::from_le_bytes(value[1..].try_into().expect("a number has eight bytes")) as u64
    })
}

async fn write(db: &Db<ManualEnv<Disk>>, n: u64, durability: Durability) -> Result<Outcome> {
    let mutations = mutations_of(n);
    let wire = mutations.iter().map(|done| match done {
        Done::Set(key, value) => set(key, value),
        Done::Delete(key) => delete(key),
        Done::DeleteRange(start, end) => delete_range(start, end),
    });
    let mut commit = commit(vec![], wire.collect());
    commit.durability = Some(durability);
    db.commit(&[&commit]).await.pop().expect("one answer a commit")
}

fn options() -> Options {
    tiny_options()
}

fn open(disk: &Disk, seed: u64) -> Result<Rc<Db<ManualEnv<Disk>>>> {
    let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, seed);
    env.set_turn_polls((seed % 3) as u32);
    block_on(Db::open(env, options()))
}

/// One life of the database: commits in flight side by side with upkeep, given up after some
/// polls. Returns the last commit acknowledged relaxed, and strict.
fn live(db: &Db<ManualEnv<Disk>>, rng: &Rng, first: u64) -> (u64, u64) {
    let (mut relaxed, mut strict) = (first - 1, first - 1);
    let mut next = first;
    for _ in 0..1 + rng.below(30) {
        let burst = 1 + rng.below(6);
        let commits: Vec<_> = (next..next + burst).map(|n| (n, rng.one_in(3))).collect();
        next += burst;
        let polls = if rng.one_in(12) { rng.below(20) } else { u64::MAX };
        let writes = commits.iter().map(|(n, strict)| async move {
            let durability = if *strict { Durability::Strict } else { Durability::Relaxed };
            (*n, *strict, write(db, *n, durability).await)
        });
        let upkeep = rng.one_in(2);
        let mut all = pin!(async {
            let answers = join_all(writes).await;
            if upkeep {
                db.upkeep().await;
            }
            answers
        });
        let mut left = polls;
        let answers = block_on(poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            all.as_mut().poll(context).map(Some)
        }));
        let Some(answers) = answers else { return (relaxed, strict) };
        for (n, is_strict, answer) in answers {
            answer.expect("nothing fails in this test");
            relaxed = relaxed.max(n);
            strict = if is_strict { strict.max(n) } else { strict };
        }
        if rng.one_in(5) {
            block_on(db.flush()).expect("nothing fails in this test");
            strict = relaxed;
        }
    }
    (relaxed, strict)
}

#[test]
fn after_any_crash_the_state_is_a_prefix_that_holds_all_that_was_acknowledged() {
    let (mut crashes, mut restarts) = (0, 0);
    for seed in 0..150 {
        let rng = Rng::new(seed);
        let mut disk = Disk::new(seed);
        let mut last = 0;
        for life in 0..6 {
            disk.set_polls_max((seed % 4) as u32);
            let context = format!("seed {seed}, life {life}");
            let db = open(&disk, seed * 100 + life).expect(&context);
            let (relaxed, strict) = live(&db, &rng, last + 1);
            drop(db);
            let power_cut = rng.one_in(2);
            disk = if power_cut { disk.crash(&rng) } else { disk.restart() };
            if power_cut {
                crashes += 1
            } else {
                restarts += 1
            }
            let db = open(&disk, seed * 100 + 50 + life).expect(&context);
            let state = state_of(&db).expect(&context);
            last = last_of(&state);
            let acknowledged = if power_cut { strict } else { relaxed };
            assert!(last >= acknowledged, "{context}: {last} is before {acknowledged}");
            assert_same(&state, &state_after(last), &format!("{context}, no prefix"));
        }
    }
    println!("{crashes} power cuts and {restarts} killed processes survived");
}

#[test]
fn a_power_cut_at_any_point_of_an_open_loses_nothing() {
    for seed in 0..30 {
        let rng = Rng::new(seed);
        let disk = Disk::new(seed);
        let db = open(&disk, seed).expect("a new database opens");
        let (_, strict) = live(&db, &rng, 1);
        drop(db);
        for after in 0.. {
            let context = format!("seed {seed}, after {after} calls");
            let mut disk = disk.restart();
            let mut cuts = 0;
            while cuts < 3 {
                disk.inject(None, after, Fault::PowerCut);
                let whole = open(&disk, seed + 1).is_ok();
                disk = disk.crash(&rng);
                if whole {
                    break;
                }
                cuts += 1;
            }
            let db = open(&disk, seed + 2).expect(&context);
            let state = state_of(&db).expect(&context);
            let last = last_of(&state);
            assert!(last >= strict, "{context}: {last} is before {strict}");
            assert_eq!(state, state_after(last), "{context}: no prefix");
            if cuts == 0 {
                break;
            }
        }
    }
}

#[test]
fn a_failed_call_undoes_its_commit_and_the_next_one_repairs() {
    for call in [Call::Write, Call::Sync, Call::Create, Call::Remove] {
        for fault in [Fault::Fail(Code::Io), Fault::Fail(Code::QuotaExceeded), Fault::Short] {
            for after in 0..40 {
                one_fault(call, after, fault);
            }
        }
    }
}

/// Commits with one fault among them; whatever it hits, what was acknowledged stays and what
/// was refused is not there, now and after a restart.
fn one_fault(call: Call, after: u64, fault: Fault) {
    let context = format!("{fault:?} of {call:?} after {after}");
    let disk = Disk::new(after);
    let db = open(&disk, after).expect("no fault yet");
    disk.inject(Some(call), after, fault);
    let mut expected = State::new();
    let mut refused = 0;
    for n in 1..=60 {
        let durability = if n % 3 == 0 { Durability::Strict } else { Durability::Relaxed };
        match block_on(write(&db, n, durability)) {
            Ok(_) => {
                mutations_of(n).into_iter().for_each(|done| done.apply_to(&mut expected));
            }
            Err(error) => {
                assert!(
                    matches!(error.code(), Code::Io | Code::QuotaExceeded),
                    "{context}: {error:?}"
                );
                refused += 1;
            }
        }
        assert_same(&state_of(&db).expect(&context), &expected, &format!("{context}, commit {n}"));
        if n % 10 == 0 {
            block_on(db.upkeep());
        }
    }
    assert!(refused <= 2, "{context}: {refused} commits were refused for one fault");
    drop(db);
    let db = open(&disk.restart(), after).expect(&context);
    assert_same(&state_of(&db).expect(&context), &expected, &format!("{context}, restarted"));
}

#[test]
fn a_failed_background_flush_reaches_the_next_commit_and_the_status() {
    let disk = Disk::new(1);
    let db = open(&disk, 1).expect("it opens");
    block_on(write(&db, 1, Durability::Relaxed)).expect("it commits");
    disk.inject(Some(Call::Sync), 0, Fault::Fail(Code::Io));
    block_on(db.flush_in_background());
    assert_eq!(db.failure().map(|error| error.code()), Some(Code::Io));
    let error = block_on(write(&db, 2, Durability::Relaxed)).expect_err("it is told");
    assert_eq!(error.code(), Code::Io);
    block_on(write(&db, 2, Durability::Relaxed)).expect("and then it goes on");
    assert_eq!(db.failure(), None);
    assert_eq!(state_of(&db).expect("it lists"), state_after(2), "nothing was lost");
    drop(db);
    let db = open(&disk.crash(&Rng::new(1)), 2).expect("it opens");
    assert!(last_of(&state_of(&db).expect("it lists")) >= 1, "the repair flushed the first");
}

#[test]
fn upkeep_comes_to_an_end_when_a_write_fails_beside_it() {
    for seed in 0..40 {
        let disk = Disk::new(seed);
        disk.set_polls_max(1 + (seed % 4) as u32);
        let db = open(&disk, seed).expect("it opens");
        let mut n = 0;
        while n < 60 || !db.wants_upkeep() {
            n += 1;
            block_on(write(&db, n, Durability::Relaxed)).expect("there is room");
        }
        disk.set_quota_bytes(Some(0));
        block_on(async {
            let mut upkeep = pin!(db.upkeep());
            let mut write = pin!(write(&db, n + 1, Durability::Strict));
            let mut refused = false;
            poll_fn(|context| {
                refused = refused || write.as_mut().poll(context).is_ready();
                upkeep.as_mut().poll(context)
            })
            .await;
            if !refused {
                write.await.expect_err("the disk is full");
            }
        });
        assert!(db.failure().is_some(), "seed {seed}");
        disk.set_quota_bytes(None);
        let written = (0..3).any(|_| block_on(write(&db, n + 1, Durability::Strict)).is_ok());
        assert!(written, "seed {seed}: there is room again");
        assert_eq!(state_of(&db).expect("it reads"), state_after(n + 1), "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_reading_until_there_is_room() {
    let disk = Disk::new(2);
    let db = open(&disk, 2).expect("it opens");
    let (mut n, mut expected) = (0, State::new());
    disk.set_quota_bytes(Some(12_000));
    let error = loop {
        n += 1;
        match block_on(write(&db, n, Durability::Relaxed)) {
            Ok(_) => expected = state_after(n),
            Err(error) => break error,
        }
        block_on(db.upkeep());
    };
    assert_eq!(error.code(), Code::QuotaExceeded);
    for _ in 0..5 {
        assert_same(&state_of(&db).expect("it reads"), &expected, "still readable");
        let error = block_on(write(&db, n, Durability::Relaxed)).expect_err("still full");
        assert_eq!(error.code(), Code::QuotaExceeded);
    }
    let files = disk.file_numbers().len();
    for _ in 0..20 {
        block_on(write(&db, n, Durability::Relaxed)).expect_err("still full");
    }
    assert!(disk.file_numbers().len() <= files + 1, "attempts leave no files behind");
    disk.set_quota_bytes(None);
    let written = (0..3).any(|_| block_on(write(&db, n, Durability::Relaxed)).is_ok());
    assert!(written, "there is room again");
    assert_eq!(state_of(&db).expect("it reads"), state_after(n));
    drop(db);
    let db = open(&disk.restart(), 3).expect("it opens");
    assert_eq!(state_of(&db).expect("it reads"), state_after(n));
}

/// A database with tables on several levels and a log, on a disk of its own.
fn filled() -> Disk {
    let disk = Disk::new(3);
    let db = open(&disk, 3).expect("it opens");
    for n in 1..=400 {
        block_on(write(&db, n, Durability::Relaxed)).expect("it commits");
        if n % 20 == 0 {
            block_on(db.upkeep());
        }
    }
    block_on(db.flush()).expect("it flushes");
    disk
}

#[test]
fn a_flipped_bit_anywhere_is_reported_or_harmless_and_never_a_wrong_answer() {
    let whole = filled();
    let expected = state_after(400);
    let rng = Rng::new(4);
    let (mut reported, mut harmless) = (0, 0);
    for _ in 0..1_500 {
        let disk = whole.restart();
        let files = disk.file_numbers();
        let file = files[rng.below(files.len() as u64) as usize];
        let length = disk.contents(file).len() as u64;
        if length == 0 {
            continue;
        }
        let (offset, bit) = (rng.below(length), rng.below(8) as u32);
        disk.flip_bit(file, offset, bit);
        let context = format!("bit {bit} at {offset} of file {file}");
        let before = disk.file_numbers();
        match open(&disk, 5) {
            Ok(db) => match state_of(&db) {
                Ok(state) => {
                    assert_same(&state, &expected, &context);
                    harmless += 1;
                }
                Err(error) => {
                    assert_eq!(error.code(), Code::Corruption, "{context}: {error:?}");
                    assert_eq!(error.place().map(|(file, _)| file), Some(file), "{context}");
                    reported += 1;
                    undamaged_keys_are_readable(&db, &expected, &context);
                }
            },
            Err(error) => {
                let code = error.code();
                assert!(matches!(code, Code::Corruption | Code::NewerFormat), "{context}");
                assert_eq!(disk.file_numbers(), before, "{context}: something was deleted");
                reported += 1;
            }
        }
    }
    println!("{reported} reported, {harmless} harmless");
    assert!(reported > 500 && harmless > 0);
}

fn undamaged_keys_are_readable(db: &Db<ManualEnv<Disk>>, expected: &State, context: &str) {
    let mut readable = 0;
    for (key, value) in expected {
        match block_on(db.get(key, db.snapshot())) {
            Ok(found) => {
                let found = found.map(|(_, value)| value.to_vec());
                assert_eq!(found.as_ref(), Some(value), "{context}");
                readable += 1;
            }
            Err(error) => assert_eq!(error.code(), Code::Corruption, "{context}"),
        }
    }
    assert!(readable > 0, "{context}: one bit made everything unreadable");
}

#[test]
fn a_missing_table_is_reported_and_the_rest_stays_readable() {
    let whole = filled();
    let expected = state_after(400);
    let mut reported = 0;
    for file in whole.file_numbers().into_iter().filter(|file| *file > 1) {
        let disk = whole.restart();
        disk.lose(file);
        let context = format!("without file {file}");
        let Ok(db) = open(&disk, 6) else { continue };
        if let Err(error) = state_of(&db) {
            assert_eq!(error.code(), Code::Corruption, "{context}: {error:?}");
            assert_eq!(error.place().map(|(file, _)| file), Some(file), "{context}");
            undamaged_keys_are_readable(&db, &expected, &context);
            reported += 1;
        }
    }
    assert!(reported > 0);
}

#[test]
fn a_lost_manifest_is_corruption_and_not_an_empty_database() {
    let disk = filled().restart();
    disk.lose(0);
    disk.lose(1);
    let before = disk.file_numbers();
    let error = open(&disk, 7).err().expect("it is no new database");
    assert_eq!(error.code(), Code::Corruption);
    assert_eq!(disk.file_numbers(), before, "nothing was deleted");
}

#[test]
fn a_store_that_was_closed_opens_again() {
    let disk = Disk::new(8);
    let mut store = Store::open(Rc::new(disk.clone()), options(), 8).expect("it opens");
    let (k, one) = (key(&["k"]), number(1.0));
    store.commit_one(commit(vec![], vec![set(&k, &one)])).expect("it commits");
    block_on(store.db.close()).expect("it closes");
    let error = store.commit_one(commit(vec![], vec![])).expect_err("it is closed");
    assert_eq!(error.code(), Code::Closed);
    let disk = disk.crash(&Rng::new(8));
    let store = Store::open(Rc::new(disk), options(), 9).expect("it opens");
    assert_eq!(store.get(&k), Some(one), "closing flushes");
}

#[test]
fn a_commit_that_makes_room_while_another_fails_does_not_come_back() {
    for seed in 0..200 {
        let (rng, disk) = (Rng::new(seed), Disk::new(seed));
        let db = open(&disk, seed).expect("a new database opens");
        disk.set_polls_max(5);
        disk.inject(Some(Call::Write), rng.below(12), Fault::Fail(Code::Io));
        let keys: Vec<_> = (0..24).map(|n| key(&["k", &n.to_string()])).collect();
        let value = [&[3][..], &[7; 1024]].concat();
        let writes = keys.iter().map(|key| {
            let commit = commit(vec![], vec![set(key, &value)]);
            let db = &db;
            async move { db.commit(&[&commit]).await.pop().expect("one answer a commit") }
        });
        let answers = block_on(join_all(writes));
        // Repairs, and publishes a stamp that is later than all of those.
        for _ in 0..2 {
            let _ = block_on(write(&db, 1, Durability::Strict));
        }
        for (key, answer) in keys.iter().zip(answers) {
            let found = block_on(db.get(key, db.snapshot())).expect("it reads");
            assert_eq!(found.is_some(), answer.is_ok(), "seed {seed}: {key:?}");
        }
    }
}

#[test]
fn who_waits_for_commits_after_a_failed_write_leaves_the_log_alone() {
    let disk = Disk::new(1);
    let db = open(&disk, 1).expect("a new database opens");
    block_on(write(&db, 1, Durability::Strict)).expect("it is written");
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    block_on(write(&db, 2, Durability::Strict)).expect_err("the write fails");
    disk.inject(Some(Call::Sync), 0, Fault::Fail(Code::Io));
    block_on(db.settle_all());
    let db = open(&disk.restart(), 2).expect("it reopens");
    assert_same(&state_of(&db).expect("it lists"), &state_after(1), "after the restart");
}

#[test]
fn an_expiry_that_repairs_leaves_a_failed_flush_to_be_told_by_the_next_commit() {
    let disk = Disk::new(1);
    let db = open(&disk, 1).expect("a new database opens");
    block_on(write(&db, 1, Durability::Relaxed)).expect("it is written");
    disk.inject(Some(Call::Sync), 0, Fault::Fail(Code::Io));
    block_on(db.flush_in_background());
    block_on(db.expire_in_background());
    assert!(db.failure().is_none(), "it is repaired");
    block_on(write(&db, 2, Durability::Relaxed)).expect_err("the flush had failed");
    block_on(write(&db, 3, Durability::Relaxed)).expect("it was told");
}

#[test]
fn a_commit_whose_flush_fails_is_not_back_after_the_process_has_ended() {
    for (call, fault) in [(Call::Sync, Fault::Fail(Code::Io)), (Call::Write, Fault::Short)] {
        let disk = Disk::new(1);
        let db = open(&disk, 1).expect("it opens");
        block_on(write(&db, 1, Durability::Relaxed)).expect("it commits");
        disk.inject(Some(call), 0, fault);
        block_on(write(&db, 2, Durability::Strict)).expect_err("it is refused");
        drop(db);
        let db = open(&disk.restart(), 2).expect("it opens");
        assert_eq!(state_of(&db).expect("it lists"), state_after(1), "{call:?}");
    }
}

#[test]
fn what_a_manifest_names_that_may_be_stored_stays_where_the_next_attempt_fails_too() {
    for after in 0..5 {
        let (disk, mut n) = (Disk::new(1), 0);
        let db = open(&disk, 1).expect("it opens");
        while !db.wants_upkeep() {
            n += 1;
            block_on(write(&db, n, Durability::Relaxed)).expect("it commits");
        }
        // One of them is that of a manifest, which is written by then.
        disk.inject(Some(Call::Sync), after, Fault::Fail(Code::Io));
        block_on(db.upkeep());
        db.env().set_now_ms(START_MS + RETRY_MS);
        disk.inject(Some(Call::Create), 0, Fault::Fail(Code::Io));
        disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
        block_on(db.upkeep());
        drop(db);
        let db = open(&disk.restart(), 2).expect("it opens");
        assert_eq!(state_of(&db).expect("it lists"), state_after(n), "after {after}");
    }
}

#[test]
fn an_expiry_that_a_failed_write_undid_is_done_again() {
    let disk = Disk::new(1);
    let db = open(&disk, 1).expect("a new database opens");
    let (key, value, expire_in_ms) = (key(&["k"]), number(1.0), Some(100));
    let (key, value) = (Blob(&key), Blob(&value));
    let lasting = Mutation::Set { key, value, expire_in_ms, stamp_key: false };
    block_on(db.commit(&[&commit(vec![], vec![lasting])])).remove(0).expect("it commits");
    db.env().set_now_ms(START_MS + 100);
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    block_on(db.expire()).expect_err("the write fails");
    let events = Rc::new(Cell::new(0));
    let told = events.clone();
    db.observe(Some(Rc::new(move |event| told.set(told.get() + event.changes.len()))));
    assert!(db.next_expiry_ms() <= START_MS + 100, "it is tried again");
    block_on(db.expire()).expect("it is repaired");
    assert_eq!(events.get(), 1, "who watches is told");
    assert_eq!(db.next_expiry_ms(), u64::MAX);
}
