//! Large values that are dead: their space comes back.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::large::{name, open, put, settle, usage, value};
use common::{Store, commit, delete, delete_range, key, set, tiny};
use kvass::db::Options;
use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::history::Retention;
use kvass::limits::{Budgets, HISTORY_RECENT_MS, LEASE_GRACE_MS, REST_MS};
use kvass::stamp::Stamp;
use kvass::storage::simulated::{Call, Fault};
use kvass::storage::{SimulatedStorage, Storage};
use kvass::wire::Mutation;
use std::rc::Rc;

#[test]
fn space_of_large_values_comes_back_once_they_are_overwritten_and_deleted() {
    let budgets = Budgets { large_value_bytes: 1_000, blob_bytes: 10_000, ..Budgets::default() };
    let mut store = open(budgets);
    for round in 0..20 {
        for n in 0..20 {
            put(&mut store, n, &value(round * 100 + n, 3_000));
        }
    }
    settle(&mut store);
    let live = 20 * 3_000;
    assert!(usage(&store) < 6 * live, "{} bytes for {live}", usage(&store));
    for n in 0..20 {
        let k = name(n);
        store.commit_one(commit(vec![], vec![delete(&k)])).expect("it commits");
    }
    // The tombstones get to tables with what comes after them.
    for n in 100..110 {
        put(&mut store, n, &value(n, 3_000));
    }
    settle(&mut store);
    store.reopen();
    put(&mut store, 100, &value(100, 3_000));
    settle(&mut store);
    assert!(usage(&store) < 4 * live, "{} bytes after the deletes", usage(&store));
    for n in 100..110 {
        assert_eq!(store.get(&name(n)), Some(value(n, 3_000)));
    }
}

#[test]
fn a_large_value_that_is_deleted_gives_its_space_back_with_no_other_write() {
    // In some it is killed before upkeep has got to what was written last, and in some the log of
    // the delete is kept for those who listen.
    let cases = [(true, false), (true, true), (false, true)];
    for ((works, reopens), is_heard) in cases.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let mut store = open(Budgets::default());
        put(&mut store, 1, &value(1, 100));
        for seed in [2, 3] {
            put(&mut store, 2, &value(seed, 9 << 20));
            if works {
                block_on(store.db.upkeep());
            }
        }
        store.advance(HISTORY_RECENT_MS);
        if reopens {
            store.reopen();
        }
        if is_heard {
            store.db.observe(Some(Rc::new(|_| ())));
        }
        store.commit_one(commit(vec![], vec![delete(&name(2))])).expect("it commits");
        block_on(store.db.upkeep());
        if reopens {
            store.advance(LEASE_GRACE_MS);
            block_on(store.db.upkeep());
        }
        let case = format!("works: {works}, reopens: {reopens}, is heard: {is_heard}");
        assert!(usage(&store) < 10_000, "{} bytes, {case}", usage(&store));
        assert_eq!(store.get(&name(1)), Some(value(1, 100)));
    }
}

#[test]
fn space_comes_back_of_a_large_value_that_is_deleted_among_any_number_of_small_ones() {
    let large = value(3, 1 << 20);
    let shallow = Budgets { memtable_bytes: 256 << 10, blob_bytes: 256 << 10, ..<_>::default() };
    let deep = Budgets {
        memtable_bytes: 32 << 10,
        table_bytes: 128 << 10,
        level0_tables: 2,
        level1_bytes: 128 << 10,
        level_growth: 2,
        ..shallow
    };
    let cases = [(20, &shallow), (5_000, &shallow), (10_000, &deep)];
    for ((small, budgets), is_read) in cases.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let mut store = open(budgets.clone());
        // In the midst of the small ones.
        put(&mut store, small / 2, &large);
        for n in (0..small).filter(|n| *n != small / 2) {
            put(&mut store, n, &value(n, 100));
            if n % 500 == 0 {
                block_on(store.db.upkeep());
            }
        }
        block_on(store.db.upkeep());
        let case = format!("{small} small ones, levels {:?}, read: {is_read}", levels_of(&store));
        // All that could be rewritten at rest is forgotten.
        store.reopen();
        store.advance(LEASE_GRACE_MS);
        let lease = is_read.then(|| {
            let (leases, now_ms) = (store.db.snapshots(), store.now_ms());
            leases.lease(1, store.db.snapshot(), now_ms).expect("there are few")
        });
        let before = usage(&store);
        store.commit_one(commit(vec![], vec![delete(&name(small / 2))])).expect("it commits");
        store.advance(REST_MS);
        block_on(store.db.upkeep());
        if let Some(lease) = lease {
            let snapshot = lease.snapshot;
            let read = block_on(store.db.get(&name(small / 2), snapshot)).expect("it reads");
            assert!(read.is_some_and(|(_, read)| read.to_vec() == large), "{case}");
            store.db.snapshots().release(1, lease.id);
            block_on(store.db.upkeep());
        }
        assert!(usage(&store) + (1 << 19) < before, "{} of {before} bytes, {case}", usage(&store));
        assert_eq!(store.count() as u64, small - 1);
        assert!(!store.db.wants_upkeep());
    }
}

/// Entries beside a large value in the middle of them, all in tables, as after an open.
fn filled(budgets: &Budgets, small: u64, again: u64) -> Store {
    let mut store = open(budgets.clone());
    let large = value(3, 1 << 20);
    // Some are written again, to the level above.
    let keys = (0..small).chain((0..again).map(|n| n * 7919 % small).filter(|n| *n != small / 2));
    for (count, n) in keys.enumerate() {
        let small_one = value(n, 100);
        let (k, v) = (long(n), if n == small / 2 { &large } else { &small_one });
        store.commit_one(commit(vec![], vec![set(&k, v)])).expect("it commits");
        if count % 500 == 0 {
            block_on(store.db.upkeep());
        }
    }
    block_on(store.db.upkeep());
    store.reopen();
    store.advance(LEASE_GRACE_MS);
    store
}

fn long(n: u64) -> Vec<u8> {
    key(&["k", &format!("{n:06}")])
}

/// Deletes the large one after others, and waits; whether its space came back.
fn comes_back(store: &mut Store, large: u64, others: Vec<Mutation<'_>>) -> bool {
    let (before, k) = (usage(store), long(large));
    if !others.is_empty() {
        store.commit_one(commit(vec![], others)).expect("it commits");
    }
    store.commit_one(commit(vec![], vec![delete(&k)])).expect("it commits");
    store.advance(REST_MS);
    block_on(store.db.upkeep());
    usage(store) + (1 << 19) < before
}

#[test]
fn space_of_a_large_value_comes_back_whatever_became_of_earlier_deletes() {
    let budgets = Budgets { memtable_bytes: 256 << 10, blob_bytes: 256 << 10, ..<_>::default() };
    for writes in 0..4 {
        let mut store = filled(&budgets, 5_000, 0);
        block_on(store.db.upkeep());
        store.commit_one(commit(vec![], vec![delete(&long(1))])).expect("it commits");
        store.advance(REST_MS);
        block_on(store.db.upkeep());
        // The tombstone goes with the second of them.
        for _ in 0..writes {
            let (k, v) = (long(1), value(1, 100));
            store.commit_one(commit(vec![], vec![set(&k, &v)])).expect("it commits");
        }
        assert!(comes_back(&mut store, 2_500, vec![]), "{writes} writes");
    }
}

#[test]
fn space_of_a_large_value_comes_back_that_is_deleted_with_others_of_all_tables() {
    let budgets = Budgets {
        memtable_bytes: 256 << 10,
        blob_bytes: 256 << 10,
        table_bytes: 64 << 10,
        level0_tables: 3,
        level1_bytes: 1 << 20,
        rest_share: 0,
        ..<_>::default()
    };
    for others in [0, 40] {
        let mut store = filled(&budgets, 60_000, 5_000);
        block_on(store.db.upkeep());
        let keys: Vec<_> = (0..others).map(|n| long(n * 60_000 / others + 1)).collect();
        let others = keys.iter().map(|k| delete(k)).collect();
        let levels = levels_of(&store);
        assert!(comes_back(&mut store, 30_000, others), "{} others, {levels:?}", keys.len());
    }
}

#[test]
fn space_of_a_large_value_comes_back_that_is_deleted_beside_a_range() {
    let budgets = Budgets {
        memtable_bytes: 32 << 10,
        blob_bytes: 256 << 10,
        table_bytes: 128 << 10,
        level0_tables: 2,
        level1_bytes: 128 << 10,
        level_growth: 2,
        ..<_>::default()
    };
    let mut store = filled(&budgets, 10_000, 0);
    let (start, end) = (key(&["k", "005000x"]), key(&["k", "005000z"]));
    assert!(comes_back(&mut store, 5_000, vec![delete_range(&start, &end)]));
}

#[test]
fn large_values_in_a_deleted_range_go_with_the_compaction_that_drops_them() {
    let budgets = Budgets { large_value_bytes: 1_000, blob_bytes: 10_000, ..tiny() };
    let mut store = open(budgets);
    for n in 0..40 {
        put(&mut store, n, &value(n, 3_000));
    }
    settle(&mut store);
    let full = usage(&store);
    let (start, end) = (name(0), name(39));
    store.commit_one(commit(vec![], vec![delete_range(&start, &end)])).expect("it commits");
    // Small ones over the same keys, until compaction has met all of them.
    for n in (0..39).cycle().take(400) {
        put(&mut store, n, &value(n, 50));
    }
    settle(&mut store);
    assert!(full > 120_000 && usage(&store) < 40_000, "{} of {full} bytes", usage(&store));
    assert_eq!(store.get(&name(39)), Some(value(39, 3_000)));
    assert_eq!(store.get(&name(0)), Some(value(0, 50)));
}

/// How many tables each level has.
fn levels_of<S: Storage>(store: &Store<S>) -> Vec<u32> {
    let stats = block_on(store.db.stats()).expect("they are known");
    stats.levels.iter().map(|(tables, _)| *tables).collect()
}

#[test]
fn space_of_values_that_compaction_has_moved_comes_back_once_they_are_deleted() {
    let budgets = Budgets { memtable_bytes: 32 << 10, blob_bytes: 256 << 10, ..<_>::default() };
    for reopens in [false, true] {
        let mut store = open(budgets.clone());
        for n in 0..8 {
            put(&mut store, n, &value(n, 64 << 10));
        }
        block_on(store.db.upkeep());
        let mut deletes = |range: std::ops::Range<u64>| {
            let keys: Vec<_> = range.map(name).collect();
            let deletes = keys.iter().map(|k| delete(k)).collect();
            store.commit_one(commit(vec![], deletes)).expect("it commits");
            store.advance(REST_MS);
            block_on(store.db.upkeep());
            if reopens {
                store.reopen();
                store.advance(LEASE_GRACE_MS);
                block_on(store.db.upkeep());
            }
            usage(&store)
        };
        let left = [deletes(0..3), deletes(3..6), deletes(6..8)];
        assert!(left[2] < 32 << 10, "{left:?} bytes, reopens: {reopens}");
    }
}

/// Large values in logs of half a MiB at least, and history of the last MiB.
fn with_history() -> Store<SimulatedStorage> {
    let budgets = Budgets { memtable_bytes: 512 << 10, ..Budgets::default() };
    let history = Retention { bytes: 1 << 20, ms: u64::MAX };
    let options = Options { budgets, history, ..Options::default() };
    Store::open(Rc::new(SimulatedStorage::new(1)), options, 1).expect("a new database opens")
}

#[test]
fn a_large_value_that_an_open_has_found_in_a_log_counts_once_as_history() {
    let mut store = with_history();
    put(&mut store, 1, &value(1, 400 << 10));
    store.reopen();
    put(&mut store, 2, &value(2, 400 << 10));
    store.advance(HISTORY_RECENT_MS);
    settle(&mut store);
    assert_eq!(levels_of(&store).iter().sum::<u32>(), 1, "what logs point at is much");
    assert!(store.db.read_changes(Stamp::ZERO).is_ok(), "it takes less than a MiB");
}

#[test]
fn all_large_values_of_a_log_that_an_open_has_found_count_as_history() {
    let mut store = with_history();
    (1..4).for_each(|n| put(&mut store, n, &value(n, 300 << 10)));
    store.reopen();
    put(&mut store, 4, &value(4, 300 << 10));
    store.advance(HISTORY_RECENT_MS);
    settle(&mut store);
    let gone = store.db.read_changes(Stamp::ZERO).expect_err("it takes more than a MiB");
    assert_eq!(gone.code(), Code::HistoryGone);
}

#[test]
fn the_large_values_of_each_log_count_as_history() {
    let mut store = with_history();
    for n in 1..5 {
        put(&mut store, n, &value(n, 600 << 10));
        settle(&mut store);
    }
    store.advance(HISTORY_RECENT_MS);
    put(&mut store, 5, &value(5, 600 << 10));
    settle(&mut store);
    let gone = store.db.read_changes(Stamp::ZERO).expect_err("it takes more than a MiB");
    assert_eq!(gone.code(), Code::HistoryGone);
}

#[test]
fn large_values_from_before_a_repair_count_as_history_no_longer() {
    let mut store = with_history();
    put(&mut store, 1, &value(1, 300 << 10));
    let (key, small) = (name(9), value(9, 9));
    store.storage.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    store.commit_one(commit(vec![], vec![set(&key, &small)])).expect_err("it fails");
    settle(&mut store);
    let repaired = store.db.visible();
    for n in 2..4 {
        put(&mut store, n, &value(n, 300 << 10));
        settle(&mut store);
    }
    put(&mut store, 4, &value(4, 300 << 10));
    store.advance(HISTORY_RECENT_MS);
    put(&mut store, 5, &value(5, 10 << 10));
    settle(&mut store);
    assert!(store.db.read_changes(repaired).is_ok(), "it takes less than a MiB");
}
