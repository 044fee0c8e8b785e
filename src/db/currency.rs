//! Whether a manifest is the last one that was stored, where the other slot is damaged.
//!
//! A damaged slot is what a crash leaves while a manifest is written to it, and then nothing was
//! done yet that rests on it. If it was whole before it was damaged, the manifest that is left is
//! out of date, and taking it for the database would lose what came later. Signs of that are:
//!
//! - a table that it names, or a log of its history, is gone or cut short, or a blob file is gone
//!   that its tables point into;
//! - there is a log that it does not name, later than all it names: those are made by a manifest;
//! - its logs point into a blob file that it does not name: those too are made by a manifest;
//! - its logs are empty, and there is a table that it does not name, with a commit that its tables
//!   don't hold: logs go once their commits are in a table that the manifest names. While they are
//!   there such a table says nothing: a repair writes one of commits that no log may hold.

use crate::error::Result;
use crate::manifest::Manifest;
use crate::stamp::Stamp;
use crate::storage::{FileNo, Storage};
use crate::table::{Table, TableCursor, TableMeta, Tables};
use crate::wal::{HEADER_BYTES, LogRef};
use std::rc::Rc;

/// Whether nothing shows that `manifest` is out of date; `last` is the last commit in its logs,
/// with the counter 0 where they are empty, and `blobs` are the blob files that they point into.
pub(super) async fn is_current<S: Storage>(
    storage: &Rc<S>,
    manifest: &Manifest,
    last: Stamp,
    blobs: &[u64],
) -> Result<bool> {
    if !blobs.iter().all(|id| manifest.blobs.iter().any(|blob| blob.id == *id)) {
        return Ok(false);
    }
    let there = storage.list().await?;
    let tables = manifest.levels.iter().flatten();
    let newest = match last.counter {
        0 => tables.clone().fold(last, |newest, table| newest.max(table.newest)),
        _ => Stamp::MAX,
    };
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
        if is_later(storage, file, manifest, newest).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file that `manifest` does not name is a later log, or a table with a commit past
/// `newest`.
async fn is_later<S: Storage>(
    storage: &Rc<S>,
    file: FileNo,
    manifest: &Manifest,
    newest: Stamp,
) -> Result<bool> {
    let mut header = [0; HEADER_BYTES];
    let read = storage.read(file, 0, &mut header).await?;
    let header = header.get(..read).unwrap_or_default();
    if let Some(log) = LogRef::identify(header, file)? {
        return Ok(manifest.logs.iter().all(|named| named.id < log.id));
    }
    if newest == Stamp::MAX {
        return Ok(false);
    }
    match newest_of(storage, header, file).await {
        Ok(stamp) => Ok(stamp > newest),
        // Not written to its end, so that no manifest names it.
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The greatest stamp in the table that a file holds; `Stamp::ZERO` where it holds none.
async fn newest_of<S: Storage>(storage: &Rc<S>, header: &[u8], file: FileNo) -> Result<Stamp> {
    let Some(meta) = TableMeta::identify(storage, header, file).await? else {
        return Ok(Stamp::ZERO);
    };
    let table = Table::new(Tables::new(storage.clone(), 0, <_>::default(), None), meta);
    let mut newest = match table.ranges().await? {
        Some(ranges) => ranges.newest()?,
        None => Stamp::ZERO,
    };
    let mut cursor = TableCursor::new(table, false, true);
    let mut found = cursor.enter().await?;
    while found {
        newest = newest.max(cursor.stamp());
        found = cursor.step()? || cursor.next_block().await?;
    }
    Ok(newest)
}
