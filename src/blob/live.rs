//! Which blob files are needed: pure functions of what the manifest says.
//!
//! Tables know which blob files they point into, and with how many bytes. What logs point to is
//! not counted: a file that a log may point into is kept whole until that log goes. Log and blob
//! files are numbered by one counter, so a file that was written to no longer when a log was
//! made is not pointed into by it.

use super::HEADER_BYTES;
use crate::compaction::Choice;
use crate::manifest::Manifest;
use crate::table::TableMeta;

/// Has `manifest` forget the blob files that no log and no table points into.
pub fn drop_dead(manifest: &mut Manifest) {
    let oldest = oldest_log(manifest);
    let Manifest { blobs, levels, .. } = manifest;
    blobs.retain(|blob| {
        oldest < blob.logs_before || levels.iter().flatten().any(|table| table.points_into(blob.id))
    });
}

/// The blob files of which less than half lives. Those that a log may point into are not among
/// them: moving values away would not free them.
pub fn stale(manifest: &Manifest) -> Vec<u64> {
    let (mut stale, oldest) = (Vec::new(), oldest_log(manifest));
    for blob in &manifest.blobs {
        let mut live = 0;
        for table in manifest.levels.iter().flatten() {
            let used = table.blobs.iter().find(|used| used.id == blob.id);
            live += used.map_or(0, |used| used.bytes);
        }
        let held = blob.bytes.saturating_sub(HEADER_BYTES as u64);
        if oldest >= blob.logs_before && 2 * live < held {
            stale.push(blob.id);
        }
    }
    stale
}

/// The least number of any log, those of the history included.
fn oldest_log(manifest: &Manifest) -> u64 {
    let history = manifest.history.iter().map(|history| history.log.id);
    manifest.logs.iter().map(|log| log.id).chain(history).min().unwrap_or(u64::MAX - 1)
}

/// The compaction that moves values out of the files in `stale`: a table that points into one of
/// them, rewritten where it is. None where no table does.
///
/// Level 0 is left to the ordinary compaction: its tables overlap.
pub fn choose(levels: &[Vec<&TableMeta>], stale: &[u64]) -> Option<Choice> {
    let points = |table: &&&TableMeta| stale.iter().any(|id| table.points_into(*id));
    (1..).zip(levels.iter().skip(1)).find_map(|(level, tables)| {
        let table = tables.iter().find(points)?;
        Some(Choice { level, target: level, upper: vec![table.id], lower: vec![] })
    })
}
