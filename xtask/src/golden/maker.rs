//! A database that is being made, beside a plain map that says what must be in it.

#![allow(clippy::expect_used, reason = "nothing fails here but the engine")]

use super::fixture::{Files, shown};
use kvass::commit::Outcome;
use kvass::db::{Db, Options, OwnedEntry, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::key::{Part, encode};
use kvass::limits::Budgets;
use kvass::manifest::FORMAT;
use kvass::storage::SimulatedStorage;
use kvass::wire::{Blob, Commit, Mutation};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

/// When the databases were written: a day in 2023.
const START_MS: u64 = 1_700_000_000_000;

/// The database.
pub type Database = Db<ManualEnv<SimulatedStorage>>;

/// An owned mutation of a golden database.
pub enum Change {
    /// The value of a key, and how long it is to live if not for ever.
    Set(Vec<u8>, Vec<u8>, Option<u64>),
    /// A key to delete.
    Delete(Vec<u8>),
    /// The keys from one up to another.
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// A database on a disk in memory.
pub struct Maker {
    disk: SimulatedStorage,
    budgets: Budgets,
    db: Option<Rc<Database>>,
    now_ms: u64,
    opens: u64,
    /// By key: the value and when it expires.
    model: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
}

impl Maker {
    /// Nothing yet.
    pub fn new() -> Maker {
        let (disk, budgets) = (SimulatedStorage::new(1), Budgets::default());
        Maker { disk, budgets, db: None, now_ms: START_MS, opens: 0, model: BTreeMap::new() }
    }

    /// The budgets of later opens.
    pub fn budgets(&mut self) -> &mut Budgets {
        &mut self.budgets
    }

    /// Opens the database; one that is open is left as if its process had been killed.
    pub fn open(&mut self) -> Rc<Database> {
        self.opens += 1;
        let options = Options { budgets: self.budgets.clone(), ..Options::default() };
        let env = ManualEnv::new(Rc::new(self.disk.clone()), self.now_ms, self.opens);
        let db = block_on(Db::open(env, options)).expect("it opens");
        self.db.insert(db).clone()
    }

    /// The open database.
    pub fn db(&self) -> &Rc<Database> {
        self.db.as_ref().expect("it is open")
    }

    /// The disk.
    pub fn disk(&self) -> &SimulatedStorage {
        &self.disk
    }

    /// Moves the clock, and lets what has expired by then be deleted.
    pub fn advance(&mut self, by_ms: u64) {
        self.now_ms += by_ms;
        self.db().env().set_now_ms(self.now_ms);
        block_on(self.db().expire()).expect("it expires");
        let now_ms = self.now_ms;
        self.model.retain(|_, (_, expires_ms)| *expires_ms == 0 || *expires_ms > now_ms);
    }

    /// Commits changes.
    pub fn commit(&mut self, changes: &[Change]) {
        self.commit_unkept(changes);
        for change in changes {
            match change {
                Change::Set(key, value, lives_ms) => {
                    let expires_ms = lives_ms.map_or(0, |lives_ms| self.now_ms + lives_ms);
                    self.model.insert(key.clone(), (value.clone(), expires_ms));
                }
                Change::Delete(key) => {
                    self.model.remove(key);
                }
                Change::DeleteRange(start, end) => {
                    self.model.retain(|key, _| !(start..end).contains(&key));
                }
            }
        }
    }

    /// Commits changes that are to be lost again.
    pub fn commit_unkept(&self, changes: &[Change]) {
        let mutations = changes.iter().map(|change| match change {
            Change::Set(key, value, expire_in_ms) => Mutation::Set {
                key: Blob(key),
                value: Blob(value),
                expire_in_ms: *expire_in_ms,
                stamp_key: false,
            },
            Change::Delete(key) => Mutation::Delete { key: Blob(key) },
            Change::DeleteRange(start, end) => {
                Mutation::DeleteRange { start: Blob(start), end: Blob(end) }
            }
        });
        let mutations = mutations.collect();
        let commit = Commit { checks: Vec::new(), mutations, durability: None };
        let outcome = block_on(self.db().commit(&[&commit])).pop();
        assert!(matches!(outcome, Some(Ok(Outcome::Committed(_)))), "{outcome:?}");
    }

    /// The files as they are on the disk now.
    pub fn files(&self) -> Files {
        let numbers = self.disk.file_numbers().into_iter();
        numbers.map(|number| (number, self.disk.contents(number))).collect()
    }

    /// What the database must be read as: what the model says, under the versionstamps that the
    /// database gave.
    pub fn expected(&mut self) -> String {
        let mut out = format!("format {FORMAT}\nat {}\n", self.now_ms);
        let disk = self.disk.restart();
        let options = Options { budgets: self.budgets.clone(), ..Options::default() };
        let env = ManualEnv::new(Rc::new(disk), self.now_ms, 0);
        let db = block_on(Db::open(env, options)).expect("it opens");
        let range = Range { start: &[1], end: &[0xff], reverse: false };
        let mut entries = self.model.iter();
        for entry in block_on(db.entries(range, db.snapshot())).expect("it lists") {
            let OwnedEntry { key, stamp, value, expires_at } = entry;
            let wanted = entries.next().expect("no more than the model has");
            assert_eq!((wanted.0, wanted.1), (&key, &(value.clone(), expires_at)));
            let (key, value) = (shown(&key), shown(&value));
            writeln!(out, "{key} {stamp} {expires_at} {value}").expect("a string takes it");
        }
        assert!(entries.next().is_none(), "all that the model has");
        out
    }
}

/// The encoded key of a word and a number.
pub fn key(word: &str, number: u32) -> Vec<u8> {
    let parts = [Part::String(word.to_owned()), Part::Number(f64::from(number))];
    encode(&parts).expect("a key")
}
