//! Reading what is left of damaged logs: every record that verifies, also those behind damage.

use super::recovery::{LogFile, read_header};
use super::{HEADER_BYTES, LogRef};
use crate::error::{Error, Result};
use crate::storage::Storage;

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
    for log in logs {
        let salvaged = salvage_log(storage, log, &mut apply, &mut keep).await;
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
    apply: &mut impl FnMut(&[u8]) -> Result<()>,
    keep: &mut impl FnMut(Error),
) -> Result<()> {
    let mut file = LogFile::open(storage, log).await?;
    let mut at = match read_header(storage, log).await? {
        Some(_) => HEADER_BYTES as u64,
        None => 0,
    };
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
                None => "the end of a log is damaged, or was torn by a crash",
            },
        ));
        at = next.unwrap_or(u64::MAX);
    }
    Ok(())
}
