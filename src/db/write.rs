//! The commit path: evaluate one after the other, append together, publish, acknowledge.
//!
//! A batch of commits enters one at a time (`entrance`), is decided on the newest state,
//! unpublished commits before it included, and goes into the active memtable and the log's group
//! buffer. Then whoever gets there first appends the whole buffer for everybody (`appending`),
//! and flushes it once if any commit of it is strict. Only then are the commits visible.

use super::Db;
use super::reserve::is_full;
use crate::blob::Pointer;
use crate::commit::{self, Outcome, Present};
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::limits::REST_MS;
use crate::planted::{Bug, planted};
use crate::record::{Found, alive};
use crate::sessions::{Origin, Verdict};
use crate::stamp::Stamp;
use crate::storage::{Durability, FileNo, Storage};
use crate::value;
use crate::wal::Group;
use crate::wal::payload::{Head, Sender};
use crate::wire::Commit;

const UNFLUSHED: &str = "the commit was applied, but flushing it failed: it may not be durable";

impl<E: Env> Db<E> {
    /// Applies commits in order, each on its own: all of its mutations or, where a check fails
    /// or an error is returned for it, none. The answers stand in the order of the commits.
    ///
    /// # Errors
    /// Per commit: `TooLarge`, `MalformedFrame`, `TypeMismatch` for what the caller sent; the
    /// storage's errors, after which the commit is not applied (it may come back if the process
    /// ends before the next write has repaired the database).
    pub async fn commit(&self, commits: &[&Commit<'_>]) -> Vec<Result<Outcome>> {
        self.commit_from(None, commits).await
    }

    /// As [`Db::commit`], for a client: what comes of each commit is remembered until the client
    /// has acknowledged it. One that was decided before is not applied again but answered as it
    /// was then, refusals of checks and mismatches included; other errors changed nothing and
    /// are not remembered.
    ///
    /// # Errors
    /// Per commit: those of [`Db::commit`], but not those of the storage for one that was published
    /// before; `Io` for one that was sent before and failed, where a later one of its client was
    /// decided since; and `OutcomeUnknown` for one that was sent before and of which nothing is
    /// known any more, which is not applied, or that is to be strict, was applied, and may not be
    /// flushed.
    pub async fn commit_from(
        &self,
        origin: Option<&Origin>,
        commits: &[&Commit<'_>],
    ) -> Vec<Result<Outcome>> {
        let mut outcomes = Vec::with_capacity(commits.len());
        let turn = self.entrance.enter().await;
        let unfit = self.repair_if_needed().await.err();
        let generation = self.generation();
        let (mut refusal, mut strict) = (unfit.clone(), false);
        let full = self.refusal_of_writes(commits).await;
        let mut in_a_row = 0;
        for (place, commit) in (0..).zip(commits) {
            if in_a_row >= self.options.budgets.mutations_in_a_row {
                in_a_row = 0;
                Db::give_way(self).await;
            }
            in_a_row += 1 + commit.mutations.len();
            let sequence = origin.map_or(0, |origin| origin.first.saturating_add(place));
            let known = origin.and_then(|origin| self.sessions.answer(origin, sequence));
            let outcome = match known {
                Some(answer) => answer,
                None => {
                    // A failure is told to those who need the log; what is known stays true.
                    refusal = refusal.or_else(|| self.undone_since(generation));
                    refusal = refusal.or_else(|| self.unreported());
                    let full = full.as_ref().filter(|_| !commit::only_deletes(commit));
                    match refusal.as_ref().or(full) {
                        Some(error) => Err(error.clone()),
                        None => {
                            let sender = origin.map(|origin| origin.sender(sequence));
                            self.evaluate(sender, commit).await
                        }
                    }
                }
            };
            strict |= self.is_strict(commit) && is_logged(&outcome);
            outcomes.push(outcome);
        }
        let through = self.assigned.get();
        drop(turn);
        let settled = match unfit {
            Some(error) => Err(error),
            None if !outcomes.iter().any(is_logged) => Ok(()),
            None => self.settle(generation, through, strict).await,
        };
        if let Err(error) = settled.or_else(acknowledged_all_the_same) {
            let published = self.published_in(generation);
            let answered = commits.iter().zip(&mut outcomes);
            for (commit, outcome) in answered.filter(|(_, outcome)| outcome.is_ok()) {
                match outcome {
                    Ok(Outcome::Committed(stamp)) if *stamp <= published => {
                        if self.is_strict(commit) && *stamp > self.durable.get() {
                            *outcome = Err(Error::new(Code::OutcomeUnknown, UNFLUSHED));
                        }
                    }
                    _ => *outcome = Err(error.clone()),
                }
            }
        }
        outcomes
    }

    /// Whether a commit is to be acknowledged once it is durable.
    fn is_strict(&self, commit: &Commit<'_>) -> bool {
        commit.durability.unwrap_or(self.options.durability) == Durability::Strict
    }

    /// Makes everything committed so far durable.
    ///
    /// # Errors
    /// Those of the storage. What was committed relaxed stays readable, and is written anew by
    /// the repair that the next write begins with.
    pub async fn flush(&self) -> Result<()> {
        self.check_open()?;
        let _turn = match self.poisoned.get() {
            true => Some(self.entrance.enter().await),
            false => None,
        };
        self.flush_decided().await
    }

    /// Makes every commit that has been decided durable. After a failed write it is for tasks
    /// inside the entrance.
    pub(super) async fn flush_decided(&self) -> Result<()> {
        if self.poisoned.get() {
            self.repair_if_needed().await?;
            // The caller hears that all is durable by now: nothing is left to be told.
            self.unreported();
            return Ok(());
        }
        self.settle(self.generation(), self.assigned.get(), true).await?;
        self.mark_flushed().await;
        Ok(())
    }

    /// Notes in the log how much of it is durable, so that later damage to it is not taken for a
    /// torn tail. Only a hint: where it can't be written, the flush was none the worse.
    async fn mark_flushed(&self) {
        let _turn = self.appending.enter().await;
        let mark = self.log.borrow_mut().take_mark();
        if let Some(Group { file, offset, bytes }) = mark {
            let storage = self.env.storage();
            let _hint = storage.write(file, offset, &bytes, Durability::Relaxed).await;
        }
    }

    /// Waits until every commit handed in so far is published or has failed.
    pub async fn barrier(&self) {
        drop(self.entrance.enter().await);
        self.settle_all().await;
    }

    /// Waits until every commit that has been decided is published, or undone by a failure that
    /// its own caller hears of.
    pub async fn settle_all(&self) {
        if self.poisoned.get() {
            // All that was on its way is undone, and the log is not to be touched.
            return;
        }
        let _ = self.settle(self.generation(), self.assigned.get(), false).await;
    }

    /// As [`Db::flush`], for a caller that has nobody to tell: a failure is kept for the next
    /// commit and for `failure()`.
    pub async fn flush_in_background(&self) {
        let generation = self.generation();
        if !self.poisoned.get() && self.flush().await.is_err() {
            self.leave_unreported(generation);
        }
    }

    /// Leaves it to the next commit to tell of a failure in `generation`, if there was one: its
    /// caller has nobody to tell.
    pub(super) fn leave_unreported(&self, generation: usize) {
        if let Some(poisoning) = self.poisonings.borrow().get(generation) {
            poisoning.reported.set(false);
        }
    }

    /// The failure that nobody has heard of, which the caller is to tell of.
    fn unreported(&self) -> Option<Error> {
        let poisonings = self.poisonings.borrow();
        let last = poisonings.last().filter(|last| !last.reported.replace(true))?;
        Some(last.error.clone())
    }

    /// Makes the log fit to be written to, and leaves it to the next commit to tell of a failure
    /// that nobody has heard of.
    pub(super) async fn repair_if_needed(&self) -> Result<()> {
        self.check_open()?;
        self.check_writable()?;
        if self.poisoned.get() { self.repair().await } else { Ok(()) }
    }

    /// Decides one commit and applies it to the memtable and the group buffer.
    async fn evaluate(&self, sender: Option<Sender>, commit: &Commit<'_>) -> Result<Outcome> {
        commit::validate(commit)?;
        self.make_room().await?;
        let generation = self.generation();
        let time_ms = self.now_ms();
        let (mut verdict, mut staged) = (Verdict::Applied, Vec::new());
        let stamp = self.next_stamp()?;
        if let Some(place) = commit::failed_check(commit, time_ms, self).await? {
            verdict = Verdict::CheckFailed(place);
        } else {
            match commit::stage(commit, stamp, time_ms, self).await {
                Ok(all) => {
                    staged = all;
                    self.store_large(&mut staged).await?;
                }
                Err(error) if error.code() == Code::TypeMismatch => {
                    verdict = Verdict::Mismatch(error.message().into());
                }
                Err(error) => return Err(error),
            }
        }
        let answer = verdict.answer(stamp);
        if verdict == Verdict::Applied || sender.is_some() {
            let in_a_row = self.options.budgets.mutations_in_a_row;
            let (mut half, mut rows) = (self.begin(stamp), staged.chunks(in_a_row));
            loop {
                if let Some(error) = self.undone_since(generation) {
                    return Err(error);
                }
                let Some(row) = rows.next() else { break };
                half.insert(row);
                if rows.len() > 0 {
                    Db::give_way(self).await;
                    if half.has_new_listener() {
                        rows = staged.chunks(in_a_row);
                    }
                }
            }
            half.finish(Head { stamp, time_ms, sender, verdict }, &staged)?;
        }
        answer
    }

    pub(super) fn next_stamp(&self) -> Result<Stamp> {
        let stamp = self.assigned.get().next();
        match stamp.counter <= crate::stamp::COUNTER_MAX {
            true => Ok(stamp),
            false => {
                Err(Error::new(Code::TooLarge, "this open has used up its versionstamps: reopen"))
            }
        }
    }

    /// Waits until everything through `through` is published, and flushed if `strict`; appends
    /// and flushes itself when nobody else is about to.
    pub(super) async fn settle(
        &self,
        generation: usize,
        through: Stamp,
        strict: bool,
    ) -> Result<()> {
        if strict {
            self.strict_through.set(self.strict_through.get().max(through));
        }
        loop {
            if let Some(error) = self.undone_since(generation) {
                let published = through <= self.published_in(generation);
                return if published && !strict { Ok(()) } else { Err(error) };
            }
            let flushed = !strict || self.durable.get() >= through || planted(Bug::FlushNotAwaited);
            if through <= self.visible.get() && flushed {
                return Ok(());
            }
            let _turn = self.appending.enter().await;
            let settled =
                through <= self.visible.get() && !(strict && self.durable.get() < through);
            if !settled && self.undone_since(generation).is_none() {
                self.append_group().await;
            }
        }
    }

    /// Writes the group buffer, flushes if asked to, publishes. A failure poisons.
    async fn append_group(&self) {
        if self.strict_through.get() > self.durable.get() {
            self.env.turn().await;
        }
        let through = self.assigned.get();
        let strict = self.strict_through.get() > self.durable.get();
        let flushes = strict && !planted(Bug::DroppedFlush);
        let durability = if flushes { Durability::Strict } else { Durability::Relaxed };
        let group = self.log.borrow_mut().take_group();
        let only_writes = group.is_some() && !flushes;
        let only_deletes = !self.group_writes.take();
        let (file, len) = self.log_end();
        if planted(Bug::PublishedBeforeAppend) {
            self.publish(through, strict);
        }
        let in_doubt = InDoubt { db: self };
        let written = self.write_group(group, durability, only_deletes).await;
        std::mem::forget(in_doubt);
        match written {
            Ok(()) => {
                let (log, end) = (self.log.borrow().log().id, self.log_end().1);
                self.landmarks.borrow_mut().pass(log, end, through);
                self.publish(through, strict);
            }
            Err(error) => {
                self.poison(&error, true);
                // Takes back what part of the group got there, so that it can't return with the
                // next open. The repair does not rest on it, and it may fail as the write did.
                let cut = self.env.storage().truncate(file, len).await;
                // Where it was no flush of the log that failed, what is published can be made
                // durable by one: it may take long until there is room for a repair.
                if only_writes && cut.is_ok() && self.env.storage().sync(file).await.is_ok() {
                    self.durable.set(self.visible.get());
                }
            }
        }
    }

    /// Writes a group; without one, flushes what was written before. One that only deletes may use
    /// the space in reserve. It is flushed by itself, so that it is not written again on trust
    /// where it was the flush that failed.
    async fn write_group(
        &self,
        group: Option<Group>,
        durability: Durability,
        only_deletes: bool,
    ) -> Result<()> {
        let storage = self.env.storage();
        self.flush_large().await?;
        match group {
            Some(group) => {
                let Group { file, offset, bytes } = &group;
                let at_once = if only_deletes { Durability::Relaxed } else { durability };
                let mut written = storage.write(*file, *offset, bytes, at_once).await;
                while only_deletes && is_full(&written) && self.make_space().await? {
                    written = storage.write(*file, *offset, bytes, at_once).await;
                }
                if written.is_ok() && at_once != durability {
                    written = storage.sync(*file).await;
                }
                written.or_else(|error| match planted(Bug::ShortWriteAccepted) {
                    true => Ok(()),
                    false => Err(error),
                })?;
                self.log.borrow_mut().written(group, durability);
            }
            None => {
                let (file, len) = self.log_end();
                storage.sync(file).await?;
                self.log.borrow_mut().synced(len);
            }
        }
        Ok(())
    }

    /// The file of the log, and its length without the group that gathers.
    pub(super) fn log_end(&self) -> (FileNo, u64) {
        let log = self.log.borrow();
        (log.log().file, log.len())
    }

    fn publish(&self, through: Stamp, strict: bool) {
        self.visible.set(through);
        self.rest.from_ms.set(self.now_ms.get() + REST_MS);
        if strict {
            self.durable.set(through);
            self.counters.flushes.set(self.counters.flushes.get() + 1);
        }
        self.counters.commits.set(self.counters.commits.get() + self.unpublished.take());
        let mut events = self.unpublished_events.take();
        if planted(Bug::EventLost) && events.len() > 1 {
            events.pop();
        }
        let later = events.partition_point(|event| event.stamp <= through);
        *self.unpublished_events.borrow_mut() = events.split_off(later);
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            events.into_iter().for_each(|event| observer(event));
        }
    }

    /// The error that undid what was unpublished in `generation`, if that happened.
    pub(super) fn undone_since(&self, generation: usize) -> Option<Error> {
        self.poisonings.borrow().get(generation).map(|poisoning| poisoning.error.clone())
    }

    /// The last stamp that was published in a generation that has ended.
    fn published_in(&self, generation: usize) -> Stamp {
        let poisonings = self.poisonings.borrow();
        poisonings.get(generation).map_or(self.visible.get(), |poisoning| poisoning.published)
    }
}

/// Whether an answer rests on a record of the log, or did when it was first given.
fn is_logged(answer: &Result<Outcome>) -> bool {
    answer.as_ref().err().is_none_or(|error| error.code() == Code::TypeMismatch)
}

/// The bug of that name.
fn acknowledged_all_the_same(error: Error) -> Result<()> {
    if planted(Bug::FailedGroupAcknowledged) { Ok(()) } else { Err(error) }
}

impl<E: Env> Present for Db<E> {
    fn in_a_row(&self) -> usize {
        self.options.budgets.mutations_in_a_row
    }

    async fn give_way(&self) {
        Db::give_way(self).await;
    }

    async fn latest(&self, key: &[u8], now_ms: u64) -> Result<Option<(Stamp, Vec<u8>)>> {
        Ok(match self.find(key, Stamp::MAX).await? {
            Some(Found::Set { stamp, value, expires_at, in_blob }) if alive(expires_at, now_ms) => {
                // No large value can be computed with: its kind is all that has to be known.
                let at = if in_blob { Pointer::decode(&value) } else { None };
                let known = at.as_ref().map_or(&*value, |at| value::example(at.kind));
                Some((stamp, known.to_vec()))
            }
            _ => None,
        })
    }

    async fn latest_stamp(&self, key: &[u8], now_ms: u64) -> Result<Option<Stamp>> {
        let newest = if planted(Bug::CheckOnVisible) { self.visible.get() } else { Stamp::MAX };
        Ok(match self.find(key, newest).await? {
            Some(Found::Set { stamp, expires_at, .. }) if alive(expires_at, now_ms) => Some(stamp),
            _ => None,
        })
    }
}

/// Poisons the database when a future is dropped in the middle of its write: what reached the
/// storage is not known then.
struct InDoubt<'a, E: Env> {
    db: &'a Db<E>,
}

impl<E: Env> Drop for InDoubt<'_, E> {
    fn drop(&mut self) {
        self.db.poison(&Error::io("a write was abandoned before the storage answered"), false);
    }
}
