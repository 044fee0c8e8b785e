//! Ranges as a whole: what deleting, counting and listing them costs, and what stays readable.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{Store, commit, delete_range, key, number, set, sum, tiny, tiny_options};
use kvass::commit::Outcome;
use kvass::db::{ChangeKind, CommitEvent, Range};
use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::limits;
use kvass::storage::Storage;
use kvass::wire::{Check, Mutation};
use std::cell::RefCell;
use std::rc::Rc;

fn place(index: u32) -> Vec<u8> {
    key(&["n", &format!("{index:06}")])
}

/// A database with so many entries in tables.
fn filled(count: u32) -> Store {
    let mut store = Store::open_in_memory(tiny_options(), 1);
    for index in 0..count {
        let (key, value) = (place(index), number(f64::from(index)));
        store.commit_one(commit(vec![], vec![set(&key, &value)])).expect("it commits");
        if index % 50 == 0 {
            block_on(store.db.upkeep());
        }
    }
    block_on(store.db.upkeep());
    store
}

fn one(store: &mut Store, mutation: Mutation<'_>) {
    let outcome = store.commit_one(commit(vec![], vec![mutation])).expect("it commits");
    assert!(matches!(outcome, Outcome::Committed(_)));
}

/// The keys of a list of up to `limit` entries.
fn listed(store: &Store, reverse: bool, limit: usize) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let range = Range { start: &[1], end: &[0xff], reverse };
    let snapshot = store.db.snapshot();
    block_on(store.db.list(range, snapshot, |record| {
        keys.push(record.key.to_vec());
        keys.len() < limit
    }))
    .expect("it lists");
    keys
}

#[test]
fn a_range_is_deleted_at_a_cost_that_does_not_depend_on_what_it_covers() {
    let costs = [1, 3_000].map(|width| {
        let mut store = filled(3_000);
        let before = block_on(store.db.stats()).expect("it has figures");
        one(&mut store, delete_range(&place(0), &place(width)));
        let after = block_on(store.db.stats()).expect("it has figures");
        assert_eq!(after.cache_misses, before.cache_misses, "nothing is read");
        let grown = |before: u64, after: u64| after as i64 - before as i64;
        let memory = grown(before.memtable_bytes, after.memtable_bytes);
        (grown(before.wal_bytes, after.wal_bytes), memory)
    });
    assert_eq!(costs[0], costs[1]);
}

#[test]
fn a_scan_passes_a_deleted_range_without_reading_what_it_covers() {
    let mut store = filled(5_000);
    one(&mut store, delete_range(&place(10), &place(4_990)));
    let before = block_on(store.db.stats()).expect("it has figures").cache_misses;
    assert_eq!(listed(&store, false, 12)[9..], [place(9), place(4_990), place(4_991)]);
    assert_eq!(listed(&store, true, 12)[9..], [place(4_990), place(9), place(8)]);
    let after = block_on(store.db.stats()).expect("it has figures").cache_misses;
    assert!(after - before < 100, "{} blocks were read", after - before);
}

#[test]
fn what_was_deleted_with_its_range_is_dropped_once_no_snapshot_sees_it() {
    let mut store = filled(5_000);
    let full = block_on(store.db.stats()).expect("it has figures").disk_bytes;
    let snapshot = store.db.snapshot();
    let lease = store.db.snapshots().lease(1, snapshot, store.db.now_ms()).expect("a lease");
    one(&mut store, delete_range(&place(0), &place(5_000)));
    for index in 0..3_000 {
        let (key, value) = (place(10_000 + index), number(0.0));
        one(&mut store, set(&key, &value));
        block_on(store.db.upkeep());
    }
    let range = Range { start: &place(0), end: &place(5_000), reverse: false };
    assert_eq!(block_on(store.db.count(range, snapshot)).expect("it is leased"), 5_000);
    assert_eq!(block_on(store.db.count(range, store.db.snapshot())).expect("it counts"), 0);
    store.db.snapshots().release(1, lease.id);
    for index in 0..9_000 {
        let (key, value) = (place(10_000 + index), number(1.0));
        one(&mut store, set(&key, &value));
        block_on(store.db.upkeep());
    }
    for index in 0..5_000 {
        assert_eq!(store.get(&place(index)), None);
    }
    one(&mut store, delete_range(&place(0), &place(99_999)));
    let left = block_on(store.db.stats()).expect("it has figures");
    store.reopen();
    assert_eq!(store.count(), 0);
    println!("{full} bytes before, {} after: {:?}", left.disk_bytes, left.levels);
}

#[test]
fn a_commit_applies_deleted_ranges_in_its_order() {
    let mut store = Store::open_in_memory(tiny_options(), 2);
    let u64_value = |n: u64| [&[2], &n.to_le_bytes()[..]].concat();
    let (a, b, c, end) = (key(&["a"]), key(&["b"]), key(&["c"]), key(&["z"]));
    let (three, four) = (u64_value(3), u64_value(4));
    one(&mut store, set(&c, &three));
    let mutations = vec![
        set(&a, &three),
        sum(&b, &three),
        delete_range(&a, &end),
        sum(&b, &four),
        sum(&c, &four),
        set(&end, &three),
    ];
    store.commit_one(commit(vec![], mutations)).expect("it commits");
    for _ in 0..2 {
        let found = [&a, &b, &c, &end].map(|key| store.get(key));
        assert_eq!(found, [None, Some(four.clone()), Some(four.clone()), Some(three.clone())]);
        store.reopen();
    }
}

#[test]
fn a_check_finds_no_entry_where_its_range_was_deleted() {
    let mut store = filled(300);
    one(&mut store, delete_range(&place(0), &place(200)));
    let (gone, there) = (place(199), place(200));
    let absent = |key| Check { key: kvass::wire::Blob(key), versionstamp: None };
    let outcome = store.commit_one(commit(vec![absent(&gone), absent(&there)], vec![]));
    assert_eq!(outcome, Ok(Outcome::CheckFailed(1)));
}

#[test]
fn a_deleted_range_is_one_change_and_expiry_finds_nothing_in_it() {
    let mut store = Store::open_in_memory(tiny_options(), 3);
    let value = number(1.0);
    for index in 0..100 {
        let key = place(index);
        let expire_in_ms = Some(1_000);
        let (key, value) = (kvass::wire::Blob(&key), kvass::wire::Blob(&value));
        one(&mut store, Mutation::Set { key, value, expire_in_ms, stamp_key: false });
    }
    let heard = Rc::new(RefCell::new(Vec::new()));
    let log = heard.clone();
    store.db.observe(Some(Rc::new(move |event: CommitEvent| {
        log.borrow_mut().extend(event.changes);
    })));
    one(&mut store, delete_range(&[0], &place(90)));
    store.advance(5_000);
    block_on(store.db.expire()).expect("it commits");
    let heard = heard.borrow();
    assert!(matches!(&heard[0].change, ChangeKind::DeleteRange(end) if **end == *place(90)));
    assert_eq!(*heard[0].key, [1], "the engine's own keys are not the user's to delete");
    assert_eq!(heard.len(), 11, "ten expired");
    assert_eq!(store.db.next_expiry_ms(), u64::MAX);
}

#[test]
fn bad_ranges_are_refused_and_empty_ones_delete_nothing() {
    let mut store = filled(10);
    let refused = |store: &mut Store, mutations| {
        store.commit_one(commit(vec![], mutations)).expect_err("it is refused").code()
    };
    let (first, last) = (place(0), place(9));
    let code = refused(&mut store, vec![delete_range(&last, &first)]);
    assert_eq!(code, Code::MalformedFrame);
    let long = vec![2; limits::READ_KEY_BYTES_MAX + 2];
    assert_eq!(refused(&mut store, vec![delete_range(&first, &long)]), Code::TooLarge);
    let many = (0..=limits::RANGES_MAX).map(|_| delete_range(&first, &last)).collect();
    assert_eq!(refused(&mut store, many), Code::TooLarge);
    let far = key(&[&"z".repeat(limits::KEY_BYTES_MAX - 2)]);
    let few = limits::RANGE_BYTES_MAX / limits::KEY_BYTES_MAX;
    let few = (0..few).map(|_| delete_range(&last, &far)).collect();
    assert_eq!(refused(&mut store, few), Code::TooLarge);
    one(&mut store, delete_range(&last, &last));
    assert_eq!(store.count(), 10);
}

#[test]
fn ten_thousand_deleted_ranges_are_read_past_from_memory_and_tables() {
    let mut store = filled(2_000);
    for index in (0..2_000).step_by(2).cycle().take(10_000) {
        one(&mut store, delete_range(&place(index), &place(index + 1)));
    }
    let odd: Vec<_> = (0..2_000).filter(|index| index % 2 == 1).map(place).collect();
    for _ in 0..2 {
        assert!(listed(&store, false, usize::MAX) == odd);
        assert!(listed(&store, true, usize::MAX).into_iter().rev().eq(odd.iter().cloned()));
        assert_eq!((store.get(&place(4)), store.get(&place(5))), (None, Some(number(5.0))));
        block_on(store.db.upkeep());
        store.reopen();
    }
}

#[test]
fn a_deleted_range_is_cut_between_tables_that_share_no_key() {
    let mut store = filled(2_000);
    let snapshot = store.db.snapshot();
    let lease = store.db.snapshots().lease(1, snapshot, store.db.now_ms()).expect("a lease");
    one(&mut store, delete_range(&place(0), &place(2_000)));
    for index in 100..1_900 {
        one(&mut store, set(&place(index), &number(0.5)));
        block_on(store.db.upkeep());
    }
    let verified = block_on(store.db.verify()).expect("only damage is found");
    assert_eq!(verified.damage, []);
    assert_eq!(store.count(), 1_800);
    store.db.snapshots().release(1, lease.id);
}

#[test]
fn a_long_list_holds_neither_blocks_nor_replaced_tables_between_its_pages() {
    let mut store = filled(5_000);
    let snapshot = store.db.snapshot();
    let lease = store.db.snapshots().lease(1, snapshot, store.db.now_ms()).expect("a lease");
    let (mut start, mut count) = (vec![1], 0);
    loop {
        let (mut last, mut left) = (None, 300);
        let range = Range { start: &start, end: &[0xff], reverse: false };
        let listed = store.db.list(range, snapshot, |record| {
            assert!(record.stamp <= snapshot.stamp);
            last = Some(record.key.to_vec());
            count += 1;
            left -= 1;
            left > 0
        });
        if block_on(listed).expect("it lists") {
            break;
        }
        start = last.expect("a page is not empty");
        start.push(0);
        for index in 0..300 {
            one(&mut store, set(&place(index * 16), &number(0.5)));
        }
        block_on(store.db.upkeep());
        let stats = block_on(store.db.stats()).expect("it has figures");
        assert!(stats.cache_bytes <= tiny().cache_bytes as u64, "{stats:?}");
        let files = block_on(store.storage.list()).expect("memory lists").len();
        let tables: u32 = stats.levels.iter().map(|(tables, _)| tables).sum();
        assert!(files < tables as usize + 40, "{files} files for {tables} tables");
    }
    assert_eq!(count, 5_000);
    store.db.snapshots().release(1, lease.id);
}
