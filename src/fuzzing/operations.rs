//! A target whose bytes are a program: operations on a database with tiny budgets, which must
//! answer as a sorted map does.

use crate::commit::Outcome;
use crate::db::{Db, Options, Range};
use crate::env::manual::{ManualEnv, block_on};
use crate::limits::Budgets;
use crate::record::{Op, alive};
use crate::storage::SimulatedStorage;
use crate::wire::{Blob, Commit, Mutation};
use std::collections::BTreeMap;
use std::rc::Rc;

/// More operations than that find nothing new.
const OPERATIONS_MAX: usize = 500;
const START_MS: u64 = 1_700_000_000_000;

type Database = Rc<Db<ManualEnv<SimulatedStorage>>>;

/// The program: a byte says what is done, those behind it to what.
struct Program<'a> {
    code: std::slice::Iter<'a, u8>,
    disk: SimulatedStorage,
    db: Database,
    opens: u64,
    now_ms: u64,
    /// By key: the value and when it expires.
    model: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
}

/// Runs a program.
pub fn operations(data: &[u8]) {
    let disk = SimulatedStorage::new(1);
    let db = open(&disk, 0, START_MS);
    let (code, model) = (data.iter(), BTreeMap::new());
    let mut program = Program { code, disk, db, opens: 0, now_ms: START_MS, model };
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = program.code.next() else { break };
        program.step(*operation);
    }
    program.list(&[], &[0xff], false);
    program.list(&[], &[0xff], true);
}

fn open(disk: &SimulatedStorage, seed: u64, now_ms: u64) -> Database {
    let budgets = Budgets {
        memtable_bytes: 1024,
        cache_bytes: 2048,
        block_bytes: 128,
        table_bytes: 1024,
        level0_tables: 2,
        level1_bytes: 2048,
        level_growth: 3,
        ..Budgets::default()
    };
    let env = ManualEnv::new(Rc::new(disk.clone()), now_ms, seed);
    let options = Options { budgets, ..Options::default() };
    block_on(Db::open(env, options)).expect("it opens")
}

impl Program<'_> {
    fn byte(&mut self) -> u8 {
        self.code.next().copied().unwrap_or_default()
    }

    /// One of 64 keys, some of them prefixes of others.
    fn key(&mut self) -> Vec<u8> {
        let byte = self.byte() & 63;
        let mut key = vec![2; 1 + usize::from(byte >> 4)];
        key.fill(b'a');
        key.push(b'a' + (byte & 15));
        [&[2], &key[..], &[0]].concat()
    }

    fn step(&mut self, operation: u8) {
        match operation % 16 {
            0..4 => {
                let (key, value) = (self.key(), self.value());
                self.set(key, value, None);
            }
            4 => {
                let (start, end) = (self.key(), self.key());
                let (start, end) = (start.clone().min(end.clone()), start.max(end));
                self.commit(Mutation::DeleteRange { start: Blob(&start), end: Blob(&end) });
                self.model.retain(|key, _| !(&start..&end).contains(&key));
            }
            5 => {
                let (key, value, lives_ms) = (self.key(), self.value(), self.byte());
                self.set(key, value, Some(u64::from(lives_ms) + 1));
            }
            6 | 7 => {
                let key = self.key();
                self.commit(Mutation::Delete { key: Blob(&key) });
                self.model.remove(&key);
            }
            8 => {
                let key = self.key();
                let found = block_on(self.db.get(&key, self.db.snapshot())).expect("it reads");
                let found = found.map(|(_, value)| value.to_vec());
                assert_eq!(found.as_ref(), self.alive(&key));
            }
            9 | 10 => {
                let (start, end) = (self.key(), self.key());
                self.list(&start, &end, operation % 16 == 10);
            }
            11 => {
                self.now_ms += u64::from(self.byte());
                self.db.env().set_now_ms(self.now_ms);
            }
            12 => block_on(self.db.expire()).expect("it expires"),
            13 => block_on(self.db.upkeep()),
            14 => block_on(self.db.flush()).expect("it flushes"),
            _ => {
                self.opens += 1;
                self.disk = self.disk.restart();
                self.db = open(&self.disk, self.opens, self.now_ms);
            }
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let (length, byte) = (self.byte(), self.byte());
        let mut value = vec![byte; 1 + usize::from(length)];
        value[0] = 3;
        value
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>, expire_in_ms: Option<u64>) {
        let (blob, contents) = (Blob(&key), Blob(&value));
        let set = Mutation::Set { key: blob, value: contents, expire_in_ms, stamp_key: false };
        self.commit(set);
        let expires_at = expire_in_ms.map_or(0, |lives_ms| self.now_ms + lives_ms);
        self.model.insert(key, (value, expires_at));
    }

    fn commit(&self, mutation: Mutation<'_>) {
        let (checks, mutations) = (Vec::new(), vec![mutation]);
        let commit = Commit { checks, mutations, durability: None };
        let outcome = block_on(self.db.commit(&[&commit])).pop();
        assert!(matches!(outcome, Some(Ok(Outcome::Committed(_)))), "{outcome:?}");
    }

    fn alive(&self, key: &[u8]) -> Option<&Vec<u8>> {
        let (value, expires_at) = self.model.get(key)?;
        alive(*expires_at, self.now_ms).then_some(value)
    }

    fn list(&self, start: &[u8], end: &[u8], reverse: bool) {
        let mut found = Vec::new();
        let range = Range { start, end, reverse };
        block_on(self.db.list(range, self.db.snapshot(), |entry| {
            let Op::Set { value, .. } = entry.op else { return true };
            if entry.key[0] != 0 {
                found.push((entry.key.to_vec(), value.to_vec()));
            }
            true
        }))
        .expect("it lists");
        if reverse {
            found.reverse();
        }
        let within = self.model.iter().filter(|(key, (_, expires_at))| {
            (start..end).contains(&key.as_slice()) && alive(*expires_at, self.now_ms)
        });
        let wanted: Vec<_> = within.map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        assert_eq!(found, wanted);
    }
}
