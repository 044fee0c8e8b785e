//! Expiry: entries whose time has come are deleted by a commit of the engine's own, so that it
//! has a versionstamp, reaches watchers in order, and is final.

use super::{Db, Range};
use crate::commit::{Staged, StagedOp};
use crate::env::Env;
use crate::error::Result;
use crate::expiry;
use crate::record::Found;
use crate::sessions::Verdict;
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::wal::payload::Head;
use std::borrow::Cow;

/// Rows of the index taken by one commit, so that a million keys that expire together don't
/// hold up other commits.
const ROWS_MAX: usize = 1_000;

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
        let rows = self.due_rows(now_ms).await?;
        let mut staged = Vec::with_capacity(2 * rows.len());
        for row in &rows {
            self.stage_row(row, &mut staged).await?;
        }
        if let Some(error) = self.undone_since(generation) {
            return Err(error);
        }
        if !staged.is_empty() {
            let (stamp, verdict) = (self.next_stamp()?, Verdict::Applied);
            self.apply(Head { stamp, time_ms: now_ms, sender: None, verdict }, &staged)?;
        }
        let through = self.assigned.get();
        let ahead = self.look_ahead(now_ms, generation).await;
        drop(turn);
        self.settle(generation, through, false).await.and(ahead)
    }

    /// As [`Db::expire`], for a caller that has nobody to tell: a failure is kept for
    /// `failure()`, and expiry is tried again a moment later.
    pub async fn expire_in_background(&self) {
        let outcome = self.expire().await;
        if outcome.is_err() {
            self.next_expiry_ms.set(self.now_ms() + RETRY_MS);
            self.note(&outcome);
        }
    }

    async fn due_rows(&self, now_ms: u64) -> Result<Vec<Vec<u8>>> {
        let (start, end) = expiry::due(now_ms);
        let mut rows = Vec::new();
        let range = Range { start: &start, end: &end, reverse: false };
        self.list(range, self.newest(now_ms), |entry| {
            rows.push(entry.key.to_vec());
            rows.len() < ROWS_MAX
        })
        .await?;
        Ok(rows)
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

    /// Finds out when something expires next. Inside the entrance: no commit comes in meanwhile;
    /// but what was undone since `generation` may expire again.
    async fn look_ahead(&self, now_ms: u64, generation: usize) -> Result<()> {
        let (start, end) = expiry::all();
        let range = Range { start: &start, end: &end, reverse: false };
        let mut next = u64::MAX;
        self.list(range, self.newest(now_ms), |entry| {
            next = expiry::parse(entry.key).map_or(u64::MAX, |(time_ms, _)| time_ms);
            false
        })
        .await?;
        if self.undone_since(generation).is_none() {
            self.next_expiry_ms.set(next);
        }
        Ok(())
    }

    /// Everything there is, unpublished commits included.
    fn newest(&self, now_ms: u64) -> Snapshot {
        Snapshot { stamp: Stamp::MAX, time_ms: now_ms }
    }
}
