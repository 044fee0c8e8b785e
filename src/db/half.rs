//! A commit on its way into memory: the part of it that is there.
//!
//! It is put into the active memtable first, and logged and given its stamp once all of it is
//! there. So a long one can let others run in between: to reads it is not there yet, no group of
//! the log has it or publishes its stamp, and nobody else decides a commit. Where it goes no
//! further, for its future is dropped or a write has failed, what is there of it is taken back.

use super::{ChangeKind, ChangeRecord, CommitEvent, Db};
use crate::blob::Value;
use crate::bytes::{Bytes, Pack};
use crate::commit::{Staged, StagedOp};
use crate::env::Env;
use crate::error::Result;
use crate::expiry;
use crate::memtable::{Memtable, OwnedOp};
use crate::planted::{Bug, planted};
use crate::sessions::Verdict;
use crate::stamp::Stamp;
use crate::wal::payload::{self, Client, Head, LoggedOp, Sender};
use std::rc::Rc;

/// So many bytes of values share a buffer in the memtable, or one value has its own.
const PACK_BYTES: usize = 4 * 1024;

/// What is there of a commit.
pub(super) struct Half<'a, E: Env> {
    db: &'a Db<E>,
    stamp: Stamp,
    /// For those who watch, if anybody does.
    changes: Option<Vec<ChangeRecord>>,
    /// About how many bytes of tables its deleted ranges hide.
    hidden_bytes: u64,
}

impl<E: Env> Half<'_, E> {
    /// Whether somebody has begun to listen since it was begun, who is to be told of all of it.
    /// Then it is to be put in anew from the first mutation on, which comes to the same.
    pub fn has_new_listener(&mut self) -> bool {
        let is_new = self.changes.is_none() && self.db.observer.borrow().is_some();
        if is_new {
            self.changes = Some(Vec::new());
            self.hidden_bytes = 0;
        }
        is_new
    }

    /// Puts the next mutations into the active memtable, not yet visible.
    pub fn insert(&mut self, staged: &[Staged<'_>]) {
        let (db, stamp) = (self.db, self.stamp);
        let view = db.view();
        let oldest = match planted(Bug::SnapshotIgnoredInMemory) {
            true => db.visible.get(),
            false => db.let_go(),
        };
        let mut pack = Pack::default();
        for (place, one @ Staged { key, op }) in staged.iter().enumerate() {
            if pack.is_empty() {
                pack = pack_of(staged.get(place..).unwrap_or_default());
            }
            let (owned, change) = match op {
                StagedOp::Set { value, pointer, expires_at } => {
                    db.expires_at(*expires_at, key);
                    let (expires_at, in_blob) = (*expires_at, pointer.is_some());
                    let stored = pack.take(one.stored().len());
                    // Where nobody observes, the change is not looked at.
                    let change = match in_blob && self.changes.is_some() {
                        true => value.to_value(),
                        false => Value::Inline(stored.clone()),
                    };
                    let op = OwnedOp::Set { value: stored, expires_at, in_blob };
                    (Some(op), ChangeKind::Set(change))
                }
                StagedOp::Delete => (Some(OwnedOp::Delete), ChangeKind::Delete),
                StagedOp::Expire => (Some(OwnedOp::Delete), ChangeKind::Expire),
                StagedOp::DeleteRange { end } => {
                    let (start, end) = (Rc::from(&**key), Rc::from(*end));
                    let span = (&*start, &*end);
                    let hidden = view.version.hidden_bytes(0, span, span);
                    self.hidden_bytes = self.hidden_bytes.saturating_add(hidden);
                    view.active.delete_range(&start, &end, stamp, oldest);
                    (None, ChangeKind::DeleteRange(end))
                }
            };
            if let Some(changes) = &mut self.changes
                && key.first().is_some_and(|first| *first >= expiry::USER_KEYS_START)
            {
                changes.push(ChangeRecord { key: Rc::from(&**key), change });
            }
            if let Some(op) = owned {
                insert(&view.active, key, stamp, op, oldest);
            }
        }
    }

    /// Logs the commit, all of which is there, or that was refused: the next group has it.
    ///
    /// # Errors
    /// `TooLarge` for a record of 4 GiB.
    pub fn finish(mut self, head: Head, staged: &[Staged<'_>]) -> Result<()> {
        let Head { stamp, time_ms, sender, .. } = head;
        let (db, verdict) = (self.db, head.verdict.clone());
        db.log_staged(head, staged)?;
        let changes = self.changes.take();
        db.hidden_bytes.set(db.hidden_bytes.get().saturating_add(self.hidden_bytes));
        std::mem::forget(self);
        db.assigned.set(stamp);
        let is_applied = verdict == Verdict::Applied;
        if let Some(sender @ Sender { client: Client::New(client), .. }) = &sender {
            db.sessions.record(client, sender, stamp, verdict, time_ms);
        }
        if !is_applied {
            return Ok(());
        }
        db.unpublished.set(db.unpublished.get() + 1);
        if staged.iter().any(|one| matches!(one.op, StagedOp::Set { .. })) {
            db.group_writes.set(true);
        }
        if let Some(changes) = changes.filter(|_| db.observer.borrow().is_some()) {
            db.unpublished_events.borrow_mut().push(CommitEvent { stamp, changes });
        }
        Ok(())
    }
}

impl<E: Env> Drop for Half<'_, E> {
    fn drop(&mut self) {
        // It shares memory with what is undone, which is to be counted as gone.
        self.changes = None;
        if !planted(Bug::HalfKept) {
            self.db.view.borrow().active.roll_back(self.db.assigned.get());
        }
    }
}

impl<E: Env> Db<E> {
    /// Begins a commit, which is to have `stamp`.
    pub(super) fn begin(&self, stamp: Stamp) -> Half<'_, E> {
        if planted(Bug::HalfAssigned) {
            self.assigned.set(stamp);
        }
        let changes = self.observer.borrow().is_some().then(Vec::new);
        Half { db: self, stamp, changes, hidden_bytes: 0 }
    }

    fn log_staged(&self, head: Head, staged: &[Staged<'_>]) -> Result<()> {
        self.log.borrow_mut().commit(head, |out| {
            for one @ Staged { key, op } in staged {
                let logged = match op {
                    StagedOp::Set { pointer, expires_at, .. } => LoggedOp::Set {
                        value: one.stored(),
                        expires_at: *expires_at,
                        in_blob: pointer.is_some(),
                    },
                    StagedOp::Delete => LoggedOp::Delete,
                    StagedOp::Expire => LoggedOp::Expire,
                    StagedOp::DeleteRange { end } => LoggedOp::DeleteRange { end },
                };
                payload::op(out, key, logged);
            }
        })
    }
}

/// What the first of these mutations store, enough to fill a buffer.
fn pack_of(staged: &[Staged<'_>]) -> Pack {
    if let [one] = staged {
        return Pack::new(one.stored());
    }
    let first_bytes = staged.first().map_or(0, |one| one.stored().len());
    let mut values = Vec::with_capacity(PACK_BYTES.min(staged.len() * first_bytes));
    for one in staged {
        values.extend_from_slice(one.stored());
        if values.len() >= PACK_BYTES {
            break;
        }
    }
    Pack::new(&values)
}

/// Puts a version into a memtable, and its row of the expiry index where it expires.
pub(super) fn insert(table: &Memtable, key: &[u8], stamp: Stamp, op: OwnedOp, visible: Stamp) {
    if let OwnedOp::Set { expires_at: expires_at @ 1.., .. } = op {
        let row = expiry::row(expires_at, key);
        let value = Bytes::copy(&[]);
        table.insert(&row, stamp, OwnedOp::Set { value, expires_at: 0, in_blob: false }, visible);
    }
    table.insert(key, stamp, op, visible);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Options;
    use crate::env::manual::{ManualEnv, block_on};
    use crate::storage::simulated::{Call, Fault, SimulatedStorage};
    use crate::wire::{Blob, Commit, Mutation};
    use std::pin::pin;
    use std::task::{Context, Waker};

    const ENTRIES: usize = 1_000;

    fn commit(mutations: Vec<Mutation<'_>>) -> Commit<'_> {
        Commit { checks: vec![], mutations, durability: None }
    }

    fn set(key: &[u8]) -> Mutation<'_> {
        let (key, value) = (Blob(key), Blob(&[3, 1]));
        Mutation::Set { key, value, expire_in_ms: None, stamp_key: false }
    }

    #[test]
    fn what_deleted_ranges_hide_is_counted_once_and_only_while_they_are_there() {
        let disk = SimulatedStorage::new(1);
        let env = ManualEnv::new(Rc::new(disk.clone()), 1_000, 1);
        env.set_turn_polls(1);
        env.set_slice_used_up(true);
        let db = block_on(Db::open(env, Options::default())).unwrap();
        let keys: Vec<_> =
            (0..ENTRIES).map(|n| [b"\x02", format!("{n:06}").as_bytes(), b"\0"].concat()).collect();
        let sets = || keys.iter().map(|key| set(key));
        assert!(block_on(db.commit(&[&commit(sets().collect())]))[0].is_ok());
        block_on(db.freeze(db.generation())).unwrap();
        block_on(db.flush_frozen()).unwrap();
        let range = Mutation::DeleteRange { start: Blob(&[2]), end: Blob(&[3]) };
        let long = commit([range].into_iter().chain(sets()).collect());
        let longs = [&long];
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut taken_in = pin!(db.commit(&longs));
            while !db.view().active.has_ranges() {
                assert!(taken_in.as_mut().poll(&mut context).is_pending());
            }
        }
        assert_eq!(db.hidden_bytes.get(), 0, "it was abandoned");
        disk.inject(Some(Call::Write), 0, Fault::Fail(crate::error::Code::Io));
        assert!(block_on(db.commit(&longs))[0].is_err());
        assert_eq!(db.hidden_bytes.get(), 0, "it was undone");
        let mut taken_in = pin!(db.commit(&longs));
        while !db.view().active.has_ranges() {
            assert!(taken_in.as_mut().poll(&mut context).is_pending());
        }
        db.appraise();
        db.observe(Some(Rc::new(|_| {})));
        while taken_in.as_mut().poll(&mut context).is_pending() {}
        let counted = db.hidden_bytes.get();
        db.appraise();
        assert!(counted > 0);
        assert_eq!(counted, db.hidden_bytes.get(), "once for whoever began to listen");
    }
}
