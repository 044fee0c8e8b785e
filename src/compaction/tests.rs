//! Compaction changes no answer that a reader can still ask for, and drops what none can.

use super::*;
use crate::blob::Blobs;
use crate::env::Env;
use crate::env::manual::{ManualEnv, block_on};
use crate::error::Code;
use crate::limits::Budgets;
use crate::memtable::Memtable;
use crate::merge::{Merge, Scan};
use crate::model::{self, Model, Said, at, entry, memtable, part, place, shared};
use crate::record::alive;
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::storage::{MemoryStorage, Storage};
use crate::table::{Table, Tables};
use crate::version::Version;
use proptest::prelude::*;
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const TOP: [u8; 2] = [0xff; 2];

/// Levels, tables and blocks so small that a few hundred versions fill several of each.
fn budgets() -> Budgets {
    Budgets {
        range_bytes: 2_000,
        block_bytes: 60,
        table_bytes: 400,
        level0_tables: 2,
        level1_bytes: 1_000,
        level_growth: 3,
        ..Budgets::default()
    }
}

/// A database without a log: memtables go straight to level 0.
struct Store {
    env: ManualEnv<MemoryStorage>,
    shared: Rc<Tables<MemoryStorage>>,
    version: Version<MemoryStorage>,
    /// Every version that was ever written.
    model: Model,
    counter: u64,
    ids: Cell<u64>,
    retained: Snapshot,
}

/// The employer of its flushes and compactions.
struct Staff<'a> {
    env: &'a ManualEnv<MemoryStorage>,
    ids: &'a Cell<u64>,
}

impl Employer for Staff<'_> {
    fn next_id(&self) -> u64 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    async fn breathe(&self, _worked: usize) -> Result<()> {
        if self.env.slice_used_up() {
            self.env.turn().await;
        }
        Ok(())
    }
}

impl Store {
    fn new() -> Store {
        let storage = Rc::new(MemoryStorage::new());
        Store {
            env: ManualEnv::new(storage.clone(), 0, 1),
            shared: shared(storage),
            version: Version::empty(),
            model: Model::new(),
            counter: 0,
            ids: Cell::new(0),
            retained: Snapshot { stamp: Stamp::ZERO, time_ms: 0 },
        }
    }

    fn staff(&self) -> Staff<'_> {
        Staff { env: &self.env, ids: &self.ids }
    }

    fn flush(&mut self, batch: Vec<(Vec<u8>, Said)>) {
        let mut new = Model::new();
        for (key, said) in batch {
            self.counter += 1;
            new.insert(place(&key, at(self.counter)), said);
        }
        let memtable = memtable(&new);
        let written =
            block_on(flush(&self.env, &budgets(), (&memtable, 0), &self.version, &self.staff()))
                .unwrap();
        assert_eq!(written.is_some(), !new.is_empty());
        let table = written.map(|meta| (0, Table::new(self.shared.clone(), meta)));
        self.version = self.version.apply(table.into_iter().collect(), &[]);
        self.model.extend(new);
    }

    /// Deletes ranges of keys, each with a commit of its own, and flushes them to one table.
    fn flush_ranges(&mut self, ranges: impl Iterator<Item = (u32, u32)>) {
        let memtable = Memtable::default();
        let key = |n: u32| Rc::from(n.to_be_bytes());
        for (start, end) in ranges {
            self.counter += 1;
            memtable.delete_range(&key(start), &key(end), at(self.counter), Stamp::ZERO);
        }
        let (budgets, staff) = (budgets(), self.staff());
        let table = flush(&self.env, &budgets, (&memtable, 0), &self.version, &staff);
        let table = Table::new(self.shared.clone(), block_on(table).unwrap().unwrap());
        self.version = self.version.apply(vec![(0, table)], &[]);
    }

    /// The merge of all tables of level 0.
    fn merge_of_level0(&self) -> Choice {
        let upper = self.version.levels()[0].iter().map(|table| table.meta().id).collect();
        Choice { level: 0, target: 1, upper, lower: vec![] }
    }

    fn apply(&mut self, choice: &Choice) -> core::result::Result<(), Failure> {
        let (budgets, retained, staff) = (budgets(), self.retained, self.staff());
        let blobs = Blobs::default();
        let job = run(&self.env, &budgets, &self.version, choice, retained, &blobs, &staff);
        let open = |meta| (choice.target, Table::new(self.shared.clone(), meta));
        let added = block_on(job)?.tables.into_iter().map(open).collect();
        let removed: Vec<u64> = choice.upper.iter().chain(&choice.lower).copied().collect();
        let tables = self.version.levels().iter().flatten();
        tables.filter(|table| removed.contains(&table.meta().id)).for_each(|table| table.retire());
        self.version = self.version.apply(added, &removed);
        Ok(())
    }

    fn compact(&mut self) {
        while let Some(choice) = choose(&self.version.shape(), &budgets(), self.retained.stamp) {
            if choice.is_move() {
                let tables = self.version.levels()[choice.level].iter();
                let moved = tables.filter(|table| choice.upper.contains(&table.meta().id));
                let moved = moved.map(|table| (choice.level + 1, table.clone())).collect();
                self.version = self.version.apply(moved, &choice.upper);
            } else {
                self.apply(&choice).unwrap();
            }
        }
    }

    /// Merges every level into the next, to the deepest one.
    fn compact_all(&mut self) {
        for level in 0..self.version.levels().len() {
            let ids = |level: usize| -> Vec<u64> {
                let tables = self.version.levels().get(level).into_iter().flatten();
                tables.map(|table| table.meta().id).collect()
            };
            let choice =
                Choice { level, target: level + 1, upper: ids(level), lower: ids(level + 1) };
            self.apply(&choice).unwrap();
        }
    }

    fn check(&self, stamp: Stamp, time_ms: u64) {
        for reverse in [false, true] {
            let snapshot = Snapshot { stamp, time_ms };
            let scan = Scan { start: Vec::new(), end: TOP.to_vec(), reverse, snapshot };
            let mut seen = Vec::new();
            let mut merge = Merge::scan(&[], &self.version, scan.clone());
            block_on(merge.fill(
                async || Ok(()),
                |record| {
                    seen.push(entry(record));
                    true
                },
            ))
            .unwrap();
            assert_eq!(seen, model::visible(&self.model, &scan));
        }
    }

    fn check_shape(&self) {
        let shape = self.version.shape();
        for level in shape.iter().skip(1) {
            assert!(level.is_sorted_by(|a, b| a.largest < b.smallest), "{level:?}");
        }
        let level0 = shape.first().map(Vec::as_slice).unwrap_or_default();
        assert!(level0.is_sorted_by(|a, b| a.newest > b.newest), "{level0:?}");
    }

    fn all_versions(&self) -> Model {
        let mut out = Model::new();
        let mut merge = Merge::versions(self.version.runs(&[], &TOP, Stamp::MAX), None);
        block_on(merge.fill(
            async || Ok(()),
            |record| {
                out.extend([entry(record)]);
                true
            },
        ))
        .unwrap();
        out
    }
}

fn batch() -> impl Strategy<Value = Vec<(Vec<u8>, Said)>> {
    let key = proptest::collection::vec(0u8..6, 1..4);
    let value = proptest::collection::vec(any::<u8>(), 0..30);
    let said = proptest::option::weighted(0.7, (value, prop_oneof![Just(0), 1u64..100]));
    proptest::collection::vec((key, said), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_retained_snapshot_sees_the_same_before_and_after(
        steps in proptest::collection::vec((batch(), 0.0f64..1.0, 0u64..12), 1..10),
    ) {
        let mut store = Store::new();
        for (batch, back, time_ms) in steps {
            store.flush(batch);
            let oldest = store.retained.stamp.counter;
            let kept = oldest + ((store.counter - oldest) as f64 * back) as u64;
            let time_ms = store.retained.time_ms + time_ms;
            store.retained = Snapshot { stamp: at(kept), time_ms };
            store.compact();
            store.check_shape();
            for counter in kept..=store.counter {
                store.check(at(counter), time_ms);
            }
            store.check(at(store.counter), 100);
        }
        let time_ms = store.retained.time_ms;
        store.retained.stamp = at(store.counter);
        store.compact_all();
        store.check(at(store.counter), time_ms);
        let left = store.all_versions();
        let keys: std::collections::BTreeSet<_> = left.keys().map(|(key, _)| key).collect();
        prop_assert_eq!(keys.len(), left.len(), "older versions are left");
        let visible = |said: &Said| said.as_ref().is_some_and(|said| alive(said.1, time_ms));
        prop_assert!(left.values().all(visible), "tombstones or expired values are left");
    }
}

fn full_store() -> Store {
    let mut store = Store::new();
    for round in 0..3u8 {
        store.flush((0..=200).map(|key| (vec![key], Some((vec![round; 20], 0)))).collect());
    }
    store
}

#[test]
fn a_compaction_that_fails_names_its_files_and_leaves_its_inputs_readable() {
    let mut store = full_store();
    let choice = choose(&store.version.shape(), &budgets(), store.retained.stamp).unwrap();
    let before = block_on(store.shared.storage.list()).unwrap();
    let (file, bytes) = {
        let meta = store.version.levels()[0][1].meta();
        (meta.file, meta.bytes)
    };
    let storage = store.shared.storage.clone();
    let mut whole = vec![0; bytes as usize];
    block_on(storage.read(file, 0, &mut whole)).unwrap();
    let durability = crate::storage::Durability::Strict;
    let mut damaged = whole.clone();
    damaged[bytes as usize / 2] ^= 1;
    block_on(storage.write(file, 0, &damaged, durability)).unwrap();
    let failure = store.apply(&choice).expect_err("a block is damaged");
    assert_eq!(failure.error.code(), Code::Corruption);
    assert_eq!(failure.error.place().map(|(file, _)| file), Some(file));
    assert!(failure.files.len() > 1);
    let mut added = block_on(storage.list()).unwrap();
    added.retain(|file| !before.contains(file));
    assert!(added.iter().all(|file| failure.files.contains(file)), "a file was left behind");
    block_on(storage.write(file, 0, &whole, durability)).unwrap();
    store.check(at(store.counter), 0);
}

#[test]
fn a_compaction_lets_requests_run_whenever_its_slice_is_used_up() {
    let mut store = Store::new();
    let value = vec![1; 1_000];
    for _ in 0..2 {
        store.flush((0..=200).map(|key| (vec![key], Some((value.clone(), 0)))).collect());
    }
    store.env.set_slice_used_up(true);
    store.env.set_turn_polls(1);
    let choice = choose(&store.version.shape(), &budgets(), store.retained.stamp).unwrap();
    let (budgets, retained, staff) = (budgets(), store.retained, store.staff());
    let blobs = Blobs::default();
    let job = run(&store.env, &budgets, &store.version, &choice, retained, &blobs, &staff);
    let mut job = pin!(job);
    let mut context = Context::from_waker(Waker::noop());
    let mut turns = 0;
    while job.as_mut().poll(&mut context).is_pending() {
        turns += 1;
    }
    assert!(turns >= 10, "{turns} turns in 400 KB of work");
}

#[test]
fn deleted_ranges_of_all_tables_are_merged_in_slices_into_tables_of_few() {
    let mut store = Store::new();
    for first in 0..2 {
        store.flush_ranges((first..20_000).step_by(2).map(|n| (n, n + 1)));
    }
    store.env.set_slice_used_up(true);
    store.env.set_turn_polls(1);
    let choice = store.merge_of_level0();
    let (budgets, retained, staff) = (budgets(), store.retained, store.staff());
    let blobs = Blobs::default();
    let job = run(&store.env, &budgets, &store.version, &choice, retained, &blobs, &staff);
    let mut job = pin!(job);
    let mut context = Context::from_waker(Waker::noop());
    let mut turns = 0;
    let tables = loop {
        match job.as_mut().poll(&mut context) {
            Poll::Ready(output) => break output.unwrap().tables,
            Poll::Pending => turns += 1,
        }
    };
    assert!(turns >= 20_000 / 512, "{turns} turns");
    // Where a table ends, a range is cut.
    let cuts = tables.len() as u64 - 1;
    assert_eq!(tables.iter().map(|table| table.ranges).sum::<u64>(), 20_000 + cuts);
    assert!(tables.iter().all(|table| table.bytes < 1_500), "{tables:?}");
    assert!(tables.is_sorted_by(|a, b| a.largest < b.smallest));
}

#[test]
fn what_deleted_ranges_hide_is_passed_unread() {
    // By ranges of two tables, one behind the other; the second time some keys are left out.
    for (end, is_hidden) in [(300, true), (140, false)] {
        let mut store = Store::new();
        store.flush((0..=200u32).map(|n| (n.to_be_bytes().into(), Some((vec![], 0)))).collect());
        let meta = store.version.levels()[0][0].meta().clone();
        store.flush_ranges([(0, 100)].into_iter());
        store.flush_ranges([(100, end)].into_iter());
        store.retained.stamp = at(store.counter);
        let (storage, durability) = (&store.shared.storage, crate::storage::Durability::Strict);
        let damage = storage.write(meta.file, meta.bytes * 3 / 4, &[0xff; 100], durability);
        block_on(damage).unwrap();
        let merged = store.apply(&store.merge_of_level0());
        assert_eq!(merged.is_ok(), is_hidden);
    }
}

#[test]
fn replaced_tables_become_garbage_and_moved_ones_do_not() {
    let mut store = full_store();
    let inputs: Vec<u32> =
        store.version.levels()[0].iter().map(|table| table.meta().file).collect();
    store.compact();
    let mut garbage = store.shared.garbage.borrow().clone();
    garbage.sort_unstable();
    let mut live: Vec<u32> =
        store.version.levels().iter().flatten().map(|table| table.meta().file).collect();
    live.sort_unstable();
    assert!(inputs.iter().all(|file| garbage.contains(file)));
    assert!(live.iter().all(|file| !garbage.contains(file)));
    let mut all = block_on(store.shared.storage.list()).unwrap();
    all.sort_unstable();
    let mut known = [garbage, live].concat();
    known.sort_unstable();
    assert_eq!(all, known);
}

#[test]
fn a_tombstone_stays_while_a_deeper_level_may_hold_its_key() {
    let mut store = Store::new();
    store.flush(vec![(vec![1], Some((vec![1], 0))), (vec![9], Some((vec![1], 0)))]);
    store.compact_all();
    store.flush(vec![(vec![1], None), (vec![5], None), (vec![10], None)]);
    store.retained.stamp = at(store.counter);
    let upper = store.version.levels()[0].iter().map(|table| table.meta().id).collect();
    // Level 1 is made the deepest but one: its tables lie below those that are merged.
    let deep: Vec<_> = store.version.levels()[1].iter().map(|table| (2, table.clone())).collect();
    let moved: Vec<u64> = deep.iter().map(|(_, table)| table.meta().id).collect();
    store.version = store.version.apply(deep, &moved);
    store.apply(&Choice { level: 0, target: 1, upper, lower: Vec::new() }).unwrap();
    let tombstones = part(&store.all_versions(), |(_, stamp)| stamp.0 > at(2));
    let keys: Vec<u8> = tombstones.keys().map(|(key, _)| key[0]).collect();
    assert_eq!(keys, [1, 5], "10 lies past all that is deeper");
    store.check(at(store.counter), 0);
}
