//! Lists where most of what they meet is dead: deleted by key or by range, or expired.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{Store, commit, delete, delete_range, key, number};
use kvass::db::{Options, Range};
use kvass::env::manual::block_on;
use kvass::limits::Budgets;
use kvass::rng::Rng;
use kvass::snapshot::Snapshot;
use kvass::wire::{Blob, Mutation};
use std::collections::BTreeMap;

fn at(number: u64) -> Vec<u8> {
    key(&["q", &format!("{number:06}")])
}

fn apply(store: &mut Store, mutations: Vec<Mutation<'_>>) {
    store.commit_one(commit(vec![], mutations)).expect("it commits");
}

/// The first keys of a list.
fn list(store: &Store, range: Range<'_>, snapshot: Snapshot, limit: usize) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let sink = |record: kvass::record::Record<'_>| {
        keys.push(record.key.to_vec());
        keys.len() < limit
    };
    block_on(store.db.list(range, snapshot, sink)).expect("it lists");
    keys
}

fn number_of(value: u64) -> Vec<u8> {
    number(value as f64)
}

#[test]
fn a_list_that_began_before_an_entry_expired_still_finds_it() {
    let mut beside = Beside::new(1);
    (0..100).for_each(|number| beside.set(number, (number == 50).then_some(10)));
    for number in (0..100).filter(|number| *number != 50) {
        apply(&mut beside.store, vec![delete(&at(number))]);
    }
    let earlier = beside.store.db.snapshot();
    beside.store.advance(10);
    for reverse in [false, true] {
        let range = Range { start: &at(0), end: &at(100), reverse };
        let now = beside.store.db.snapshot();
        assert_eq!(list(&beside.store, range, now, 1), <[Vec<u8>; 0]>::default());
        assert_eq!(list(&beside.store, range, earlier, 1), [at(50)]);
    }
}

const KEYS: u64 = 600;

/// A database, what a map would hold in its place, with the times when that ends, and what it held
/// at snapshots.
struct Beside {
    rng: Rng,
    store: Store,
    now: BTreeMap<Vec<u8>, u64>,
    held: Vec<(Snapshot, BTreeMap<Vec<u8>, u64>)>,
}

impl Beside {
    fn new(seed: u64) -> Beside {
        let budgets = Budgets {
            memtable_bytes: if seed.is_multiple_of(2) { 40_000 } else { 400_000 },
            block_bytes: 512,
            table_bytes: 8 * 1024,
            level0_tables: 2,
            level1_bytes: 32 * 1024,
            ..Budgets::default()
        };
        let store = Store::open_in_memory(Options { budgets, ..<_>::default() }, seed);
        Beside { rng: Rng::new(seed), store, now: BTreeMap::new(), held: Vec::new() }
    }

    fn set(&mut self, number: u64, expire_in_ms: Option<u64>) {
        let (key, value) = (at(number), number_of(number));
        let (name, value, stamp_key) = (Blob(&key), Blob(&value), false);
        apply(&mut self.store, vec![Mutation::Set { key: name, value, expire_in_ms, stamp_key }]);
        let ends = expire_in_ms.map_or(u64::MAX, |span| self.store.now_ms() + span);
        self.now.insert(key, ends);
    }

    fn change(&mut self, first: u64) {
        let up_to = |count: u64| (first + count).min(KEYS);
        match self.rng.below(16) {
            0..=3 => {
                let expires = self.rng.one_in(3).then(|| 1 + self.rng.below(2_000));
                self.set(first, expires);
            }
            4 => (first..up_to(self.rng.below(300))).for_each(|number| self.set(number, None)),
            5 | 6 => {
                for number in first..up_to(self.rng.below(400)) {
                    apply(&mut self.store, vec![delete(&at(number))]);
                    self.now.remove(&at(number));
                }
            }
            7 => {
                let (start, end) = (at(first), at(first + self.rng.below(200)));
                apply(&mut self.store, vec![delete_range(&start, &end)]);
                self.now.retain(|key, _| *key < start || end <= *key);
            }
            8 => self.store.advance(self.rng.below(800)),
            9 if self.rng.one_in(4) => block_on(self.store.db.upkeep()),
            10 => block_on(self.store.db.expire()).expect("it expires"),
            11 if self.held.len() < 4 => {
                let (snapshot, now_ms) = (self.store.db.snapshot(), self.store.now_ms());
                self.store.db.snapshots().lease(1, snapshot, now_ms).expect("a lease");
                self.held.push((snapshot, self.now.clone()));
            }
            12 if self.rng.one_in(8) => {
                self.held.clear();
                self.store.db.snapshots().release_all(1);
            }
            _ => {}
        }
        let now_ms = self.store.now_ms();
        self.now.retain(|_, ends| *ends > now_ms);
    }

    /// Any list, at the present or at a snapshot: what it finds, and what it is to find.
    fn list(&self, first: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let rng = &self.rng;
        let (start, end) = match rng.one_in(3) {
            true => (vec![1], vec![0xff]),
            false => (at(first), at(first + rng.below(KEYS))),
        };
        let (reverse, limit) = (rng.one_in(2), 1 + rng.below(5) as usize);
        let range = Range { start: &start, end: &end, reverse };
        let present = (self.store.db.snapshot(), self.now.clone());
        let chosen = rng.below(2 * self.held.len() as u64 + 2) as usize;
        let (snapshot, model) = self.held.get(chosen).unwrap_or(&present);
        let all = model.range(start.clone()..end.clone());
        let all = all.filter(|(_, ends)| **ends > snapshot.time_ms).map(|(key, _)| key.clone());
        let wanted = match reverse {
            true => all.rev().take(limit).collect(),
            false => all.take(limit).collect(),
        };
        (list(&self.store, range, *snapshot, limit), wanted)
    }
}

#[test]
fn lists_answer_as_a_sorted_map_would_wherever_much_is_dead() {
    for seed in 0..4 {
        let mut beside = Beside::new(seed);
        for step in 0..1_500 {
            let first = beside.rng.below(KEYS);
            beside.change(first);
            let (found, wanted) = beside.list(first);
            assert_eq!(found, wanted, "seed {seed}, step {step}");
        }
    }
}
