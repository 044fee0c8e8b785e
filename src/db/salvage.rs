//! Salvage: reading what is left of a damaged database, without changing a byte of it.
//!
//! - What the manifest names is read where it can be. Where a slot of the manifest is damaged,
//!   every file is read that says by its own header that it is a log or a table: those that were
//!   given up hold no bytes.
//! - Of a log, every record that verifies is read, also those behind damage.
//! - Lists pass over damaged blocks, tables and large values, and keep where they were; a get that
//!   meets damage fails.
//!
//! So what is read may lack commits and hold older values than the database did: of what was
//! damaged nothing is known, not even that it was deleted.

use super::open::Replay;
use super::{Db, Options, Range};
use crate::blob::{BlobMeta, Blobs, Value};
use crate::bytes::Bytes;
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::manifest::{self, Loaded, Manifest};
use crate::record::Op;
use crate::signal::Turn;
use crate::snapshot::{Inherited, Snapshot, Snapshots};
use crate::stamp::Stamp;
use crate::storage::{FileNo, MANIFEST_SLOTS, Storage};
use crate::table::{self, TableMeta, Tables};
use crate::wal::{self, Commit, LogRef, LogWriter};
use std::rc::Rc;

/// What tells what a file is: the header of a log, or the beginning of that of a table.
const HEADER_BYTES: usize = wal::HEADER_BYTES;

/// What a file turned out to be.
enum Found {
    Log(LogRef),
    Table(TableMeta),
    Blob(BlobMeta),
}

impl<E: Env> Db<E> {
    /// Opens what is left of a database to be read.
    ///
    /// # Errors
    /// `NewerFormat` for the manifest, and those of the storage.
    pub(super) async fn salvage(env: E, options: Options) -> Result<Rc<Db<E>>> {
        let storage = env.storage().clone();
        let mut damage = Vec::new();
        let named = read_manifest(&*storage, &mut damage).await?;
        let scanned = named.is_none();
        let manifest = match named {
            Some(manifest) => manifest,
            None => scan(&storage, &mut damage).await?,
        };
        // Nothing says which versions are all there: the newest ones are kept.
        let mut replay = Replay::new(Stamp::MAX);
        let keep = |error| table::keep_damage(&mut damage, error);
        // Who sent a commit is not asked: nothing is applied, so nothing twice.
        let insert = |payload: &[u8]| replay.insert(&Commit::decode(payload)?).map(|_| ());
        wal::salvage(&*storage, &manifest.logs, insert, keep).await?;
        // Of a log that is never written to.
        let log = LogWriter::new(LogRef { id: 0, file: 0, salt: [0; 8] }, None);
        let blobs = Blobs::open(&*storage, &manifest.blobs, manifest.next_id, 0).await?;
        let tables = Tables::new(storage, options.budgets.cache_bytes, blobs, Some(damage));
        let end = Stamp::MAX;
        let inherited = Inherited { floor: end, ..Inherited::default() };
        let snapshots = Snapshots::new(end.epoch, inherited);
        let mut db = Db::assemble(env, options, manifest, replay, (log, tables, snapshots));
        db.scanned = scanned;
        // Everything that is found is seen.
        for stamp in [&db.assigned, &db.visible, &db.durable] {
            stamp.set(end);
        }
        db.next_expiry_ms.set(u64::MAX);
        Ok(Rc::new(db))
    }

    /// The damage that salvage has met so far, by file and offset; nothing where the database
    /// was opened as usual.
    pub fn damage(&self) -> Vec<Error> {
        self.tables.passed_over.as_ref().map(|kept| kept.borrow().clone()).unwrap_or_default()
    }

    /// All damage met so far as one error.
    pub(super) fn damage_in_short(&self) -> Option<Error> {
        let damage = self.damage();
        let first = damage.first()?;
        let message = format!("{} damaged places were met; the first: {first}", damage.len());
        Some(Error::new(Code::Corruption, message))
    }

    /// # Errors
    /// `Unsupported` where the database is open for salvage.
    pub(super) fn check_writable(&self) -> Result<()> {
        match self.options.salvage {
            true => Err(Error::new(
                Code::Unsupported,
                "the database was opened with salvage: true, which can't change it",
            )),
            false => Ok(()),
        }
    }

    /// Where the order of the tables is not known, one reads at a time: so a get knows which damage
    /// it met.
    pub(super) async fn turn_of_scanned(&self) -> Option<Turn<'_>> {
        match self.scanned {
            true => Some(self.entrance.enter().await),
            false => None,
        }
    }

    /// The value of a key where the order of the tables is not known: any may have the newest.
    ///
    /// # Errors
    /// `Corruption` where damage may hide the key; the storage's errors.
    pub(super) async fn get_scanned(
        &self,
        key: &[u8],
        snapshot: Snapshot,
    ) -> Result<Option<(Stamp, Value)>> {
        let _turn = self.turn_of_scanned().await;
        let before = self.tables.passes.get();
        let end = [key, &[0]].concat();
        let mut newest = None;
        let range = Range { start: key, end: &end, reverse: false };
        let mut merge = self.scan(range, snapshot);
        let found = merge.fill(self.pause(), |entry| {
            if let Op::Set { value, .. } = entry.op {
                newest = Some((entry.stamp, Bytes::copy(value), self.locate(entry.op)));
            }
            false
        });
        found.await?;
        if let Some(error) = self.damage().pop()
            && self.tables.passes.get() > before
        {
            return Err(error);
        }
        let Some((stamp, value, large)) = newest else { return Ok(None) };
        Ok(Some(match large? {
            None => (stamp, Value::Inline(value)),
            Some(large) => (stamp, self.read_large(&large).await?),
        }))
    }

    /// Takes note of damage to one entry, which salvage leaves out.
    ///
    /// # Errors
    /// The error, where the database was opened as usual or it is no damage.
    pub fn pass_over(&self, error: Error) -> Result<()> {
        self.tables.passing::<()>(Err(error)).map(|_| ())
    }
}

/// The manifest, if it is certain that it is the last one.
async fn read_manifest<S: Storage>(
    storage: &S,
    damage: &mut Vec<Error>,
) -> Result<Option<Manifest>> {
    match manifest::load(storage).await {
        Ok(Loaded::Fresh) => Ok(Some(Manifest::default())),
        Ok(Loaded::Found { manifest, damaged_slot: None }) => {
            // After the first there may have been a second one, which is gone: of what came with
            // that, the first knows nothing.
            let named = manifest.files();
            let is_known = |file: &FileNo| MANIFEST_SLOTS.contains(file) || named.contains(file);
            let is_last = manifest.generation > 1 || storage.list().await?.iter().all(is_known);
            Ok(Some(*manifest).filter(|_| is_last))
        }
        Ok(Loaded::Found { damaged_slot: Some(error), .. }) => {
            damage.push(error);
            Ok(None)
        }
        Err(error) if error.code() == Code::Corruption => {
            damage.push(error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A manifest that names every file there is.
async fn scan<S: Storage>(storage: &Rc<S>, damage: &mut Vec<Error>) -> Result<Manifest> {
    let (mut logs, mut tables, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
    for file in storage.list().await? {
        match identify(storage, file).await {
            Ok(Found::Log(log)) => logs.push(log),
            Ok(Found::Table(meta)) => tables.push(meta),
            Ok(Found::Blob(meta)) => blobs.push(meta),
            Err(error) if error.is_damage() => damage.push(error),
            Err(error) => return Err(error),
        }
    }
    logs.sort_unstable_by_key(|log| log.id);
    Ok(Manifest { logs, levels: vec![tables], blobs, ..Manifest::default() })
}

async fn identify<S: Storage>(storage: &Rc<S>, file: FileNo) -> Result<Found> {
    let mut header = [0; HEADER_BYTES];
    let read = storage.read(file, 0, &mut header).await?;
    let header = header.get(..read).unwrap_or_default();
    if let Some(log) = LogRef::identify(header, file)? {
        return Ok(Found::Log(log));
    }
    if let Some(meta) = BlobMeta::identify(header, file, storage.len(file).await?)? {
        return Ok(Found::Blob(meta));
    }
    if let Some(meta) = TableMeta::identify(storage, header, file).await? {
        return Ok(Found::Table(meta));
    }
    Err(Error::corruption(file, 0, "the beginning of a file does not say what it is"))
}
