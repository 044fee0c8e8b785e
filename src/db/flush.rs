//! From memory to tables: a full memtable is frozen, the log moves on, and the frozen memtable
//! becomes a table of level 0.
//!
//! The manifest always names one log more than is in use, made beforehand, so that freezing
//! changes no manifest: recovery reads the logs in order and finds the later one in use or empty.

use super::compact::Staff;
use super::open::REPLAYED_LOGS;
use super::reserve::is_full;
use super::{Db, View};
use crate::blob::live;
use crate::compaction::{self, Failure};
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::limits::{Budgets, RETRY_MS};
use crate::manifest::{self, Manifest};
use crate::memtable::Memtable;
use crate::planted::{Bug, planted};
use crate::stamp::Stamp;
use crate::storage::{FileNo, Storage};
use crate::table::{Table, TableMeta};
use crate::wal::{LogRef, LogWriter};
use std::rc::Rc;

/// Logs that hold commits of the active memtable, the one that is written and the next.
pub(super) const LOGS_MAX: usize = 8;
/// The log may grow to this many times the budget of the memtable.
const LOG_FACTOR: u64 = 4;
/// Where nobody else sees to compaction, writers do it themselves from this burden on.
const BURDEN_MAX: u64 = 16;
/// Of work that was done ahead of writers, what counts for them is this part of a memtable.
const CREDIT_SHARE: u64 = 4;

impl<E: Env> Db<E> {
    /// Sees to it that the active memtable takes another commit, and waits for the work that the
    /// one before has made.
    ///
    /// # Errors
    /// Those of the storage; that of another commit's write that failed meanwhile, for nothing
    /// may be added before that is repaired.
    pub(super) async fn make_room(&self) -> Result<()> {
        let generation = self.generation();
        self.pay().await;
        if let Some(error) = self.undone_since(generation) {
            return Err(error);
        }
        while self.is_full() {
            if self.view.borrow().frozen.is_none() {
                self.relieve_levels().await;
                self.freeze(generation).await?;
            } else if self.pace.is_working() {
                self.pace.until(|| self.view.borrow().frozen.is_none()).await;
            } else {
                self.flush_frozen().await?;
            }
            if let Some(error) = self.undone_since(generation) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether the active memtable holds its budget, itself, in deleted ranges or in blob files, or
    /// rests on more of the log than an open should have to read: keys written again and again,
    /// refused commits, opens that wrote little.
    fn is_full(&self) -> bool {
        let view = self.view.borrow();
        let log_bytes_max = LOG_FACTOR * self.options.budgets.memtable_bytes as u64;
        if self.log.borrow().len() >= log_bytes_max {
            return true;
        }
        let many_logs = self.manifest.borrow().logs.len() > LOGS_MAX;
        let Budgets { memtable_bytes, range_bytes, blob_bytes, .. } = &self.options.budgets;
        let many_values = self.tables.blobs.recent_bytes() >= *blob_bytes;
        let many_ranges = view.active.ranges().is_full(*range_bytes);
        let full = view.active.bytes() >= *memtable_bytes || many_values || many_ranges;
        many_logs || full && !view.active.is_empty()
    }

    /// Whether an open has to read many logs, which need not hold more than refused commits.
    pub(super) fn has_many_logs(&self) -> bool {
        self.manifest.borrow().logs.len() > REPLAYED_LOGS
    }

    /// Waits for background work in proportion to what was written since the last call.
    async fn pay(&self) {
        let bytes = self.view.borrow().active.bytes();
        let written = bytes.saturating_sub(self.paid_bytes.replace(bytes));
        if self.pace.burden() > 0 && self.pace.is_working() {
            self.pace.pay(written, self.options.budgets.memtable_bytes as u64 / CREDIT_SHARE).await;
        }
    }

    /// Compacts where the levels have grown far past their sizes and nobody else sees to it. A
    /// compaction that fails does not stop writers: its error stands in `failure()`.
    async fn relieve_levels(&self) {
        while !self.pace.is_working() && self.pace.burden() >= BURDEN_MAX {
            if !matches!(self.compact().await, Ok(true)) {
                return;
            }
        }
    }

    /// Freezes the active memtable and moves on to the next log. The old log is flushed first:
    /// the new one's header says that it is whole. Fails where a write has since `generation`.
    pub(super) async fn freeze(&self, generation: usize) -> Result<()> {
        self.settle(generation, self.assigned.get(), false).await?;
        let _turn = self.appending.enter().await;
        if let Some(error) = self.undone_since(generation) {
            return Err(error);
        }
        self.end_full_blob();
        let (file, len) = self.log_end();
        if self.durable.get() < self.visible.get() && !planted(Bug::RotationWithoutFlush) {
            if let Err(error) = self.env.storage().sync(file).await {
                self.poison(&error, true);
                return Err(error);
            }
            self.durable.set(self.visible.get());
        }
        if len > 0 {
            // An empty log goes on serving: what is frozen rests on the logs before it.
            let next = self.manifest.borrow().logs.last().cloned();
            let next = next.ok_or_else(|| Error::io("the manifest names no log"))?;
            self.seal_log();
            let successor = self.log.borrow().successor(next);
            *self.log.borrow_mut() = successor;
        }
        self.replayed_due_ms.set(u64::MAX);
        self.tables.blobs.forget_recent();
        let view = self.view();
        self.dead.clear();
        self.frozen_through.set(self.visible.get());
        self.replace_view(View {
            active: Rc::default(),
            frozen: Some(view.active.clone()),
            version: view.version.clone(),
        });
        Ok(())
    }

    /// Writes the frozen memtable, if there is one, to a table, and drops its log.
    ///
    /// # Errors
    /// Those of the storage; the memtable stays frozen and its log in place.
    pub(super) async fn flush_frozen(&self) -> Result<()> {
        let _turn = self.flushing.enter().await;
        let view = self.view();
        let Some(frozen) = view.frozen.as_ref() else { return Ok(()) };
        let current = self.log.borrow().log().clone();
        let outcome = self.install(frozen, Some(current)).await.map(|_| ());
        self.note(&outcome);
        outcome
    }

    /// After a failed write: writes what is published to tables and starts on new logs, so that
    /// nothing rests on the file that failed. Called by a task inside the entrance.
    ///
    /// # Errors
    /// Those of the storage; the database stays poisoned, what is published stays readable.
    pub(super) async fn repair(&self) -> Result<()> {
        // A value that was still being written when the write failed is pointed at by nothing.
        self.tables.blobs.forget_unflushed();
        self.flush_frozen().await?;
        let _appending = self.appending.enter().await;
        let _flushing = self.flushing.enter().await;
        let view = self.view();
        self.dead.clear();
        self.frozen_through.set(self.visible.get());
        self.replace_view(View {
            active: Rc::default(),
            frozen: Some(view.active.clone()),
            version: view.version.clone(),
        });
        let thaw = Thaw(self);
        let first = self.install(&view.active, None).await?;
        drop(thaw);
        // The logs that pointed at large values are gone.
        self.tables.blobs.forget_recent();
        *self.log.borrow_mut() = LogWriter::new(first, None);
        self.durable.set(self.visible.get());
        self.poisoned.set(false);
        *self.failure.borrow_mut() = None;
        Ok(())
    }

    /// Writes a memtable to a new table of level 0 and makes it the database's, with the log
    /// that is `current` (or a new one) and a new one after it; all other logs go. Returns the
    /// first of the two.
    async fn install(&self, frozen: &Rc<Memtable>, current: Option<LogRef>) -> Result<LogRef> {
        let is_repair = current.is_none();
        let mut made = self.make_files(frozen, current.clone()).await;
        while is_full(&made) && self.make_space().await? {
            made = self.make_files(frozen, current.clone()).await;
        }
        let (table, logs) = match made {
            Ok(made) => made,
            Err(error) => {
                // What was written for nothing would be in the way of the next attempt.
                self.collect_garbage().await;
                return Err(error);
            }
        };
        if planted(Bug::MemtableDroppedEarly) {
            let view = self.view();
            let (active, version) = (view.active.clone(), view.version.clone());
            self.replace_view(View { active, frozen: None, version });
        }
        let [first, _] = &logs;
        let first = first.clone();
        let mut unused = Vec::new();
        let mut change = |manifest: &mut Manifest| {
            let mut dropped = std::mem::replace(&mut manifest.logs, logs.to_vec());
            dropped.retain(|log| !logs.contains(log));
            unused = self.retain_history(manifest, &dropped);
            if is_repair {
                // What was published last is in no log that can be relied on.
                unused.extend(manifest.history.drain(..).map(|history| history.log.file));
                manifest.history_after = self.frozen_through.get();
            }
            manifest.flushed = self.frozen_through.get();
            if let Some(meta) = &table {
                manifest.levels.resize_with(manifest.levels.len().max(1), Vec::new);
                if let Some(level0) = manifest.levels.first_mut() {
                    level0.insert(0, meta.clone());
                }
            }
        };
        let stored = self.edit(&mut change).await;
        if let Err(error) = stored {
            let known = self.manifest.borrow().logs.clone();
            let logs = logs.iter().filter(|log| !known.contains(log)).map(|log| log.file);
            let made = logs.chain(table.iter().map(|meta| meta.file));
            self.tables.in_doubt.borrow_mut().extend(made);
            return Err(error);
        }
        let flushed = table.as_ref().map_or(0, |meta| meta.bytes);
        let allowed = flushed.saturating_mul(self.options.budgets.rest_share);
        self.rest.bytes.set(self.rest.bytes.get().saturating_add(allowed));
        let added = table.map(|meta| (0, Table::new(self.tables.clone(), meta)));
        let view = self.view();
        self.replace_view(View {
            active: view.active.clone(),
            frozen: None,
            version: Rc::new(view.version.apply(added.into_iter().collect(), &[])),
        });
        self.sealed.borrow_mut().retain(|log| log.last > self.frozen_through.get());
        self.tables.garbage.borrow_mut().extend(unused);
        self.collect_garbage().await;
        Ok(first)
    }

    /// The files that a memtable is written out with: a table, and the logs that go on.
    async fn make_files(
        &self,
        memtable: &Memtable,
        current: Option<LogRef>,
    ) -> Result<(Option<TableMeta>, [LogRef; 2])> {
        let is_repair = current.is_none();
        let table = self.write_table(memtable).await?;
        let table = table.filter(|_| !(is_repair && planted(Bug::RepairWithoutTable)));
        match self.logs_from(current).await {
            Ok(logs) => Ok((table, logs)),
            Err(error) => {
                self.tables.garbage.borrow_mut().extend(table.map(|meta| meta.file));
                Err(error)
            }
        }
    }

    async fn logs_from(&self, current: Option<LogRef>) -> Result<[LogRef; 2]> {
        let is_new = current.is_none();
        let first = match current {
            Some(log) => log,
            None => self.another_log().await?,
        };
        match self.another_log().await {
            Ok(next) => Ok([first, next]),
            Err(error) => {
                self.tables.garbage.borrow_mut().extend(is_new.then_some(first.file));
                Err(error)
            }
        }
    }

    async fn another_log(&self) -> Result<LogRef> {
        let file = self.env.storage().create().await?;
        let log = log_in(&self.env, self.new_id(), file).await;
        if log.is_err() {
            self.tables.garbage.borrow_mut().push(file);
        }
        log
    }

    async fn write_table(&self, memtable: &Memtable) -> Result<Option<TableMeta>> {
        let budgets = &self.options.budgets;
        let version = self.view().version.clone();
        let staff = Staff { db: self, flushes: false };
        let memtable = (memtable, self.dead_below(memtable, Stamp::ZERO).await);
        let written = compaction::flush(&self.env, budgets, memtable, &version, &staff).await;
        written.map_err(|failure| self.give_up(failure))
    }

    /// Has the files of a failed flush or compaction removed; returns what went wrong.
    pub(super) fn give_up(&self, failure: Failure) -> Error {
        self.tables.garbage.borrow_mut().extend(failure.files);
        failure.error
    }

    /// Changes the manifest. After a failure it is not known which state is on disk, so files
    /// that either names must stay.
    pub(super) async fn edit(&self, change: &mut dyn FnMut(&mut Manifest)) -> Result<()> {
        let _turn = self.editing.enter().await;
        let mut manifest = self.manifest.borrow().successor();
        change(&mut manifest);
        manifest.next_id = self.next_id.get();
        if !planted(Bug::FloorNotStored) {
            manifest.oldest_retained = self.snapshots.floor();
        }
        manifest.sessions = match planted(Bug::OutcomesNotCarried) {
            true => Vec::new(),
            false => self.sessions.through(manifest.flushed, self.now_ms()),
        };
        manifest.forgotten = self.sessions.forgotten();
        self.tables.blobs.describe(&mut manifest.blobs);
        live::drop_dead(&mut manifest);
        let storage = self.env.storage();
        let mut stored = manifest::store(&**storage, &manifest).await;
        if is_full(&stored) && self.give_up_reserve().await {
            stored = manifest::store(&**storage, &manifest).await;
        }
        stored?;
        self.tables.blobs.follow(&manifest.blobs, live::stale(&manifest));
        *self.manifest.borrow_mut() = manifest;
        self.stored_twice.set(false);
        // Whatever could not be stored before would have stood in the same slot.
        let in_doubt = self.tables.in_doubt.take();
        self.tables.garbage.borrow_mut().extend(in_doubt);
        Ok(())
    }

    /// Whether there are files that nothing names or reads any more: their last readers have gone
    /// since.
    pub(super) fn has_garbage(&self) -> bool {
        !self.tables.garbage.borrow().is_empty() || self.tables.blobs.has_garbage()
    }

    /// Removes the files that nothing names or reads any more. One that can't be removed is
    /// left for the next open, which finds that no manifest names it.
    ///
    /// Before that, both slots have a manifest that does without them: whichever of the two is
    /// damaged later, the other one finds all its files.
    pub(super) async fn collect_garbage(&self) {
        let blobs = self.tables.blobs.take_garbage();
        self.tables.garbage.borrow_mut().extend(blobs);
        while !self.tables.garbage.borrow().is_empty() {
            // Others may have given up more since.
            if !self.stored_twice.get() {
                // Where there is no room for it, removing the files is what makes some.
                self.stored_twice.set(self.edit(&mut |_| {}).await.is_ok());
            }
            let Some(file) = self.tables.garbage.borrow_mut().pop() else { return };
            let removed = self.env.storage().remove(file).await;
            if removed.is_err() {
                self.note(&removed);
            }
            self.breathe(0).await;
        }
    }

    pub(super) fn new_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    pub(super) fn replace_view(&self, view: View<E>) {
        *self.view.borrow_mut() = Rc::new(view);
        self.appraise();
    }

    /// When background work is tried again that has failed. Damage stays as it is.
    pub(super) fn retry_at(&self, error: &Error) -> u64 {
        if error.is_damage() { u64::MAX } else { self.now_ms() + RETRY_MS }
    }

    /// Keeps the outcome of background work for `failure()`.
    pub(super) fn note(&self, outcome: &Result<()>) {
        match outcome {
            Err(error) if error.code() != Code::Closed => {
                self.retry_ms.set(self.retry_at(error));
                *self.failure.borrow_mut() = Some(error.clone());
            }
            Ok(()) if !self.poisoned.get() => *self.failure.borrow_mut() = None,
            _ => {}
        }
    }
}

/// Makes the frozen memtable the active one again where a repair fails or is abandoned: no log that
/// is full holds its commits, so it must not be flushed as if one did.
struct Thaw<'a, E: Env>(&'a Db<E>);

impl<E: Env> Drop for Thaw<'_, E> {
    fn drop(&mut self) {
        let view = self.0.view();
        if let Some(active) = view.frozen.clone() {
            self.0.replace_view(View { active, frozen: None, version: view.version.clone() });
        }
    }
}

/// A log for the manifest to name. Its file is made durable first, so that one that is missing
/// later was lost, not never there.
pub(super) async fn new_log<E: Env>(env: &E, id: u64) -> Result<LogRef> {
    log_in(env, id, env.storage().create().await?).await
}

async fn log_in<E: Env>(env: &E, id: u64, file: FileNo) -> Result<LogRef> {
    if !planted(Bug::NewLogNotFlushed) && !env.storage().is_ordered() {
        env.storage().sync(file).await?;
    }
    let mut salt = [0; 8];
    env.fill_random(&mut salt);
    Ok(LogRef { id, file, salt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Options;
    use crate::env::manual::{ManualEnv, block_on};
    use crate::history::Retention;
    use crate::storage::simulated::SimulatedStorage;
    use crate::wire::{Blob, Commit, Mutation};
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn a_file_goes_once_both_manifests_do_without_it_whoever_removes_it() {
        for seed in 0..50 {
            let disk = SimulatedStorage::new(seed);
            let env = ManualEnv::new(Rc::new(disk.clone()), 1_000, seed);
            env.set_turn_polls(1);
            env.set_slice_used_up(true);
            let history = Retention { bytes: 0, ms: u64::MAX };
            let options = Options { history, ..Options::default() };
            let db = block_on(Db::open(env, options)).unwrap();
            let (key, value) = (Blob(b"\x02k\0"), Blob(&[3, 1]));
            let set = Mutation::Set { key, value, expire_in_ms: None, stamp_key: false };
            let commit = Commit { checks: vec![], mutations: vec![set], durability: None };
            assert!(block_on(db.commit(&[&commit])).remove(0).is_ok());
            block_on(db.freeze(db.generation())).unwrap();
            let before = db.manifest.borrow().clone();
            for _ in 0..40 {
                let file = block_on(disk.create()).unwrap();
                db.tables.garbage.borrow_mut().push(file);
            }
            disk.set_polls_max(2);
            let mut context = Context::from_waker(Waker::noop());
            let (mut removing, mut flushing) =
                (pin!(db.collect_garbage()), pin!(db.flush_frozen()));
            let (mut removed, mut flushed) = (false, false);
            let mut last = before.generation;
            while !(removed && flushed) {
                removed = removed || removing.as_mut().poll(&mut context).is_ready();
                flushed = flushed || flushing.as_mut().poll(&mut context).is_ready();
                let manifest = db.manifest.borrow().clone();
                // The other slot holds the manifest before, or the one that is being stored.
                if manifest.logs.first() == before.logs.first() {
                    last = manifest.generation;
                }
                let is_named = manifest.generation <= last + 1;
                let is_there = disk.file_numbers().contains(&before.logs[0].file);
                assert!(is_there || !is_named, "seed {seed}");
            }
        }
    }
}
