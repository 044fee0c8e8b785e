//! What the engine's tests share: a store that can be reopened, and short ways to write commits.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use kvass::commit::Outcome;
use kvass::db::{Db, Options, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::Result;
use kvass::history::Retention;
use kvass::key::{Part, encode};
use kvass::limits::Budgets;
use kvass::storage::Storage;
use kvass::storage::memory::MemoryStorage;
use kvass::wire::{Blob, Check, Commit, Mutation, Request, RequestFrame};
use std::rc::Rc;

pub mod harness;
pub mod large;
pub mod meter;

/// The time at which tests begin, in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_700_000_000_000;

/// Budgets so small that a few hundred entries reach every part of the engine.
pub fn tiny() -> Budgets {
    Budgets {
        memtable_bytes: 4 * 1024,
        range_bytes: 1024,
        cache_bytes: 4 * 1024,
        block_bytes: 256,
        table_bytes: 2 * 1024,
        level0_tables: 2,
        level1_bytes: 8 * 1024,
        level_growth: 4,
        rest_share: 2,
        filter_bits: 10,
        compression: true,
        large_value_bytes: 40,
        blob_bytes: 2 * 1024,
        stretch_bytes: 512,
        mutations_in_a_row: 4,
        reserve_bytes: 0,
    }
}

/// The same with hardly any history, so that the sizes of files tell of the data.
pub fn tiny_options() -> Options {
    let history = Retention { bytes: 2 * 1024, ms: u64::MAX };
    Options { budgets: tiny(), history, ..Options::default() }
}

/// An open database with what is needed to open it again.
pub struct Store<S: Storage = MemoryStorage> {
    pub db: Rc<Db<ManualEnv<S>>>,
    pub storage: Rc<S>,
    options: Options,
    now_ms: u64,
    seed: u64,
}

impl Store<MemoryStorage> {
    pub fn open_in_memory(options: Options, seed: u64) -> Store<MemoryStorage> {
        Store::open(Rc::new(MemoryStorage::new()), options, seed).expect("a new database opens")
    }
}

impl<S: Storage> Store<S> {
    pub fn open(storage: Rc<S>, options: Options, seed: u64) -> Result<Store<S>> {
        let env = ManualEnv::new(storage.clone(), START_MS, seed);
        let db = block_on(Db::open(env, options.clone()))?;
        Ok(Store { db, storage, options, now_ms: START_MS, seed })
    }

    /// Opens the same storage again, without closing: as after a tab was killed.
    pub fn reopen(&mut self) {
        self.seed += 1_000_003;
        let env = ManualEnv::new(self.storage.clone(), self.now_ms, self.seed);
        self.db = block_on(Db::open(env, self.options.clone())).expect("it reopens");
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub fn advance(&mut self, by_ms: u64) {
        self.now_ms += by_ms;
        self.db.env().set_now_ms(self.now_ms);
    }

    /// Sets the clock back for the next open.
    pub fn rewind(&mut self, by_ms: u64) {
        self.now_ms -= by_ms;
    }

    pub fn commit_one(&mut self, commit: Commit<'_>) -> Result<Outcome> {
        block_on(self.db.commit(&[&commit])).pop().expect("one answer a commit")
    }

    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = block_on(self.db.get(key, self.db.snapshot())).expect("it reads");
        found.map(|(_, value)| value.to_vec())
    }

    /// How many user entries there are.
    pub fn count(&self) -> usize {
        let mut count = 0;
        let range = Range { start: &[1], end: &[0xff], reverse: false };
        block_on(self.db.list(range, self.db.snapshot(), |_| {
            count += 1;
            true
        }))
        .expect("it lists");
        count
    }
}

pub fn key(parts: &[&str]) -> Vec<u8> {
    let parts: Vec<_> = parts.iter().map(|part| Part::String((*part).into())).collect();
    encode(&parts).expect("a key")
}

/// An encoded top-level number.
pub fn number(value: f64) -> Vec<u8> {
    [&[4], &value.to_le_bytes()[..]].concat()
}

pub fn commit<'a>(checks: Vec<Check<'a>>, mutations: Vec<Mutation<'a>>) -> Commit<'a> {
    Commit { checks, mutations, durability: None }
}

pub fn set<'a>(key: &'a [u8], value: &'a [u8]) -> Mutation<'a> {
    Mutation::Set { key: Blob(key), value: Blob(value), expire_in_ms: None, stamp_key: false }
}

pub fn delete(key: &[u8]) -> Mutation<'_> {
    Mutation::Delete { key: Blob(key) }
}

pub fn delete_range<'a>(start: &'a [u8], end: &'a [u8]) -> Mutation<'a> {
    Mutation::DeleteRange { start: Blob(start), end: Blob(end) }
}

pub fn sum<'a>(key: &'a [u8], value: &'a [u8]) -> Mutation<'a> {
    Mutation::Sum { key: Blob(key), value: Blob(value) }
}

/// A frame of a client's requests, encoded; `first` is the sequence number of the first.
pub fn frame(client: [u8; 16], first: u64, requests: Vec<Request<'_>>) -> Vec<u8> {
    let frame = RequestFrame {
        client,
        epoch: 0,
        deadline_ms: 0,
        acked_through: 0,
        resend_of: 0,
        first,
        requests,
    };
    postcard::to_allocvec(&frame).expect("it encodes")
}
