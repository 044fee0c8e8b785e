//! The store against a model: random operations on a tiny memory budget, so that memtables,
//! tables, levels, compaction and recovery all take part, must answer as a sorted map would.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{Store, commit, delete, delete_range, key, number, set, sum, tiny, tiny_options};
use kvass::commit::Outcome;
use kvass::db::{ChangeKind, CommitEvent, Options, Range};
use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::limits::{Budgets, LEASE_GRACE_MS, REPLAY_BYTES_MAX};
use kvass::rng::Rng;
use kvass::snapshot::{Lease, Snapshot};
use kvass::stamp::Stamp;
use kvass::wire::{Blob, Check, Mutation};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Clone)]
struct Entry {
    stamp: Stamp,
    value: Vec<u8>,
    expires_at: u64,
}

type State = BTreeMap<Vec<u8>, Entry>;

/// So many snapshots are held at a time, lest nothing is ever dropped.
const SNAPSHOTS_MAX: usize = 4;

struct Run {
    store: Store,
    state: State,
    rng: Rng,
    /// Leases, what their snapshots see, and how often the database was opened before.
    snapshots: Vec<(Lease, State, u32)>,
    opened_ms: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        println!("seed {seed}");
        let store = Store::open_in_memory(tiny_options(), seed);
        let opened_ms = store.now_ms();
        let (state, rng, snapshots) = (State::new(), Rng::new(seed), Vec::new());
        Run { store, state, rng, snapshots, opened_ms }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..50 => self.write(),
            50..65 => self.read(),
            65..80 => self.scan(),
            80..85 => self.take_snapshot(),
            85..90 => self.read_snapshot(),
            90..94 => self.store.advance(self.rng.below(500)),
            94..96 => block_on(self.store.db.expire()).expect("nothing fails"),
            96..99 => block_on(self.store.db.upkeep()),
            _ => self.reopen(),
        }
    }

    fn random_key(&mut self) -> Vec<u8> {
        key(&["k", &format!("{}", self.rng.below(300))])
    }

    fn alive(&self, key: &[u8]) -> Option<&Entry> {
        let now = self.store.now_ms();
        self.state.get(key).filter(|entry| kvass::record::alive(entry.expires_at, now))
    }

    /// A commit of a few mutations, with a check that holds or not.
    fn write(&mut self) {
        let keys: Vec<_> = (0..1 + self.rng.below(5)).map(|_| self.random_key()).collect();
        let values: Vec<_> = keys.iter().map(|_| self.random_value()).collect();
        let mut mutations = Vec::new();
        let mut next = self.state.clone();
        let now = self.store.now_ms();
        let ranges: Vec<_> = keys.iter().map(|_| self.random_range()).collect();
        for ((key, value), (start, end)) in keys.iter().zip(&values).zip(&ranges) {
            match if self.rng.one_in(12) { 9 } else { self.rng.below(4) } {
                9 => {
                    mutations.push(delete_range(start, end));
                    next.retain(|key, _| !(start..end).contains(&key));
                }
                0 => {
                    mutations.push(delete(key));
                    next.remove(key);
                }
                1 => {
                    let lifetime = 1 + self.rng.below(2_000);
                    let mutation = Mutation::Set {
                        key: Blob(key),
                        value: Blob(value),
                        expire_in_ms: Some(lifetime),
                        stamp_key: false,
                    };
                    mutations.push(mutation);
                    next.insert(key.clone(), entry(value, now + lifetime));
                }
                _ => {
                    mutations.push(set(key, value));
                    next.insert(key.clone(), entry(value, 0));
                }
            }
        }
        let checked = self.random_key();
        let there = self.alive(&checked).map(|entry| entry.stamp);
        let holds = self.rng.below(4) > 0;
        let expected = if holds { there } else { Some(Stamp { epoch: 9_999, counter: 1 }) };
        let versionstamp = expected.map(Stamp::to_bytes);
        let checks = vec![Check { key: Blob(&checked), versionstamp }];
        match self.store.commit_one(commit(checks, mutations)) {
            Ok(Outcome::Committed(stamp)) => {
                assert!(holds, "a check that fails lets nothing through");
                let new = next.values_mut().filter(|entry| entry.stamp == Stamp::ZERO);
                new.for_each(|entry| entry.stamp = stamp);
                self.state = next;
            }
            Ok(Outcome::CheckFailed(place)) => assert!(!holds && place == 0),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Mostly a few keys, at times many of them; at times none.
    fn random_range(&mut self) -> (Vec<u8>, Vec<u8>) {
        let start = self.rng.below(300);
        let width = if self.rng.one_in(6) { 300 } else { 12 };
        let end = start + self.rng.below(width);
        let name = |place: u64| key(&["k", &format!("{}", place.min(299))]);
        let (start, end) = (name(start), name(end));
        if start <= end { (start, end) } else { (end, start) }
    }

    fn random_value(&mut self) -> Vec<u8> {
        let mut value = vec![3; 1 + self.rng.below(60) as usize];
        let last = value.len() - 1;
        self.rng.fill(&mut value[1..]);
        value[last] |= 1;
        value
    }

    fn read(&mut self) {
        let key = self.random_key();
        let found = block_on(self.store.db.get(&key, self.store.db.snapshot())).expect("it reads");
        let found = found.map(|(stamp, value)| (stamp, value.to_vec()));
        let expected = self.alive(&key).map(|entry| (entry.stamp, entry.value.clone()));
        assert_eq!(found, expected);
    }

    fn scan(&mut self) {
        let snapshot = self.store.db.snapshot();
        let state = self.state.clone();
        self.compare(snapshot, &state);
    }

    fn compare(&mut self, snapshot: Snapshot, state: &State) {
        let (mut start, mut end) = (self.random_key(), self.random_key());
        if start > end {
            std::mem::swap(&mut start, &mut end);
        }
        let reverse = self.rng.below(2) == 0;
        let limit = 1 + self.rng.below(100) as usize;
        let mut found = Vec::new();
        let range = Range { start: &start, end: &end, reverse };
        block_on(self.store.db.list(range, snapshot, |record| {
            found.push((record.key.to_vec(), record.stamp));
            found.len() < limit
        }))
        .expect("it lists");
        let within = state.range(start..end);
        let alive = within
            .filter(|(_, entry)| kvass::record::alive(entry.expires_at, snapshot.time_ms))
            .map(|(key, entry)| (key.clone(), entry.stamp));
        let expected: Vec<_> = match reverse {
            true => alive.rev().take(limit).collect(),
            false => alive.take(limit).collect(),
        };
        let differ: Vec<_> = found.iter().zip(&expected).filter(|(a, b)| a != b).collect();
        assert_eq!((found.len(), differ), (expected.len(), vec![]), "reverse: {reverse}");
    }

    fn take_snapshot(&mut self) {
        if self.snapshots.len() >= SNAPSHOTS_MAX {
            return self.read_snapshot();
        }
        let db = &self.store.db;
        let lease = db.snapshots().lease(1, db.snapshot(), db.now_ms()).expect("a lease");
        self.snapshots.push((lease, self.state.clone(), db.epoch()));
    }

    fn reopen(&mut self) {
        self.store.reopen();
        self.opened_ms = self.store.now_ms();
        if self.rng.one_in(2) {
            self.store.advance(LEASE_GRACE_MS);
        }
    }

    /// A leased snapshot goes on answering as it did, whatever was written since. The next open
    /// holds it for a while; later ones may not know it any more.
    fn read_snapshot(&mut self) {
        if self.snapshots.is_empty() {
            return;
        }
        let place = self.rng.below(self.snapshots.len() as u64) as usize;
        let (lease, state, epoch) = self.snapshots.swap_remove(place);
        match self.store.db.renew(1, lease) {
            Ok(lease) => {
                self.compare(lease.snapshot, &state);
                self.store.db.snapshots().release(1, lease.id);
            }
            Err(error) => {
                assert_eq!(error.code(), Code::SnapshotExpired);
                let later = self.store.db.epoch() - epoch;
                let is_over = self.store.now_ms() >= self.opened_ms + LEASE_GRACE_MS;
                assert!(later > 1 || later == 1 && is_over, "it is held");
            }
        }
    }
}

fn entry(value: &[u8], expires_at: u64) -> Entry {
    Entry { stamp: Stamp::ZERO, value: value.to_vec(), expires_at }
}

#[test]
fn random_operations_answer_as_a_sorted_map_would() {
    for seed in 0..12 {
        let mut run = Run::new(seed);
        for _ in 0..3_000 {
            run.step();
        }
    }
}

#[test]
fn a_database_many_times_larger_than_the_memtable_is_reopened_without_reading_its_tables() {
    let mut store = Store::open_in_memory(tiny_options(), 1);
    let count = 5_000;
    for index in 0..count {
        let (key, value) = (key(&["n", &format!("{index:06}")]), number(f64::from(index)));
        store.commit_one(commit(vec![], vec![set(&key, &value)])).expect("it commits");
        if index % 50 == 0 {
            block_on(store.db.upkeep());
        }
    }
    block_on(store.db.upkeep());
    let stats = block_on(store.db.stats()).expect("memory has a size");
    assert!(stats.disk_bytes > 20 * tiny().memtable_bytes as u64, "{stats:?}");
    assert!(stats.levels.len() > 2, "it was compacted: {stats:?}");
    assert!(stats.levels[0].0 < 4, "level 0 stays small: {stats:?}");
    store.reopen();
    let stats = block_on(store.db.stats()).expect("memory has a size");
    assert_eq!((stats.cache_misses, stats.cache_bytes), (0, 0), "opening read no block");
    for index in [0, count / 2, count - 1] {
        let found = store.get(&key(&["n", &format!("{index:06}")]));
        assert_eq!(found, Some(number(f64::from(index))));
    }
}

#[test]
fn compaction_gives_back_the_space_of_what_was_overwritten_and_deleted() {
    let mut store = Store::open_in_memory(tiny_options(), 2);
    for round in 0..40 {
        for index in 0..200 {
            let (key, value) = (key(&[&format!("{index}")]), number(f64::from(round)));
            store.commit_one(commit(vec![], vec![set(&key, &value)])).expect("it commits");
        }
        block_on(store.db.upkeep());
    }
    let full = block_on(store.db.stats()).expect("memory has a size").disk_bytes;
    assert!(full < 60_000, "8,000 writes to 200 keys occupy {full} bytes");
    for index in 0..200 {
        store.commit_one(commit(vec![], vec![delete(&key(&[&format!("{index}")]))])).expect("ok");
    }
    block_on(store.db.upkeep());
    store.reopen();
    assert_eq!(store.count(), 0);
    block_on(store.db.upkeep());
    let empty = block_on(store.db.stats()).expect("memory has a size").disk_bytes;
    assert!(empty < full / 4, "of {full} bytes {empty} stay when all is deleted");
}

#[test]
fn a_compaction_that_comes_before_the_expiry_leaves_it_its_event() {
    let options = tiny_options();
    let mut store = Store::open_in_memory(options, 5);
    let (value, filler) = (number(1.0), number(2.0));
    let expiring = |key| Mutation::Set {
        key: Blob(key),
        value: Blob(&value),
        expire_in_ms: Some(1_000),
        stamp_key: false,
    };
    let keys: Vec<Vec<u8>> = (0..200).map(|index| key(&[&format!("{index:03}")])).collect();
    for key in &keys {
        store.commit_one(commit(vec![], vec![expiring(key)])).expect("it commits");
    }
    store.advance(2_000);
    for index in 0..400 {
        let key = key(&[&format!("{:03}", index / 2), "filler"]);
        store.commit_one(commit(vec![], vec![set(&key, &filler)])).expect("it commits");
    }
    block_on(store.db.upkeep());
    let expired = Rc::new(Cell::new(0));
    let counter = expired.clone();
    store.db.observe(Some(Rc::new(move |event: CommitEvent| {
        let changes = event.changes.iter();
        let expiries = changes.filter(|change| matches!(change.change, ChangeKind::Expire));
        counter.set(counter.get() + expiries.count());
    })));
    block_on(store.db.expire()).expect("it commits");
    assert_eq!(expired.get(), keys.len());
}

#[test]
fn a_commit_that_fails_leaves_no_trace() {
    let mut store = Store::open_in_memory(Options::default(), 3);
    let (a, b) = (key(&["a"]), key(&["b"]));
    store.commit_one(commit(vec![], vec![set(&b, &number(1.0))])).expect("it commits");
    let one = number(1.0);
    let mutations = vec![set(&a, &one), sum(&b, &[2, 1, 0, 0, 0, 0, 0, 0, 0])];
    let error = store.commit_one(commit(vec![], mutations)).expect_err("a number is no u64");
    assert_eq!(error.code(), kvass::error::Code::TypeMismatch);
    assert_eq!(store.get(&a), None);
    store.reopen();
    assert_eq!(store.get(&a), None);
    assert_eq!(store.get(&b), Some(number(1.0)));
}

#[test]
fn several_mutations_of_one_key_apply_in_order() {
    let mut store = Store::open_in_memory(Options::default(), 4);
    let counter = key(&["counter"]);
    let u64_value = |n: u64| [&[2], &n.to_le_bytes()[..]].concat();
    let (five, two) = (u64_value(5), u64_value(2));
    let mutations = vec![set(&counter, &five), sum(&counter, &two), sum(&counter, &two)];
    store.commit_one(commit(vec![], mutations)).expect("it commits");
    assert_eq!(store.get(&counter), Some(u64_value(9)));
    let mutations = vec![sum(&counter, &two), delete(&counter), sum(&counter, &five)];
    store.commit_one(commit(vec![], mutations)).expect("it commits");
    assert_eq!(store.get(&counter), Some(u64_value(5)));
    store.reopen();
    assert_eq!(store.get(&counter), Some(u64_value(5)));
}

#[test]
fn versionstamps_rise_over_commits_empty_ones_and_opens() {
    let mut store = Store::open_in_memory(Options::default(), 5);
    let mut last = Stamp::ZERO;
    for round in 0..20 {
        let outcome = store.commit_one(commit(vec![], vec![])).expect("it commits");
        let Outcome::Committed(stamp) = outcome else { panic!("there are no checks") };
        assert!(stamp > last, "{stamp} after {last}");
        last = stamp;
        if round % 5 == 4 {
            store.reopen();
        }
    }
}

#[test]
fn an_open_keeps_the_versions_that_lists_may_need_but_not_more_than_memory_has_room_for() {
    let budgets = Budgets { memtable_bytes: 64 << 20, ..Budgets::default() };
    let options = Options { budgets, ..Options::default() };
    let mut store = Store::open_in_memory(options, 1);
    let lease = |store: &Store| {
        store.db.snapshots().lease(1, store.db.snapshot(), store.now_ms()).expect("a lease")
    };
    let counter = key(&["n"]);
    let write = |store: &mut Store, times: u64| {
        for time in 0..times {
            let value = [&[3][..], &time.to_be_bytes(), &[7; 8_000]].concat();
            store.commit_one(commit(vec![], vec![set(&counter, &value)])).expect("it commits");
        }
    };
    let memtable = |store: &Store| block_on(store.db.stats()).expect("figures").memtable_bytes;
    write(&mut store, 10);
    let early = lease(&store);
    write(&mut store, 100);
    store.reopen();
    assert!(memtable(&store) > 100 * 8_000, "all versions since the lease are there");
    let found = block_on(store.db.get(&counter, store.db.renew(2, early).expect("held").snapshot));
    assert_eq!(found.expect("it reads").map(|(_, value)| value.to_vec()[8]), Some(9));
    write(&mut store, 3_000);
    let late = lease(&store);
    assert!(memtable(&store) > 3_000 * 8_000, "a list holds them");
    store.reopen();
    assert!(memtable(&store) < REPLAY_BYTES_MAX as u64 + 20_000);
    assert_eq!(store.db.renew(1, early).map_err(|error| error.code()), Err(Code::SnapshotExpired));
    assert!(store.db.renew(1, late).is_ok(), "nothing was cut off that it sees");
}
