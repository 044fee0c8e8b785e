//! Reading everything, to find what is damaged.
//!
//! What was committed before is read from its files, block by block, in slices: requests go on
//! meanwhile, and the cache stays as it is. Damage is gathered and not repaired.

use super::history::damaged;
use super::{Db, View};
use crate::blob::{self, Large, Stretch};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::manifest;
use crate::memtable::Page;
use crate::merge::Merge;
use crate::storage::{MANIFEST_SLOTS, Storage};
use crate::table::{Table, Verifier};
use crate::version::Version;
use crate::wal::payload::Commit;
use crate::wal::recovery::has_header;
use crate::wal::{HEADER_BYTES, LogRef};
use crate::wire::FileKind;
use std::rc::Rc;

/// This many keys of a memtable are taken at once.
const PAGE_KEYS: usize = 256;
/// So much of a log is checked in a row, in bytes.
const CHECKED_BYTES: u64 = 64 * 1024;
/// So much damage is told of one by one; the rest is counted.
pub const DAMAGE_MAX: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How many places are damaged.
    pub damaged: u64,
    /// The first of them, at most [`DAMAGE_MAX`]: the kind of the file and what is wrong, which
    /// names file and offset.
    pub damage: Vec<(FileKind, Error)>,
}

impl Verified {
    fn add(&mut self, kind: FileKind, error: Error) {
        self.damaged += 1;
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push((kind, error));
        }
    }
}

impl<E: Env> Db<E> {
    /// Reads every file of the database and checks what can be checked.
    ///
    /// # Errors
    /// Those of the storage that don't tell of damage; `Closed`.
    pub async fn verify(&self) -> Result<Verified> {
        self.check_open()?;
        let mut found = Verified::default();
        self.verify_manifest(&mut found).await?;
        self.verify_logs(&mut found).await?;
        // What is in memory goes with the tables below it: a moment later it may be in those.
        let view = self.view();
        self.verify_recent_values(&view, &mut found).await?;
        // Its tables stay where they are, whatever becomes of the version.
        let version = view.version.clone();
        drop(view);
        check_levels(&version, &mut found);
        let mut tables = version.levels().concat();
        drop(version);
        while let Some(table) = tables.pop() {
            let mut verifier = Verifier::new(table.clone());
            while verifier.step().await? {
                self.check_open()?;
                self.breathe(0).await;
            }
            found.files += 1;
            found.bytes += verifier.bytes;
            verifier.damage.into_iter().for_each(|error| found.add(FileKind::Table, error));
            if !table.meta().blobs.is_empty() {
                self.verify_values_of(table, &mut found).await?;
            }
        }
        Ok(found)
    }

    /// The large values that a table points at, as far as it can be read.
    async fn verify_values_of(
        &self,
        table: Rc<Table<E::Storage>>,
        found: &mut Verified,
    ) -> Result<()> {
        let mut merge = Merge::versions(vec![vec![table]], None);
        loop {
            let mut located = Ok(None);
            let more = merge.fill(self.pause(), |record| {
                located = self.locate(record.op);
                matches!(located, Ok(None))
            });
            match more.await {
                Ok(true) => self.verify_value(located, found).await?,
                Ok(false) => return Ok(()),
                // It was found when the table was read.
                Err(error) if error.is_damage() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The large values that only logs point at; the files of all are counted here.
    async fn verify_recent_values(&self, view: &View<E>, found: &mut Verified) -> Result<()> {
        // All that these versions point into stays for as long; later ones are none of them.
        let (through, _files) = (self.visible.get(), self.tables.blobs.hold());
        for memtable in [Some(&view.active), view.frozen.as_ref()].into_iter().flatten() {
            let (mut page, mut last) = (Page::default(), None);
            loop {
                page.clear();
                last = memtable.versions(last.as_deref(), PAGE_KEYS, &mut page);
                for version in page.iter().filter(|version| version.stamp <= through) {
                    self.verify_value(self.locate(version.op), found).await?;
                }
                self.pause()().await?;
                if last.is_none() {
                    break;
                }
            }
        }
        for blob in self.tables.blobs.sizes() {
            found.files += 1;
            found.bytes += blob;
        }
        Ok(())
    }

    async fn verify_value(
        &self,
        located: Result<Option<Large>>,
        found: &mut Verified,
    ) -> Result<()> {
        let whole = match located {
            Ok(None) => return Ok(()),
            Ok(Some(large)) => {
                let storage = &**self.env.storage();
                let (scratch, stretch) = (Vec::new(), self.stretch());
                blob::read_pieces(storage, &large, scratch, stretch, self.pause(), &mut |_, _| {})
                    .await
            }
            Err(error) => Err(error),
        };
        self.check_open()?;
        self.breathe(0).await;
        match whole {
            Err(error) if error.is_damage() => found.add(FileKind::Blob, error),
            outcome => drop(outcome?),
        }
        Ok(())
    }

    async fn verify_manifest(&self, found: &mut Verified) -> Result<()> {
        let _turn = self.editing.enter().await;
        for slot in MANIFEST_SLOTS {
            found.files += 1;
            match manifest::verify_slot(&**self.env.storage(), slot).await {
                Ok(bytes) => found.bytes += bytes,
                Err(error) if error.is_damage() => found.add(FileKind::Manifest, error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The logs that hold commits which no table does, and those that are history.
    async fn verify_logs(&self, found: &mut Verified) -> Result<()> {
        for (log, bytes) in self.logs() {
            // They are given up by flushes.
            let turn = self.flushing.enter().await;
            found.files += 1;
            let checked = self.check_log(&log, bytes, found).await;
            // That it is too short was found by salvage, if by anyone.
            let is_of_log = |error: &Error| error.place().is_some_and(|(file, _)| file == log.file);
            let known = self.damage().into_iter().find(is_of_log);
            let checked = checked.and(known.map_or(Ok(()), Err));
            // It may have been let go of meanwhile, and its number given to another file.
            if let Err(error) = checked
                && self.logs().iter().any(|(named, _)| *named == log)
            {
                if !error.is_damage() {
                    return Err(error);
                }
                found.add(FileKind::Log, error);
            }
            drop(turn);
            self.breathe(0).await;
        }
        Ok(())
    }

    /// All logs that the manifest names, and how long they are; in salvage it does not say that of
    /// those that hold commits which no table does.
    fn logs(&self) -> Vec<(LogRef, Option<u64>)> {
        let (manifest, sealed) = (self.manifest.borrow(), self.sealed.borrow());
        let active = self.log_end();
        let bytes_of = |log: &LogRef| {
            let full = sealed.iter().map(|full| (full.log.file, full.bytes));
            let known = full.chain([active]).find(|(file, _)| *file == log.file);
            // The one that is kept ready holds nothing.
            let bytes = known.map_or(0, |(_, bytes)| bytes);
            (log.clone(), Some(bytes).filter(|_| !self.options.salvage))
        };
        let history = manifest.history.iter().map(|log| (log.log.clone(), Some(log.bytes)));
        history.chain(manifest.logs.iter().map(bytes_of)).collect()
    }

    /// Reads a log of so many bytes, or to its end, to find damage. Other requests run in between.
    ///
    /// # Errors
    /// `Corruption`, the storage's errors; `Closed` where the database is closed meanwhile.
    async fn check_log(
        &self,
        log: &LogRef,
        bytes: Option<u64>,
        found: &mut Verified,
    ) -> Result<()> {
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => self.env.storage().len(log.file).await?,
        };
        found.bytes += bytes;
        let (mut offset, mut stretch) = (HEADER_BYTES as u64, Stretch::new(CHECKED_BYTES));
        let mut file = self.whole_log(log, bytes).await?;
        if bytes > 0 && !has_header(&**self.env.storage(), log).await? {
            return Err(damaged(log, 0));
        }
        while offset < bytes {
            let record = file.record(offset).await?.ok_or_else(|| damaged(log, offset))?;
            if !record.payload.is_empty() {
                let checked = Commit::decode(record.payload).and_then(|commit| commit.check());
                checked.map_err(|error| error.at(log.file, offset))?;
            }
            offset = record.end;
            if stretch.is_over(offset) {
                self.breathe(0).await;
                self.check_open()?;
            }
        }
        Ok(())
    }
}

/// Below level 0 the tables of a level follow each other.
fn check_levels<S: Storage>(version: &Version<S>, found: &mut Verified) {
    for level in version.levels().iter().skip(1) {
        for (table, next) in level.iter().zip(level.iter().skip(1)) {
            if table.meta().largest >= next.meta().smallest {
                let message = "two tables of a level hold the same keys";
                found.add(FileKind::Table, Error::corruption(next.meta().file, 0, message));
            }
        }
    }
}
