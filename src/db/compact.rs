//! Upkeep: what keeps reads fast and space bounded, between requests.

use super::{Db, View};
use crate::compaction::{self, Choice};
use crate::env::Env;
use crate::error::Result;
use crate::limits::Budgets;
use crate::snapshot::Snapshot;
use crate::storage::Storage;
use crate::table::{Table, TableMeta};
use std::rc::Rc;

impl<E: Env> View<E> {
    /// Whether there is a memtable to write out or a level to compact.
    pub(super) fn wants_upkeep(&self, budgets: &Budgets) -> bool {
        self.frozen.is_some() || compaction::choose(&self.version.shape(), budgets).is_some()
    }
}

impl<E: Env> Db<E> {
    /// Whether [`Db::upkeep`] has something to do.
    pub fn wants_upkeep(&self) -> bool {
        let can = !self.closed.get() && !self.poisoned.get() && self.failure.borrow().is_none();
        can && self.upkeep_due.get()
    }

    /// Writes the frozen memtable to a table and compacts, until there is nothing left to do or
    /// something fails; that stands in `failure()` until a later flush succeeds.
    pub async fn upkeep(&self) {
        while self.wants_upkeep() {
            if self.flush_frozen().await.is_err() {
                return;
            }
            let compacted = self.compact().await;
            self.note(&compacted.map(|_| ()));
            self.env.turn().await;
        }
    }

    /// Runs the compaction that is most wanted; returns whether there was one.
    ///
    /// # Errors
    /// Those of reading and writing tables; nothing is replaced then.
    pub(super) async fn compact(&self) -> Result<bool> {
        let _turn = self.compacting.enter().await;
        self.check_open()?;
        let version = self.view().version.clone();
        let Some(choice) = compaction::choose(&version.shape(), &self.options.budgets) else {
            return Ok(false);
        };
        let outputs = if choice.is_move() {
            version
                .levels()
                .iter()
                .flatten()
                .map(|table| table.meta())
                .filter(|meta| choice.upper.contains(&meta.id))
                .cloned()
                .collect()
        } else {
            let oldest = self.snapshots.oldest(self.visible.get(), self.now_ms());
            // At time 0 nothing has expired: an entry goes by the commit that logs its expiry,
            // which must find it to tell watchers, and leases see entries as of an earlier time.
            let retained = Snapshot { stamp: oldest, time_ms: 0 };
            let (budgets, mut ids) = (&self.options.budgets, || self.new_id());
            compaction::run(&self.env, budgets, &version, &choice, retained, &mut ids)
                .await
                .map_err(|failure| self.give_up(failure))?
        };
        drop(version);
        self.replace_tables(&choice, outputs).await?;
        Ok(true)
    }

    /// Makes the outputs of a compaction the database's, in place of its inputs.
    async fn replace_tables(&self, choice: &Choice, outputs: Vec<TableMeta>) -> Result<()> {
        let target = choice.level + 1;
        let removed: Vec<u64> = choice.upper.iter().chain(&choice.lower).copied().collect();
        self.edit(|manifest| {
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
        })
        .await?;
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

    /// Flushes what was committed and lets go of the storage. Calls under way get `Closed`.
    ///
    /// # Errors
    /// Those of the flush; the storage is let go of all the same.
    pub async fn close(&self) -> Result<()> {
        let flushed = self.flush().await;
        self.closed.set(true);
        let _entrance = self.entrance.enter().await;
        let _flushing = self.flushing.enter().await;
        let _compacting = self.compacting.enter().await;
        let closed = self.env.storage().close().await;
        flushed.and(closed)
    }
}
