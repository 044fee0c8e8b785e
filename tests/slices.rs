//! Nothing holds up requests for long: between two turns of the event loop, flushes, compactions
//! and expiry do a bounded amount of work, whatever the size of the data, and a writer waits for a
//! bounded amount of it.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{commit, key, set};
use kvass::db::{Db, Options};
use kvass::env::Env;
use kvass::env::manual::{block_on, deferred};
use kvass::error::Result;
use kvass::limits::Budgets;
use kvass::rng::Rng;
use kvass::storage::{Durability, FileNo, MemoryStorage, Storage};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What was done since a task began to run, and the most that it ever was.
#[derive(Default)]
struct Meter {
    since: Cell<Work>,
    most: Cell<Work>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Work {
    read: u64,
    written: u64,
    /// Written and not flushed yet when a flush came: what that flush takes.
    flushed: u64,
    calls: u64,
}

impl Meter {
    /// Polls a future from the event loop, so to speak.
    fn poll<T>(&self, future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
        self.since.take();
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn add(&self, change: impl FnOnce(&mut Work)) {
        let mut work = self.since.get();
        work.calls += 1;
        change(&mut work);
        self.since.set(work);
        let most = self.most.get();
        self.most.set(Work {
            read: most.read.max(work.read),
            written: most.written.max(work.written),
            flushed: most.flushed.max(work.flushed),
            calls: most.calls.max(work.calls),
        });
    }
}

/// A storage that tells its meter of everything.
struct Metered {
    inner: MemoryStorage,
    meter: Rc<Meter>,
    unflushed: RefCell<HashMap<FileNo, u64>>,
}

impl Storage for Metered {
    async fn list(&self) -> Result<Vec<FileNo>> {
        self.inner.list().await
    }

    async fn adopt(&self, live: &[FileNo]) -> Result<()> {
        self.inner.adopt(live).await
    }

    async fn create(&self) -> Result<FileNo> {
        self.inner.create().await
    }

    async fn len(&self, file: FileNo) -> Result<u64> {
        self.inner.len(file).await
    }

    async fn read(&self, file: FileNo, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.meter.add(|work| work.read += buffer.len() as u64);
        self.inner.read(file, offset, buffer).await
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        self.meter.add(|work| work.written += data.len() as u64);
        *self.unflushed.borrow_mut().entry(file).or_default() += data.len() as u64;
        self.inner.write(file, offset, data, durability).await?;
        if durability == Durability::Strict { self.sync(file).await } else { Ok(()) }
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        let unflushed = self.unflushed.borrow_mut().remove(&file).unwrap_or_default();
        self.meter.add(|work| work.flushed += unflushed);
        self.inner.sync(file).await
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        self.meter.add(|_| ());
        self.inner.truncate(file, len).await
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        self.meter.add(|_| ());
        self.inner.remove(file).await
    }

    async fn usage(&self) -> Result<u64> {
        self.inner.usage().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// An environment in which every slice is used up at once.
struct Impatient {
    storage: Rc<Metered>,
    rng: Rng,
}

impl Env for Impatient {
    type Storage = Metered;

    fn storage(&self) -> &Rc<Metered> {
        &self.storage
    }

    fn now_ms(&self) -> u64 {
        common::START_MS
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.rng.fill(buffer);
    }

    fn turn(&self) -> impl Future<Output = ()> {
        deferred(1)
    }

    fn slice_used_up(&self) -> bool {
        true
    }
}

/// A quarter of the usual, so that a test reaches the third level.
fn budgets() -> Budgets {
    let full = Budgets::default();
    Budgets {
        memtable_bytes: full.memtable_bytes / 4,
        table_bytes: full.table_bytes / 4,
        level1_bytes: full.level1_bytes / 16,
        level_growth: 4,
        ..full
    }
}

type Store = Rc<Db<Impatient>>;

fn open() -> (Store, Rc<Meter>) {
    let meter = Rc::new(Meter::default());
    let (inner, unflushed) = (MemoryStorage::new(), RefCell::default());
    let storage = Rc::new(Metered { inner, meter: meter.clone(), unflushed });
    let env = Impatient { storage, rng: Rng::new(3) };
    let options = Options { budgets: budgets(), ..Options::default() };
    (block_on(Db::open(env, options)).expect("it opens"), meter)
}

/// Upkeep that goes on while requests are made, a step between two of them.
struct Upkeep {
    db: Store,
    meter: Rc<Meter>,
    running: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Upkeep {
    fn step(&mut self) {
        if self.running.is_none() && self.db.wants_upkeep() {
            let db = self.db.clone();
            self.running = Some(Box::pin(async move { db.upkeep().await }));
        }
        if let Some(running) = &mut self.running
            && self.meter.poll(running.as_mut()).is_ready()
        {
            self.running = None;
        }
    }

    /// Runs a request to its end; returns how many steps it waited for.
    fn during<T>(&mut self, request: impl Future<Output = T>) -> (T, u64) {
        let mut request = pin!(request);
        let mut steps = 0;
        loop {
            if let Poll::Ready(answer) = self.meter.poll(request.as_mut()) {
                return (answer, steps);
            }
            self.step();
            steps += 1;
        }
    }
}

const ENTRIES: u64 = 40_000;
const KIB: u64 = 1024;

#[test]
fn flushes_and_compactions_do_a_bounded_amount_of_work_between_two_turns() {
    let (db, meter) = open();
    let mut upkeep = Upkeep { db: db.clone(), meter: meter.clone(), running: None };
    let (mut waits, rng) = (Vec::new(), Rng::new(5));
    for index in 0..ENTRIES {
        let key = key(&[&format!("{:08}", index * 7919 % ENTRIES)]);
        // Of the kind of bytes, which can't be compressed.
        let value = [&[3][..], &rng.bytes(100)].concat();
        let commit = commit(vec![], vec![set(&key, &value)]);
        let (outcomes, steps) = upkeep.during(db.commit(&[&commit]));
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        waits.push(steps);
        // Too little for it: it needs writers to wait.
        if index % 64 == 0 {
            upkeep.step();
        }
    }
    while upkeep.db.wants_upkeep() {
        upkeep.step();
    }
    let levels = block_on(db.stats()).expect("it has a size").levels;
    assert!(levels.get(2).is_some_and(|(tables, _)| *tables > 0), "{levels:?}");
    waits.sort_unstable();
    let (p999, most) = (waits[waits.len() * 999 / 1000], waits[waits.len() - 1]);
    println!("{:?}, waits {p999} and {most} steps; {levels:?}", meter.most.get());
    let Work { read, written, flushed, calls } = meter.most.get();
    assert!(read <= 768 * KIB, "{read} bytes read");
    assert!(written <= 256 * KIB, "{written} bytes written");
    assert!(flushed <= 1280 * KIB, "{flushed} bytes flushed");
    assert!(calls <= 32, "{calls} calls of the storage");
    assert!(p999 <= 2 && most <= 4, "a commit waited for {most} steps of work");
}
