//! Large values that are dead: their space comes back.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::large::{name, open, put, settle, usage, value};
use common::{Store, commit, delete, delete_range, tiny};
use kvass::env::manual::block_on;
use kvass::limits::{Budgets, HISTORY_RECENT_MS, LEASE_GRACE_MS, REST_MS};
use kvass::storage::Storage;
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
