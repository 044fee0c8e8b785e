//! A storage and an environment that count what is done between two turns of the event loop.

use super::START_MS;
use kvass::db::{Db, Options};
use kvass::env::Env;
use kvass::env::manual::deferred;
use kvass::error::Result;
use kvass::rng::Rng;
use kvass::storage::{Durability, FileNo, MemoryStorage, Storage};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What was done since a task began to run, and the most that it ever was.
#[derive(Default)]
pub struct Meter {
    since: Cell<Work>,
    most: Cell<Work>,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct Work {
    /// Bytes.
    pub read: u64,
    /// Bytes.
    pub written: u64,
    /// Written and not flushed yet when a flush came: what that flush takes.
    pub flushed: u64,
    /// Of the storage.
    pub calls: u64,
    /// Pieces of memory that were asked for: whatever is copied or built one by one takes one each.
    pub allocated: u64,
}

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

/// Counts what each thread asks of the system's allocator.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + 1);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

impl Meter {
    /// Polls a future from the event loop, so to speak.
    pub fn poll<T>(&self, future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
        self.since.take();
        let before = ALLOCATED.get();
        let poll = future.poll(&mut Context::from_waker(Waker::noop()));
        self.add(|work| work.allocated += ALLOCATED.get() - before);
        poll
    }

    /// Runs a future to its end, with nothing else going on.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = self.poll(future.as_mut()) {
                return output;
            }
        }
    }

    /// The most that was ever done since the last call.
    pub fn take(&self) -> Work {
        self.most.take()
    }

    fn call(&self, change: impl FnOnce(&mut Work)) {
        self.add(|work| {
            work.calls += 1;
            change(work);
        });
    }

    fn add(&self, change: impl FnOnce(&mut Work)) {
        let mut work = self.since.get();
        change(&mut work);
        self.since.set(work);
        let most = self.most.get();
        self.most.set(Work {
            read: most.read.max(work.read),
            written: most.written.max(work.written),
            flushed: most.flushed.max(work.flushed),
            calls: most.calls.max(work.calls),
            allocated: most.allocated.max(work.allocated),
        });
    }
}

/// A storage that tells its meter of everything.
pub struct Metered {
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
        self.meter.call(|work| work.read += buffer.len() as u64);
        self.inner.read(file, offset, buffer).await
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        self.meter.call(|work| work.written += data.len() as u64);
        *self.unflushed.borrow_mut().entry(file).or_default() += data.len() as u64;
        self.inner.write(file, offset, data, durability).await?;
        if durability == Durability::Strict { self.sync(file).await } else { Ok(()) }
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        let unflushed = self.unflushed.borrow_mut().remove(&file).unwrap_or_default();
        self.meter.call(|work| work.flushed += unflushed);
        self.inner.sync(file).await
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        self.meter.call(|_| ());
        self.inner.truncate(file, len).await
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        self.meter.call(|_| ());
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
pub struct Impatient {
    storage: Rc<Metered>,
    rng: Rng,
    now_ms: Cell<u64>,
}

impl Impatient {
    pub fn advance(&self, by_ms: u64) {
        self.now_ms.set(self.now_ms.get() + by_ms);
    }
}

impl Env for Impatient {
    type Storage = Metered;

    fn storage(&self) -> &Rc<Metered> {
        &self.storage
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.get()
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

pub type Store = Rc<Db<Impatient>>;

/// A new database, and what counts its work.
pub fn open(options: Options) -> (Store, Rc<Meter>) {
    let meter = Rc::new(Meter::default());
    let (inner, unflushed) = (MemoryStorage::new(), RefCell::default());
    let storage = Rc::new(Metered { inner, meter: meter.clone(), unflushed });
    (reopen(&storage, &meter, options), meter)
}

/// The database in a storage, opened as after its tab was killed.
pub fn reopen(storage: &Rc<Metered>, meter: &Meter, options: Options) -> Store {
    let (storage, now_ms) = (storage.clone(), Cell::new(START_MS));
    let env = Impatient { storage, rng: Rng::new(3), now_ms };
    meter.run(Db::open(env, options)).expect("it opens")
}

/// Upkeep that goes on while requests are made, a step between two of them.
pub struct Upkeep {
    db: Store,
    meter: Rc<Meter>,
    running: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Upkeep {
    pub fn new(db: &Store, meter: &Rc<Meter>) -> Upkeep {
        Upkeep { db: db.clone(), meter: meter.clone(), running: None }
    }

    /// Does a step of it, if there is anything to do.
    pub fn step(&mut self) {
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

    /// Does all that there is to do.
    pub fn finish(&mut self) {
        while self.running.is_some() || self.db.wants_upkeep() {
            self.step();
        }
    }

    /// Runs a request to its end; returns how many steps it waited for.
    pub fn during<T>(&mut self, request: impl Future<Output = T>) -> (T, u64) {
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
