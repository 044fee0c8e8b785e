//! Upkeep: what keeps reads fast and space bounded, between requests.

use super::reserve::is_full;
use super::{Db, View};
use crate::blob::{BlobFile, live};
use crate::compaction::{self, Choice, Employer, Output};
use crate::env::Env;
use crate::error::Result;
use crate::manifest::Manifest;
use crate::planted::{Bug, planted};
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{Table, TableMeta};
use crate::version::Version;
use std::cell::Cell;
use std::rc::Rc;

/// Tombstones that hide less than this part of a memtable's budget are left in memory.
const HIDDEN_SHARE: u64 = 16;

/// What is done once nobody has written for a while.
pub(super) struct Rest {
    /// Whether there is something to do then. It is found out once for each view.
    pub due: Cell<bool>,
    /// When that is.
    pub from_ms: Cell<u64>,
    /// So many bytes may be rewritten then.
    pub bytes: Cell<u64>,
}

impl Rest {
    /// Nothing is due, from then on.
    pub fn from(ms: u64) -> Rest {
        Rest { due: Cell::new(false), from_ms: Cell::new(ms), bytes: Cell::new(0) }
    }
}

impl<E: Env> Db<E> {
    /// Whether [`Db::upkeep`] has something to do.
    pub fn wants_upkeep(&self) -> bool {
        if self.options.salvage {
            return false;
        }
        self.is_repair_due() && !self.closed.get() || self.wants_work()
    }

    /// Whether there is something to flush or compact, and nothing has failed that is not to be
    /// tried again.
    fn wants_work(&self) -> bool {
        let is_early = self.poisoned.get() || self.now_ms() < self.retry_ms.get();
        if self.closed.get() || self.failure.borrow().is_some() && is_early {
            return false;
        }
        if self.held_up.get() && self.snapshots.is_unused(self.now_ms()) {
            self.appraise();
        }
        let is_work_due = self.is_table_work_due() || self.is_looking_due();
        let is_space_due = self.reserve.is_due() || self.has_garbage() || self.holds_much();
        is_work_due || is_space_due || self.is_history_due()
    }

    /// Whether there is something to flush or compact.
    fn is_table_work_due(&self) -> bool {
        self.upkeep_due.get() || self.is_rest_due()
    }

    /// Whether there is something to do for a database at rest, and it is at rest.
    fn is_rest_due(&self) -> bool {
        self.rest.due.get() && self.is_at_rest()
    }

    /// Whether what deletes hide is to be looked for, and the database is at rest.
    fn is_looking_due(&self) -> bool {
        self.has_new_deletes() && self.is_at_rest()
    }

    /// Whether nobody has written for a while.
    pub(super) fn is_at_rest(&self) -> bool {
        self.now_ms() >= self.rest.from_ms.get()
    }

    /// Writes the frozen memtable to a table and compacts, until there is nothing left to do or
    /// something fails; that stands in `failure()` until a later flush succeeds. What has failed
    /// for anything but damage is tried again [`RETRY_MS`](crate::limits::RETRY_MS) later.
    pub async fn upkeep(&self) {
        while self.wants_upkeep() {
            self.repair_soon().await;
            if self.is_history_due() {
                let trimmed = self.trim_history().await;
                self.note(&trimmed);
            }
            if self.is_looking_due() {
                self.look_for_dead().await;
            }
            let generation = self.generation();
            if self.holds_much() && self.freeze_for_space().await.is_err() {
                self.leave_unreported(generation);
                return;
            }
            let _working = self.pace.work();
            while self.is_table_work_due() && self.wants_work() {
                if self.flush_frozen().await.is_err() {
                    return;
                }
                if self.upkeep_due.get() {
                    self.compact_what_is_owed().await;
                } else if self.is_rest_due() {
                    self.compact_at_rest().await;
                }
                self.env.rest().await;
            }
            if self.reserve.is_due() && self.wants_work() {
                self.keep_reserve_in_background().await;
            }
            // What readers have let go of since, and what was written for nothing: deletes could
            // need the space.
            self.collect_garbage().await;
        }
    }

    /// Runs the compaction that is most wanted, with the last of the space if it takes that.
    async fn compact_what_is_owed(&self) {
        let mut compacted = self.compact().await;
        while is_full(&compacted) && matches!(self.make_space().await, Ok(true)) {
            compacted = self.compact().await;
        }
        self.note(&compacted.map(|_| ()));
    }

    /// Takes a step towards fewer runs. Where it fails it is let be until more was written: nothing
    /// is lost by it, what is owed must go on, and the last of the space is not for what can be
    /// done without. Who reads what is damaged is told then.
    async fn compact_at_rest(&self) {
        let _turn = self.compacting.enter().await;
        let version = self.view().version.clone();
        let choice = self.wanted_at_rest(&version.shape()).filter(|_| !self.closed.get());
        let Some(choice) = choice else { return self.rest.due.set(false) };
        match self.carry_out(version, choice, self.let_go()).await {
            Ok(written) => self.rest.bytes.set(self.rest.bytes.get().saturating_sub(written)),
            Err(_) => {
                self.rest.due.set(false);
                self.rest.bytes.set(0);
            }
        }
    }

    fn is_repair_due(&self) -> bool {
        self.repair_due_ms.get() <= self.now_ms()
    }

    /// Tries to repair what a failed write has left, for a page may go before it writes again: the
    /// storage may forget what it failed to flush, though it can be read until then.
    async fn repair_soon(&self) {
        if self.is_repair_due() {
            let _turn = self.entrance.enter().await;
            // Where this fails the next write tries again too, and tells its caller.
            let failure = self.repair_if_needed().await.err();
            self.repair_due_ms.set(failure.map_or(u64::MAX, |error| self.retry_at(&error)));
        }
    }

    /// Finds out what there is to do about the tables and memtables there are now.
    pub(super) fn appraise(&self) {
        let view = self.view();
        let (shape, budgets) = (view.version.shape(), &self.options.budgets);
        let retained = self.retained();
        let flushing = view.frozen.is_some();
        self.held_up.set(retained < self.visible.get());
        let is_owed = self.choose(&shape, retained).is_some();
        self.upkeep_due.set(flushing || is_owed);
        self.rest.due.set(!is_owed && self.wanted_at_rest(&shape).is_some());
        self.appraise_deletes(&shape);
        self.appraise_ranges(&view);
        self.appraise_reserve();
        self.pace.set_burden(compaction::burden(flushing, &shape, budgets));
    }

    /// The compaction that is most wanted: for the tables' sake, or else for the blob files'.
    fn choose(&self, shape: &[Vec<&TableMeta>], retained: Stamp) -> Option<Choice> {
        let choice = compaction::choose(shape, &self.options.budgets, retained);
        choice.or_else(|| live::choose(shape, &self.tables.blobs.stale()))
    }

    /// What may be merged once nobody writes and nothing is owed.
    fn wanted_at_rest(&self, shape: &[Vec<&TableMeta>]) -> Option<Choice> {
        compaction::merge_runs(shape, &self.options.budgets, self.rest.bytes.get())
    }

    /// The oldest commit that somebody may still read as of.
    fn retained(&self) -> Stamp {
        self.snapshots.oldest(self.visible.get(), self.now_ms())
    }

    /// The same, for one who drops what earlier snapshots see.
    pub(super) fn let_go(&self) -> Stamp {
        self.snapshots.let_go(self.visible.get(), self.now_ms())
    }

    /// Finds out how much tombstones must hide in tables for it to be worth it to write them out
    /// before the memtable is full: as much as a memtable, or half of all that there is.
    fn appraise_deletes(&self, shape: &[Vec<&TableMeta>]) {
        let tables = || shape.iter().flatten();
        let bytes = tables().map(|table| table.held_bytes()).fold(0, u64::saturating_add);
        let sets = tables().map(|table| table.sets).fold(0, u64::saturating_add);
        let memtable = self.options.budgets.memtable_bytes as u64;
        let worth = (bytes / 2).clamp(memtable / HIDDEN_SHARE, memtable);
        let (deletes, hidden) = match bytes < worth {
            true => (u64::MAX, u64::MAX),
            false => (worth / (bytes / sets.max(1)).max(1) + 1, worth),
        };
        self.dead.deletes_due.set(deletes);
        self.dead.bytes_due.set(hidden);
    }

    /// Finds out how much the deleted ranges of the active memtable hide. Those of a commit on its
    /// way into memory are counted once it is there.
    pub(super) fn appraise_ranges(&self, view: &View<E>) {
        let ranges = view.active.ranges();
        let assigned = self.assigned.get();
        let hidden = ranges.fragments().iter().fold(0u64, |sum, one| {
            if one.stamps.first().is_none_or(|oldest| *oldest > assigned) {
                return sum;
            }
            let span = (&*one.start, &*one.end);
            sum.saturating_add(view.version.hidden_bytes(0, span, span))
        });
        self.hidden_bytes.set(hidden);
    }

    /// Whether the tombstones of the active memtable hide much, or the large values that it points
    /// at are much: those that are dead by now go with the log only. Or what it has replayed is
    /// much, and those who waited for that have been served.
    fn holds_much(&self) -> bool {
        let view = self.view.borrow();
        let memtable_bytes = self.options.budgets.memtable_bytes as u64;
        let many_values = self.tables.blobs.recent_bytes() >= memtable_bytes;
        let deletes = view.active.counts().1;
        let hidden = self.hidden_bytes.get().saturating_add(self.dead.bytes());
        let is_worth_a_table = view.active.bytes() as u64 >= memtable_bytes / HIDDEN_SHARE;
        // Where deletes went to the last of the space, they are to give some back.
        let is_last = self.reserve.is_spent()
            && (view.active.has_ranges() || deletes > 0 && is_worth_a_table);
        let many = is_last
            || deletes >= self.dead.deletes_due.get()
            || hidden >= self.dead.bytes_due.get()
            || many_values
            || self.replayed_due_ms.get() <= self.now_ms();
        many && view.frozen.is_none() && (!view.active.is_empty() || self.has_many_logs())
    }

    /// Freezes the active memtable, so that space comes back.
    async fn freeze_for_space(&self) -> Result<()> {
        let _turn = self.entrance.enter().await;
        self.check_open()?;
        match self.holds_much() && !self.poisoned.get() {
            true => self.freeze(self.generation()).await,
            false => Ok(()),
        }
    }

    /// Runs the compaction that is most wanted; returns whether there was one.
    ///
    /// # Errors
    /// Those of reading and writing tables; nothing is replaced then.
    pub(super) async fn compact(&self) -> Result<bool> {
        let _turn = self.compacting.enter().await;
        self.check_open()?;
        let (version, oldest) = (self.view().version.clone(), self.let_go());
        let Some(choice) = self.choose(&version.shape(), oldest) else {
            self.upkeep_due.set(self.view().frozen.is_some());
            return Ok(false);
        };
        self.carry_out(version, choice, oldest).await?;
        Ok(true)
    }

    /// Runs a compaction; returns how many bytes of tables it has written.
    async fn carry_out(
        &self,
        version: Rc<Version<E::Storage>>,
        choice: Choice,
        oldest: Stamp,
    ) -> Result<u64> {
        let mut written = 0;
        let outputs = if choice.is_move() {
            Output { tables: moved(&version, &choice), ..Output::default() }
        } else {
            // At time 0 nothing has expired: an entry goes by the commit that logs its expiry,
            // which must find it to tell watchers, and leases see entries as of an earlier time.
            let stamp = if planted(Bug::SnapshotIgnored) { self.visible.get() } else { oldest };
            let retained = Snapshot { stamp, time_ms: 0 };
            let (budgets, blobs) = (&self.options.budgets, &self.tables.blobs);
            let staff = Staff { db: self, flushes: true };
            let run =
                compaction::run(&self.env, budgets, &version, &choice, retained, blobs, &staff);
            let outputs = run.await.map_err(|failure| self.give_up(failure))?;
            written = outputs.tables.iter().map(|meta| meta.bytes).sum();
            outputs
        };
        drop(version);
        self.replace_tables(&choice, outputs).await?;
        Ok(written)
    }

    /// Makes the outputs of a compaction the database's, in place of its inputs.
    async fn replace_tables(&self, choice: &Choice, outputs: Output) -> Result<()> {
        let Output { tables: outputs, blobs } = outputs;
        let target = choice.target;
        let removed: Vec<u64> = choice.upper.iter().chain(&choice.lower).copied().collect();
        if planted(Bug::FilesRemovedEarly) && !choice.is_move() {
            let view = self.view();
            let tables = view.version.levels().iter().flatten().map(|table| table.meta());
            for table in tables.filter(|table| removed.contains(&table.id)) {
                self.env.storage().remove(table.file).await?;
            }
        }
        // What was added to a file counts also where storing the manifest fails: it may be stored.
        let (known, new): (Vec<_>, Vec<_>) =
            blobs.iter().partition(|meta| self.tables.blobs.find(meta.id).is_some());
        for meta in known.into_iter().filter(|_| !planted(Bug::MovedNotCounted)) {
            self.tables.blobs.find(meta.id).inspect(|file| file.grow(meta.bytes));
        }
        let mut change = |manifest: &mut Manifest| {
            for level in &mut manifest.levels {
                level.retain(|meta| !removed.contains(&meta.id));
            }
            manifest.levels.resize_with(manifest.levels.len().max(target + 1), Vec::new);
            if let Some(level) = manifest.levels.get_mut(target) {
                for meta in &outputs {
                    let place = level.partition_point(|other| other.smallest < meta.smallest);
                    level.insert(place, meta.clone());
                }
            }
            manifest.blobs.extend(new.iter().copied().cloned());
        };
        let stored = self.edit(&mut change).await;
        if let Err(error) = stored {
            // A table that moves is another's, too.
            if !choice.is_move() {
                let made = outputs.iter().map(|meta| meta.file);
                let made = made.chain(new.iter().map(|meta| meta.file));
                self.tables.in_doubt.borrow_mut().extend(made);
            }
            return Err(error);
        }
        new.into_iter().for_each(|meta| self.tables.blobs.add(BlobFile::new(meta.clone())));
        if let Some(last) = blobs.last() {
            self.tables.blobs.receive(self.tables.blobs.find(last.id));
        }
        let view = self.view();
        let kept: Vec<u64> = outputs.iter().map(|meta| meta.id).collect();
        for table in view.version.levels().iter().flatten() {
            let id = table.meta().id;
            if removed.contains(&id) && !kept.contains(&id) {
                table.retire();
            }
        }
        let open = |meta: &TableMeta| (target, Table::new(self.tables.clone(), meta.clone()));
        let version = Rc::new(view.version.apply(outputs.iter().map(open).collect(), &removed));
        self.replace_view(View {
            active: view.active.clone(),
            frozen: view.frozen.clone(),
            version,
        });
        drop(view);
        self.collect_garbage().await;
        Ok(())
    }

    /// Counts background work, and lets requests run when they have waited for long enough.
    pub(super) async fn breathe(&self, worked: usize) {
        let awaited = self.pace.worked(worked);
        if awaited || self.env.slice_used_up() {
            self.env.rest().await;
        }
    }

    /// Lets requests run in the midst of a long one, once they have waited for long enough.
    pub(crate) async fn give_way(&self) {
        if self.env.slice_used_up() {
            self.env.turn().await;
        }
    }

    /// Flushes what was committed, by then or by a call under way, and lets go of the storage.
    /// Whoever comes later gets `Closed`.
    ///
    /// # Errors
    /// Those of the flush; the storage is let go of all the same.
    pub async fn close(&self) -> Result<()> {
        // From here on nothing is decided that the flush would not find.
        let _entrance = self.entrance.enter().await;
        self.check_open()?;
        let flushed = self.flush_decided().await;
        self.closed.set(true);
        let _compacting = self.compacting.enter().await;
        let _flushing = self.flushing.enter().await;
        let closed = self.env.storage().close().await;
        flushed.and(closed)
    }
}

/// What the manifest keeps of the table that moves.
fn moved<S: Storage>(version: &Version<S>, choice: &Choice) -> Vec<TableMeta> {
    let tables = version.levels().iter().flatten().map(|table| table.meta());
    tables.filter(|meta| choice.upper.contains(&meta.id)).cloned().collect()
}

/// The employer of flushes and compactions.
pub(super) struct Staff<'a, E: Env> {
    pub db: &'a Db<E>,
    /// Of a compaction: a memtable that was frozen meanwhile is written out first, for writers wait
    /// for that.
    pub flushes: bool,
}

impl<E: Env> Employer for Staff<'_, E> {
    fn next_id(&self) -> u64 {
        self.db.new_id()
    }

    async fn breathe(&self, worked: usize) -> Result<()> {
        self.db.breathe(worked).await;
        if self.flushes {
            // Who closes waits for what is under way: for a flush, but for no compaction. One that
            // was never let end would leave every open more to replay.
            self.db.check_open()?;
            if self.db.view.borrow().frozen.is_some() {
                Box::pin(self.db.flush_frozen()).await?;
            }
        }
        Ok(())
    }
}
