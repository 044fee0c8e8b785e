//! Space in reserve: a file of bytes that mean nothing, made while there is room. Where the disk is
//! full it is given up, so that deletes can be logged, flushed and compacted and space comes back.
//!
//! - The manifest names it as a blob file, with a number that no other file has and nothing points
//!   into, so that it is no stranger after a crash. Its length is asked of the storage: nothing
//!   where it was never made, its magic alone where it was given up.
//! - Once it was given up only deletes are let in, until it is there again: whatever else is
//!   written would take the room that they need.

use super::Db;
use crate::blob::{BlobMeta, PIECE_BYTES, RESERVE_ID};
use crate::commit;
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::manifest::Manifest;
use crate::planted::{Bug, planted};
use crate::signal::Turnstile;
use crate::storage::{Durability, FileNo, Storage};
use crate::wire::Commit;
use std::cell::Cell;

const MAGIC: &[u8; 8] = b"kvassrsv";
/// The reserve takes this part of what tables and blob files do, up to its budget.
const USAGE_SHARE: u64 = 4;
/// Less than this part of the budget is not worth a file.
const BUDGET_SHARE_MIN: u64 = 64;

/// What is known of the reserve.
#[derive(Default)]
pub(super) struct Reserve {
    file: Cell<Option<FileNo>>,
    /// Its length, once it was asked for.
    bytes: Cell<Option<u64>>,
    is_spent: Cell<bool>,
    is_due: Cell<bool>,
    /// Whoever makes its file.
    naming: Turnstile,
    /// Whoever writes or cuts it: no other turn is waited for meanwhile.
    changing: Turnstile,
}

impl Reserve {
    pub(super) fn of(manifest: &Manifest) -> Reserve {
        let meta = manifest.blobs.iter().find(|blob| blob.id == RESERVE_ID);
        let file = Cell::new(meta.map(|meta| meta.file));
        Reserve { file, ..Reserve::default() }
    }

    /// Whether upkeep is to make it, or another length of it.
    pub(super) fn is_due(&self) -> bool {
        self.is_due.get()
    }

    /// Whether it was given up.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    fn note(&self, bytes: u64) {
        self.bytes.set(Some(bytes));
    }
}

/// Whether this is an error of a full disk.
pub(super) fn is_full<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().is_err_and(|error| error.code() == Code::QuotaExceeded)
}

/// Runs a step of an open, and once more without the reserve, one of these `blobs`, where the disk
/// is full: else nobody could delete anything.
///
/// # Errors
/// Those of the step.
pub(super) async fn with_room<S: Storage, T>(
    storage: &S,
    blobs: &[BlobMeta],
    step: impl AsyncFn() -> Result<T>,
) -> Result<T> {
    let (done, left) = (step().await, MAGIC.len() as u64);
    if is_full(&done)
        && let Some(reserve) = blobs.iter().find(|blob| blob.id == RESERVE_ID)
        && matches!(storage.len(reserve.file).await, Ok(bytes) if bytes > left)
        && storage.truncate(reserve.file, left).await.is_ok()
    {
        return step().await;
    }
    done
}

impl<E: Env> Db<E> {
    /// How many bytes are kept in reserve, as far as is known: for tests and tools.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn reserved_bytes(&self) -> u64 {
        self.reserve.bytes.get().unwrap_or(0)
    }

    /// How many bytes there should be.
    fn reserve_wanted(&self) -> u64 {
        let budget = self.options.budgets.reserve_bytes;
        let view = self.view();
        let tables = view.version.levels().iter().flatten().map(|table| table.meta().bytes);
        let used = tables.chain(self.tables.blobs.sizes()).fold(0, u64::saturating_add);
        let wanted = budget.min(used / USAGE_SHARE);
        if wanted < (budget / BUDGET_SHARE_MIN).max(MAGIC.len() as u64) { 0 } else { wanted }
    }

    /// Finds out whether the reserve is to be made, now that tables have come or gone.
    pub(super) fn appraise_reserve(&self) {
        let (reserve, wanted) = (&self.reserve, self.reserve_wanted());
        reserve.is_due.set(match reserve.bytes.get() {
            None => wanted > 0 || reserve.file.get().is_some(),
            Some(_) if reserve.is_spent() => true,
            Some(there) => !(there / 2..=there.saturating_mul(2)).contains(&wanted),
        });
    }

    /// Makes the reserve, or a part of it that is missing by now.
    ///
    /// # Errors
    /// `QuotaExceeded` where there is no room for it: then there is as much of it as before. Those
    /// of the storage.
    pub(super) async fn keep_reserve(&self) -> Result<()> {
        let (reserve, storage) = (&self.reserve, self.env.storage());
        reserve.is_due.set(false);
        let wanted = self.reserve_wanted();
        if wanted == 0 && reserve.file.get().is_none() {
            return Ok(());
        }
        let file = self.name_reserve().await?;
        let _turn = reserve.changing.enter().await;
        let before = self.reserve_bytes(file).await?;
        if before > wanted {
            storage.truncate(file, wanted).await?;
            reserve.note(wanted);
        }
        // What is left of one that was given up is written over.
        let mut there = if reserve.is_spent() { 0 } else { before.min(wanted) };
        while there < wanted {
            let left = usize::try_from(wanted - there).unwrap_or(usize::MAX);
            // A browser may compress what it keeps.
            let mut piece = vec![0; left.min(PIECE_BYTES)];
            self.env.fill_random(&mut piece);
            if there == 0 {
                piece.iter_mut().zip(MAGIC).for_each(|(to, from)| *to = *from);
            }
            if let Err(error) = storage.write(file, there, &piece, Durability::Relaxed).await {
                storage.truncate(file, before).await?;
                reserve.note(before);
                return Err(error);
            }
            there += piece.len() as u64;
            reserve.note(there);
            self.breathe(0).await;
        }
        reserve.is_spent.set(false);
        Ok(())
    }

    /// The file of the reserve, made and named by the manifest if it is not yet.
    async fn name_reserve(&self) -> Result<FileNo> {
        let (reserve, storage) = (&self.reserve, self.env.storage());
        let _turn = reserve.naming.enter().await;
        let file = match reserve.file.get() {
            Some(file) => file,
            None => storage.create().await?,
        };
        // It is not made anew where naming it fails: which manifest counts is not known then.
        reserve.file.set(Some(file));
        let is_named = |blob: &BlobMeta| blob.id == RESERVE_ID;
        if !self.manifest.borrow().blobs.iter().any(is_named) {
            storage.sync(file).await?;
            let (id, bytes, logs_before) = (RESERVE_ID, 0, u64::MAX);
            let meta = BlobMeta { id, file, salt: 0, bytes, logs_before };
            self.edit(&mut |manifest| manifest.blobs.push(meta.clone())).await?;
        }
        Ok(file)
    }

    /// How long the reserve is.
    async fn reserve_bytes(&self, file: FileNo) -> Result<u64> {
        if let Some(bytes) = self.reserve.bytes.get() {
            return Ok(bytes);
        }
        let bytes = self.env.storage().len(file).await?;
        self.reserve.note(bytes);
        self.reserve.is_spent.set(bytes == MAGIC.len() as u64);
        Ok(bytes)
    }

    /// As [`Db::keep_reserve`], for upkeep: a full disk is for those to tell of who write to it.
    pub(super) async fn keep_reserve_in_background(&self) {
        let kept = self.keep_reserve().await;
        if kept.is_err() && !is_full(&kept) {
            self.note(&kept);
        }
    }

    /// Makes room where the disk is full: history goes first, then the reserve. Returns whether
    /// there was any to make.
    ///
    /// # Errors
    /// Those of storing the manifest without the history.
    pub(super) async fn make_space(&self) -> Result<bool> {
        if self.free_history().await? {
            return Ok(true);
        }
        let is_made = self.give_up_reserve().await;
        if is_made {
            self.collect_garbage().await;
        }
        Ok(is_made)
    }

    /// Gives the reserve up; returns whether that has made room.
    pub(super) async fn give_up_reserve(&self) -> bool {
        let (reserve, left) = (&self.reserve, MAGIC.len() as u64);
        let _turn = reserve.changing.enter().await;
        let Some(file) = reserve.file.get() else { return false };
        if !matches!(self.reserve_bytes(file).await, Ok(bytes) if bytes > left) {
            return false;
        }
        reserve.is_spent.set(true);
        reserve.is_due.set(true);
        let cut = self.env.storage().truncate(file, left).await;
        if cut.is_ok() {
            reserve.note(left);
        }
        cut.is_ok()
    }

    /// Where the reserve was given up and can't be made again, why commits that write are refused.
    pub(super) async fn refusal_of_writes(&self, commits: &[&Commit<'_>]) -> Option<Error> {
        let (any_writes, reserve) =
            (commits.iter().any(|commit| !commit::only_deletes(commit)), &self.reserve);
        if !any_writes || planted(Bug::ReserveForAll) {
            return None;
        }
        // An earlier open may have given it up.
        if let (Some(file), None) = (reserve.file.get(), reserve.bytes.get()) {
            let _turn = reserve.changing.enter().await;
            // Where it can't be asked for, upkeep asks again, and tells of it.
            let _ = self.reserve_bytes(file).await;
        }
        if !reserve.is_spent() {
            return None;
        }
        self.keep_reserve().await.err()
    }
}
