//! A merge over memtables and levels of tables answers as one sorted list of versions would.

use super::*;
use crate::env::manual::block_on;
use crate::limits::Budgets;
use crate::model::{self, Model, Place, at, entry, get, memtable, part, shared, versions};
use crate::stamp::Stamp;
use crate::storage::{Durability, MemoryStorage, Storage};
use crate::table::{Wanted, resolve};
use proptest::prelude::*;

/// A database of a model's versions: the oldest in the deepest level, the newest in memtables.
struct Layered {
    memtables: Vec<Rc<Memtable>>,
    version: Version<MemoryStorage>,
}

/// `cuts` are the stamps where one layer ends and the next begins: level 2, level 1, two tables
/// of level 0, two memtables. Each deeper level is split into tables at these `keys`.
fn layered(model: &Model, cuts: [u64; 5], keys: &[Vec<u8>], budgets: &Budgets) -> Layered {
    let mut cuts = cuts;
    cuts.sort_unstable();
    let [a, b, c, d, e] = cuts;
    let shared = shared(Rc::default());
    let mut added = Vec::new();
    let layer =
        |from: u64, to: u64| part(model, move |(_, stamp)| (from..to).contains(&stamp.0.counter));
    for (level, versions) in
        [(2, layer(0, a)), (1, layer(a, b)), (0, layer(b, c)), (0, layer(c, d))]
    {
        let keys = if level == 0 { &[] } else { keys };
        for place in 0..=keys.len() {
            let in_table =
                |(key, _): &Place| keys.iter().filter(|start| *start <= key).count() == place;
            let versions = part(&versions, in_table);
            if !versions.is_empty() {
                let id = added.len() as u64 + 1;
                added.push((level, model::open(&shared, id, &versions, budgets)));
            }
        }
    }
    let memtables = vec![memtable(&layer(d, e)), memtable(&layer(e, 50))];
    Layered { memtables, version: Version::empty().apply(added, &[]) }
}

impl<S: Storage> Merge<S> {
    /// The next visible entry, or None at the end.
    async fn next(&mut self) -> Result<Option<Record<'_>>> {
        let more = self.fill(async || Ok(()), |_| false).await?;
        Ok(if more { self.record() } else { None })
    }
}

/// Pages of a scan, each ended by the visitor after `page` entries.
fn scan_in_pages(layered: &Layered, scan: &Scan, page: usize) -> Vec<(Place, model::Said)> {
    let mut merge = Merge::scan(&layered.memtables, &layered.version, scan.clone());
    let mut out = Vec::new();
    loop {
        let mut left = page;
        let more = block_on(merge.fill(
            async || Ok(()),
            |record| {
                out.push(entry(record));
                left -= 1;
                left > 0
            },
        ));
        if !more.unwrap() {
            return out;
        }
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..4, 0..4)
}

prop_compose! {
    fn scan()(
        start in key(),
        end in prop_oneof![key(), Just(vec![0xff; 41])],
        reverse in any::<bool>(),
        counter in 0u64..52,
        time_ms in 0u64..1000,
    ) -> Scan {
        Scan { start, end, reverse, snapshot: Snapshot { stamp: at(counter), time_ms } }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn scans_and_gets_see_what_one_sorted_list_would_show(
        model in versions(),
        cuts in any::<[u8; 5]>().prop_map(|cuts| cuts.map(|cut| u64::from(cut) % 51)),
        keys in proptest::collection::btree_set(key(), 0..4),
        block_bytes in 1usize..2000,
        scans in proptest::collection::vec(scan(), 12),
        page in 1usize..20,
    ) {
        let budgets = Budgets { block_bytes, ..Budgets::default() };
        let keys: Vec<_> = keys.into_iter().collect();
        let layered = layered(&model, cuts, &keys, &budgets);
        for scan in &scans {
            let seen = scan_in_pages(&layered, scan, page);
            prop_assert_eq!(seen, model::visible(&model, scan), "{:?}", scan);
        }
        let everything = Merge::versions(layered.version.runs(&[], &[0xff; 41], Stamp::MAX), None);
        let deep = part(&model, |(_, stamp)| stamp.0.counter < cuts.into_iter().max().unwrap());
        let in_tables = all_versions(everything);
        prop_assert!(in_tables.iter().all(|(place, said)| deep.get(place) == Some(said)));
        for (key, _) in model.keys() {
            for counter in [1, 20, 49] {
                let wanted = Wanted::new(key, at(counter));
                let look_up = resolve(|loaded| layered.version.look_up(loaded, wanted));
                let found = block_on(look_up).unwrap();
                let tables = get(&in_tables, key, at(counter));
                prop_assert_eq!(found, tables);
            }
        }
    }
}

fn all_versions(mut merge: Merge<MemoryStorage>) -> Model {
    let mut out = Vec::new();
    let more = block_on(merge.fill(
        async || Ok(()),
        |record| {
            out.push(entry(record));
            true
        },
    ));
    assert!(!more.unwrap());
    assert!(out.is_sorted_by(|a, b| a.0 < b.0), "not in order");
    out.into_iter().collect()
}

#[test]
fn a_commit_during_a_scan_does_not_change_what_it_sees() {
    let entries = (0..1000u64).map(|index| (index.to_be_bytes().to_vec(), at(1)));
    let said = Some((vec![1], 0));
    let model: Model =
        entries.map(|(key, stamp)| (model::place(&key, stamp), said.clone())).collect();
    let memtable = memtable(&model);
    let snapshot = Snapshot { stamp: at(1), time_ms: 0 };
    for reverse in [false, true] {
        let scan = Scan { start: vec![0], end: vec![1], reverse, snapshot };
        let version = Version::<MemoryStorage>::empty();
        let mut merge = Merge::scan(std::slice::from_ref(&memtable), &version, scan);
        let mut seen = 0u64;
        while let Some(record) = block_on(merge.next()).unwrap() {
            assert_eq!(record.stamp, at(1));
            for index in [seen, seen + 1, 999 - seen, 500] {
                let op = crate::memtable::OwnedOp::Delete;
                memtable.insert(&index.to_be_bytes(), at(2 + seen), op, at(1));
            }
            seen += 1;
        }
        assert_eq!(seen, 1000);
    }
}

#[test]
fn a_scan_that_failed_does_not_go_on_without_what_it_could_not_read() {
    let entries = (0..100u8).map(|key| (model::place(&[key], at(1)), Some((vec![key; 9], 0))));
    let model: Model = entries.collect();
    let tables = shared(Rc::default());
    let budgets = Budgets { block_bytes: 64, ..Budgets::default() };
    let table = model::open(&tables, 1, &model, &budgets);
    let (file, middle) = (table.meta().file, table.meta().bytes / 3);
    block_on(async {
        let mut byte = [0];
        tables.storage.read(file, middle, &mut byte).await.unwrap();
        tables.storage.write(file, middle, &[!byte[0]], Durability::Strict).await.unwrap();
    });
    let version = Version::empty().apply(vec![(0, table)], &[]);
    for reverse in [false, true] {
        let snapshot = Snapshot { stamp: at(1), time_ms: 0 };
        let scan = Scan { start: vec![0], end: vec![100], reverse, snapshot };
        let mut merge = Merge::scan(&[], &version, scan);
        let mut keys = Vec::new();
        for attempt in 0..3 {
            let filled = block_on(merge.fill(
                async || Ok(()),
                |record| {
                    keys.push(record.key.to_vec());
                    true
                },
            ));
            assert!(filled.is_err(), "attempt {attempt}");
        }
        if reverse {
            keys.iter_mut().for_each(|key| key[0] = 99 - key[0]);
        }
        assert!((1..99).contains(&keys.len()));
        assert!(keys.iter().zip(0..).all(|(key, place)| key[0] == place), "{keys:?}");
    }
}

#[test]
fn what_was_set_after_a_range_was_deleted_is_seen_wherever_the_hidden_entries_end() {
    let model: Model = (0..80u8)
        .flat_map(|key| {
            [1, 2].map(|counter| (model::place(&[key], at(counter)), Some((vec![], 0))))
        })
        .collect();
    let (budgets, tables) = (Budgets::default(), shared(Rc::default()));
    let layer = |counter| part(&model, |(_, stamp)| stamp.0 == at(counter));
    let levels = [(2, 1), (1, 2)];
    let open = |(level, counter)| (level, model::open(&tables, counter, &layer(counter), &budgets));
    let version = Version::empty().apply(levels.map(open).into(), &[]);
    for (reverse, first) in [false, true].into_iter().flat_map(|way| (0..80).map(move |n| (way, n)))
    {
        let kept = if reverse { 0..first } else { first..80 };
        let entry = |key| (model::place(&[key], at(4)), Some((vec![], 0)));
        let memtable = memtable(&kept.clone().map(entry).collect());
        memtable.delete_range(&Rc::from([0]), &Rc::from([80]), at(3), at(0));
        let snapshot = Snapshot { stamp: at(9), time_ms: 0 };
        let scan = Scan { start: vec![0], end: vec![80], reverse, snapshot };
        let mut merge = Merge::scan(&[memtable], &version, scan);
        let mut keys = Vec::new();
        while let Some(record) = block_on(merge.next()).unwrap() {
            keys.push(record.key[0]);
        }
        keys.sort_unstable();
        assert_eq!(keys, kept.collect::<Vec<_>>());
    }
}
