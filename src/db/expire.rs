//! Expiry: entries whose time has come are deleted by a commit of the engine's own, so that it
//! has a versionstamp, reaches watchers in order, and is final.

use super::{Db, Range};
use crate::commit::{Staged, StagedOp};
use crate::env::Env;
use crate::error::Result;
use crate::expiry;
use crate::record::{Found, Record};
use crate::sessions::Verdict;
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::wal::payload::Head;
use std::borrow::Cow;

/// Rows of the index taken by one commit, at the most, so that a million keys that expire together
/// don't hold up other commits.
const ROWS_MAX: usize = 512;
/// After so many rows each, a commit ends if its slice is used up.
const ROWS_STRIDE: usize = 32;

/// How long expiry waits after a failure, in milliseconds.
const RETRY_MS: u64 = 1_000;

impl<E: Env> Db<E> {
    /// When something expires next, in milliseconds since the Unix epoch; 0 (now) where that is
    /// not known yet, `u64::MAX` where nothing does.
    pub fn next_expiry_ms(&self) -> u64 {
        self.next_expiry_ms.get()
    }

    /// Deletes entries that have expired, up to a batch of them, in one commit; `next_expiry_ms`
    /// then says when to call again.
    ///
    /// # Errors
    /// As committing. What has expired stays invisible all the same.
    pub async fn expire(&self) -> Result<()> {
        let turn = self.entrance.enter().await;
        self.repair_if_needed().await?;
        self.make_room().await?;
        let generation = self.generation();
        let now_ms = self.now_ms();
        let (rows, mut next_ms) = self.due_rows(now_ms).await?;
        let mut staged = Vec::with_capacity(2 * rows.len());
        let mut last = None;
        for (count, row) in rows.iter().enumerate() {
            if count > 0 && count % ROWS_STRIDE == 0 && self.env.slice_used_up() {
                next_ms = now_ms;
                break;
            }
            self.stage_row(row, &mut staged).await?;
            last = Some(row);
        }
        if let Some(error) = self.undone_since(generation) {
            return Err(error);
        }
        if let Some(last) = last {
            let (stamp, verdict) = (self.next_stamp()?, Verdict::Applied);
            let mut half = self.begin(stamp);
            half.insert(&staged);
            half.finish(Head { stamp, time_ms: now_ms, sender: None, verdict }, &staged)?;
            self.expiry_floor.replace([last, &[0][..]].concat());
        }
        self.next_expiry_ms.set(next_ms);
        let through = self.assigned.get();
        drop(turn);
        self.settle(generation, through, false).await
    }

    /// As [`Db::expire`], for a caller that has nobody to tell: a failure is kept for
    /// `failure()`, and expiry is tried again a moment later.
    pub async fn expire_in_background(&self) {
        let generation = self.generation();
        let outcome = self.expire().await;
        if outcome.is_err() {
            self.leave_unreported(generation);
            self.next_expiry_ms.set(self.now_ms() + RETRY_MS);
            self.note(&outcome);
        }
    }

    /// The first rows that are due, and the time of the first one behind them.
    ///
    /// It begins where the last batch ended: the tombstones of all rows before that would have to
    /// be passed over again for every batch.
    async fn due_rows(&self, now_ms: u64) -> Result<(Vec<Vec<u8>>, u64)> {
        let start = self.expiry_floor.borrow().clone();
        let (mut rows, mut next_ms) = (Vec::new(), u64::MAX);
        let range = Range { start: &start, end: &expiry::all().1, reverse: false };
        let mut take = |entry: Record<'_>| {
            let time_ms = expiry::parse(entry.key).map_or(u64::MAX, |(time_ms, _)| time_ms);
            let takes = time_ms <= now_ms && rows.len() < ROWS_MAX;
            if takes {
                rows.push(entry.key.to_vec())
            } else {
                next_ms = time_ms
            }
            takes
        };
        self.list_to(range, self.newest(now_ms), &mut take).await?;
        Ok((rows, next_ms))
    }

    /// Notes that something expires at a time; 0 is never.
    pub(super) fn expires_at(&self, expires_at: u64, key: &[u8]) {
        if expires_at == 0 {
            return;
        }
        self.next_expiry_ms.set(self.next_expiry_ms.get().min(expires_at));
        let mut floor = self.expiry_floor.borrow_mut();
        if expiry::parse(&floor).is_some_and(|(floor_ms, _)| expires_at <= floor_ms) {
            let row = expiry::row(expires_at, key);
            if row < *floor {
                *floor = row;
            }
        }
    }

    /// Looks at the whole index the next time: rows that were taken may be back.
    pub(super) fn forget_expiry_floor(&self) {
        self.expiry_floor.replace(expiry::all().0);
    }

    /// Stages the end of a row, and of its entry if that still expires when the row says.
    async fn stage_row<'a>(&self, row: &'a [u8], staged: &mut Vec<Staged<'a>>) -> Result<()> {
        if let Some((time_ms, key)) = expiry::parse(row) {
            let found = self.find(key, Stamp::MAX).await?;
            let due = matches!(found, Some(Found::Set { expires_at, .. }) if expires_at == time_ms);
            if due {
                staged.push(Staged { key: Cow::Borrowed(key), op: StagedOp::Expire });
            }
        }
        staged.push(Staged { key: Cow::Borrowed(row), op: StagedOp::Delete });
        Ok(())
    }

    /// Everything there is, unpublished commits included.
    fn newest(&self, now_ms: u64) -> Snapshot {
        Snapshot { stamp: Stamp::MAX, time_ms: now_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Options;
    use crate::env::manual::{ManualEnv, block_on};
    use crate::limits::Budgets;
    use crate::storage::MemoryStorage;
    use crate::wire::{Blob, Commit, Mutation};
    use std::rc::Rc;

    type Store = Rc<Db<ManualEnv<MemoryStorage>>>;

    fn open() -> Store {
        let budgets = Budgets {
            memtable_bytes: 16 * 1024,
            table_bytes: 8 * 1024,
            level1_bytes: 32 * 1024,
            cache_bytes: 64 * 1024,
            ..Budgets::default()
        };
        let env = ManualEnv::new(Rc::new(MemoryStorage::new()), 1_000, 1);
        block_on(Db::open(env, Options { budgets, ..Options::default() })).unwrap()
    }

    fn set(db: &Store, number: u64, expire_in_ms: u64) {
        let key = [&[2][..], format!("{number:06}").as_bytes(), &[0]].concat();
        let mutation = Mutation::Set {
            key: Blob(&key),
            value: Blob(&[4, 0, 0, 0, 0, 0, 0, 0, 0]),
            expire_in_ms: Some(expire_in_ms),
            stamp_key: false,
        };
        let commit = Commit { checks: vec![], mutations: vec![mutation], durability: None };
        assert!(block_on(db.commit(&[&commit])).remove(0).is_ok());
    }

    /// Has so many entries expire at once; returns how many batches that takes, and how often they
    /// look for a block.
    fn expire_all(count: u64) -> (u64, u64) {
        let db = open();
        (0..count).for_each(|number| set(&db, number * 7919 % count, 1_000));
        block_on(db.upkeep());
        db.env().set_now_ms(2_000);
        let lookups = || {
            let stats = db.tables.cache.stats();
            stats.hits + stats.misses
        };
        let (before, mut batches) = (lookups(), 0);
        while db.next_expiry_ms() <= 2_000 {
            let floor = db.expiry_floor.borrow().clone();
            block_on(db.expire()).unwrap();
            assert!(floor < *db.expiry_floor.borrow(), "a batch begins where the last one ended");
            batches += 1;
        }
        assert_eq!(db.next_expiry_ms(), u64::MAX);
        (batches, lookups() - before)
    }

    #[test]
    fn many_entries_that_expire_at_once_cost_each_what_few_do() {
        let (few, many) = (expire_all(1_000), expire_all(8_000));
        let a_key = |(_, lookups): (u64, u64), count: u64| lookups as f64 / count as f64;
        let ratio = a_key(many, 8_000) / a_key(few, 1_000);
        assert!(ratio < 2.0, "{few:?} and {many:?}");
        assert_eq!(many.0, 8_000u64.div_ceil(ROWS_MAX as u64));
    }

    #[test]
    fn a_batch_ends_when_its_slice_is_used_up() {
        let db = open();
        (0..200).for_each(|number| set(&db, number, 1_000));
        db.env().set_now_ms(2_000);
        db.env().set_slice_used_up(true);
        let before = db.assigned();
        block_on(db.expire()).unwrap();
        assert_eq!(db.next_expiry_ms(), 2_000);
        let gone = (0..200).filter(|number| {
            let key = [&[2][..], format!("{number:06}").as_bytes(), &[0]].concat();
            matches!(block_on(db.find(&key, Stamp::MAX)), Ok(Some(Found::Delete { .. })))
        });
        assert_eq!(gone.count(), ROWS_STRIDE);
        assert_eq!(db.assigned().counter, before.counter + 1);
    }

    #[test]
    fn what_is_set_to_expire_before_what_has_expired_expires_too() {
        let db = open();
        set(&db, 5, 1_000);
        db.env().set_now_ms(2_000);
        block_on(db.expire()).unwrap();
        for (number, expire_in_ms) in [(7, 10), (4, 1), (3, 0)] {
            set(&db, number, expire_in_ms);
        }
        db.env().set_now_ms(2_010);
        while db.next_expiry_ms() <= 2_010 {
            block_on(db.expire()).unwrap();
        }
        for number in [3, 4, 7] {
            let key = [&[2][..], format!("{number:06}").as_bytes(), &[0]].concat();
            let found = block_on(db.find(&key, Stamp::MAX)).unwrap();
            assert!(matches!(found, Some(Found::Delete { .. })), "{number}");
        }
    }
}
