//! Opening: manifest, logs, a new epoch. Tables are not touched, so the time it takes depends on
//! the logs, which the memtable's budget bounds, and not on the data.

use super::flush::new_log;
use super::pace::Pace;
use super::write::insert;
use super::{Counters, Db, Options, View};
use crate::blob::{Blobs, Pointer, live};
use crate::bytes::Bytes;
use crate::cache::Cache;
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::history::{self, HistoryLog};
use crate::manifest::{self, Loaded, Manifest};
use crate::memtable::{Memtable, OwnedOp};
use crate::sessions::{ClientId, Sessions};
use crate::snapshot::Snapshots;
use crate::stamp::Stamp;
use crate::storage::{FileNo, Storage};
use crate::table::{Table, Tables};
use crate::version::Version;
use crate::wal::payload::{Client, Commit, Head, LoggedOp};
use crate::wal::{self, HEADER_BYTES, LogRef, LogWriter, Previous, Recovered};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What the logs held.
struct Replay {
    memtable: Memtable,
    last: Stamp,
    sessions: Sessions,
    /// The clients that the records of a log have named, by their numbers, and which log that is.
    clients: (u64, Vec<ClientId>),
    /// The logs that hold commits, and the last one of each.
    logs: Vec<HistoryLog>,
}

impl<E: Env> Db<E> {
    /// Opens the database in the storage of `env`, or makes one where there is none.
    ///
    /// # Errors
    /// `Corruption` where manifest or logs are damaged below what was flushed, `NewerFormat`,
    /// and the storage's errors. Nothing is deleted or overwritten then.
    pub async fn open(env: E, options: Options) -> Result<Rc<Db<E>>> {
        let mut manifest = load(&env).await?.successor();
        let replay = Replay {
            memtable: Memtable::default(),
            last: Stamp { epoch: manifest.epoch, counter: 0 },
            sessions: Sessions::new(manifest.sessions.clone(), manifest.forgotten),
            clients: Default::default(),
            logs: Vec::new(),
        };
        let replay = RefCell::new(replay);
        let storage = env.storage().clone();
        let recovered = wal::recover(&*storage, &manifest.logs, |log, payload| {
            replay.borrow_mut().apply(log, payload)
        })
        .await?;
        let mut replay = replay.into_inner();
        // Only now, for nothing is given up while it is in doubt what the database is.
        storage.adopt(&manifest.files()).await?;
        manifest.epoch = replay
            .last
            .epoch
            .checked_add(1)
            .ok_or_else(|| Error::new(Code::TooLarge, "the database has used up its epochs"))?;
        manifest.oldest_retained = replay.last;
        for (log, recovered) in manifest.logs.iter().zip(&recovered) {
            if let Some(held) = replay.logs.iter_mut().find(|held| held.log.id == log.id) {
                held.bytes = recovered.end;
            }
        }
        let (retention, now_ms) = (options.history, env.now_ms());
        let gone = history::let_go(&mut manifest.history, retention, now_ms, None);
        manifest.forget(&gone);
        let mut unused = gone.iter().map(|gone| gone.log.file).collect();
        let log = renew_logs(&env, &mut manifest, &recovered, &mut unused).await?;
        manifest::store(&*storage, &manifest).await?;
        for file in unused {
            storage.remove(file).await?;
        }
        let budgets = &options.budgets;
        let next_id = manifest.next_id;
        let blobs = Blobs::open(&*storage, &manifest.blobs, next_id, budgets.blob_bytes).await?;
        blobs.follow(&manifest.blobs, live::stale(&manifest));
        Ok(Rc::new(Db::assemble(env, options, manifest, replay, (log, blobs))))
    }

    fn assemble(
        env: E,
        options: Options,
        manifest: Manifest,
        replay: Replay,
        (log, blobs): (LogWriter, Blobs),
    ) -> Db<E> {
        let tables = Rc::new(Tables {
            storage: env.storage().clone(),
            cache: Cache::new(options.budgets.cache_bytes),
            blobs,
            garbage: RefCell::default(),
        });
        let levels = manifest.levels.iter().enumerate();
        let opened = levels.flat_map(|(level, metas)| metas.iter().map(move |meta| (level, meta)));
        let opened = opened.map(|(level, meta)| (level, Table::new(tables.clone(), meta.clone())));
        let view = View {
            active: Rc::new(replay.memtable),
            frozen: None,
            version: Rc::new(Version::empty().apply(opened.collect(), &[])),
        };
        let start = Stamp { epoch: manifest.epoch, counter: 0 };
        let db = Db {
            tables,
            upkeep_due: Cell::new(false),
            repair_due: Cell::new(false),
            held_up: Cell::new(false),
            deletes_due: Cell::new(u64::MAX),
            pace: Pace::default(),
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
            next_expiry_ms: Cell::new(0),
            expiry_floor: RefCell::new(crate::expiry::all().0),
            snapshots: Snapshots::default(),
            sessions: replay.sessions,
            sealed: RefCell::new(replay.logs),
            readers: RefCell::default(),
            entrance: Default::default(),
            appending: Default::default(),
            flushing: Default::default(),
            compacting: Default::default(),
            editing: Default::default(),
            poisonings: RefCell::default(),
            poisoned: Cell::new(false),
            failure: RefCell::default(),
            closed: Cell::new(false),
            observer: RefCell::default(),
            frozen_through: Cell::new(Stamp::ZERO),
            unpublished: Cell::new(0),
            unpublished_events: RefCell::default(),
            counters: Counters::default(),
            env,
            options,
        };
        db.appraise();
        db
    }
}

/// The manifest, or that of a new database.
async fn load<E: Env>(env: &E) -> Result<Manifest> {
    let storage = env.storage();
    let loaded = manifest::load(&**storage).await?;
    match loaded {
        Loaded::Fresh => {
            let mut uuid = [0; 16];
            env.fill_random(&mut uuid);
            Ok(Manifest { uuid, created_ms: env.now_ms(), ..Manifest::default() })
        }
        Loaded::Found { manifest, damaged_slot } => {
            if let Some(damage) = damaged_slot {
                check_files(&**storage, &manifest, &damage).await?;
            }
            Ok(*manifest)
        }
    }
}

/// A damaged slot is what a crash leaves while the manifest is written, and then every file that
/// the other slot names is still there, and no log is in use that it does not name. Otherwise the
/// other slot is out of date and the damaged one was the database's.
async fn check_files<S: Storage>(storage: &S, manifest: &Manifest, damage: &Error) -> Result<()> {
    let there = storage.list().await?;
    let tables = manifest.levels.iter().flatten().map(|table| (table.file, table.bytes));
    let history = manifest.history.iter().map(|history| (history.log.file, history.bytes));
    for (file, bytes) in tables.chain(history) {
        if !there.contains(&file) || storage.len(file).await? < bytes {
            return Err(damage.clone());
        }
    }
    for blob in &manifest.blobs {
        let needed = manifest.levels.iter().flatten().any(|table| table.points_into(blob.id));
        if needed && !there.contains(&blob.file) {
            return Err(damage.clone());
        }
    }
    let named = manifest.files();
    let newest = manifest.logs.last().map_or(0, |log| log.id);
    let mut header = [0; HEADER_BYTES];
    for file in there.into_iter().filter(|file| !named.contains(file)) {
        let read = storage.read(file, 0, &mut header).await?;
        if read == HEADER_BYTES && wal::id_of(&header).is_some_and(|id| id > newest) {
            return Err(damage.clone());
        }
    }
    Ok(())
}

impl Replay {
    fn apply(&mut self, log: &LogRef, payload: &[u8]) -> Result<()> {
        let commit = Commit::decode(payload)?;
        let Head { stamp, time_ms, sender, verdict } = commit.head;
        if let Some(sender) = sender {
            let client = self.client(log.id, sender.client)?;
            self.sessions.acknowledge(&client, sender.acked_through);
            self.sessions.record(&client, sender.sequence, stamp, verdict, time_ms);
        }
        let mut large_bytes = 0;
        for op in commit.ops {
            let (key, op) = op?;
            let key = Rc::from(key);
            let op = match op {
                LoggedOp::Set { value, expires_at, in_blob } => {
                    if in_blob && let Some(pointer) = Pointer::decode(value) {
                        large_bytes += pointer.len;
                    }
                    OwnedOp::Set { value: Bytes::copy(value), expires_at, in_blob }
                }
                LoggedOp::Delete | LoggedOp::Expire => OwnedOp::Delete,
                LoggedOp::DeleteRange { end } => {
                    self.memtable.delete_range(&key, &Rc::from(end), stamp, stamp);
                    continue;
                }
            };
            insert(&self.memtable, key, stamp, op, stamp);
        }
        self.last = self.last.max(stamp);
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
            storage.sync(log.file).await?;
            previous = Some(Previous { id: log.id, len: found.end });
            logs.push(log);
        } else {
            unused.push(log.file);
        }
    }
    let id = manifest.next_id;
    manifest.next_id += 2;
    let active = new_log(env, id).await?;
    logs.push(active.clone());
    logs.push(new_log(env, id + 1).await?);
    manifest.logs = logs;
    Ok(LogWriter::new(active, previous))
}
