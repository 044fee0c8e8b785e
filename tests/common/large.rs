//! Large values for the tests of them.

use super::{Store, commit, key, set};
use kvass::db::Options;
use kvass::env::manual::block_on;
use kvass::history::Retention;
use kvass::limits::Budgets;
use kvass::rng::Rng;
use kvass::storage::{MemoryStorage, Storage};

/// No history: it would keep the values that its commits have set.
pub const FORGETFUL: Retention = Retention { bytes: 0, ms: u64::MAX };

/// A new database without history.
pub fn open(budgets: Budgets) -> Store<MemoryStorage> {
    Store::open_in_memory(Options { budgets, history: FORGETFUL, ..Options::default() }, 1)
}

/// A value of kind bytes.
pub fn value(seed: u64, len: usize) -> Vec<u8> {
    [&[3][..], &Rng::new(seed).bytes(len)].concat()
}

/// A key.
pub fn name(n: u64) -> Vec<u8> {
    key(&["k", &format!("{n:04}")])
}

/// Sets the value of a key.
pub fn put<S: Storage>(store: &mut Store<S>, n: u64, value: &[u8]) {
    store.commit_one(commit(vec![], vec![set(&name(n), value)])).expect("it commits");
}

/// What all files take, in bytes.
pub fn usage<S: Storage>(store: &Store<S>) -> u64 {
    block_on(store.storage.usage()).expect("it is known")
}

/// Has everything that was committed end up in tables, and compacted.
pub fn settle<S: Storage>(store: &mut Store<S>) {
    block_on(store.db.flush()).expect("it flushes");
    block_on(store.db.upkeep());
    assert_eq!(store.db.failure(), None);
}
