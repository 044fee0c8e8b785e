//! A database at rest: once nobody writes, what reads have to merge becomes less.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{Store, commit, key, set, tiny, tiny_options};
use kvass::db::Options;
use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::limits::{Budgets, REST_MS};
use kvass::rng::Rng;
use kvass::storage::simulated::{Call, Fault};
use kvass::storage::{SimulatedStorage, Storage};
use std::rc::Rc;

const ENTRIES: usize = 2_000;

fn name(number: usize) -> Vec<u8> {
    key(&[&format!("{:05}", number * 7919 % ENTRIES)])
}

fn write<S: Storage>(store: &mut Store<S>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        // Of the kind of bytes, which can't be compressed.
        let value = [&[3][..], &Rng::new(number as u64).bytes(30)].concat();
        let key = name(number);
        store.commit_one(commit(vec![], vec![set(&key, &value)])).expect("it commits");
        block_on(store.db.upkeep());
    }
}

fn filled() -> Store {
    let mut store = Store::open_in_memory(tiny_options(), 7);
    write(&mut store, 0..ENTRIES);
    let runs = runs(&store);
    assert!(runs >= 3, "{runs} runs are left to merge");
    store
}

fn levels(store: &Store) -> Vec<(u32, u64)> {
    block_on(store.db.stats()).expect("memory has a size").levels
}

fn table_bytes(store: &Store) -> u64 {
    levels(store).iter().map(|(_, bytes)| bytes).sum()
}

/// The sorted runs of tables that a scan merges.
fn runs(store: &Store) -> usize {
    let levels = levels(store);
    let Some((level0, deeper)) = levels.split_first() else { return 0 };
    level0.0 as usize + deeper.iter().filter(|(tables, _)| *tables > 0).count()
}

#[test]
fn once_nobody_writes_the_runs_that_a_scan_merges_become_one() {
    let mut store = filled();
    assert!(!store.db.wants_upkeep(), "nothing is owed");
    assert_eq!(store.db.next_release_ms(), store.now_ms() + REST_MS);
    store.advance(REST_MS - 1);
    assert!(!store.db.wants_upkeep(), "it is not at rest yet");
    store.advance(1);
    assert_eq!(store.db.next_release_ms(), u64::MAX, "nobody is to be woken for it again");
    assert!(store.db.wants_upkeep());
    block_on(store.db.upkeep());
    assert_eq!(runs(&store), 1);
    assert!(!store.db.wants_upkeep());
    assert_eq!(store.count(), ENTRIES);
    store.reopen();
    assert_eq!(store.count(), ENTRIES);
}

#[test]
fn while_commits_keep_coming_nothing_is_rewritten_but_what_is_owed() {
    let mut store = filled();
    let before = levels(&store);
    for _ in 0..10 {
        store.advance(REST_MS - 1);
        write(&mut store, 0..1);
        assert_eq!(levels(&store), before);
    }
}

#[test]
fn a_database_that_nobody_has_written_to_since_it_was_opened_is_left_as_it_is() {
    let mut store = filled();
    store.reopen();
    let before = levels(&store);
    store.advance(2 * REST_MS);
    block_on(store.db.upkeep());
    // What its log held has become a table. That pays for no more than a few bytes.
    assert_eq!(levels(&store)[1..], before[1..]);
    assert!(runs(&store) > 1);
}

#[test]
fn work_at_rest_that_fails_keeps_nothing_from_being_done_that_is_owed() {
    let storage = Rc::new(SimulatedStorage::new(1));
    let mut store = Store::open(storage, tiny_options(), 7).expect("it opens");
    write(&mut store, 0..ENTRIES);
    store.storage.inject(Some(Call::Create), 0, Fault::Fail(Code::Io));
    store.advance(REST_MS);
    assert!(store.db.wants_upkeep());
    block_on(store.db.upkeep());
    assert!(!store.db.wants_upkeep(), "it is not tried again and again");
    assert_eq!(store.db.failure(), None, "upkeep goes on");
    store.storage.clear_faults();
    write(&mut store, 0..ENTRIES);
    store.advance(REST_MS);
    block_on(store.db.upkeep());
    assert_eq!(store.count(), ENTRIES);
}

#[test]
fn what_is_rewritten_at_rest_is_paid_for_by_what_was_written() {
    for rest_share in [0, 1, 2, 4] {
        let budgets = Budgets { rest_share, ..tiny() };
        let mut store = Store::open_in_memory(Options { budgets, ..tiny_options() }, 7);
        let mut rewritten = 0;
        for number in 0..ENTRIES {
            write(&mut store, number..number + 1);
            let before = runs(&store);
            store.advance(REST_MS);
            block_on(store.db.upkeep());
            // The keys are scattered, so each table is met by what comes from above.
            if before > 1 && runs(&store) == 1 {
                rewritten += table_bytes(&store);
            }
        }
        // No key is written twice: as much was flushed.
        let allowed = rest_share * table_bytes(&store);
        assert!(rewritten <= allowed, "{rewritten} of {allowed} bytes");
        assert_eq!(rewritten > 0, rest_share > 0);
    }
}
