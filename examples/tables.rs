//! What tables cost, natively and in memory: `cargo run --release --example tables`.
//!
//! 100,000 entries of 16-byte keys and 100-byte values. Times are nanoseconds an operation.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use kvass::compaction::{self, Choice};
use kvass::env::ManualEnv;
use kvass::env::manual::block_on;
use kvass::limits::Budgets;
use kvass::memtable::{Memtable, OwnedOp};
use kvass::merge::{Merge, Scan};
use kvass::rng::Rng;
use kvass::snapshot::Snapshot;
use kvass::stamp::Stamp;
use kvass::storage::MemoryStorage;
use kvass::table::{Table, Tables, Wanted, resolve};
use kvass::version::Version;
use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

const ENTRIES: u64 = 100_000;
const READS: u64 = 200_000;
const KEY: usize = 16;

type Store = Version<MemoryStorage>;

struct Bench {
    env: ManualEnv<MemoryStorage>,
    budgets: Budgets,
    ids: Cell<u64>,
}

fn key(index: u64) -> [u8; KEY] {
    let mut key = *b"\x02bench0000000000";
    for (byte, digit) in key.iter_mut().rev().zip(0..10) {
        *byte = b'0' + (index / 10u64.pow(digit) % 10) as u8;
    }
    key
}

fn measure<T>(title: &str, count: u64, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = black_box(run());
    println!("{title:<48} {:>8.0}", start.elapsed().as_nanos() as f64 / count as f64);
    result
}

impl Bench {
    /// `parts` tables of level 0 that overlap, each with every `parts`th entry.
    fn store(&mut self, parts: u64, cache_bytes: usize) -> Store {
        let rng = Rng::new(1);
        let storage = kvass::env::Env::storage(&self.env).clone();
        let shared = Tables::new(storage, cache_bytes, <_>::default(), None);
        let mut tables = Vec::new();
        for part in 0..parts {
            let memtable = Memtable::default();
            for index in (part..ENTRIES).step_by(parts as usize) {
                let value = kvass::bytes::Bytes::copy(&rng.bytes(100));
                let stamp = Stamp { epoch: 1, counter: part * ENTRIES + index + 1 };
                let op = OwnedOp::Set { value, expires_at: 0, in_blob: false };
                memtable.insert(&key(index), stamp, op, stamp);
            }
            let (env, budgets, ids) = (&self.env, &self.budgets, &self.ids);
            let below = Version::empty();
            let written = measure("flush, an entry", ENTRIES / parts, || {
                block_on(compaction::flush(env, budgets, (&memtable, 0), &below, ids))
            });
            tables.push((0, Table::new(shared.clone(), written.ok().flatten().unwrap())));
        }
        Version::empty().apply(tables, &[])
    }

    /// Everything in level 0 merged into level 1.
    fn compacted(&mut self, store: &Store, cache_bytes: usize) -> Store {
        let tables = store.levels().iter().flatten();
        let upper: Vec<u64> = tables.map(|table| table.meta().id).collect();
        let choice = Choice { level: 0, target: 1, upper: upper.clone(), lower: Vec::new() };
        let (env, budgets, ids) = (&self.env, &self.budgets, &self.ids);
        let retained = Snapshot { stamp: Stamp::MAX, time_ms: 0 };
        let written = measure("compaction, an entry", ENTRIES, || {
            block_on(compaction::run(env, budgets, store, &choice, retained, &<_>::default(), ids))
        });
        let storage = kvass::env::Env::storage(&self.env).clone();
        let shared = Tables::new(storage, cache_bytes, <_>::default(), None);
        let open = |meta| (1, Table::new(shared.clone(), meta));
        Version::empty().apply(written.ok().unwrap().tables.into_iter().map(open).collect(), &[])
    }
}

fn gets(title: &str, store: &Store, absent: bool) {
    let rng = Rng::new(2);
    measure(title, READS, || {
        for _ in 0..READS {
            let mut key = key(rng.below(ENTRIES));
            if absent {
                key[KEY - 1] = b'x';
            }
            let wanted = Wanted::new(&key, Stamp::MAX);
            let look_up = resolve(|loaded| store.look_up(loaded, wanted));
            let found = block_on(look_up).unwrap();
            assert_eq!(found.is_some(), !absent);
        }
    });
}

fn scan(title: &str, store: &Store, reverse: bool, limit: u64) {
    let snapshot = Snapshot { stamp: Stamp::MAX, time_ms: 0 };
    let rounds = ENTRIES / limit;
    let mut out = Vec::with_capacity(32 << 20);
    measure(title, rounds * limit, || {
        for round in 0..rounds {
            let (start, end) = (key(round * limit).to_vec(), key((round + 1) * limit).to_vec());
            let mut merge = Merge::scan(&[], store, Scan { start, end, reverse, snapshot });
            out.clear();
            let mut seen = 0;
            block_on(merge.fill(
                async || Ok(()),
                |record| {
                    if let kvass::record::Op::Set { value, .. } = record.op {
                        out.extend_from_slice(record.key);
                        out.extend_from_slice(value);
                    }
                    seen += 1;
                    true
                },
            ))
            .unwrap();
            assert_eq!(seen, limit);
        }
    });
}

fn main() {
    let storage = Rc::new(MemoryStorage::new());
    let env = ManualEnv::new(storage, 0, 1);
    let mut bench = Bench { env, budgets: Budgets::default(), ids: Cell::new(0) };
    let large = 64 << 20;
    let level0 = bench.store(4, large);
    let level1 = bench.compacted(&level0, large);
    gets("get, level 1, first round", &level1, false);
    gets("get, level 1, cached", &level1, false);
    gets("get of an absent key, level 1", &level1, true);
    gets("get, 4 tables of level 0, first round", &level0, false);
    gets("get, 4 tables of level 0, cached", &level0, false);
    gets("get of an absent key, 4 tables of level 0", &level0, true);
    for (name, store) in [("level 1", &level1), ("4 tables of level 0", &level0)] {
        for (order, reverse) in [("forward", false), ("reverse", true)] {
            for limit in [10, 100, ENTRIES] {
                scan(
                    &format!("entry of a scan of {limit}, {order}, {name}"),
                    store,
                    reverse,
                    limit,
                );
            }
        }
    }
    let level1 = bench.compacted(&level0, 1 << 20);
    gets("get, level 1, cache of a twelfth", &level1, false);
    scan("entry of a scan of all, cache of a twelfth", &level1, false, ENTRIES);
}
