//! Reading logs back after an open that may have ended anyhow.
//!
//! What was flushed must come back; what was not may be lost in any order, piece by piece. So
//! the first record that does not verify ends the log, and what lies behind it decides why:
//!
//! - Records of this log that survive behind it know how much was durable when they were
//!   written. Damage at or past the highest such length is a torn tail: the log is cut there,
//!   the survivors included, for they followed a commit that is lost.
//! - Damage below that length hit bytes that were safe: corruption, reported with its place.
//! - The header of a later log may say at which length this one ended, durable to the last byte:
//!   exactly so much must verify, and what follows is no part of it.
//! - A crash leaves no log of which the storage has lost a part and not the end: that is
//!   corruption, whatever else is known.

use super::{CHECKED_FROM, HEADER_BYTES, Head, Header, LogRef, RECORD_BYTES};
use crate::error::{Error, Result};
use crate::hash;
use crate::planted::{Bug, planted};
use crate::storage::Storage;

/// Bytes read at once, unless a record is larger.
const READ_BYTES: usize = 1024 * 1024;
/// The same where requests wait.
const SMALL_READ_BYTES: usize = 64 * 1024;
/// Reads end at a multiple of this, where no piece of a file in IndexedDB goes on: that such a
/// piece is missing shows in how many bytes the others have.
const SLOT_BYTES: u64 = 32 * 1024;

/// What is done with each payload, and where in its log the record ends that it was in.
type Apply<'a> = dyn FnMut(&LogRef, u64, &[u8]) -> Result<()> + 'a;

/// What one log held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where its valid records end.
    pub end: u64,
    /// Whether there are bytes past the end: a tail that a crash tore.
    pub torn: bool,
}

/// Reads `logs`, oldest first, and hands each payload to `apply`, with where its record ends, in
/// the order in which they were written. Returns what each log held.
///
/// # Errors
/// `Corruption` (with file and offset, also for what `apply` rejects), `NewerFormat`, and those
/// of the storage. What was applied by then is a prefix.
pub async fn recover<S: Storage>(
    storage: &S,
    logs: &[LogRef],
    mut apply: impl FnMut(&LogRef, u64, &[u8]) -> Result<()>,
) -> Result<Vec<Recovered>> {
    let mut headers = Vec::with_capacity(logs.len());
    for log in logs {
        headers.push(read_header(storage, log).await?);
    }
    let mut recovered = Vec::with_capacity(logs.len());
    for (log, header) in logs.iter().zip(&headers) {
        let whole = whole(log, &headers);
        recovered.push(recover_log(storage, log, header.is_some(), whole, &mut apply).await?);
    }
    Ok(recovered)
}

/// The length of a log, where the header of a later one says it.
fn whole(log: &LogRef, headers: &[Option<Header>]) -> Option<u64> {
    let mut previous = headers.iter().flatten().filter_map(|header| header.previous);
    previous.find(|previous| previous.id == log.id).map(|previous| previous.len)
}

async fn recover_log<S: Storage>(
    storage: &S,
    log: &LogRef,
    has_header: bool,
    whole: Option<u64>,
    apply: &mut Apply<'_>,
) -> Result<Recovered> {
    let mut file = LogFile::open(storage, log).await?;
    let start = if has_header { HEADER_BYTES as u64 } else { 0 };
    let end = file.replay(start, whole, apply).await?;
    let message = match whole {
        Some(whole) if end != whole => {
            "the log is damaged below the length at which the next one began"
        }
        // The search goes through all of it, and so finds what is lost.
        None if file.highest_durable(end).await? > end && !planted(Bug::DamageTakenForTornTail)
            || file.is_lossy && end < file.len =>
        {
            "the log is damaged where no crash can tear it"
        }
        _ => return Ok(Recovered { end, torn: end < file.len }),
    };
    Err(Error::corruption(log.file, end, message))
}

/// Whether a log begins with its undamaged header.
pub(crate) async fn has_header<S: Storage>(storage: &S, log: &LogRef) -> Result<bool> {
    Ok(read_header(storage, log).await?.is_some())
}

/// The header of a log; None where no undamaged one is there.
pub(super) async fn read_header<S: Storage>(storage: &S, log: &LogRef) -> Result<Option<Header>> {
    let mut header = [0; HEADER_BYTES];
    let read = storage.read(log.file, 0, &mut header).await?;
    if read < HEADER_BYTES { Ok(None) } else { log.parse_header(&header) }
}

/// A log being read through a window that moves along the file.
pub(crate) struct LogFile<'a, S> {
    storage: &'a S,
    log: &'a LogRef,
    len: u64,
    read_bytes: usize,
    window_start: u64,
    window: Vec<u8>,
    /// A part that was read before its end is lost.
    is_lossy: bool,
}

/// A record that verified.
pub(crate) struct Record<'a> {
    pub(crate) payload: &'a [u8],
    durable: u64,
    pub(crate) end: u64,
}

impl<'a, S: Storage> LogFile<'a, S> {
    pub(super) async fn open(storage: &'a S, log: &'a LogRef) -> Result<LogFile<'a, S>> {
        let len = storage.len(log.file).await?;
        Ok(LogFile { read_bytes: READ_BYTES, ..LogFile::until(storage, log, len) })
    }

    /// A log that ends at `len`, to be read in small pieces.
    pub(crate) fn until(storage: &'a S, log: &'a LogRef, len: u64) -> LogFile<'a, S> {
        let (read_bytes, window) = (SMALL_READ_BYTES, Vec::new());
        LogFile { storage, log, len, read_bytes, window_start: 0, window, is_lossy: false }
    }

    /// Its length, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where the first record at or behind `offset` stands that verifies.
    pub(super) async fn find_record(&mut self, mut offset: u64) -> Result<Option<u64>> {
        while let Some(found) = self.find_marker(offset).await? {
            if self.record(found).await?.is_some() {
                return Ok(Some(found));
            }
            offset = found + 1;
        }
        Ok(None)
    }

    /// Hands out the payloads from `start` on, up to `whole` or else to the first record that
    /// does not verify; returns where it stopped. Without a header (`start` is 0) there is none.
    async fn replay(
        &mut self,
        start: u64,
        whole: Option<u64>,
        apply: &mut Apply<'_>,
    ) -> Result<u64> {
        let (log, mut end) = (self.log, start);
        while start > 0
            && whole.is_none_or(|whole| end < whole)
            && let Some(record) = self.record(end).await?
        {
            if !record.payload.is_empty() {
                apply(log, record.end, record.payload).map_err(|error| error.at(log.file, end))?;
            }
            end = record.end;
        }
        Ok(end)
    }

    /// The highest durable length that any record at or behind `offset` knows; 0 if none
    /// survives there.
    async fn highest_durable(&mut self, mut offset: u64) -> Result<u64> {
        let mut highest = 0;
        while let Some(found) = self.find_record(offset).await?
            && let Some(record) = self.record(found).await?
        {
            highest = highest.max(record.durable);
            offset = record.end;
        }
        Ok(highest)
    }

    /// Where the next marker of this log stands, at or behind `offset`.
    async fn find_marker(&mut self, mut offset: u64) -> Result<Option<u64>> {
        let marker = self.log.marker();
        while let Some(bytes) = self.ahead(offset, marker.len()).await? {
            match bytes.windows(marker.len()).position(|window| window == marker) {
                Some(place) => return Ok(Some(offset + place as u64)),
                None => offset += (bytes.len() - marker.len() + 1) as u64,
            }
        }
        Ok(None)
    }

    /// The record at `offset`, if a whole and undamaged one of this log stands there.
    pub(crate) async fn record(&mut self, offset: u64) -> Result<Option<Record<'_>>> {
        let log = self.log;
        let Some(bytes) = self.ahead(offset, RECORD_BYTES).await? else { return Ok(None) };
        let Some(head) = Head::parse(bytes).filter(|head| head.marker == log.marker()) else {
            return Ok(None);
        };
        let whole = RECORD_BYTES.saturating_add(head.length);
        let Some(bytes) = self.ahead(offset, whole).await? else { return Ok(None) };
        let checked = bytes.get(CHECKED_FROM..whole).unwrap_or_default();
        let payload = bytes.get(RECORD_BYTES..whole).unwrap_or_default();
        let undamaged = hash::holds(head.checksum, log.checksum(offset, checked));
        if !(undamaged || planted(Bug::ChecksumIgnored)) || head.durable > offset {
            return Ok(None);
        }
        Ok(Some(Record { payload, durable: head.durable, end: offset + whole as u64 }))
    }

    /// The bytes from `offset` on that the window holds, at least `wanted`; None where the file
    /// ends before that. What is lost of them is anything.
    async fn ahead(&mut self, offset: u64, wanted: usize) -> Result<Option<&[u8]>> {
        let rest = self.len.saturating_sub(offset);
        if rest < wanted as u64 {
            return Ok(None);
        }
        let held =
            offset.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok());
        let held = held.filter(|skip| self.window.len().saturating_sub(*skip) >= wanted);
        let skip = match held {
            Some(skip) => skip,
            None => {
                let end = offset + wanted.max(self.read_bytes) as u64;
                let bytes = rest.min(end.next_multiple_of(SLOT_BYTES) - offset) as usize;
                self.window.resize(bytes, 0);
                self.window_start = offset;
                let read = self.storage.read(self.log.file, offset, &mut self.window).await?;
                self.is_lossy |= read < bytes;
                0
            }
        };
        Ok(self.window.get(skip..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::manual::block_on;
    use crate::error::Code;
    use crate::storage::{Durability, MemoryStorage};
    use crate::wal::LogWriter;
    use std::slice::from_ref;

    fn log_ref(id: u64, file: u32) -> LogRef {
        LogRef { id, file, salt: [id as u8, 2, 3, 4, 5, 6, 7, 8] }
    }

    fn add(writer: &mut LogWriter, payload: &[u8]) {
        let encode = |out: &mut Vec<u8>| {
            out.extend_from_slice(payload);
            Ok(())
        };
        writer.record(encode).unwrap();
    }

    /// Writes each group in one step; returns the offset behind each of them.
    async fn write(
        storage: &MemoryStorage,
        writer: &mut LogWriter,
        groups: &[(&[&[u8]], Durability)],
    ) -> Vec<u64> {
        let mut ends = Vec::new();
        for (payloads, durability) in groups {
            for payload in *payloads {
                add(writer, payload);
            }
            let group = writer.take_group().unwrap();
            storage.write(group.file, group.offset, &group.bytes, *durability).await.unwrap();
            writer.written(group, *durability);
            ends.push(writer.len());
        }
        ends
    }

    async fn read(
        storage: &MemoryStorage,
        logs: &[LogRef],
    ) -> (Vec<Vec<u8>>, Result<Vec<Recovered>>) {
        let mut payloads = Vec::new();
        let result = recover(storage, logs, |_, _, payload| {
            payloads.push(payload.to_vec());
            Ok(())
        });
        let result = result.await;
        (payloads, result)
    }

    async fn contents(storage: &MemoryStorage, file: u32) -> Vec<u8> {
        let mut bytes = vec![0; storage.len(file).await.unwrap() as usize];
        storage.read(file, 0, &mut bytes).await.unwrap();
        bytes
    }

    async fn replace(storage: &MemoryStorage, file: u32, bytes: &[u8]) {
        storage.truncate(file, 0).await.unwrap();
        storage.write(file, 0, bytes, Durability::Strict).await.unwrap();
    }

    const RELAXED: Durability = Durability::Relaxed;
    const STRICT: Durability = Durability::Strict;

    #[test]
    fn groups_come_back_in_order_and_an_unused_log_is_empty() {
        let large = vec![7; 3 * READ_BYTES];
        block_on(async {
            let storage = MemoryStorage::new();
            let log = log_ref(9, storage.create().await.unwrap());
            let unused = log_ref(10, storage.create().await.unwrap());
            let mut writer = LogWriter::new(log.clone(), None);
            let groups: [(&[&[u8]], _); 3] =
                [(&[b"a", b"aa"], RELAXED), (&[&large], STRICT), (&[b"b"], RELAXED)];
            let ends = write(&storage, &mut writer, &groups).await;
            let (payloads, recovered) = read(&storage, &[log, unused]).await;
            assert!(payloads == [&b"a"[..], b"aa", &large, b"b"]);
            let whole = Recovered { end: ends[2], torn: false };
            assert_eq!(recovered.unwrap(), [whole, Recovered { end: 0, torn: false }]);
        });
    }

    #[test]
    fn a_record_whose_encoding_fails_leaves_nothing_in_the_group() {
        let mut writer = LogWriter::new(log_ref(1, 2), None);
        let failed = writer.record(|out| {
            out.push(2);
            Err::<(), _>(Error::io("no"))
        });
        assert!(failed.is_err());
        assert!(writer.take_group().is_none());
    }

    #[test]
    fn a_log_cut_at_any_length_yields_the_records_before_the_cut() {
        block_on(async {
            let storage = MemoryStorage::new();
            let log = log_ref(1, storage.create().await.unwrap());
            let mut writer = LogWriter::new(log.clone(), None);
            let groups: [(&[&[u8]], _); 3] =
                [(&[b"one"], RELAXED), (&[b"two"], RELAXED), (&[b"three"], RELAXED)];
            let ends = write(&storage, &mut writer, &groups).await;
            let bytes = contents(&storage, log.file).await;
            for len in (0..=bytes.len()).rev() {
                storage.truncate(log.file, len as u64).await.unwrap();
                let (payloads, recovered) = read(&storage, from_ref(&log)).await;
                let whole = ends.iter().filter(|end| **end <= len as u64).count();
                assert_eq!(payloads, [&b"one"[..], b"two", b"three"][..whole], "cut at {len}");
                let header = if len < HEADER_BYTES { 0 } else { HEADER_BYTES as u64 };
                let end = if whole == 0 { header } else { ends[whole - 1] };
                assert_eq!(recovered.unwrap(), [Recovered { end, torn: end < len as u64 }]);
            }
        });
    }

    #[test]
    fn a_flipped_bit_is_corruption_below_the_durable_length_and_a_cut_past_it() {
        block_on(async {
            let storage = MemoryStorage::new();
            let log = log_ref(1, storage.create().await.unwrap());
            let mut writer = LogWriter::new(log.clone(), None);
            let groups: [(&[&[u8]], _); 4] = [
                (&[b"one", b"two"], STRICT),
                (&[b"three"], RELAXED),
                (&[b"four"], RELAXED),
                (&[b"five"], RELAXED),
            ];
            let ends = write(&storage, &mut writer, &groups).await;
            let bytes = contents(&storage, log.file).await;
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                replace(&storage, log.file, &damaged).await;
                let (payloads, recovered) = read(&storage, from_ref(&log)).await;
                if (bit as u64) < ends[0] * 8 {
                    let error = recovered.unwrap_err();
                    assert_eq!(error.code(), Code::Corruption, "bit {bit}");
                    let (file, offset) = error.place().unwrap();
                    assert!(file == log.file && offset <= bit as u64 / 8, "bit {bit}: {error}");
                } else {
                    let whole = ends.iter().filter(|end| **end <= bit as u64 / 8).count();
                    assert_eq!(payloads.len(), whole + 1, "bit {bit}");
                    let cut = Recovered { end: ends[whole - 1], torn: true };
                    assert_eq!(recovered.unwrap(), [cut], "bit {bit}");
                }
            }
        });
    }

    #[test]
    fn behind_a_mark_every_flipped_bit_of_a_flushed_log_is_corruption() {
        block_on(async {
            let storage = MemoryStorage::new();
            let log = log_ref(1, storage.create().await.unwrap());
            let mut writer = LogWriter::new(log.clone(), None);
            assert!(writer.take_mark().is_none());
            write(&storage, &mut writer, &[(&[b"1"], RELAXED), (&[b"2"], RELAXED)]).await;
            assert!(writer.take_mark().is_none());
            writer.synced(writer.len());
            let mark = writer.take_mark().unwrap();
            assert!(writer.take_mark().is_none());
            storage.write(mark.file, mark.offset, &mark.bytes, RELAXED).await.unwrap();
            let bytes = contents(&storage, log.file).await;
            let (payloads, recovered) = read(&storage, from_ref(&log)).await;
            assert_eq!(payloads, [b"1", b"2"]);
            assert_eq!(recovered.unwrap(), [Recovered { end: bytes.len() as u64, torn: false }]);
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                replace(&storage, log.file, &damaged).await;
                let (payloads, recovered) = read(&storage, from_ref(&log)).await;
                if (bit as u64) < writer.len() * 8 {
                    assert_eq!(recovered.unwrap_err().code(), Code::Corruption, "bit {bit}");
                } else {
                    assert_eq!(payloads, [b"1", b"2"], "bit {bit}");
                    assert_eq!(recovered.unwrap()[0].end, writer.len(), "bit {bit}");
                }
            }
            replace(&storage, log.file, &bytes).await;
            write(&storage, &mut writer, &[(&[b"3"], RELAXED)]).await;
            assert_eq!(read(&storage, from_ref(&log)).await.0, [b"1", b"2", b"3"]);
        });
    }

    #[test]
    fn a_log_that_a_later_one_follows_must_be_whole_up_to_the_recorded_length() {
        block_on(async {
            let storage = MemoryStorage::new();
            let old = log_ref(1, storage.create().await.unwrap());
            let new = log_ref(2, storage.create().await.unwrap());
            let logs = [old.clone(), new.clone()];
            let mut writer = LogWriter::new(old.clone(), None);
            let ends =
                write(&storage, &mut writer, &[(&[b"1"], RELAXED), (&[b"2"], RELAXED)]).await;
            let mut next = writer.successor(new);
            write(&storage, &mut next, &[(&[b"3"], RELAXED)]).await;
            let bytes = contents(&storage, old.file).await;
            assert_eq!(read(&storage, &logs).await.0, [b"1", b"2", b"3"]);
            for len in 0..bytes.len() {
                replace(&storage, old.file, &bytes[..len]).await;
                let error = read(&storage, &logs).await.1.unwrap_err();
                assert_eq!((error.code(), error.place().unwrap().0), (Code::Corruption, old.file));
            }
            replace(&storage, old.file, &[&bytes[..], &[1; 99]].concat()).await;
            let (payloads, recovered) = read(&storage, &logs).await;
            assert_eq!(payloads, [b"1", b"2", b"3"]);
            assert_eq!(recovered.unwrap()[0], Recovered { end: ends[1], torn: true });
        });
    }

    #[test]
    fn a_log_that_was_never_written_is_passed_over() {
        block_on(async {
            let storage = MemoryStorage::new();
            let mut logs = Vec::new();
            for id in 1..4 {
                logs.push(log_ref(id, storage.create().await.unwrap()));
            }
            let mut first = LogWriter::new(logs[0].clone(), None);
            write(&storage, &mut first, &[(&[b"1"], STRICT)]).await;
            let mut last = first.successor(logs[1].clone()).successor(logs[2].clone());
            write(&storage, &mut last, &[(&[b"2"], STRICT)]).await;
            assert_eq!(read(&storage, &logs).await.0, [b"1", b"2"]);
            logs.remove(1);
            let (payloads, recovered) = read(&storage, &logs).await;
            assert_eq!(payloads, [b"1", b"2"]);
            assert!(recovered.is_ok());
            storage.truncate(logs[0].file, first.len() - 1).await.unwrap();
            assert_eq!(read(&storage, &logs).await.1.unwrap_err().code(), Code::Corruption);
        });
    }

    #[test]
    fn bytes_of_another_log_or_another_place_are_no_records() {
        block_on(async {
            let storage = MemoryStorage::new();
            let (a, b) = (storage.create().await.unwrap(), storage.create().await.unwrap());
            let (stale, log) = (log_ref(1, a), log_ref(2, b));
            let groups: [(&[&[u8]], _); 2] = [(&[b"1"], STRICT), (&[b"2"], STRICT)];
            write(&storage, &mut LogWriter::new(stale, None), &groups).await;
            let recycled = contents(&storage, a).await;
            replace(&storage, b, &recycled).await;
            let (payloads, recovered) = read(&storage, from_ref(&log)).await;
            assert!(payloads.is_empty());
            let error = recovered.unwrap_err();
            assert_eq!((error.code(), error.place()), (Code::Corruption, Some((b, 0))));

            replace(&storage, b, &[]).await;
            write(&storage, &mut LogWriter::new(log.clone(), None), &groups[..1]).await;
            let bytes = contents(&storage, b).await;
            let shifted = [&bytes[..], &bytes[HEADER_BYTES..], &recycled].concat();
            replace(&storage, b, &shifted).await;
            let (payloads, recovered) = read(&storage, &[log]).await;
            assert_eq!(payloads, [b"1"]);
            assert_eq!(recovered.unwrap(), [Recovered { end: bytes.len() as u64, torn: true }]);
        });
    }

    #[test]
    fn a_header_of_a_newer_format_and_a_rejected_payload_are_typed_errors() {
        block_on(async {
            let storage = MemoryStorage::new();
            let log = log_ref(1, storage.create().await.unwrap());
            write(&storage, &mut LogWriter::new(log.clone(), None), &[(&[b"1"], STRICT)]).await;
            let reject = |_: &LogRef, _, _: &[u8]| Err(Error::new(Code::Corruption, "no commit"));
            let error = recover(&storage, from_ref(&log), reject).await.unwrap_err();
            assert_eq!(error.place(), Some((log.file, HEADER_BYTES as u64)));

            let mut bytes = contents(&storage, log.file).await;
            bytes[8] += 1;
            let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..HEADER_BYTES - 8]);
            bytes[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
            replace(&storage, log.file, &bytes).await;
            let (payloads, recovered) = read(&storage, &[log]).await;
            assert!(payloads.is_empty());
            assert_eq!(recovered.unwrap_err().code(), Code::NewerFormat);
        });
    }
}
