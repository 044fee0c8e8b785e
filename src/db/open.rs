//! Opening: manifest, logs, a new epoch. Tables are not touched, so the time it takes depends on
//! the logs, which the memtable's budget bounds, and not on the data.

use super::compact::Rest;
use super::currency::is_current;
use super::dead::Dead;
use super::flush::{LOGS_MAX, new_log};
use super::half::insert;
use super::pace::Pace;
use super::reserve::{Reserve, with_room};
use super::{Counters, Db, Options, View};
use crate::blob::{Blobs, Pointer, live};
use crate::bytes::Bytes;
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::history::{self, HistoryLog};
use crate::landmarks::Landmarks;
use crate::limits::{
    LEASE_GRACE_MS, LEASE_HOSTS, REPLAY_BYTES_MAX, REPLAY_RANGE_BYTES_MAX, REPLAYED_FLUSH_MS,
    REST_MS,
};
use crate::manifest::{self, Loaded, Manifest};
use crate::memtable::{Memtable, OwnedOp};
use crate::planted::{Bug, planted};
use crate::sessions::{ClientId, Sessions};
use crate::snapshot::{Inherited, Snapshots};
use crate::stamp::Stamp;
use crate::storage::{FileNo, Storage};
use crate::table::{Table, Tables};
use crate::version::Version;
use crate::wal::payload::{Client, Commit, Head, LoggedOp};
use crate::wal::{self, HEADER_BYTES, LogRef, LogWriter, Previous, Recovered};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What takes less than this part of a memtable's budget is replayed again by the next open.
const REPLAYED_SHARE: usize = 8;
/// Unless it lies in so many logs that soon a commit would have to wait until it is written out:
/// that would be one of the first of a new host.
pub(super) const REPLAYED_LOGS: usize = LOGS_MAX - 2;

/// What the logs held.
#[derive(Default)]
pub(super) struct Replay {
    memtable: Memtable,
    last: Stamp,
    /// Versions are cut off that only snapshots before this one see.
    floor: Stamp,
    sessions: Sessions,
    /// The clients that the records of a log have named, by their numbers, and which log that is.
    clients: (u64, Vec<ClientId>),
    /// The logs that hold commits, and the last one of each.
    logs: Vec<HistoryLog>,
    landmarks: Landmarks,
    /// The numbers of the blob files that they point into.
    blobs: Vec<u64>,
}

impl<E: Env> Db<E> {
    /// Opens the database in the storage of `env`, or makes one where there is none.
    ///
    /// # Errors
    /// `Unsupported` for an option that is out of range, `Corruption` where manifest or logs are
    /// damaged below what was flushed, `NewerFormat`, and the storage's errors. Nothing is deleted
    /// or overwritten then.
    pub async fn open(env: E, options: Options) -> Result<Rc<Db<E>>> {
        // A page can't set them, and need not download what is wrong with them.
        #[cfg(not(target_arch = "wasm32"))]
        options.budgets.validate()?;
        if options.salvage {
            return Db::salvage(env, options).await;
        }
        Db::open_whole(env, options).await.map_err(|error| match error.code() {
            Code::Corruption => error.advising("open it with salvage: true to read what is left"),
            _ => error,
        })
    }

    async fn open_whole(env: E, options: Options) -> Result<Rc<Db<E>>> {
        let (manifest, damaged_slot) = load(&env).await?;
        // Whether a second one was stored can't be told by the slots.
        let is_first = manifest.generation == 1;
        let mut manifest = manifest.successor();
        let replay = Replay {
            last: Stamp { epoch: manifest.epoch, counter: 0 },
            sessions: Sessions::new(manifest.sessions.clone(), manifest.forgotten),
            landmarks: Landmarks::new(options.budgets.memtable_bytes),
            ..Replay::new(manifest.oldest_retained.max(of_last_hosts(&manifest)))
        };
        let replay = RefCell::new(replay);
        let storage = env.storage().clone();
        storage.prepare(&manifest.files(), manifest.logs.len()).await;
        let recovered = wal::recover(&*storage, &manifest.logs, |log, end, payload| {
            replay.borrow_mut().apply(log, end, payload)
        })
        .await?;
        let mut replay = replay.into_inner();
        if (damaged_slot.is_some() || is_first)
            && !is_current(&*storage, &manifest, &replay.blobs).await?
        {
            return Err(damaged_slot.unwrap_or_else(|| manifest::gone(manifest.generation)));
        }
        let inherited = inherited(&manifest, &replay, env.now_ms());
        // Only now, for nothing is given up while it is in doubt what the database is.
        storage.adopt(&manifest.files()).await?;
        manifest.epoch = replay
            .last
            .epoch
            .checked_add(1)
            .ok_or_else(|| Error::new(Code::TooLarge, "the database has used up its epochs"))?;
        manifest.oldest_retained = replay.floor;
        for (log, recovered) in manifest.logs.iter().zip(&recovered) {
            if let Some(held) = replay.logs.iter_mut().find(|held| held.log.id == log.id) {
                held.bytes = recovered.end;
            }
        }
        let (retention, now_ms) = (options.history, env.now_ms());
        // A clock that was ahead when these were written would keep them until it is there again.
        replay.sessions.none_after(now_ms);
        for held in manifest.history.iter_mut().chain(&mut replay.logs) {
            held.last_ms = held.last_ms.min(now_ms);
        }
        let gone = history::let_go(&mut manifest.history, retention, now_ms, None, true);
        manifest.forget(&gone);
        let mut unused = gone.iter().map(|gone| gone.log.file).collect();
        let log = renew_logs(&env, &mut manifest, &recovered, &mut unused).await?;
        // Before anything is written, while what was read ahead is still what is there.
        let (budgets, next_log) = (&options.budgets, log.log().id);
        let blobs = Blobs::open(&*storage, &manifest.blobs, next_log, budgets.blob_bytes).await?;
        let epoch = manifest.epoch;
        if planted(Bug::EpochNotStored) {
            manifest.epoch = replay.last.epoch;
        }
        let store = async || manifest::store(&*storage, &manifest).await;
        with_room(&*storage, &manifest.blobs, store).await?;
        manifest.epoch = epoch;
        for file in unused {
            storage.remove(file).await?;
        }
        blobs.recall_recent(replay.logs.iter().map(|held| held.large_bytes).sum());
        blobs.follow(&manifest.blobs, live::stale(&manifest));
        let tables = Tables::new(storage, budgets.cache_bytes, blobs, None);
        let snapshots = Snapshots::new(epoch, inherited);
        Ok(Rc::new(Db::assemble(env, options, manifest, replay, (log, tables, snapshots))))
    }

    pub(super) fn assemble(
        env: E,
        options: Options,
        manifest: Manifest,
        replay: Replay,
        (log, tables, snapshots): (LogWriter, Rc<Tables<E::Storage>>, Snapshots),
    ) -> Db<E> {
        let levels = manifest.levels.iter().enumerate();
        let opened = levels.flat_map(|(level, metas)| metas.iter().map(move |meta| (level, meta)));
        let opened = opened.map(|(level, meta)| (level, Table::new(tables.clone(), meta.clone())));
        let view = View {
            active: Rc::new(replay.memtable),
            frozen: None,
            version: Rc::new(Version::empty().apply(opened.collect(), &[])),
        };
        let start = Stamp { epoch: manifest.epoch, counter: 0 };
        let kept_until_ms = history::kept_until(&manifest.history, options.history, env.now_ms());
        let history_due_ms = match kept_until_ms {
            u64::MAX => u64::MAX,
            until_ms => until_ms.min(snapshots.awaited_until_ms()),
        };
        let much = options.budgets.memtable_bytes / REPLAYED_SHARE;
        let is_much = view.active.bytes() >= much || manifest.logs.len() > REPLAYED_LOGS;
        let replayed_due_ms = if is_much { env.now_ms() + REPLAYED_FLUSH_MS } else { u64::MAX };
        let db = Db {
            tables,
            upkeep_due: Cell::new(false),
            rest: Rest::from(env.now_ms() + REST_MS),
            repair_due_ms: Cell::new(u64::MAX),
            stored_twice: Cell::new(false),
            held_up: Cell::new(false),
            history_due_ms: Cell::new(history_due_ms),
            replayed_due_ms: Cell::new(replayed_due_ms),
            hidden_bytes: Cell::new(0),
            dead: Dead::default(),
            pace: Pace::default(),
            reserve: Reserve::of(&manifest),
            group_writes: Cell::new(false),
            paid_bytes: Cell::new(0),
            view: RefCell::new(Rc::new(view)),
            next_id: Cell::new(manifest.next_id),
            manifest: RefCell::new(manifest),
            log: RefCell::new(log),
            assigned: Cell::new(start),
            visible: Cell::new(start),
            durable: Cell::new(start),
            strict_through: Cell::new(start),
            now_ms: Cell::new(env.now_ms()),
            clock_ms: Cell::new(env.now_ms()),
            next_expiry_ms: Cell::new(0),
            expiry_floor: RefCell::new(crate::expiry::all().0),
            snapshots,
            sessions: replay.sessions,
            sealed: RefCell::new(replay.logs),
            landmarks: RefCell::new(replay.landmarks),
            readers: RefCell::default(),
            entrance: Default::default(),
            appending: Default::default(),
            flushing: Default::default(),
            compacting: Default::default(),
            editing: Default::default(),
            poisonings: RefCell::default(),
            poisoned: Cell::new(false),
            failure: RefCell::default(),
            retry_ms: Cell::new(u64::MAX),
            closed: Cell::new(false),
            observer: RefCell::default(),
            frozen_through: Cell::new(Stamp::ZERO),
            unpublished: Cell::new(0),
            unpublished_events: RefCell::default(),
            counters: Counters::default(),
            scanned: false,
            env,
            options,
        };
        db.appraise();
        db
    }
}

/// The manifest, or that of a new database; with the damage of its other slot.
async fn load<E: Env>(env: &E) -> Result<(Manifest, Option<Error>)> {
    match manifest::load(&**env.storage()).await? {
        Loaded::Fresh => {
            let mut uuid = [0; 16];
            env.fill_random(&mut uuid);
            Ok((Manifest { uuid, created_ms: env.now_ms(), ..Manifest::default() }, None))
        }
        Loaded::Found { manifest, damaged_slot } => Ok((*manifest, damaged_slot)),
    }
}

/// Where the snapshots begin that the last hosts have granted: of those before nothing is kept, or
/// opens that are all shorter than the grace would keep all versions for ever.
fn of_last_hosts(manifest: &Manifest) -> Stamp {
    Stamp { epoch: (manifest.epoch + 1).saturating_sub(LEASE_HOSTS), counter: 0 }
}

/// What lists of earlier hosts may go on with. A new database has had none.
fn inherited(manifest: &Manifest, replay: &Replay, now_ms: u64) -> Inherited {
    let is_new = manifest.epoch == 0 || planted(Bug::GraceMissing);
    let logs = manifest.history.iter().chain(&replay.logs).map(|log| log.last);
    Inherited {
        floor: replay.floor,
        ends: logs.chain([manifest.flushed]).collect(),
        until_ms: if is_new { 0 } else { now_ms + LEASE_GRACE_MS },
    }
}

impl Replay {
    /// Nothing yet, of which all versions are kept that a snapshot from `floor` on sees.
    pub(super) fn new(floor: Stamp) -> Replay {
        Replay { floor, ..Replay::default() }
    }

    /// Takes in a commit, whose record ends at `end` of a log.
    fn apply(&mut self, log: &LogRef, end: u64, payload: &[u8]) -> Result<()> {
        let commit = Commit::decode(payload)?;
        self.landmarks.pass(log.id, end, commit.head.stamp);
        let large_bytes = self.insert(&commit)?;
        let Head { stamp, time_ms, sender, verdict } = commit.head;
        if let Some(sender) = sender {
            let client = self.client(log.id, sender.client)?;
            self.sessions.acknowledge(&client, sender.acked_through);
            if !planted(Bug::OutcomesNotReplayed) {
                self.sessions.record(&client, &sender, stamp, verdict, time_ms);
            }
        }
        match self.logs.last_mut().filter(|held| held.log.id == log.id) {
            Some(held) => {
                (held.last, held.last_ms) = (stamp, time_ms);
                held.large_bytes += large_bytes;
            }
            None => {
                let log = log.clone();
                let (last, last_ms) = (stamp, time_ms);
                self.logs.push(HistoryLog { log, bytes: 0, last, last_ms, large_bytes });
            }
        }
        Ok(())
    }

    /// Puts what a commit did into the memtable; returns how long its large values are.
    pub(super) fn insert(&mut self, commit: &Commit<'_>) -> Result<u64> {
        let stamp = commit.head.stamp;
        let ranges_are_many = self.memtable.ranges().bytes() > REPLAY_RANGE_BYTES_MAX;
        if ranges_are_many || self.memtable.bytes() > REPLAY_BYTES_MAX {
            self.floor = self.floor.max(stamp);
        }
        let oldest = if planted(Bug::ReplayCutsVersions) { stamp } else { self.floor };
        let mut large_bytes = 0;
        for op in commit.ops {
            let (key, op) = op?;
            let op = match op {
                LoggedOp::Set { value, expires_at, in_blob } => {
                    if in_blob && let Some(pointer) = Pointer::decode(value) {
                        large_bytes += pointer.len;
                        if !self.blobs.contains(&pointer.blob) {
                            self.blobs.push(pointer.blob);
                        }
                    }
                    OwnedOp::Set { value: Bytes::copy(value), expires_at, in_blob }
                }
                LoggedOp::Expire if planted(Bug::ExpiryNotFinal) => continue,
                LoggedOp::Delete | LoggedOp::Expire => OwnedOp::Delete,
                LoggedOp::DeleteRange { .. } if planted(Bug::RangeNotReplayed) => continue,
                LoggedOp::DeleteRange { end } => {
                    self.memtable.delete_range(&Rc::from(key), &Rc::from(end), stamp, oldest);
                    continue;
                }
            };
            if planted(Bug::ExpiryIndexNotReplayed) {
                self.memtable.insert(key, stamp, op, oldest);
                continue;
            }
            insert(&self.memtable, key, stamp, op, oldest);
        }
        self.last = self.last.max(stamp);
        Ok(large_bytes)
    }

    /// The client that a record of a log names.
    fn client(&mut self, log: u64, client: Client) -> Result<ClientId> {
        if self.clients.0 != log {
            self.clients = (log, Vec::new());
        }
        let clients = &mut self.clients.1;
        match client {
            Client::New(id) => {
                clients.push(id);
                Ok(id)
            }
            Client::Known(number) => {
                let place = number.checked_sub(1).and_then(|place| usize::try_from(place).ok());
                let known = place.and_then(|place| clients.get(place));
                let message = "a log record of a client that the log does not name";
                known.copied().ok_or_else(|| Error::new(Code::Corruption, message))
            }
        }
    }
}

/// Makes the logs of this open: those with commits stay as they are until a table holds them, one
/// more is written to, and one is kept ready. A log is written by one open only.
async fn renew_logs<E: Env>(
    env: &E,
    manifest: &mut Manifest,
    recovered: &[Recovered],
    unused: &mut Vec<FileNo>,
) -> Result<LogWriter> {
    let storage = env.storage();
    let mut previous = None;
    let mut logs = Vec::new();
    for (log, found) in manifest.logs.drain(..).zip(recovered) {
        if found.end > HEADER_BYTES as u64 {
            if !planted(Bug::ReplayedLogNotFlushed) && !storage.is_ordered() {
                storage.sync(log.file).await?;
            }
            previous = Some(Previous { id: log.id, len: found.end });
            logs.push(log);
        } else {
            unused.push(log.file);
        }
    }
    let id = manifest.next_id;
    manifest.next_id += 2;
    let make = async || Ok([new_log(env, id).await?, new_log(env, id + 1).await?]);
    let [active, next] = with_room(&**storage, &manifest.blobs, make).await?;
    logs.extend([active.clone(), next]);
    manifest.logs = logs;
    Ok(LogWriter::new(active, previous))
}
