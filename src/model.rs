//! What the tests of tables, merging and compaction compare with: the versions in a sorted map,
//! and how they are put into real tables.

use crate::bytes::Bytes;
use crate::env::manual::block_on;
use crate::limits::Budgets;
use crate::memtable::{Memtable, OwnedOp};
use crate::merge::Scan;
use crate::record::{Found, Op, Record, alive};
use crate::stamp::Stamp;
use crate::storage::{MemoryStorage, Storage};
use crate::table::{Table, TableBuilder, TableMeta, Tables};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A key with the stamp of a version, in the order of tables.
pub type Place = (Vec<u8>, Reverse<Stamp>);
/// A value with its `expires_at`, or a tombstone.
pub type Said = Option<(Vec<u8>, u64)>;
/// Versions by key, newest first.
pub type Model = BTreeMap<Place, Said>;

pub fn at(counter: u64) -> Stamp {
    Stamp { epoch: 1, counter }
}

pub fn place(key: &[u8], stamp: Stamp) -> Place {
    (key.to_vec(), Reverse(stamp))
}

/// A version as a table has it.
pub fn record<'a>((place, said): (&'a Place, &'a Said)) -> Record<'a> {
    let op = match said {
        Some((value, expires_at)) => Op::Set { value, expires_at: *expires_at, in_blob: false },
        None => Op::Delete,
    };
    Record { key: &place.0, stamp: place.1.0, op }
}

/// A version as the model has it.
pub fn entry(record: Record<'_>) -> (Place, Said) {
    let said = match record.op {
        Op::Set { value, expires_at, .. } => Some((value.to_vec(), expires_at)),
        Op::Delete => None,
    };
    (place(record.key, record.stamp), said)
}

/// The newest version of a key at or below a stamp.
pub fn get(model: &Model, key: &[u8], stamp: Stamp) -> Option<Found> {
    let (place, said) = model.range(place(key, stamp)..).next()?;
    let stamp = place.1.0;
    (place.0 == key).then(|| match said {
        Some((value, expires_at)) => {
            Found::Set { stamp, value: Bytes::copy(value), expires_at: *expires_at, in_blob: false }
        }
        None => Found::Delete { stamp },
    })
}

/// What a scan hands out.
pub fn visible(model: &Model, scan: &Scan) -> Vec<(Place, Said)> {
    let mut out: Vec<(Place, Said)> = Vec::new();
    let mut last_key = None;
    for (place, said) in model {
        let in_range = scan.start <= place.0 && place.0 < scan.end;
        if !in_range || place.1.0 > scan.snapshot.stamp || last_key == Some(&place.0) {
            continue;
        }
        last_key = Some(&place.0);
        if said.as_ref().is_some_and(|said| alive(said.1, scan.snapshot.time_ms)) {
            out.push((place.clone(), said.clone()));
        }
    }
    if scan.reverse {
        out.reverse();
    }
    out
}

/// The versions that `wanted` picks, by their places.
pub fn part(model: &Model, wanted: impl Fn(&Place) -> bool) -> Model {
    let picked = model.iter().filter(|(place, _)| wanted(place));
    picked.map(|(place, said)| (place.clone(), said.clone())).collect()
}

prop_compose! {
    /// Keys that share prefixes and have several versions, some with values larger than blocks.
    pub fn versions()(
        list in proptest::collection::vec(
            (
                prop_oneof![
                    proptest::collection::vec(0u8..3, 1..4),
                    proptest::collection::vec(any::<u8>(), 1..40),
                ],
                1u64..50,
                proptest::option::weighted(
                    0.8,
                    (proptest::collection::vec(any::<u8>(), 0..100), 0u64..1000),
                ),
            ),
            1..300,
        )
    ) -> Model {
        list.into_iter().map(|(key, counter, said)| (place(&key, at(counter)), said)).collect()
    }
}

/// A memtable that holds these versions.
pub fn memtable(model: &Model) -> Rc<Memtable> {
    let memtable = Memtable::default();
    // It wants the versions of a key oldest first.
    for (place, said) in model.iter().rev() {
        let op = match said {
            Some((value, expires_at)) => {
                OwnedOp::Set { value: Bytes::copy(value), expires_at: *expires_at, in_blob: false }
            }
            None => OwnedOp::Delete,
        };
        memtable.insert(&place.0, place.1.0, op, Stamp::ZERO);
    }
    Rc::new(memtable)
}

/// What open tables share, over an empty storage or one that has been prepared.
pub fn shared(storage: Rc<MemoryStorage>) -> Rc<Tables<MemoryStorage>> {
    Tables::new(storage, 1 << 20, <_>::default(), None)
}

/// A table of these versions; there is at least one.
pub fn write(
    shared: &Tables<MemoryStorage>,
    id: u64,
    model: &Model,
    budgets: &Budgets,
) -> TableMeta {
    block_on(async {
        let file = shared.storage.create().await.unwrap();
        let salt = id ^ 0xa1b2_c3d4;
        let mut builder = TableBuilder::new(shared.storage.clone(), file, id, salt, budgets);
        for entry in model {
            builder.add(record(entry)).unwrap();
            builder.flush_if_due().await.unwrap();
        }
        builder.finish().await.unwrap()
    })
}

/// The same, opened.
pub fn open(
    shared: &Rc<Tables<MemoryStorage>>,
    id: u64,
    model: &Model,
    budgets: &Budgets,
) -> Rc<Table<MemoryStorage>> {
    Table::new(shared.clone(), write(shared, id, model, budgets))
}
