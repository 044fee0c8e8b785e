//! One open database: the state that commits, reads and upkeep share.
//!
//! Invariants:
//! - `assigned` is the stamp of the last commit evaluated, `visible` of the last one readers see,
//!   `durable` of the last one known to be flushed: durable <= visible <= assigned.
//! - The memtables hold every commit that no table holds; those above `visible` are in the group
//!   buffer of the log or on their way to it, and are rolled back if they don't get there. Above
//!   `assigned` there is at most a part of one, of a task inside the entrance.
//! - A [`View`] is never changed, only replaced: a reader keeps the one it began with.
//! - A task that needs several turnstiles takes them in the order entrance, appending, compacting,
//!   flushing, editing, changing (the reserve).

mod compact;
mod currency;
mod dead;
mod expire;
mod flush;
mod half;
mod history;
mod large;
mod open;
mod pace;
mod read;
mod reserve;
mod salvage;
mod verify;
mod write;

use crate::blob::Value;
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::history::{HistoryLog, Reader, Retention};
use crate::landmarks::Landmarks;
use crate::limits::Budgets;
use crate::manifest::Manifest;
use crate::memtable::Memtable;
use crate::planted::{Bug, planted};
use crate::sessions::Sessions;
use crate::signal::Turnstile;
use crate::snapshot::{Lease, Snapshot, Snapshots};
use crate::stamp::Stamp;
use crate::storage::{Durability, Storage};
use crate::table::Tables;
use crate::version::Version;
use crate::wal::LogWriter;
use crate::wire;
use compact::Rest;
use dead::Dead;
use pace::Pace;
use reserve::Reserve;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

#[cfg(not(target_arch = "wasm32"))]
pub use read::OwnedEntry;
pub use read::Range;
pub use verify::{DAMAGE_MAX, Verified};

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a commit that doesn't say is acknowledged.
    pub durability: Durability,
    /// Memory and sizes.
    pub budgets: Budgets,
    /// How much of the change log is kept behind what the tables have.
    pub history: Retention,
    /// Whether to read what is left of a damaged database, and change nothing.
    pub salvage: bool,
}

impl Default for Options {
    fn default() -> Options {
        let (budgets, history) = (Budgets::default(), Retention::default());
        Options { durability: Durability::Relaxed, budgets, history, salvage: false }
    }
}

/// What one published commit did, for those who watch.
#[derive(Clone, Debug)]
pub struct CommitEvent {
    /// The commit.
    pub stamp: Stamp,
    /// Its changes, in the order of its mutations.
    pub changes: Vec<ChangeRecord>,
}

/// One change of a commit.
#[derive(Clone, Debug)]
pub struct ChangeRecord {
    /// The encoded key; of a range, where it starts.
    pub key: Rc<[u8]>,
    /// What happened to it.
    pub change: ChangeKind,
}

/// What happened to a key.
#[derive(Clone, Debug)]
pub enum ChangeKind {
    /// It has this value now.
    Set(Value),
    /// It was deleted.
    Delete,
    /// It expired.
    Expire,
    /// It was deleted, and all keys behind it before this one.
    DeleteRange(Rc<[u8]>),
}

type Observer = Rc<dyn Fn(CommitEvent)>;

/// Where the data is at one moment.
struct View<E: Env> {
    active: Rc<Memtable>,
    frozen: Option<Rc<Memtable>>,
    version: Rc<Version<E::Storage>>,
}

/// A write that failed: everything evaluated and not yet published at that moment is undone.
struct Poisoning {
    error: Error,
    published: Stamp,
    reported: Cell<bool>,
}

#[derive(Default)]
struct Counters {
    commits: Cell<u64>,
    flushes: Cell<u64>,
}

/// An open database.
///
/// All methods take `&self` and may overlap in time. A future that is dropped while it writes
/// leaves the database poisoned, as a failed write does; the next write repairs it.
pub struct Db<E: Env> {
    env: E,
    options: Options,
    tables: Rc<Tables<E::Storage>>,

    view: RefCell<Rc<View<E>>>,
    /// Found out once for each view: it is asked for after every frame.
    upkeep_due: Cell<bool>,
    rest: Rest,
    /// When upkeep is to repair what a failed write has left; `u64::MAX` where it is not.
    repair_due_ms: Cell<u64>,
    /// Both slots hold what the manifest says.
    stored_twice: Cell<bool>,
    /// A reader keeps tombstones from being dropped: whether upkeep is due is asked again once it
    /// is gone.
    held_up: Cell<bool>,
    /// When history is to be let go without another flush.
    history_due_ms: Cell<u64>,
    /// When the active memtable is written out because the next open would replay it again.
    replayed_due_ms: Cell<u64>,
    /// About how many bytes of tables the deleted ranges of the active memtable hide.
    hidden_bytes: Cell<u64>,
    /// What its tombstones of single keys hide.
    dead: Dead,
    pace: Pace,
    reserve: Reserve,
    /// Whether a commit of the group that gathers does more than delete.
    group_writes: Cell<bool>,
    /// Of the active memtable, how much has been paid for.
    paid_bytes: Cell<usize>,
    manifest: RefCell<Manifest>,
    next_id: Cell<u64>,
    log: RefCell<LogWriter>,
    /// The full logs whose commits are in memtables, oldest first.
    sealed: RefCell<Vec<HistoryLog>>,
    /// Where in the logs commits are.
    landmarks: RefCell<Landmarks>,
    /// Those who read the change log.
    readers: RefCell<Vec<Weak<Reader>>>,

    assigned: Cell<Stamp>,
    visible: Cell<Stamp>,
    durable: Cell<Stamp>,
    strict_through: Cell<Stamp>,
    /// The last commit of the frozen memtable, where there is one.
    frozen_through: Cell<Stamp>,
    /// Engine time, and that of the environment, when they were last asked for.
    now_ms: Cell<u64>,
    clock_ms: Cell<u64>,
    next_expiry_ms: Cell<u64>,
    /// No row of the expiry index lies before this one.
    expiry_floor: RefCell<Vec<u8>>,
    snapshots: Snapshots,
    sessions: Sessions,

    entrance: Turnstile,
    appending: Turnstile,
    compacting: Turnstile,
    flushing: Turnstile,
    editing: Turnstile,

    poisonings: RefCell<Vec<Poisoning>>,
    poisoned: Cell<bool>,
    failure: RefCell<Option<Error>>,
    /// When upkeep goes on though that stands.
    retry_ms: Cell<u64>,
    closed: Cell<bool>,

    observer: RefCell<Option<Observer>>,
    unpublished: Cell<u64>,
    unpublished_events: RefCell<Vec<CommitEvent>>,
    counters: Counters,
    /// Whether the files were found by scanning for them: nothing is known of their order.
    scanned: bool,
}

impl<E: Env> Db<E> {
    /// The environment it runs in.
    pub fn env(&self) -> &E {
        &self.env
    }

    /// The epoch of this open.
    pub fn epoch(&self) -> u32 {
        self.assigned.get().epoch
    }

    /// The random id of the database.
    pub fn uuid(&self) -> [u8; 16] {
        self.manifest.borrow().uuid
    }

    /// The durability of commits that don't say.
    pub fn durability(&self) -> Durability {
        self.options.durability
    }

    /// The stamp of the last commit that readers see.
    pub fn visible(&self) -> Stamp {
        self.visible.get()
    }

    /// The stamp of the last commit that was decided, published or on its way.
    pub fn assigned(&self) -> Stamp {
        self.assigned.get()
    }

    /// What a read that begins now sees.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { stamp: self.visible.get(), time_ms: self.now_ms() }
    }

    /// The pins and leases that keep older versions readable.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Renews the lease of a list, or takes up one that was let go or that an earlier host granted;
    /// see [`Snapshots::renew`].
    ///
    /// # Errors
    /// `SnapshotExpired`, `TooLarge`.
    pub fn renew(&self, owner: u32, lease: Lease) -> Result<Lease> {
        self.snapshots.renew(owner, lease, self.snapshot())
    }

    /// When a snapshot is let go that compaction may be waiting for, or history that was kept for
    /// clients on their way to this host, or what an open has replayed is to be written out, or
    /// what a failure has stopped is tried again, or when there is something to do for a database
    /// at rest; `u64::MAX` for never.
    pub fn next_release_ms(&self) -> u64 {
        // What is due is not waited for: where nothing can be written it stays so.
        let to_come = |due_ms: &u64| *due_ms > self.now_ms();
        let later = |due_ms: &Cell<u64>| Some(due_ms.get()).filter(to_come).unwrap_or(u64::MAX);
        let replayed = later(&self.replayed_due_ms);
        let snapshots = match self.held_up.get() {
            true => self.snapshots.next_end_ms(self.now_ms()),
            false => u64::MAX,
        };
        let retry = match self.failure.borrow().is_some() {
            true => later(&self.retry_ms).min(later(&self.repair_due_ms)),
            false => u64::MAX,
        };
        let is_due_at_rest = self.rest.due.get() || self.has_new_deletes();
        let rest = match is_due_at_rest && !self.is_at_rest() {
            true => self.rest.from_ms.get(),
            false => u64::MAX,
        };
        snapshots.min(later(&self.history_due_ms)).min(replayed).min(retry).min(rest)
    }

    /// What is remembered of the commits of each client.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Engine time: the environment's, but it never runs backwards within an open. Where the clock
    /// is set back it goes on from where it was, rather than stand still until the clock is there.
    pub fn now_ms(&self) -> u64 {
        let clock_ms = self.env.now_ms();
        let passed = clock_ms.saturating_sub(self.clock_ms.replace(clock_ms));
        let now = self.now_ms.get().saturating_add(passed);
        self.now_ms.set(now);
        now
    }

    /// Hands every commit that is published from now on to `observer`, in order, or to nobody.
    /// It is called between two steps of the engine and must not call back into it.
    pub fn observe(&self, observer: Option<Observer>) {
        *self.observer.borrow_mut() = observer;
    }

    /// Whether commits were acknowledged that are not known to be flushed.
    pub fn unflushed(&self) -> bool {
        self.durable.get() < self.visible.get()
    }

    /// The last failure of background work, until it succeeds again; in salvage the damage that
    /// was met.
    pub fn failure(&self) -> Option<Error> {
        self.failure.borrow().clone().or_else(|| self.damage_in_short())
    }

    /// Figures; see [`wire::Stats`].
    ///
    /// # Errors
    /// Those of asking the storage for its size.
    pub async fn stats(&self) -> Result<wire::Stats> {
        let disk_bytes = self.env.storage().usage().await?;
        let view = self.view();
        let (mut sets, mut deletes) = view.active.counts();
        let frozen = view.frozen.as_ref().map(|table| table.counts()).unwrap_or_default();
        sets += frozen.0;
        deletes += frozen.1;
        let mut levels = Vec::new();
        for level in view.version.levels() {
            let mut bytes = 0u64;
            for table in level.iter().map(|table| table.meta()) {
                bytes = bytes.saturating_add(table.bytes);
                sets = sets.saturating_add(table.sets);
                deletes = deletes.saturating_add(table.deletes);
            }
            levels.push((level.len() as u32, bytes));
        }
        let cache = self.tables.cache.stats();
        Ok(wire::Stats {
            entries: sets.saturating_sub(deletes),
            disk_bytes,
            commits: self.counters.commits.get(),
            cache_hits: cache.hits,
            cache_misses: cache.misses,
            cache_bytes: cache.bytes as u64,
            memtable_bytes: (view.active.bytes()
                + view.frozen.as_ref().map_or(0, |table| table.bytes()))
                as u64,
            wal_bytes: self.log.borrow().len(),
            flushes: self.counters.flushes.get(),
            levels,
            memory_bytes: self.env.memory_bytes(),
        })
    }

    fn view(&self) -> Rc<View<E>> {
        self.view.borrow().clone()
    }

    fn check_open(&self) -> Result<()> {
        match self.closed.get() {
            true => Err(Error::new(Code::Closed, "the database was closed")),
            false => Ok(()),
        }
    }

    fn generation(&self) -> usize {
        self.poisonings.borrow().len()
    }

    /// Undoes what is not published and refuses writes until a repair. `reported` says whether
    /// a caller is being told of the error.
    fn poison(&self, error: &Error, reported: bool) {
        let published = self.visible.get();
        // Events share memory with what is undone, which is to be counted as gone.
        self.unpublished_events.borrow_mut().clear();
        let view = self.view();
        view.active.roll_back(published);
        self.appraise_ranges(&view);
        self.sessions.roll_back(published);
        self.forget_expiry_floor();
        // The group goes with the commits; the repair starts on another log.
        let log = self.log.borrow().log().clone();
        *self.log.borrow_mut() = LogWriter::new(log, None);
        self.group_writes.set(false);
        self.unpublished.set(0);
        self.end_blob();
        self.tables.blobs.forget_unflushed();
        self.poisonings.borrow_mut().push(Poisoning {
            error: error.clone(),
            published,
            reported: Cell::new(reported),
        });
        // An expiry may be among what is undone.
        self.next_expiry_ms.set(0);
        self.poisoned.set(!planted(Bug::PoisonIgnored));
        self.repair_due_ms.set(0);
        *self.failure.borrow_mut() = Some(error.clone());
    }
}
