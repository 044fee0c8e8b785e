//! Reading what is left of damaged logs: every record that verifies, also those behind damage.

use super::recovery::{LogFile, read_header};
use super::{HEADER_BYTES, LogRef};
use crate::error::{Error, Result};
use crate::storage::Storage;

const END_DAMAGED: &str = "the end of a log is damaged, or was torn by a crash";

/// Hands every payload that `logs` still hold to `apply`, oldest first; `keep` hears of damage.
///
/// # Errors
/// Those of the storage.
pub async fn salvage<S: Storage>(
    storage: &S,
    logs: &[LogRef],
    mut apply: impl FnMut(&[u8]) -> Result<()>,
    mut keep: impl FnMut(Error),
) -> Result<()> {
    // Where each of them ends, unless that was told to be damaged.
    let mut ends = Vec::new();
    for log in logs {
        ends.push(u64::MAX);
        let salvaged = salvage_log(storage, log, (logs, &mut ends), &mut apply, &mut keep).await;
        kept(salvaged, &mut keep)?;
    }
    Ok(())
}

/// Keeps what is damage; fails for anything else.
fn kept(outcome: Result<()>, keep: &mut impl FnMut(Error)) -> Result<()> {
    match outcome {
        Err(error) if error.is_damage() => keep(error),
        outcome => outcome?,
    }
    Ok(())
}

async fn salvage_log<S: Storage>(
    storage: &S,
    log: &LogRef,
    (logs, ends): (&[LogRef], &mut [u64]),
    apply: &mut impl FnMut(&[u8]) -> Result<()>,
    keep: &mut impl FnMut(Error),
) -> Result<()> {
    let mut file = LogFile::open(storage, log).await?;
    let (mut at, mut outcome) = (0, Ok(()));
    if let Some(header) = read_header(storage, log).await? {
        at = HEADER_BYTES as u64;
        if let Some(previous) = header.previous
            && let Some((short, end)) =
                logs.iter().zip(&*ends).find(|(log, _)| log.id == previous.id)
            && *end < previous.len
        {
            outcome = Err(Error::corruption(short.file, *end, END_DAMAGED));
        }
    }
    while at < file.len() {
        if let Some(record) = file.record(at).await? {
            let applied = if record.payload.is_empty() { Ok(()) } else { apply(record.payload) };
            let end = record.end;
            kept(applied.map_err(|error| error.at(log.file, at)), keep)?;
            at = end;
            continue;
        }
        let next = file.find_record(at).await?;
        keep(Error::corruption(
            log.file,
            at,
            match next {
                Some(_) => "a log is damaged; what was written later is read",
                None => END_DAMAGED,
            },
        ));
        at = next.unwrap_or(u64::MAX);
    }
    if let Some(end) = ends.last_mut() {
        *end = at;
    }
    outcome
}
