//! kvass, run as a worker runs it: requests on one thread, upkeep in slices between them.

use super::{CACHE_BYTES, Engine};
use crate::data::{Key, Value};
use kvass::blob::Value as Stored;
use kvass::commit::Outcome;
use kvass::db::{Db, Options, Range};
use kvass::env::Env;
use kvass::env::manual::deferred;
use kvass::limits::{Budgets, REST_MS};
use kvass::rng::Rng;
use kvass::snapshot::Snapshot;
use kvass::storage::DirectoryStorage;
use kvass::wire::{Blob, Commit, Mutation};
use std::cell::Cell;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

/// How long upkeep works before requests get their turn, as in a worker.
const SLICE: Duration = Duration::from_millis(4);

pub struct Kvass {
    database: Rc<Db<NativeEnv>>,
    /// Kept between reads, as redb's transaction is, and as the requests of a frame share one.
    reading: Option<Snapshot>,
    upkeep: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// A directory, the machine's clock, and turns that end at the next poll.
struct NativeEnv {
    storage: Rc<DirectoryStorage>,
    slice_began: Cell<Instant>,
    rng: Rng,
}

impl Env for NativeEnv {
    type Storage = DirectoryStorage;

    fn storage(&self) -> &Rc<DirectoryStorage> {
        &self.storage
    }

    fn now_ms(&self) -> u64 {
        let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock past 1970");
        since.as_millis() as u64
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.rng.fill(buffer);
    }

    async fn turn(&self) {
        deferred(1).await;
        self.slice_began.set(Instant::now());
    }

    fn slice_used_up(&self) -> bool {
        self.slice_began.get().elapsed() >= SLICE
    }
}

impl Kvass {
    /// Opens a database with budgets of one's own.
    pub fn open_with(directory: &Path, budgets: Budgets) -> Kvass {
        let storage = Rc::new(DirectoryStorage::open(directory).expect("a directory"));
        let slice_began = Cell::new(Instant::now());
        let env = NativeEnv { storage, slice_began, rng: Rng::new(1) };
        let options = Options { budgets, ..Options::default() };
        let database = run(Db::open(env, options), || {}).expect("a database");
        Kvass { database, reading: None, upkeep: None }
    }

    fn commit(&mut self, mutations: Vec<Mutation<'_>>) {
        let commit = Commit { checks: Vec::new(), mutations, durability: None };
        let database = self.database.clone();
        self.reading = None;
        let outcomes = run(database.commit(&[&commit]), || self.work());
        for outcome in outcomes {
            assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
        }
        self.work();
    }

    /// Does all upkeep that is due.
    pub fn work_off(&mut self) {
        while self.upkeep.is_some() || self.database.wants_upkeep() {
            self.work();
        }
        assert_eq!(self.database.failure(), None);
    }

    /// Does a slice of the upkeep that is due, if any is.
    fn work(&mut self) {
        if self.upkeep.is_none() && self.database.wants_upkeep() {
            let database = self.database.clone();
            self.upkeep = Some(Box::pin(async move { database.upkeep().await }));
        }
        if let Some(upkeep) = &mut self.upkeep
            && upkeep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        {
            self.upkeep = None;
        }
    }
}

impl Engine for Kvass {
    const NAME: &'static str = "kvass";

    fn open(directory: &Path, memtable_bytes: usize) -> Kvass {
        let budgets = Budgets { cache_bytes: CACHE_BYTES, memtable_bytes, ..Budgets::default() };
        Kvass::open_with(directory, budgets)
    }

    fn put(&mut self, key: &Key, value: &Value) {
        self.commit(vec![set(key, value)]);
    }

    fn put_batch(&mut self, entries: &[(Key, Value)]) {
        self.commit(entries.iter().map(|(key, value)| set(key, value)).collect());
    }

    fn get(&mut self, key: &Key, visit: impl FnOnce(&[u8])) -> bool {
        let snapshot = *self.reading.get_or_insert_with(|| self.database.snapshot());
        let found = run(self.database.get(key, snapshot), || {});
        match found.expect("a get") {
            Some((_, value)) => {
                match &value {
                    Stored::Inline(bytes) => visit(bytes),
                    Stored::Large { payload, .. } => visit(payload),
                }
                true
            }
            None => false,
        }
    }

    fn scan(&mut self, reverse: bool, mut visit: impl FnMut(&[u8], &[u8])) {
        let range = Range { start: &[1], end: &[0xff], reverse };
        let sink = |record: kvass::record::Record<'_>| {
            if let kvass::record::Op::Set { value, .. } = record.op {
                visit(record.key, value);
            }
            true
        };
        run(self.database.list(range, self.database.snapshot(), sink), || {}).expect("a scan");
    }

    fn settle(&mut self) {
        self.work_off();
        // Some of it is for a database at rest.
        std::thread::sleep(Duration::from_millis(REST_MS));
        self.work_off();
    }

    fn close(self) {
        drop(self.upkeep);
        run(self.database.close(), || {}).expect("a close");
    }
}

fn set<'a>(key: &'a Key, value: &'a Value) -> Mutation<'a> {
    Mutation::Set { key: Blob(key), value: Blob(value), expire_in_ms: None, stamp_key: false }
}

/// Polls a future to its end, and calls `meanwhile` whenever it waits.
fn run<T>(future: impl Future<Output = T>, mut meanwhile: impl FnMut()) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        meanwhile();
    }
}
