//! Flushes and compactions as the one who writes meets them: space that comes back by itself.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{Store, commit, delete, delete_range, key, number, set, tiny_options};
use kvass::db::Options;
use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::history::Retention;
use kvass::limits::{HISTORY_RECENT_MS, LEASE_GRACE_MS, LEASE_HOSTS, REPLAYED_FLUSH_MS, RETRY_MS};
use kvass::rng::Rng;
use kvass::sessions::Origin;
use kvass::storage::simulated::{Call, Fault};
use kvass::storage::{MANIFEST_SLOTS, SimulatedStorage, Storage};
use kvass::wire::{Blob, Check, Mutation};
use std::rc::Rc;

const ENTRIES: usize = 4_000;

fn keys() -> Vec<Vec<u8>> {
    (0..ENTRIES).map(|index| key(&[&format!("{:04}", index * 7919 % ENTRIES)])).collect()
}

/// A database of several levels.
fn filled(expire_in_ms: Option<u64>) -> Store {
    let mut store = Store::open_in_memory(tiny_options(), 7);
    for key in keys() {
        let value = number(1.0);
        let set =
            Mutation::Set { key: Blob(&key), value: Blob(&value), expire_in_ms, stamp_key: false };
        store.commit_one(commit(vec![], vec![set])).expect("it commits");
        block_on(store.db.upkeep());
    }
    let levels = bytes_by_level(&store);
    assert!(levels.iter().filter(|bytes| **bytes > 0).count() >= 3, "{levels:?}");
    store
}

fn bytes_by_level(store: &Store) -> Vec<u64> {
    let stats = block_on(store.db.stats()).expect("memory has a size");
    stats.levels.iter().map(|(_, bytes)| *bytes).collect()
}

/// What is left when nothing is: a few tombstones too few to be worth a table.
fn assert_empty(store: &Store) {
    let stats = block_on(store.db.stats()).expect("memory has a size");
    assert_eq!(store.count(), 0);
    assert!(bytes_by_level(store).iter().sum::<u64>() < 3_000, "{stats:?}");
    assert!(stats.disk_bytes < 10_000, "{stats:?}");
}

#[test]
fn what_was_deleted_gives_its_space_back_without_another_write() {
    let mut store = filled(None);
    for key in keys() {
        store.commit_one(commit(vec![], vec![delete(&key)])).expect("it commits");
    }
    block_on(store.db.upkeep());
    assert_empty(&store);
}

/// Deletes what lies between two places of the order of keys.
fn clear<S: Storage>(store: &mut Store<S>, from: usize, to: usize) {
    let name = |place: usize| key(&[&format!("{place:04}")]);
    let (start, end) = (name(from), name(to));
    let mutations = vec![delete_range(&start, &end)];
    store.commit_one(commit(vec![], mutations)).expect("it commits");
}

#[test]
fn a_deleted_range_gives_its_space_back_without_another_write() {
    let mut store = filled(None);
    clear(&mut store, 0, ENTRIES);
    block_on(store.db.upkeep());
    assert_empty(&store);
    let mut store = filled(None);
    let before: u64 = bytes_by_level(&store).iter().sum();
    clear(&mut store, ENTRIES / 4, ENTRIES);
    store.reopen();
    store.advance(LEASE_GRACE_MS);
    block_on(store.db.upkeep());
    let after: u64 = bytes_by_level(&store).iter().sum();
    assert_eq!(store.count(), ENTRIES / 4);
    assert!(after < before * 2 / 5, "{before} bytes before, {after} after: a quarter is left");
}

/// Deletes all entries while a list reads them, and then ends the list.
fn assert_space_comes_back_when_a_list_ends(delete_all: impl Fn(&mut Store)) {
    let mut store = filled(None);
    let before = store.db.snapshot();
    let lease = store.db.snapshots().lease(1, before, store.now_ms()).expect("a lease");
    delete_all(&mut store);
    block_on(store.db.upkeep());
    assert!(!store.db.wants_upkeep(), "nothing more can be done for now");
    for key in keys() {
        assert!(block_on(store.db.get(&key, before)).expect("it reads").is_some());
    }
    store.db.snapshots().release(1, lease.id);
    assert!(store.db.wants_upkeep());
    block_on(store.db.upkeep());
    assert_empty(&store);
}

#[test]
fn a_deleted_range_that_a_list_still_reads_gives_its_space_back_when_that_ends() {
    assert_space_comes_back_when_a_list_ends(|store| clear(store, 0, ENTRIES));
}

#[test]
fn a_small_range_of_a_large_database_waits_for_the_memtable_to_be_full() {
    let mut store = filled(None);
    let before = bytes_by_level(&store);
    clear(&mut store, 7, 10);
    assert!(!store.db.wants_upkeep());
    assert_eq!(before, bytes_by_level(&store));
}

#[test]
fn what_has_expired_gives_its_space_back_without_another_write() {
    let mut store = filled(Some(1_000_000));
    store.advance(1_000_000);
    while store.db.next_expiry_ms() <= store.now_ms() {
        block_on(store.db.expire()).expect("it commits");
    }
    block_on(store.db.upkeep());
    assert_empty(&store);
}

#[test]
fn what_a_list_still_reads_gives_its_space_back_when_it_ends() {
    assert_space_comes_back_when_a_list_ends(|store| {
        for key in keys() {
            store.commit_one(commit(vec![], vec![delete(&key)])).expect("it commits");
        }
    });
}

#[test]
fn what_is_overwritten_while_a_list_reads_gives_its_space_back_when_it_ends() {
    let mut store = filled(None);
    let bytes = |store: &Store| bytes_by_level(store).iter().sum::<u64>();
    let before = bytes(&store);
    let snapshot = store.db.snapshot();
    store.db.snapshots().lease(1, snapshot, store.now_ms()).expect("a lease");
    for value in 2..6 {
        for key in keys() {
            store.commit_one(commit(vec![], vec![set(&key, &number(value.into()))])).expect("it");
            block_on(store.db.upkeep());
        }
        // It rests meanwhile.
        store.advance(2_000);
        block_on(store.db.upkeep());
    }
    assert!(bytes(&store) > 3 * before, "{} of {before}", bytes(&store));
    store.db.snapshots().release_all(1);
    block_on(store.db.upkeep());
    store.advance(2_000);
    block_on(store.db.upkeep());
    assert!(bytes(&store) < 2 * before, "{} of {before}", bytes(&store));
}

#[test]
fn a_few_deletes_of_a_large_database_wait_for_the_memtable_to_be_full() {
    let mut store = filled(None);
    block_on(store.db.upkeep());
    let before = bytes_by_level(&store);
    for index in 0..3 {
        let key = key(&[&format!("{index:04}")]);
        store.commit_one(commit(vec![], vec![delete(&key)])).expect("it commits");
        store.commit_one(commit(vec![], vec![set(&key, &number(2.0))])).expect("it commits");
        store.commit_one(commit(vec![], vec![delete(&key)])).expect("it commits");
        assert!(!store.db.wants_upkeep());
    }
    assert_eq!(before, bytes_by_level(&store));
}

#[test]
fn what_an_open_has_replayed_is_written_out_so_that_the_next_need_not() {
    let mut store = Store::open_in_memory(tiny_options(), 7);
    let budget = tiny_options().budgets.memtable_bytes as u64;
    let memtable = |store: &Store| block_on(store.db.stats()).expect("it has stats").memtable_bytes;
    for key in keys() {
        store.commit_one(commit(vec![], vec![set(&key, &number(1.0))])).expect("it commits");
        if memtable(&store) >= budget / 2 {
            break;
        }
    }
    store.reopen();
    let due_ms = store.db.next_release_ms();
    assert_eq!(due_ms, store.db.now_ms() + REPLAYED_FLUSH_MS, "a host that rests wakes up for it");
    store.advance(REPLAYED_FLUSH_MS - 1);
    assert!(!store.db.wants_upkeep(), "clients come first");
    store.advance(1);
    assert!(store.db.wants_upkeep());
    assert!(store.db.next_release_ms() > due_ms, "nobody waits for what is due");
    let count = store.count();
    block_on(store.db.upkeep());
    assert_eq!((memtable(&store), store.count()), (0, count));
    assert!(!store.db.wants_upkeep(), "it is done once");
    store.reopen();
    assert_eq!((memtable(&store), store.count()), (0, count));
    store.advance(REPLAYED_FLUSH_MS);
    assert!(!store.db.wants_upkeep(), "there is nothing to write out");
}

#[test]
fn no_commit_waits_until_what_many_opens_have_logged_is_written_out() {
    let mut store = Store::open_in_memory(Options::default(), 7);
    let key = key(&["counter"]);
    for open in 0..30 {
        let tables = bytes_by_level(&store);
        for _ in 0..3 {
            store.commit_one(commit(vec![], vec![set(&key, &number(1.0))])).expect("it commits");
        }
        assert_eq!(bytes_by_level(&store), tables, "commits of open {open} wrote a table");
        store.advance(REPLAYED_FLUSH_MS);
        block_on(store.db.upkeep());
        store.reopen();
    }
}

/// Pages that come and go before the lists of the host before have had their time.
#[test]
fn what_short_opens_overwrite_is_kept_for_the_lists_of_the_last_few_hosts_only() {
    let mut store = Store::open_in_memory(tiny_options(), 7);
    let mut open_and_write = |_| {
        store.reopen();
        for key in keys().iter().take(ENTRIES / 16) {
            store.commit_one(commit(vec![], vec![set(key, &number(1.0))])).expect("it commits");
        }
        store.advance(REPLAYED_FLUSH_MS);
        block_on(store.db.upkeep());
        bytes_by_level(&store).iter().sum::<u64>()
    };
    let mut most_of = |opens: u32| (0..opens).map(&mut open_and_write).max().unwrap_or(0);
    let (before, after) = (most_of(2 * LEASE_HOSTS), most_of(8 * LEASE_HOSTS));
    assert!(after < before * 3 / 2, "{before} bytes of tables, {after} four times as many later");
}

/// Pages that set up what is there already, and do nothing else.
#[test]
fn opens_that_log_no_more_than_refused_commits_do_not_pile_up_logs() {
    let mut store = Store::open_in_memory(tiny_options(), 7);
    let (key, one) = (key(&["made"]), number(1.0));
    let mut most = 0;
    for open in 0..150u8 {
        let origin = Origin { client: [open; 16], first: 1, acked_through: 0, resend_of: 0 };
        let check = Check { key: Blob(&key), versionstamp: None };
        let make = commit(vec![check], vec![set(&key, &one)]);
        let made = block_on(store.db.commit_from(Some(&origin), &[&make])).pop();
        assert!(matches!(made, Some(Ok(_))), "{made:?}");
        store.advance(HISTORY_RECENT_MS);
        block_on(store.db.upkeep());
        let files = block_on(store.storage.list()).expect("memory has a list").len();
        most = most.max(files);
        store.reopen();
    }
    assert!(most < 60, "{most} files");
}

#[test]
fn a_host_sets_no_timer_for_history_that_can_not_be_let_go_for_now() {
    let disk = SimulatedStorage::new(1);
    let options = Options { history: Retention { bytes: 0, ms: u64::MAX }, ..tiny_options() };
    let mut store = Store::open(Rc::new(disk.clone()), options, 1).expect("it opens");
    store.db.observe(Some(Rc::new(|_| ())));
    for n in 0..600 {
        let (key, value) = (key(&[&format!("{n:04}")]), [&[3][..], &[7; 30]].concat());
        store.commit_one(commit(vec![], vec![set(&key, &value)])).expect("it commits");
        block_on(store.db.upkeep());
    }
    // A write fails, and then the repair.
    let key = key(&["a"]);
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Corruption));
    store.commit_one(commit(vec![], vec![set(&key, &number(1.0))])).expect_err("it fails");
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Corruption));
    block_on(store.db.upkeep());
    assert!(store.db.failure().is_some());
    store.advance(HISTORY_RECENT_MS + LEASE_GRACE_MS);
    block_on(store.db.upkeep());
    assert!(!store.db.wants_upkeep());
    assert!(store.db.next_release_ms() > store.now_ms(), "its timer would never rest");
}

#[test]
fn upkeep_that_failed_once_goes_on_by_itself() {
    let disk = SimulatedStorage::new(1);
    let mut store = Store::open(Rc::new(disk.clone()), tiny_options(), 1).expect("it opens");
    for key in keys().iter().take(400) {
        store.commit_one(commit(vec![], vec![set(key, &number(1.0))])).expect("it commits");
        block_on(store.db.upkeep());
    }
    store.advance(LEASE_GRACE_MS);
    disk.inject(Some(Call::Create), 0, Fault::Fail(Code::Io));
    clear(&mut store, 0, ENTRIES);
    block_on(store.db.upkeep());
    assert_eq!(store.db.failure().map(|error| error.code()), Some(Code::Io));
    assert!(!store.db.wants_upkeep(), "not at once");
    assert!(store.db.next_release_ms() <= store.now_ms() + RETRY_MS);
    store.advance(RETRY_MS);
    block_on(store.db.upkeep());
    assert_eq!((store.db.failure(), store.count()), (None, 0));
    let bytes: u64 =
        block_on(store.db.stats()).expect("it is known").levels.iter().map(|l| l.1).sum();
    assert!(bytes < 3_000, "{bytes} bytes");
}

#[test]
fn a_flush_of_what_was_acknowledged_that_fails_in_upkeep_reaches_the_next_commit() {
    let disk = SimulatedStorage::new(1);
    let mut store = Store::open(Rc::new(disk.clone()), tiny_options(), 1).expect("it opens");
    for key in keys().iter().take(400) {
        store.commit_one(commit(vec![], vec![set(key, &number(1.0))])).expect("it commits");
        block_on(store.db.upkeep());
    }
    block_on(store.db.flush()).expect("it flushes");
    clear(&mut store, 0, ENTRIES);
    assert!(store.db.unflushed() && store.db.wants_upkeep());
    disk.inject(Some(Call::Sync), 0, Fault::Fail(Code::Io));
    block_on(store.db.upkeep());
    block_on(store.db.upkeep());
    let (key, one) = (key(&["a"]), number(1.0));
    let error = store.commit_one(commit(vec![], vec![set(&key, &one)])).expect_err("it is told");
    assert_eq!(error.code(), Code::Io);
    store.commit_one(commit(vec![], vec![set(&key, &one)])).expect("and then it goes on");
    assert_eq!(store.count(), 1);
}

#[test]
fn whatever_fails_in_a_commit_or_in_upkeep_nothing_is_lost_and_no_file_is_left_behind() {
    for call in [Call::Write, Call::Sync, Call::Create] {
        (0..16).for_each(|after| fail_now_and_then(call, after));
    }
}

/// Lets a call of each upkeep and of some commits fail. Tables move down as they are, and are
/// merged.
fn fail_now_and_then(call: Call, after: u64) {
    let context = format!("{call:?} after {after}");
    let disk = SimulatedStorage::new(after);
    // None is let go of by an open.
    let history = Retention { bytes: u64::MAX, ms: u64::MAX };
    let options = Options { history, ..tiny_options() };
    let mut store = Store::open(Rc::new(disk.clone()), options, after).expect("it opens");
    let pair = |n: u64| {
        let len = if n.is_multiple_of(2) { 20 } else { 60 };
        // First in order, and then between those.
        let key = match n {
            0..300 => key(&[&format!("{n:04}")]),
            _ => key(&[&format!("{:04}x", n * 119 % 600)]),
        };
        (key, [&[3][..], &Rng::new(n).bytes(len)].concat())
    };
    for n in 0..600 {
        let (key, value) = pair(n);
        let put = |store: &mut Store<_>| store.commit_one(commit(vec![], vec![set(&key, &value)]));
        if n % 23 == 0 {
            // The second time it is the repair that fails, or what follows on it.
            disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
            put(&mut store).expect_err(&context);
            disk.inject(Some(call), after, Fault::Fail(Code::Io));
        }
        let mut done = put(&mut store);
        disk.clear_faults();
        // What has failed in the background is told to one commit.
        done = done.or_else(|_| put(&mut store)).or_else(|_| put(&mut store));
        done.expect(&context);
        if store.db.wants_upkeep() {
            disk.inject(Some(call), after, Fault::Fail(Code::Io));
            block_on(store.db.upkeep());
            disk.clear_faults();
            if store.db.failure().is_some() {
                store.advance(RETRY_MS);
                block_on(store.db.upkeep());
            }
        }
    }
    block_on(store.db.flush()).expect("it flushes");
    let before = disk.file_numbers().len();
    store.reopen();
    for (key, value) in (0..600).map(pair) {
        assert_eq!(store.get(&key), Some(value), "{context}");
    }
    // The log that was kept ready makes way for two.
    assert_eq!(disk.file_numbers().len(), before + 1, "{context}");
}

#[test]
fn whichever_manifest_is_damaged_once_files_were_removed_the_other_finds_all_that_it_names() {
    let disk = SimulatedStorage::new(1);
    let mut store = Store::open(Rc::new(disk.clone()), tiny_options(), 1).expect("it opens");
    let mut opened = 0;
    for (count, key) in keys().iter().enumerate().take(1_000) {
        store.commit_one(commit(vec![], vec![set(key, &number(1.0))])).expect("it commits");
        let before = disk.file_numbers();
        block_on(store.db.upkeep());
        let there = disk.file_numbers();
        if before.iter().all(|file| there.contains(file)) {
            continue;
        }
        for slot in MANIFEST_SLOTS {
            let damaged = disk.restart();
            damaged.flip_bit(slot, 30, 0);
            let other = Store::open(Rc::new(damaged), tiny_options(), 1).expect("it opens");
            assert_eq!(other.count(), count + 1, "slot {slot}");
        }
        opened += 1;
    }
    assert!(opened > 10, "{opened} times");
}
