//! Space in reserve: on a full disk deletes go through, and give space back.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{Store, commit, delete, delete_range, key, set, tiny};
use kvass::commit::Outcome;
use kvass::db::Options;
use kvass::env::manual::block_on;
use kvass::error::{Code, Result};
use kvass::history::Retention;
use kvass::limits::{Budgets, LEASE_GRACE_MS, REST_MS, RETRY_MS};
use kvass::rng::Rng;
use kvass::storage::simulated::{Call, Fault};
use kvass::storage::{Durability, SimulatedStorage, Storage};
use kvass::wire::{Commit, Mutation};
use std::rc::Rc;

const QUOTA_BYTES: u64 = 150_000;

fn options() -> Options {
    let budgets = Budgets { reserve_bytes: 10_000, ..tiny() };
    Options { budgets, history: Retention { bytes: 10_000, ms: u64::MAX }, ..Options::default() }
}

fn store(quota_bytes: u64) -> Store<SimulatedStorage> {
    let disk = SimulatedStorage::new(1);
    disk.set_quota_bytes(Some(quota_bytes));
    Store::open(Rc::new(disk), options(), 1).expect("it opens")
}

fn name(n: usize) -> Vec<u8> {
    key(&["k", &format!("{n:05}")])
}

/// Bytes that don't compress.
fn value(n: usize, len: usize) -> Vec<u8> {
    let rng = Rng::new(n as u64);
    [3].into_iter().chain((1..len).map(|_| rng.next() as u8)).collect()
}

fn write(store: &mut Store<SimulatedStorage>, mutation: Mutation<'_>) -> Result<Outcome> {
    let commit = Commit { durability: None, ..commit(vec![], vec![mutation]) };
    let outcome = store.commit_one(commit);
    block_on(store.db.upkeep());
    outcome
}

/// Sets keys until the disk is full; returns how many there are.
fn fill(store: &mut Store<SimulatedStorage>, from: usize, len: usize) -> usize {
    for n in from.. {
        if let Err(error) = write(store, set(&name(n), &value(n, len))) {
            assert_eq!(error.code(), Code::QuotaExceeded);
            return n;
        }
    }
    unreachable!("no disk is that large")
}

fn usage(store: &Store<SimulatedStorage>) -> u64 {
    block_on(store.storage.usage()).expect("it is known")
}

#[test]
fn keys_are_deleted_on_a_full_disk_and_then_there_is_room_again() {
    for len in [300, 1_500] {
        let mut store = store(QUOTA_BYTES);
        let mut count = fill(&mut store, 0, len);
        // Not for once only: each time the reserve is there again.
        for _ in 0..3 {
            for n in 0..count {
                write(&mut store, delete(&name(n))).expect("a delete goes through");
                assert_eq!(store.get(&name(n)), None);
            }
            block_on(store.db.upkeep());
            assert_eq!(store.count(), 0);
            let again = fill(&mut store, 0, len);
            assert!(again > count / 2, "{again} after {count} of {len} bytes");
            let mut deleted = 0;
            while write(&mut store, set(&name(again), &value(0, len))).is_err() {
                write(&mut store, delete(&name(deleted))).expect("a delete goes through");
                deleted += 1;
            }
            assert!(deleted < again, "{deleted} of {again} keys of {len} bytes");
            count = again + 1;
        }
    }
}

#[test]
fn a_range_is_deleted_on_a_full_disk_that_stays_full_for_all_that_is_written() {
    let mut store = store(QUOTA_BYTES);
    let count = fill(&mut store, 0, 300);
    for n in count..count + 50 {
        let refused = write(&mut store, set(&name(n), &value(n, 300))).expect_err("it is full");
        assert_eq!(refused.code(), Code::QuotaExceeded);
        write(&mut store, delete(&name(n))).expect("a delete goes through");
    }
    write(&mut store, delete_range(&name(0), &name(count))).expect("a delete goes through");
    let before = usage(&store);
    block_on(store.db.upkeep());
    assert!(usage(&store) < QUOTA_BYTES / 4, "{} after {before}", usage(&store));
    write(&mut store, set(&name(0), &value(0, 300))).expect("there is room");
}

#[test]
fn after_a_crash_anywhere_on_a_full_disk_deletes_go_through() {
    let rng = Rng::new(5);
    for round in 0..60 {
        let mut store = store(QUOTA_BYTES);
        let count = fill(&mut store, 0, 300);
        let disk = store.storage.clone();
        disk.inject(Some(Call::Write), rng.below(40), Fault::PowerCut);
        let mut deleted = 0;
        while deleted < count && write(&mut store, delete(&name(deleted))).is_ok() {
            deleted += 1;
        }
        let disk = match rng.below(2) {
            0 => disk.crash(&rng),
            _ => disk.restart(),
        };
        disk.set_quota_bytes(Some(QUOTA_BYTES.max(block_on(disk.usage()).expect("known"))));
        let mut store = Store::open(Rc::new(disk), options(), round).expect("it opens");
        block_on(store.db.upkeep());
        for n in deleted..deleted + 10 {
            write(&mut store, delete(&name(n))).expect("a delete goes through");
        }
        // Lists of the host before may go on until then.
        store.advance(LEASE_GRACE_MS);
        for n in 0..count {
            write(&mut store, delete(&name(n))).expect("a delete goes through");
        }
        block_on(store.db.upkeep());
        assert_eq!(store.count(), 0);
        assert!(usage(&store) < QUOTA_BYTES / 3, "{} bytes in round {round}", usage(&store));
    }
}

#[test]
fn the_reserve_is_a_small_part_of_what_there_is_and_goes_with_it() {
    let mut store = store(u64::MAX);
    assert_eq!(store.storage.file_numbers().len(), 4, "an empty database has none");
    let sizes = |store: &Store<SimulatedStorage>| {
        let files = store.storage.file_numbers();
        let contents = files.into_iter().map(|file| store.storage.contents(file));
        let reserve = contents.filter(|bytes| bytes.starts_with(b"kvassrsv"));
        (reserve.map(|bytes| bytes.len() as u64).sum::<u64>(), usage(store))
    };
    for n in 0..200 {
        write(&mut store, set(&name(n), &value(n, 300))).expect("it commits");
        let (reserve, usage) = sizes(&store);
        assert!(reserve * 4 <= usage && reserve <= 10_000, "{reserve} of {usage}");
    }
    assert!(sizes(&store).0 >= 5_000);
    write(&mut store, delete_range(&name(0), &name(200))).expect("it commits");
    block_on(store.db.upkeep());
    store.reopen();
    block_on(store.db.upkeep());
    let (reserve, usage) = sizes(&store);
    assert!(reserve * 4 <= usage, "{reserve} of {usage}");
    let found = block_on(store.db.verify()).expect("it reads");
    assert_eq!(found.damaged, 0);
}

#[test]
fn upkeep_that_a_full_disk_has_stopped_goes_on_by_itself_once_there_is_room() {
    let disk = SimulatedStorage::new(1);
    let options = Options { budgets: tiny(), history: Retention { bytes: 0, ms: 0 }, ..options() };
    let mut store = Store::open(Rc::new(disk.clone()), options, 1).expect("it opens");
    for n in 0..200 {
        write(&mut store, set(&name(n), &value(n, 300))).expect("there is room");
    }
    let full = usage(&store);
    disk.set_quota_bytes(Some(full + 300));
    let (start, end) = (name(0), name(200));
    write(&mut store, delete_range(&start, &end)).expect("the log has room for one more");
    assert_eq!(store.db.failure().map(|error| error.code()), Some(Code::QuotaExceeded));
    let again_ms = store.now_ms() + RETRY_MS;
    store.advance(REST_MS);
    assert!(!store.db.wants_upkeep(), "not at once: there is no more room than before");
    assert_eq!(store.db.next_release_ms(), again_ms);

    store.advance(RETRY_MS - REST_MS);
    block_on(store.db.upkeep());
    assert_eq!(store.db.failure().map(|error| error.code()), Some(Code::QuotaExceeded));
    disk.set_quota_bytes(None);
    store.advance(RETRY_MS);
    block_on(store.db.upkeep());
    assert_eq!(store.db.failure(), None);
    assert!(usage(&store) < full / 10, "{} of {full} bytes", usage(&store));
    assert!(!store.db.wants_upkeep());
}

#[test]
fn what_was_acknowledged_before_a_write_that_finds_the_disk_full_is_flushed_all_the_same() {
    let disk = SimulatedStorage::new(1);
    let mut store = Store::open(Rc::new(disk.clone()), Options::default(), 1).expect("it opens");
    write(&mut store, set(&name(1), &value(1, 300))).expect("it commits");
    assert!(store.db.unflushed());
    disk.set_quota_bytes(Some(usage(&store)));
    write(&mut store, set(&name(2), &value(2, 300))).expect_err("it is full");
    assert!(!store.db.unflushed());
    for seed in 0..10 {
        let disk = disk.crash(&Rng::new(seed));
        let store = Store::open(Rc::new(disk), Options::default(), 2).expect("it opens");
        assert_eq!(store.get(&name(1)), Some(value(1, 300)));
        assert_eq!(store.get(&name(2)), None);
    }
    // It is repaired by itself once there is room.
    assert!(!store.db.wants_upkeep());
    disk.set_quota_bytes(None);
    store.advance(RETRY_MS);
    assert!(store.db.wants_upkeep());
    block_on(store.db.upkeep());
    assert_eq!(store.db.failure(), None);
}

#[test]
fn attempts_to_repair_leave_no_files_behind() {
    let disk = SimulatedStorage::new(1);
    let budgets = Budgets { memtable_bytes: 1 << 20, ..tiny() };
    let mut store =
        Store::open(Rc::new(disk.clone()), Options { budgets, ..options() }, 1).expect("it opens");
    for n in 0..200 {
        write(&mut store, set(&name(n), &value(n, 30))).expect("there is room");
    }
    let full = usage(&store);
    disk.set_quota_bytes(Some(full));
    write(&mut store, set(&name(0), &value(0, 30))).expect_err("it is full");
    // Not enough for a table.
    disk.set_quota_bytes(Some(full + 3_000));
    for _ in 0..5 {
        write(&mut store, set(&name(0), &value(0, 30))).expect_err("it is full");
        assert_eq!(usage(&store), full);
    }
    disk.set_quota_bytes(None);
    for call in [Call::Create, Call::Write, Call::Sync].into_iter().cycle().take(60) {
        disk.inject(Some(call), 2, Fault::Fail(Code::Io));
        let _ = store.commit_one(commit(vec![], vec![set(&name(0), &value(0, 30))]));
    }
    let mut refused = 0;
    while write(&mut store, set(&name(0), &value(0, 30))).is_err() {
        refused += 1;
        assert!(refused < 60, "every failure happens once");
    }
    let files = disk.file_numbers().len();
    assert!(files < 20, "{files} files");
}

#[test]
fn a_database_is_opened_on_a_disk_that_is_full_to_the_last_byte() {
    let mut store = store(u64::MAX);
    for n in 0..400 {
        write(&mut store, set(&name(n), &value(n, 300))).expect("there is room");
    }
    assert!(store.db.reserved_bytes() > 0);
    store.storage.set_quota_bytes(Some(usage(&store)));
    store.reopen();
    block_on(store.db.upkeep());
    write(&mut store, set(&name(0), &value(0, 300))).expect_err("it is full");
    write(&mut store, delete_range(&name(0), &name(400))).expect("a delete goes through");
    store.advance(LEASE_GRACE_MS);
    block_on(store.db.upkeep());
    write(&mut store, set(&name(0), &value(0, 300))).expect("there is room");
}

#[test]
fn what_an_earlier_open_has_given_up_is_for_deletes_only() {
    let mut store = store(QUOTA_BYTES);
    let count = fill(&mut store, 0, 300);
    while store.db.reserved_bytes() > 100 {
        write(&mut store, set(&name(count), &value(0, 300))).expect_err("it is full");
        write(&mut store, delete(&name(count))).expect("a delete goes through");
    }
    store.reopen();
    let (k, v) = (name(count), value(0, 300));
    for _ in 0..50 {
        // Upkeep has not got to it yet.
        let refused = store.commit_one(commit(vec![], vec![set(&k, &v)])).expect_err("it is full");
        assert_eq!(refused.code(), Code::QuotaExceeded);
    }
    write(&mut store, delete_range(&name(0), &k)).expect("a delete goes through");
}

#[test]
fn a_database_at_rest_leaves_history_and_reserve_alone_where_there_is_no_room_for_fewer_runs() {
    let mut store = store(u64::MAX);
    for n in 0..400 {
        write(&mut store, set(&name(n * 7919 % 400), &value(n, 300))).expect("it commits");
    }
    let (reserve, files) = (store.db.reserved_bytes(), store.storage.file_numbers());
    assert!(reserve > 0 && !store.db.wants_upkeep());
    store.storage.set_quota_bytes(Some(usage(&store) + 2_000));
    store.advance(REST_MS);
    assert!(store.db.wants_upkeep(), "there are runs to merge");
    block_on(store.db.upkeep());
    assert!(!store.db.wants_upkeep());
    assert_eq!(store.db.failure(), None);
    assert_eq!((store.db.reserved_bytes(), store.storage.file_numbers()), (reserve, files));
    write(&mut store, set(&name(0), &value(0, 300))).expect("there is room for that");
}

#[test]
fn wherever_a_flush_of_deletes_finds_the_disk_full_they_go_through() {
    for room in (0..4_000).step_by(100) {
        let mut store = store(u64::MAX);
        for n in 0..100 {
            write(&mut store, set(&name(n), &value(n, 300))).expect("there is room");
        }
        store.storage.set_room_bytes(Some(room));
        for n in 0..100 {
            write(&mut store, delete(&name(n))).expect("a delete goes through");
            assert_eq!(store.db.failure(), None, "{room} bytes of room, key {n}");
        }
    }
}

#[test]
fn deletes_whose_flush_has_failed_are_not_written_again_on_trust() {
    let mut store = store(QUOTA_BYTES);
    for n in 0..40 {
        write(&mut store, set(&name(n), &value(n, 300))).expect("there is room");
    }
    store.storage.inject(Some(Call::Sync), 0, Fault::Fail(Code::QuotaExceeded));
    let (durability, name) = (Some(Durability::Strict), name(0));
    let strict = Commit { durability, ..commit(vec![], vec![delete(&name)]) };
    let refused = store.commit_one(strict).expect_err("it may not be durable");
    assert_eq!(refused.code(), Code::QuotaExceeded);
}

#[test]
fn after_a_power_cut_anywhere_while_the_reserve_is_made_it_can_be_made() {
    for (seed, after) in (0..8).flat_map(|seed| (0..20).map(move |after| (seed, after))) {
        let mut store = store(QUOTA_BYTES);
        let mut n = 0;
        while !store.db.wants_upkeep() || usage(&store) < 3_000 {
            store.commit_one(commit(vec![], vec![set(&name(n), &value(n, 300))])).expect("room");
            n += 1;
        }
        block_on(store.db.flush()).expect("it flushes");
        store.storage.inject(None, after, Fault::PowerCut);
        block_on(store.db.upkeep());
        let disk = store.storage.crash(&Rng::new(seed));
        let mut store = Store::open(Rc::new(disk), options(), 2).expect("it opens");
        store.advance(LEASE_GRACE_MS);
        block_on(store.db.upkeep());
        assert_eq!(store.db.failure(), None, "seed {seed}, after {after}");
        assert_eq!(store.count(), n, "seed {seed}, after {after}");
    }
}
