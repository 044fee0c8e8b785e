//! Large values: kept apart in blob files, read back whole, moved and given up in time.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::large::{FORGETFUL, name, open, put, settle, usage, value};
use common::{START_MS, Store, commit, delete, key, number, set, sum, tiny};
use kvass::commit::Outcome;
use kvass::db::{ChangeKind, Db, Options, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::Code;
use kvass::history::Retention;
use kvass::limits::{Budgets, LEASE_GRACE_MS};
use kvass::rng::Rng;
use kvass::stamp::Stamp;
use kvass::storage::simulated::{Call, Fault, SimulatedStorage};
use kvass::storage::{Durability, FileNo, MemoryStorage, Storage};
use kvass::wire::{Commit, FileKind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

const ALL: Range<'static> = Range { start: &[1], end: &[0xff], reverse: false };

const ALL_OF_IT: Retention = Retention { bytes: u64::MAX, ms: u64::MAX };

/// Blob files so small that a few values fill one, tables that hold everything.
fn options() -> Options {
    let budgets = Budgets { large_value_bytes: 1_000, blob_bytes: 10_000, ..Budgets::default() };
    Options { budgets, history: FORGETFUL, ..Options::default() }
}

fn store() -> Store<MemoryStorage> {
    Store::open_in_memory(options(), 1)
}

/// The blob files there are, by their magic.
fn blob_files<S: Storage>(storage: &S) -> Vec<FileNo> {
    let mut files = block_on(storage.list()).expect("it lists");
    files.retain(|file| {
        let mut magic = [0; 8];
        block_on(storage.read(*file, 0, &mut magic)).expect("it reads");
        magic == *b"kvassblb"
    });
    files
}

#[test]
fn values_of_every_size_come_back_from_memory_from_the_log_and_from_tables() {
    let lens = [999, 1_000, 1_001, 65_535, 65_536, 65_537, 200_000];
    let mut store = store();
    let check = |store: &Store<MemoryStorage>| {
        for (n, len) in (0..).zip(lens) {
            assert_eq!(store.get(&name(n)).expect("it is there"), value(n, len), "{len} bytes");
        }
        for reverse in [false, true] {
            let range = Range { reverse, ..ALL };
            let entries = block_on(store.db.entries(range, store.db.snapshot())).expect("lists");
            assert_eq!(entries.len(), lens.len());
            for entry in entries {
                assert_eq!(store.get(&entry.key), Some(entry.value));
            }
        }
    };
    for (n, len) in (0..).zip(lens) {
        put(&mut store, n, &value(n, len));
    }
    check(&store);
    store.reopen();
    check(&store);
    // More than a blob file's worth has been written, so the next commit makes tables.
    put(&mut store, 0, &value(0, lens[0]));
    settle(&mut store);
    check(&store);
    store.reopen();
    check(&store);
    assert!(blob_files(&*store.storage).len() > 1);
}

#[test]
fn what_the_engine_computes_with_stays_at_hand_and_a_large_value_is_no_number() {
    let mut store = store();
    let large_number = [&[5, 0, 1][..], &[7; 2_000]].concat();
    put(&mut store, 1, &large_number);
    assert_eq!(blob_files(&*store.storage), []);
    let (k, one) = (name(1), [5, 0, 1]);
    store.commit_one(commit(vec![], vec![sum(&k, &one)])).expect("it adds up");
    assert_eq!(store.get(&k).map(|value| value.len()), Some(large_number.len()));

    put(&mut store, 2, &value(2, 5_000));
    let (k, one) = (name(2), number(1.0));
    let refused = store.commit_one(commit(vec![], vec![sum(&k, &one)])).expect_err("no number");
    assert_eq!(refused.code(), Code::TypeMismatch);
    let (large, k) = (value(3, 5_000), name(3));
    let refused = store.commit_one(commit(vec![], vec![set(&k, &large), sum(&k, &one)]));
    assert_eq!(refused.expect_err("no number").code(), Code::TypeMismatch);
    assert_eq!(store.get(&k), None);
}

#[test]
fn a_large_value_that_was_overwritten_stays_as_long_as_the_change_log_tells_of_it() {
    let large = |seed| value(seed, 5_000);
    let mut store = Store::open_in_memory(Options { history: ALL_OF_IT, ..options() }, 1);
    for seed in 0..10 {
        put(&mut store, 1, &large(seed));
        settle(&mut store);
    }
    let told = |store: &Store<MemoryStorage>| {
        let reader = store.db.read_changes(Stamp::ZERO)?;
        let mut values = Vec::new();
        while !block_on(store.db.next_changes(
            &reader,
            |_, _| true,
            |event| {
                for change in &event.changes {
                    if let ChangeKind::Set(value) = &change.change {
                        values.push(value.to_vec());
                    }
                }
            },
        ))? {}
        Ok::<_, kvass::error::Error>(values)
    };
    let all: Vec<_> = (0..10).map(large).collect();
    assert_eq!(told(&store).expect("all is kept"), all);
    store.reopen();
    assert_eq!(told(&store).expect("all is kept"), all);

    // With less of the past to be kept they go with the logs that told of them.
    let (storage, history) = (store.storage.clone(), Retention { bytes: 12_000, ms: u64::MAX });
    drop(store);
    let mut store = Store::open(storage, Options { history, ..options() }, 2).expect("it opens");
    put(&mut store, 1, &large(10));
    settle(&mut store);
    put(&mut store, 2, &large(11));
    store.db.env().set_now_ms(START_MS + LEASE_GRACE_MS);
    settle(&mut store);
    assert!(usage(&store) < 40_000, "{} bytes are kept", usage(&store));
    assert_eq!(told(&store).expect_err("it is gone").code(), Code::HistoryGone);
    assert_eq!(store.get(&name(1)), Some(large(10)));
}

#[test]
fn counts_lists_without_values_and_readers_of_other_keys_read_no_blob_file() {
    let disk = SimulatedStorage::new(1);
    let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, 1);
    let db = block_on(Db::open(env, Options { history: ALL_OF_IT, ..options() }))
        .expect("a new database opens");
    for n in 0..10 {
        let (k, v) = (name(n), value(n, 5_000));
        let set = commit(vec![], vec![set(&k, &v)]);
        block_on(db.commit(&[&set])).pop().expect("an answer").expect("it commits");
    }
    let (k, one) = (name(99), number(1.0));
    let small = commit(vec![], vec![set(&k, &one)]);
    block_on(db.commit(&[&small])).pop().expect("an answer").expect("it commits");
    for file in blob_files(&disk) {
        block_on(disk.remove(file)).expect("it is there");
    }
    assert_eq!(block_on(db.count(ALL, db.snapshot())), Ok(11));
    let mut keys = 0;
    let listed = block_on(db.list(ALL, db.snapshot(), |_| {
        keys += 1;
        true
    }));
    assert_eq!((listed, keys), (Ok(true), 11));
    let read = |wanted: u64| {
        let (reader, mut told) = (db.read_changes(Stamp::ZERO)?, 0);
        let wants = |k: &[u8], _: Option<&[u8]>| *k == *name(wanted);
        block_on(db.next_changes(&reader, wants, |_| told += 1))?;
        Ok::<_, kvass::error::Error>(told)
    };
    assert_eq!(read(99), Ok(1));
    assert_eq!(read(1).expect_err("its file is missing").code(), Code::Corruption);
    let missing = block_on(db.get(&name(1), db.snapshot())).expect_err("its file is missing");
    assert_eq!(missing.code(), Code::Corruption);
}

#[test]
fn what_lives_in_a_file_that_is_mostly_dead_moves_and_the_file_goes() {
    let budgets = Budgets { large_value_bytes: 100, blob_bytes: 20_000, ..tiny() };
    let mut store = open(budgets);
    // One in ten is kept, so that every file becomes mostly dead.
    for n in 0..400 {
        put(&mut store, n, &value(n, 500));
    }
    for n in (0..400).filter(|n| n % 10 != 0) {
        put(&mut store, n, &value(n, 10));
    }
    for n in 400..440 {
        put(&mut store, n, &value(n, 500));
    }
    settle(&mut store);
    let kept = (40 + 40) * 500;
    let blobs = blob_files(&*store.storage);
    let bytes: u64 =
        blobs.iter().map(|file| block_on(store.storage.len(*file)).expect("it is there")).sum();
    assert!(bytes < 3 * kept, "{bytes} bytes in {} blob files for {kept}", blobs.len());
    for n in 0..440 {
        let len = if n % 10 == 0 || n >= 400 { 500 } else { 10 };
        assert_eq!(store.get(&name(n)), Some(value(n, len)), "{n}");
    }
}

#[test]
fn a_snapshot_reads_a_large_value_whatever_becomes_of_it() {
    let mut store = store();
    put(&mut store, 1, &value(1, 5_000));
    let snapshot = store.db.snapshot();
    let db = store.db.clone();
    let pin = db.snapshots().pin(snapshot.stamp);
    for n in 0..40 {
        put(&mut store, 1, &value(100 + n, 5_000));
        settle(&mut store);
    }
    let found = block_on(store.db.get(&name(1), snapshot)).expect("it reads");
    assert_eq!(found.expect("it is there").1.to_vec(), value(1, 5_000));
    drop(pin);
}

#[test]
fn a_value_that_was_located_is_read_also_when_its_file_has_gone_from_the_manifest() {
    let mut store = store();
    put(&mut store, 1, &value(1, 12_000));
    let mut located = None;
    block_on(store.db.list(ALL, store.db.snapshot(), |record| {
        located = store.db.locate(record.op).expect("a pointer");
        true
    }))
    .expect("it lists");
    for n in 0..10 {
        put(&mut store, 1, &value(100 + n, 12_000));
        settle(&mut store);
    }
    let located = located.expect("a large value");
    let found = block_on(store.db.read_large(&located)).expect("it reads");
    assert_eq!(found.to_vec(), value(1, 12_000));
}

#[test]
fn what_was_read_when_it_was_let_go_of_gives_its_space_back_once_nobody_reads_it() {
    let mut store = open(Budgets::default());
    put(&mut store, 1, &value(1, 9 << 20));
    block_on(store.db.upkeep());
    let mut located = None;
    let list = store.db.list(ALL, store.db.snapshot(), |record| {
        located = store.db.locate(record.op).expect("a pointer");
        true
    });
    assert_eq!(block_on(list), Ok(true));
    store.commit_one(commit(vec![], vec![delete(&name(1))])).expect("it commits");
    block_on(store.db.upkeep());
    assert!(usage(&store) > 9 << 20, "{} bytes, while it is read", usage(&store));
    assert!(!store.db.wants_upkeep(), "there is nothing to do until then");
    drop(located);
    block_on(store.db.upkeep());
    assert!(usage(&store) < 10_000, "{} bytes", usage(&store));
}

#[test]
fn a_list_that_began_in_memory_reads_large_values_whose_file_is_emptied_meanwhile() {
    let budgets = Budgets { large_value_bytes: 100, blob_bytes: 20_000, ..tiny() };
    let mut store = open(budgets);
    for n in 0..40 {
        put(&mut store, n / 39, &value(n, 500));
    }
    let (db, mut located) = (store.db.clone(), Vec::new());
    let list = db.list(ALL, db.snapshot(), |record| {
        for n in 100..400 * u64::from(located.is_empty()) {
            put(&mut store, n, &value(n, 150));
            settle(&mut store);
        }
        located.push(db.locate(record.op).map(|large| large.expect("a large value")));
        true
    });
    assert_eq!(block_on(list), Ok(true));
    for (large, n) in located.into_iter().zip([38, 39]) {
        let found = block_on(db.read_large(&large.expect("it is there"))).expect("it reads");
        assert_eq!(found.to_vec(), value(n, 500));
    }
}

#[test]
fn a_crash_anywhere_in_a_large_value_loses_nothing_and_leaves_no_space_behind() {
    let large = |n: u64| value(n, 100_000);
    let mut stored = Vec::new();
    for polls in 0..40 {
        let disk = SimulatedStorage::new(polls);
        disk.set_polls_max(1);
        let open = |disk: &SimulatedStorage| {
            let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, polls);
            let budgets = Budgets { memtable_bytes: 64 * 1024, ..options().budgets };
            block_on(Db::open(env, Options { budgets, ..options() })).expect("it opens")
        };
        let db = open(&disk);
        let (a, b) = (name(1), name(2));
        let (first, second) = (large(1), large(2));
        let first = Commit {
            durability: Some(Durability::Strict),
            ..commit(vec![], vec![set(&a, &first)])
        };
        block_on(db.commit(&[&first])).pop().expect("an answer").expect("it commits");
        let second = commit(vec![], vec![set(&b, &second)]);
        let commits = [&second];
        let mut writing = Box::pin(db.commit(&commits));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            if writing.as_mut().poll(&mut context).is_ready() {
                break;
            }
        }
        let disk = disk.restart();
        drop(writing);
        let db = open(&disk);
        let get = |key| block_on(db.get(key, db.snapshot())).expect("it reads");
        assert_eq!(get(&a).map(|(_, value)| value.to_vec()), Some(large(1)), "{polls} polls");
        let found = get(&b).map(|(_, value)| value.to_vec());
        assert!(found.as_ref().is_none_or(|found| *found == large(2)), "{polls} polls");
        stored.push(found.is_some());
        let deletes = commit(vec![], vec![delete(&a), delete(&b)]);
        block_on(db.commit(&[&deletes])).pop().expect("an answer").expect("it commits");
        block_on(db.flush()).expect("it flushes");
        block_on(db.upkeep());
        drop(db);
        let db = open(&disk.restart());
        db.env().set_now_ms(START_MS + LEASE_GRACE_MS);
        block_on(db.upkeep());
        let left = block_on(db.stats()).expect("it is known").disk_bytes;
        assert!(left < 10_000, "{left} bytes after {polls} polls");
    }
    assert!(stored.contains(&true) && stored.contains(&false), "{stored:?}");
}

#[test]
fn a_full_disk_in_the_middle_of_a_large_value_changes_nothing_and_gives_its_space_back() {
    let disk = SimulatedStorage::new(1);
    let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, 1);
    let db = block_on(Db::open(env, options())).expect("a new database opens");
    let write = |n: u64, len: usize| {
        let (k, v) = (name(n), value(n, len));
        block_on(db.commit(&[&commit(vec![], vec![set(&k, &v)])])).pop().expect("an answer")
    };
    write(1, 5_000).expect("there is room");
    let before = block_on(disk.usage()).expect("it is known");
    for nth in 0..3 {
        disk.inject(Some(Call::Write), nth, Fault::Fail(Code::QuotaExceeded));
        let refused = write(2, 200_000).expect_err("the disk is full");
        assert_eq!(refused.code(), Code::QuotaExceeded);
        assert_eq!(block_on(disk.usage()).expect("it is known"), before, "write {nth}");
        assert!(block_on(db.get(&name(2), db.snapshot())).expect("it reads").is_none());
    }
    assert!(matches!(write(2, 200_000), Ok(Outcome::Committed(_))));
    for (n, len) in [(1, 5_000), (2, 200_000)] {
        let found = block_on(db.get(&name(n), db.snapshot())).expect("it reads");
        assert_eq!(found.expect("it is there").1.to_vec(), value(n, len));
    }
}

#[test]
fn values_that_are_flushed_on_their_way_share_a_file() {
    let budgets = Budgets { stretch_bytes: 65_536, blob_bytes: 8 << 20, ..options().budgets };
    let mut store = Store::open_in_memory(Options { budgets, ..options() }, 1);
    let pairs: Vec<_> = (0..20).map(|n| (name(n), value(n, 200_000))).collect();
    let all = pairs.iter().map(|(k, v)| set(k, v)).collect();
    store.commit_one(commit(vec![], all)).expect("it commits");
    assert_eq!(blob_files(&*store.storage).len(), 1);
}

#[test]
fn a_commit_that_finds_the_disk_full_gives_back_the_space_of_all_its_large_values() {
    // The last one of some is so long that it gets another file.
    for (written, last) in [(vec![], 5_000), (vec![1], 5_000), (vec![1], 9_000)] {
        let disk = SimulatedStorage::new(1);
        let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, 1);
        let budgets = Budgets { blob_bytes: 1 << 20, stretch_bytes: 8_000, ..options().budgets };
        let options = Options { budgets, ..options() };
        let db = block_on(Db::open(env, options)).expect("a new database opens");
        let write = |numbers: &[u64]| {
            let len = |n: u64| if n == 4 { last } else { 5_000 };
            let pairs: Vec<_> = numbers.iter().map(|n| (name(*n), value(*n, len(*n)))).collect();
            let all = pairs.iter().map(|(k, v)| set(k, v)).collect();
            block_on(db.commit(&[&commit(vec![], all)])).pop().expect("an answer")
        };
        write(&written).expect("there is room");
        let before = block_on(disk.usage()).expect("it is known");
        for _ in 0..5 {
            // The third write is that of the last value, where the file is there already.
            disk.inject(Some(Call::Write), 2, Fault::Fail(Code::QuotaExceeded));
            let refused = write(&[2, 3, 4]).expect_err("the disk is full");
            assert_eq!(refused.code(), Code::QuotaExceeded);
        }
        let after = block_on(disk.usage()).expect("it is known");
        assert!(after < before + 1_000, "{before} bytes before, {after} after");
        write(&[2, 3, 4]).expect("there is room");
        for n in [2, 3, 4] {
            let found = block_on(db.get(&name(n), db.snapshot())).expect("it reads");
            let len = if n == 4 { last } else { 5_000 };
            assert_eq!(found.expect("it is there").1.to_vec(), value(n, len));
        }
    }
}

#[test]
fn a_damaged_or_missing_large_value_is_corruption_at_its_place_and_the_rest_is_readable() {
    for seed in 0..20 {
        let rng = Rng::new(seed);
        let mut store = store();
        for n in 0..4 {
            put(&mut store, n, &value(n, 70_000));
        }
        put(&mut store, 9, &value(9, 10));
        settle(&mut store);
        let files = blob_files(&*store.storage);
        let file = files[rng.below(files.len() as u64) as usize];
        let offset = 64 + rng.below(70_000);
        let mut byte = [0];
        block_on(store.storage.read(file, offset, &mut byte)).expect("it reads");
        byte[0] ^= 1 << rng.below(8);
        let durability = kvass::storage::Durability::Strict;
        block_on(store.storage.write(file, offset, &byte, durability)).expect("it writes");
        store.reopen();
        let mut damaged = 0;
        for n in 0..4 {
            match block_on(store.db.get(&name(n), store.db.snapshot())) {
                Ok(found) => assert_eq!(found.expect("there").1.to_vec(), value(n, 70_000)),
                Err(error) => {
                    assert_eq!((error.code(), error.place()), (Code::Corruption, Some((file, 64))));
                    damaged += 1;
                }
            }
        }
        assert_eq!(damaged, 1, "seed {seed}");
        let verified = block_on(store.db.verify()).expect("only damage is found");
        let [(FileKind::Blob, error)] = &verified.damage[..] else { panic!("{verified:?}") };
        assert_eq!(error.place(), Some((file, 64)));
        assert_eq!(store.get(&name(9)), Some(value(9, 10)));
        block_on(store.storage.remove(file)).expect("it goes");
        let missing = (0..4).filter_map(|n| {
            block_on(store.db.get(&name(n), store.db.snapshot())).err().map(|error| error.code())
        });
        assert_eq!(missing.collect::<Vec<_>>(), [Code::Corruption], "seed {seed}");
    }
}

#[test]
fn upkeep_ends_where_a_file_that_is_mostly_dead_has_a_damaged_value() {
    let budgets = Budgets { large_value_bytes: 100, blob_bytes: 20_000, ..tiny() };
    let mut store = open(budgets);
    for n in 0..400 {
        put(&mut store, n, &value(n, 500));
    }
    settle(&mut store);
    for file in blob_files(&*store.storage) {
        // In the midst of its first value: that of the first file stays.
        let durability = Durability::Strict;
        block_on(store.storage.write(file, 300, &[0; 8], durability)).expect("it writes");
    }
    for n in (0..400).filter(|n| n % 10 != 0) {
        put(&mut store, n, &value(n, 10));
    }
    for n in 400..440 {
        put(&mut store, n, &value(n, 500));
    }
    let mut upkeep = pin!(store.db.upkeep());
    store.db.env().set_turn_polls(1);
    store.db.env().set_slice_used_up(true);
    let mut context = Context::from_waker(Waker::noop());
    let mut steps = 0;
    while upkeep.as_mut().poll(&mut context).is_pending() {
        steps += 1;
        assert!(steps < 20_000, "it goes on and on");
    }
    assert!(!store.db.wants_upkeep());
    let found = block_on(store.db.get(&name(0), store.db.snapshot()));
    assert_eq!(found.expect_err("it is damaged").code(), Code::Corruption);
    (400..440).for_each(|n| assert_eq!(store.get(&name(n)), Some(value(n, 500))));
}

#[test]
fn values_that_are_overwritten_again_and_again_leave_no_small_files_behind() {
    let budgets = Budgets { large_value_bytes: 300, blob_bytes: 20_000, ..tiny() };
    let mut store = Store::open_in_memory(Options { budgets, ..common::tiny_options() }, 1);
    let (rng, mut most) = (Rng::new(3), 0);
    for round in 0..3_000 {
        let name = key(&["k", &format!("{:03}", rng.below(300))]);
        let value = [&[3][..], &rng.bytes(300 + rng.below(900) as usize)].concat();
        store.commit_one(commit(vec![], vec![set(&name, &value)])).expect("it commits");
        block_on(store.db.upkeep());
        if round > 1_500 {
            most = most.max(blob_files(&*store.storage).len());
        }
    }
    // What lives takes 11 full files, and is about half of what there is.
    assert!(most <= 40, "{most} blob files");
}
