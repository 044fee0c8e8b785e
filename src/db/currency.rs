//! Whether a manifest is the last one that was stored, where the other slot is damaged or empty.
//!
//! A damaged slot is what a crash leaves while a manifest is written to it, and then nothing was
//! done yet that rests on it. If it was whole before it was damaged, the manifest that is left is
//! out of date, and taking it for the database would lose what came later. Signs of that are:
//!
//! - a table that it names, or a log of its history, is gone or cut short, or a blob file is gone
//!   that its tables point into;
//! - there is a log that it does not name, later than all it names: those are made by a manifest;
//! - its logs point into a blob file that it does not name: those too are made by a manifest.
//!
//! A log of its own that is gone is no sign, for it may never have held anything; it goes only once
//! both slots hold a manifest that names the table its commits are in.

use crate::error::Result;
use crate::manifest::Manifest;
use crate::storage::{FileNo, Storage};
use crate::wal::{HEADER_BYTES, LogRef};

/// Whether nothing shows that `manifest` is out of date; `blobs` are the blob files that its logs
/// point into.
pub(super) async fn is_current<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    blobs: &[u64],
) -> Result<bool> {
    if !blobs.iter().all(|id| manifest.blobs.iter().any(|blob| blob.id == *id)) {
        return Ok(false);
    }
    let there = storage.list().await?;
    let tables = manifest.levels.iter().flatten();
    let tables = tables.map(|table| (table.file, table.bytes));
    let history = manifest.history.iter().map(|history| (history.log.file, history.bytes));
    for (file, bytes) in tables.chain(history) {
        if !there.contains(&file) || storage.len(file).await? < bytes {
            return Ok(false);
        }
    }
    for blob in &manifest.blobs {
        let needed = manifest.levels.iter().flatten().any(|table| table.points_into(blob.id));
        if needed && !there.contains(&blob.file) {
            return Ok(false);
        }
    }
    let named = manifest.files();
    for file in there.into_iter().filter(|file| !named.contains(file)) {
        if is_later_log(storage, file, manifest).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file holds a log that is later than all that `manifest` names.
async fn is_later_log<S: Storage>(storage: &S, file: FileNo, manifest: &Manifest) -> Result<bool> {
    let mut header = [0; HEADER_BYTES];
    let read = storage.read(file, 0, &mut header).await?;
    let log = LogRef::identify(header.get(..read).unwrap_or_default(), file)?;
    Ok(log.is_some_and(|log| manifest.logs.iter().all(|named| named.id < log.id)))
}
