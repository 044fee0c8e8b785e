//! The change log: every commit after a stamp, in order, read back from the logs.
//!
//! The commits that a reader has not seen are in logs of three kinds: history, which the manifest
//! names beside the logs that an open replays; logs that are full and whose commits are still in
//! a memtable; the one being written, up to its last published group. A reader that has read all
//! of them has every published commit, and goes over to the live events without waiting.

use super::{ChangeKind, ChangeRecord, CommitEvent, Db};
use crate::blob::{Large, Value};
use crate::bytes::Bytes;
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::expiry;
use crate::history::{self, HistoryLog, Reader};
use crate::limits::HISTORY_PAGE_BYTES;
use crate::manifest::Manifest;
use crate::planted::{Bug, planted};
use crate::record::Op;
use crate::stamp::Stamp;
use crate::storage::{FileNo, Storage};
use crate::wal::payload::{Commit, LoggedOp};
use crate::wal::recovery::LogFile;
use crate::wal::{HEADER_BYTES, LogRef};
use std::rc::Rc;

/// Whether somebody wants to hear of a change of a key, or of all from it up to an end.
type Wants<'a> = dyn Fn(&[u8], Option<&[u8]>) -> bool + 'a;

/// A log, and how much of it is to be read.
struct Stretch {
    log: LogRef,
    end: u64,
    /// The last commit of a log that is full; None for the one being written.
    last: Option<Stamp>,
}

impl<E: Env> Db<E> {
    /// A reader of the commits after `since`, for [`Db::next_changes`]. The logs it needs are
    /// kept for as long as it lives and asks for more.
    ///
    /// # Errors
    /// `HistoryGone` where they were let go of, or where `since` is no commit of this database;
    /// `Unsupported` in salvage.
    pub fn read_changes(&self, since: Stamp) -> Result<Rc<Reader>> {
        self.check_open()?;
        if self.options.salvage {
            // Nothing tells whether the logs that are left are all that there were.
            let message = "salvage reads no history: list what there is";
            return Err(Error::new(Code::Unsupported, message));
        }
        if since > self.visible.get() {
            let message = format!(
                "there is no commit {since} yet, so it is of another database: list what there \
                 is, then subscribe from the versionstamp of that"
            );
            return Err(Error::new(Code::HistoryGone, message));
        }
        let reader = Rc::new(Reader::new(since, self.now_ms()));
        self.stretch_of(&reader)?;
        let mut readers = self.readers.borrow_mut();
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Rc::downgrade(&reader));
        Ok(reader)
    }

    /// Hands the next commits to `sink`, in order, with those of their changes whose key, and with
    /// the end of a deleted range, `wants` says yes to; those without any are left out. Large
    /// values of other changes are not read. Returns true once the reader has every commit that is
    /// published. That holds until the caller waits.
    ///
    /// # Errors
    /// `HistoryGone`; `Corruption` where a log is damaged, with what came before handed out; the
    /// storage's errors. `MalformedFrame` where another call reads for this reader.
    pub async fn next_changes(
        &self,
        reader: &Reader,
        wants: impl Fn(&[u8], Option<&[u8]>) -> bool,
        mut sink: impl FnMut(&CommitEvent),
    ) -> Result<bool> {
        if reader.is_reading.replace(true) {
            return Err(Error::new(Code::MalformedFrame, "a page was asked for twice at a time"));
        }
        let _reading = Reading(reader);
        self.read_page(reader, &wants, &mut sink).await
    }

    async fn read_page(
        &self,
        reader: &Reader,
        wants: &Wants<'_>,
        sink: &mut dyn FnMut(&CommitEvent),
    ) -> Result<bool> {
        reader.asked_ms.set(self.now_ms());
        let mut left = HISTORY_PAGE_BYTES;
        loop {
            while self.poisoned.get() {
                // How much of its log is published is only known again after the repair.
                let _turn = self.entrance.enter().await;
                self.repair_if_needed().await?;
            }
            let stretch = self.stretch_of(reader)?;
            let place = reader.place.get().filter(|(id, _)| *id == stretch.log.id);
            let offset = match place {
                Some((_, offset)) => offset,
                None => self.landmark_before(&stretch, reader.after.get()),
            };
            if offset >= stretch.end {
                let Some(last) = stretch.last else { return Ok(true) };
                reader.after.set(reader.after.get().max(last));
            } else if left == 0 {
                return Ok(false);
            } else if let Err(error) =
                self.read_some(reader, &stretch, offset, &mut left, wants, sink).await
            {
                // It may have been let go of meanwhile: then the reader has all of its commits. And
                // a repair removes the log that it does without before there is another.
                if !self.poisoned.get() && self.stretch_of(reader)?.log.id == stretch.log.id {
                    return Err(error);
                }
            }
        }
    }

    /// The log in which the next commit of a reader is, or will be.
    fn stretch_of(&self, reader: &Reader) -> Result<Stretch> {
        let (manifest, after) = (self.manifest.borrow(), reader.after.get());
        if after < manifest.history_after {
            let message = format!(
                "the commits after {after} are not kept any more: list what there is, then \
                 subscribe from the versionstamp of that"
            );
            return Err(Error::new(Code::HistoryGone, message));
        }
        let sealed = self.sealed.borrow();
        let next = manifest.history.iter().chain(sealed.iter()).find(|log| log.last > after);
        if let Some(HistoryLog { log, bytes, last, .. }) = next {
            return Ok(Stretch { log: log.clone(), end: *bytes, last: Some(*last) });
        }
        let active = self.log.borrow();
        Ok(Stretch { log: active.log().clone(), end: active.len(), last: None })
    }

    /// Where to begin to read a log of which a reader has the commits through `after`.
    fn landmark_before(&self, stretch: &Stretch, after: Stamp) -> u64 {
        let known = self.landmarks.borrow().before(stretch.log.id, after);
        known.unwrap_or(HEADER_BYTES as u64)
    }

    /// Reads on in a log from `offset`, to its end or until `left` bytes are used up.
    async fn read_some(
        &self,
        reader: &Reader,
        stretch: &Stretch,
        mut offset: u64,
        left: &mut u64,
        wants: &Wants<'_>,
        sink: &mut dyn FnMut(&CommitEvent),
    ) -> Result<()> {
        let log = &stretch.log;
        let mut file = self.whole_log(log, stretch.end).await?;
        while *left > 0 && offset < stretch.end {
            let record = file.record(offset).await?.ok_or_else(|| damaged(log, offset))?;
            if !record.payload.is_empty() {
                let commit = Commit::decode(record.payload).map_err(|e| e.at(log.file, offset))?;
                let stamp = commit.head.stamp;
                if stamp > reader.after.get() || planted(Bug::ChangesRepeated) {
                    let (mut event, large) =
                        self.event_of(commit, wants).map_err(|e| e.at(log.file, offset))?;
                    for (place, large) in large {
                        *left = left.saturating_sub(large.pointer().len);
                        let value = self.read_large(&large).await?;
                        if let Some(record) = event.changes.get_mut(place) {
                            record.change = ChangeKind::Set(value);
                        }
                    }
                    reader.after.set(stamp);
                    if !event.changes.is_empty() {
                        sink(&event);
                    }
                }
            }
            *left = left.saturating_sub(record.end - offset);
            offset = record.end;
            reader.place.set(Some((log.id, offset)));
        }
        Ok(())
    }

    /// A log that is at least as long as it has to be.
    pub(super) async fn whole_log<'a>(
        &'a self,
        log: &'a LogRef,
        end: u64,
    ) -> Result<LogFile<'a, E::Storage>> {
        let there = self.env.storage().len(log.file).await?;
        match there < end {
            true => Err(damaged(log, there)),
            false => Ok(LogFile::until(&**self.env.storage(), log, end)),
        }
    }

    /// Notes that the log being written is full; its last commit is the last that is published.
    pub(super) fn seal_log(&self) {
        let (log, bytes) = (self.log.borrow().log().clone(), self.log_end().1);
        let (last, last_ms) = (self.visible.get(), self.now_ms());
        // Of what was written since the memtable was frozen some is in logs of earlier opens.
        let earlier = self.sealed.borrow().iter().map(|log| log.large_bytes).sum();
        let large_bytes = self.tables.blobs.recent_bytes().saturating_sub(earlier);
        self.sealed.borrow_mut().push(HistoryLog { log, bytes, last, last_ms, large_bytes });
    }

    /// Changes a manifest whose tables now have what `dropped` logs held: those that are full
    /// become history, and what need not be kept goes. Returns the files that go with it.
    pub(super) fn retain_history(
        &self,
        manifest: &mut Manifest,
        dropped: &[LogRef],
    ) -> Vec<FileNo> {
        let mut files = Vec::new();
        let sealed = self.sealed.borrow();
        for log in dropped {
            match sealed.iter().find(|sealed| sealed.log.id == log.id) {
                Some(_) if planted(Bug::HistoryGap) => files.push(log.file),
                Some(sealed) => manifest.history.push(sealed.clone()),
                None => files.push(log.file),
            }
        }
        let (now_ms, retention) = (self.now_ms(), self.options.history);
        let readers = self.readers.borrow();
        let readers = readers.iter().filter_map(|reader| reader.upgrade());
        let reading = readers.filter(|reader| reader.holds(now_ms));
        let reading = reading.map(|reader| reader.after.get()).min();
        let is_heard = self.observer.borrow().is_some();
        let is_awaited = is_heard || self.snapshots.awaits_clients(now_ms);
        let history = &mut manifest.history;
        let gone = history::let_go(history, retention, now_ms, reading, is_awaited);
        let due_ms = history::kept_until(history, retention, now_ms);
        self.history_due_ms.set(match (is_heard, is_awaited) {
            (true, _) => due_ms,
            (false, true) => due_ms.min(self.snapshots.awaited_until_ms()),
            (false, false) => u64::MAX,
        });
        manifest.forget(&gone);
        let oldest = manifest.history.first().or(sealed.first()).map(|log| log.log.id);
        let oldest = oldest.unwrap_or_else(|| self.log.borrow().log().id);
        self.landmarks.borrow_mut().forget_before(oldest);
        files.extend(gone.iter().map(|gone| gone.log.file));
        files
    }

    /// Whether there is history whose time has come.
    pub(super) fn is_history_due(&self) -> bool {
        self.history_due_ms.get() <= self.now_ms()
    }

    /// Lets history go whose time has come.
    ///
    /// # Errors
    /// Those of storing the manifest.
    pub(super) async fn trim_history(&self) -> Result<()> {
        let (mut files, due_ms) = (Vec::new(), self.history_due_ms.get());
        let stored = self.edit(&mut |manifest| files = self.retain_history(manifest, &[])).await;
        if stored.is_err() {
            // All of it is still there, for the next attempt.
            self.history_due_ms.set(due_ms);
        }
        stored?;
        self.tables.garbage.borrow_mut().append(&mut files);
        self.appraise();
        self.collect_garbage().await;
        Ok(())
    }

    /// Lets all history go whose commits are in tables; returns whether there was any.
    ///
    /// # Errors
    /// Those of storing the manifest.
    pub(super) async fn free_history(&self) -> Result<bool> {
        let mut gone = Vec::new();
        if self.manifest.borrow().history.is_empty() {
            return Ok(false);
        }
        self.edit(&mut |manifest| {
            gone = std::mem::take(&mut manifest.history);
            manifest.forget(&gone);
        })
        .await?;
        self.tables.garbage.borrow_mut().extend(gone.iter().map(|gone| gone.log.file));
        // Blob files may be stale now that only the history pointed into.
        self.appraise();
        self.collect_garbage().await;
        Ok(true)
    }
}

/// Lets the next page be asked for, also where the future of this one is dropped.
struct Reading<'a>(&'a Reader);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.is_reading.set(false);
    }
}

pub(super) fn damaged(log: &LogRef, offset: u64) -> Error {
    Error::corruption(log.file, offset, "a log is damaged")
}

/// A commit read back, and the large values of its changes that are still to be read.
type Recalled = (CommitEvent, Vec<(usize, Large)>);

impl<E: Env> Db<E> {
    /// What a logged commit did, as those who watch hear of it, so far as somebody `wants` it.
    fn event_of(&self, commit: Commit<'_>, wants: &Wants<'_>) -> Result<Recalled> {
        let (mut changes, mut large) = (Vec::new(), Vec::new());
        for op in commit.ops {
            let (key, op) = op?;
            let is_own = key.first().is_none_or(|first| *first < expiry::USER_KEYS_START);
            let end = match op {
                LoggedOp::DeleteRange { end } => Some(end),
                _ => None,
            };
            if is_own || !wants(key, end) {
                continue;
            }
            let change = match op {
                LoggedOp::Set { value, expires_at, in_blob } => {
                    if let Some(located) = self.locate(Op::Set { value, expires_at, in_blob })? {
                        large.push((changes.len(), located));
                    }
                    ChangeKind::Set(Value::Inline(Bytes::copy(value)))
                }
                LoggedOp::Delete => ChangeKind::Delete,
                LoggedOp::Expire => ChangeKind::Expire,
                LoggedOp::DeleteRange { end } => ChangeKind::DeleteRange(Rc::from(end)),
            };
            changes.push(ChangeRecord { key: Rc::from(key), change });
        }
        Ok((CommitEvent { stamp: commit.head.stamp, changes }, large))
    }
}
