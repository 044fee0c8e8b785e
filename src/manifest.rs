//! The manifest: which files make up the database, and what must never be forgotten.
//!
//! Each of two slots ([`MANIFEST_SLOTS`]) holds a whole manifest. A new one goes to the slot
//! that does not hold the current one, so a write that is torn leaves the current one as it was.
//!
//! ```text
//! 0          8        10      12       16           24              24 + length
//! +----------+--------+-------+--------+------------+---------------+----------+
//! | kvassman | format | flags | length | generation | body          | checksum |   integers
//! |          | u16    | u16   | u32    | u64        | length bytes  | u64      |   little-endian
//! +----------+--------+-------+--------+------------+---------------+----------+
//! ```
//!
//! - Generations count up by one; generation g stands in slot g mod 2.
//! - Checksum: XXH3-64 of all bytes before it. Bytes behind it are left from a longer manifest.
//! - The body is, since format 2, 20 zero bytes with room for the number of an encryption key (u32)
//!   and a salt (16 bytes), then [`Manifest`] in postcard. Another shape of it is another format;
//!   magic, format, length and the checksum's place stay in every format, so that a newer one is
//!   known as such.
//! - An older format is read, and written again as the newest: an open stores a manifest before
//!   anything else, and with it the database is of this format. Logs and tables say their own.

use crate::blob::BlobMeta;
use crate::error::{Code, Error, Result};
use crate::hash::{self, xxh3_64};
use crate::history::HistoryLog;
use crate::planted::{Bug, planted};
use crate::reader::Reader;
use crate::sessions::Session;
use crate::stamp::Stamp;
use crate::storage::{Durability, FileNo, MANIFEST_SLOTS, Storage};
use crate::table::TableMeta;
use crate::wal::LogRef;
use serde::Serialize;

/// The version of all formats on disk that this build writes, and the newest it reads.
pub const FORMAT: u16 = 2;

const MAGIC: &[u8; 8] = b"kvassman";
const HEADER_BYTES: usize = 24;
/// The bytes of a body before its fields.
const RESERVED_BYTES: usize = 20;

/// All that an open needs to find the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// Counts the manifests; 0 for one that was never stored.
    #[serde(skip)]
    pub generation: u64,
    /// The last open epoch: stored before the first commit of an open.
    pub epoch: u32,
    /// The next number for a log or a table.
    pub next_id: u64,
    /// The logs, oldest first. The last one may be a spare that was made beforehand.
    pub logs: Vec<LogRef>,
    /// The tables, by level, each level in the order of `version`.
    pub levels: Vec<Vec<TableMeta>>,
    /// The oldest snapshot that can still be read: no version that it sees was dropped.
    pub oldest_retained: Stamp,
    /// Random; tells databases apart.
    pub uuid: [u8; 16],
    /// When the database was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The last commit that is in tables and in no log that an open reads. Since format 2, as all
    /// that follows.
    pub flushed: Stamp,
    /// What came of the commits through `flushed` that their clients may not have heard.
    pub sessions: Vec<Session>,
    /// See [`crate::sessions`]: the last epoch of answers that went for want of room.
    pub forgotten: u32,
    /// Logs that an open does not read, kept for the change log, in the order of their commits.
    pub history: Vec<HistoryLog>,
    /// Of the commits after this one, every one is in a log.
    pub history_after: Stamp,
    /// The blob files, oldest first.
    pub blobs: Vec<BlobMeta>,
}

/// What the slots held.
#[derive(Debug)]
pub enum Loaded {
    /// Nothing: a new database.
    Fresh,
    /// The newest manifest.
    Found {
        /// It.
        manifest: Box<Manifest>,
        /// Why the other slot could not be read. A write of it was torn, or it is damaged and
        /// was the newer one: then files that this manifest names may be gone.
        damaged_slot: Option<Error>,
    },
}

impl Manifest {
    /// The manifest to be changed and stored next. If storing it fails, it is dropped, and the
    /// next attempt starts from the current one again: so both go to the same slot.
    pub fn successor(&self) -> Manifest {
        let step = if planted(Bug::ManifestOverCurrent) { 2 } else { 1 };
        Manifest { generation: self.generation + step, ..self.clone() }
    }

    /// Every file that the manifest names; those come first that an open reads.
    pub fn files(&self) -> Vec<FileNo> {
        let mut files = Vec::new();
        self.logs.iter().for_each(|log| files.push(log.file));
        self.blobs.iter().rev().for_each(|blob| files.push(blob.file));
        self.levels.iter().flatten().for_each(|table| files.push(table.file));
        self.history.iter().for_each(|history| files.push(history.log.file));
        files
    }

    /// Notes that the commits of these logs can't be read back any more.
    pub fn forget(&mut self, gone: &[HistoryLog]) {
        for HistoryLog { last, .. } in gone {
            self.history_after = self.history_after.max(*last);
        }
    }

    /// Reads the body of a manifest of this format; None unless all of it is used up.
    fn decode(format: u16, generation: u64, body: &[u8]) -> Option<Manifest> {
        let mut rest = Reader::new(body, body.len());
        if format >= 2 {
            rest.array::<RESERVED_BYTES>()?;
        }
        let mut manifest = Manifest {
            generation,
            epoch: rest.u32()?,
            next_id: rest.u64()?,
            logs: rest.many(LogRef::decode)?,
            levels: rest.many(|rest| rest.many(|rest| TableMeta::decode(rest, format)))?,
            oldest_retained: rest.stamp()?,
            uuid: rest.array()?,
            created_ms: rest.u64()?,
            ..Manifest::default()
        };
        if format >= 2 {
            manifest.flushed = rest.stamp()?;
            manifest.sessions = rest.many(Session::decode)?;
            manifest.forgotten = rest.u32()?;
            manifest.history = rest.many(HistoryLog::decode)?;
            manifest.history_after = rest.stamp()?;
            manifest.blobs = rest.many(BlobMeta::decode)?;
        } else {
            // What was flushed before there was history is in tables only.
            let newest = manifest.levels.iter().flatten().map(|table| table.newest).max();
            manifest.history_after = newest.unwrap_or_default();
        }
        let in_order = manifest.levels.iter().skip(1).all(|level| is_in_order(level));
        (rest.is_at_end() && in_order).then_some(manifest)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.resize(HEADER_BYTES + RESERVED_BYTES, 0);
        let failed = |_| Error::new(Code::TooLarge, "the manifest could not be encoded");
        let mut bytes = postcard::to_extend(self, bytes).map_err(failed)?;
        let length = u32::try_from(bytes.len() - HEADER_BYTES);
        let length = length.map_err(|_| Error::new(Code::TooLarge, "a manifest of 4 GiB"))?;
        let fields = length.to_le_bytes().into_iter().chain(self.generation.to_le_bytes());
        bytes.iter_mut().skip(12).zip(fields).for_each(|(to, from)| *to = from);
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        Ok(bytes)
    }
}

/// Whether each table of a level below level 0 ends before the next one begins. All that goes by
/// levels rests on it: where tables overlapped, upkeep could do the same work for ever.
fn is_in_order(level: &[TableMeta]) -> bool {
    level.iter().all(|table| table.smallest <= table.largest)
        && level.is_sorted_by(|before, after| before.largest < after.smallest)
}

/// Reads both slots and returns the newer manifest, durable by then.
///
/// # Errors
/// `NewerFormat` where either slot was written by a newer version. `Corruption` where no slot
/// can be read although there is a database: both slots damaged, or lost while files hold bytes.
/// A first manifest whose write was torn is a new database, for nothing else was written yet.
pub async fn load<S: Storage>(storage: &S) -> Result<Loaded> {
    let (mut newest, mut other, mut damaged) = (None::<Manifest>, 0, Vec::new());
    for slot in MANIFEST_SLOTS {
        match read_slot(storage, slot).await {
            Ok(Some(manifest)) => match &newest {
                Some(newest) if newest.generation > manifest.generation => {
                    other = manifest.generation;
                }
                _ => other = newest.replace(manifest).map_or(0, |older| older.generation),
            },
            Ok(None) => {}
            Err(error) if error.code() == Code::Corruption => damaged.push(error),
            Err(error) => return Err(error),
        }
    }
    match (newest, damaged.as_slice()) {
        (Some(manifest), _) => {
            // A crash leaves the slot that is written to damaged, or as it was before.
            if damaged.is_empty() && other + 1 != manifest.generation {
                damaged.push(gone(manifest.generation + 1));
            }
            // The process that wrote it may have ended before its flush, and the next one is
            // written over the other slot.
            if !storage.is_ordered() {
                storage.sync(slot_of(manifest.generation)).await?;
            }
            Ok(Loaded::Found { manifest: Box::new(manifest), damaged_slot: damaged.pop() })
        }
        (None, [first, second]) => {
            let message = format!("both manifest slots are damaged: {first}; {second}");
            Err(Error::new(Code::Corruption, message))
        }
        (None, _) => {
            let files = storage.list().await?;
            let Some(file) = files.first() else { return Ok(Loaded::Fresh) };
            let message = format!("the manifest is lost, though file {file} holds bytes");
            Err(damaged.pop().unwrap_or_else(|| Error::new(Code::Corruption, message)))
        }
    }
}

/// The error where the manifest of a generation should be, and is not.
pub fn gone(generation: u64) -> Error {
    Error::corruption(slot_of(generation), 0, "the manifest is gone")
}

/// Writes a manifest to the slot of its generation, durable once this returns.
///
/// # Errors
/// Those of the storage. The slot may then hold anything: the old manifest, the new one or
/// neither, while the other slot still holds the one before.
pub async fn store<S: Storage>(storage: &S, manifest: &Manifest) -> Result<()> {
    let durability = match planted(Bug::ManifestNotFlushed) {
        true => Durability::Relaxed,
        false => Durability::Strict,
    };
    storage.write(slot_of(manifest.generation), 0, &manifest.encode()?, durability).await
}

fn slot_of(generation: u64) -> FileNo {
    let [even, odd] = MANIFEST_SLOTS;
    if generation.is_multiple_of(2) { even } else { odd }
}

/// Reads a slot, to see that it can be; returns its length.
///
/// # Errors
/// `Corruption`, `NewerFormat`, and those of the storage.
pub async fn verify_slot<S: Storage>(storage: &S, slot: FileNo) -> Result<u64> {
    read_slot(storage, slot).await?;
    storage.len(slot).await
}

async fn read_slot<S: Storage>(storage: &S, slot: FileNo) -> Result<Option<Manifest>> {
    let length = storage.len(slot).await?;
    if length == 0 {
        return Ok(None);
    }
    let too_large = |_| Error::corruption(slot, 0, "the manifest is too large for memory");
    let mut bytes = vec![0; usize::try_from(length).map_err(too_large)?];
    let read = storage.read(slot, 0, &mut bytes).await?;
    bytes.truncate(read);
    decode(&bytes, slot).map(Some)
}

fn decode(bytes: &[u8], slot: FileNo) -> Result<Manifest> {
    let damaged = |what: &'static str| Error::corruption(slot, 0, what);
    let (checked, body) = verified(bytes).ok_or_else(|| damaged("the manifest is damaged"))?;
    if checked.format > FORMAT {
        return Err(Error::newer_format("a database", checked.format, slot));
    }
    if slot_of(checked.generation) != slot {
        return Err(damaged("the manifest stands in the wrong slot"));
    }
    Manifest::decode(checked.format, checked.generation, body)
        .ok_or_else(|| damaged("a manifest with a valid checksum that cannot be read"))
}

struct Header {
    format: u16,
    generation: u64,
}

/// The header and the body, once the checksum is found to be right.
fn verified(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (format, rest) = rest.split_first_chunk()?;
    let (_flags, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (body, rest) = rest.split_at_checked(length)?;
    let checksum = u64::from_le_bytes(*rest.first_chunk()?);
    let checked = bytes.get(..HEADER_BYTES + length)?;
    let header =
        Header { format: u16::from_le_bytes(*format), generation: u64::from_le_bytes(*generation) };
    (magic == MAGIC && hash::holds(checksum, xxh3_64(checked))).then_some((header, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobUse;
    use crate::env::manual::block_on;
    use crate::rng::Rng;
    use crate::sessions::{Sessions, Verdict};
    use crate::storage::simulated::{Call, Fault};
    use crate::storage::{MemoryStorage, SimulatedStorage};
    use crate::wal::payload::{Client, Sender};
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    fn table(id: u64) -> TableMeta {
        TableMeta {
            id,
            file: id as u32,
            salt: 3,
            bytes: 4096,
            sets: 5,
            deletes: 6,
            smallest: Box::from([2, id as u8, 0]),
            largest: Box::from([2, id as u8, 1, 0]),
            oldest: Stamp { epoch: 1, counter: 1 },
            newest: Stamp { epoch: 2, counter: 300 },
            ranges: 0,
            hidden: 0,
            blobs: vec![BlobUse { id: 17, bytes: 40_000 }],
        }
    }

    fn sessions() -> Vec<Session> {
        let (sessions, stamp) = (Sessions::default(), Stamp { epoch: 6, counter: 1 });
        let sender =
            |sequence, acked_through| Sender { client: Client::Known(1), sequence, acked_through };
        let (check, mismatch) = (Verdict::CheckFailed(2), Verdict::Mismatch("no".into()));
        sessions.record(&[7; 16], &sender(300, 299), stamp, check, 1_700_000_000_000);
        sessions.record(&[7; 16], &sender(301, 299), stamp.next(), mismatch, 0);
        sessions.record(&[8; 16], &sender(9, 7), stamp, Verdict::Applied, 1_700_000_000_000);
        sessions.through(Stamp::MAX, 0)
    }

    fn manifest(generation: u64, tables: u64) -> Manifest {
        Manifest {
            generation,
            epoch: 7,
            next_id: 40,
            logs: vec![LogRef { id: 39, file: 9, salt: [1; 8] }],
            levels: vec![vec![], (20..20 + tables).map(table).collect()],
            oldest_retained: Stamp { epoch: 6, counter: 1 },
            uuid: [5; 16],
            created_ms: 1_700_000_000_000,
            flushed: Stamp { epoch: 6, counter: 2 },
            sessions: sessions(),
            forgotten: 3,
            history: vec![],
            history_after: Stamp { epoch: 5, counter: 9 },
            blobs: vec![BlobMeta {
                id: 17,
                file: 5,
                salt: 9,
                bytes: 1 << 33,
                logs_before: u64::MAX,
            }],
        }
    }

    fn found(loaded: Result<Loaded>) -> (Manifest, Option<Error>) {
        match loaded.unwrap() {
            Loaded::Found { manifest, damaged_slot } => (*manifest, damaged_slot),
            Loaded::Fresh => panic!("no manifest was found"),
        }
    }

    async fn put(storage: &MemoryStorage, slot: FileNo, bytes: &[u8]) {
        storage.truncate(slot, 0).await.unwrap();
        storage.write(slot, 0, bytes, Durability::Strict).await.unwrap();
    }

    #[test]
    fn the_newest_manifest_is_found_also_where_a_longer_one_stood() {
        block_on(async {
            let storage = MemoryStorage::new();
            assert!(matches!(load(&storage).await, Ok(Loaded::Fresh)));
            let mut current = manifest(0, 9);
            for tables in [9, 8, 0, 1, 7] {
                current = Manifest { levels: manifest(0, tables).levels, ..current.successor() };
                store(&storage, &current).await.unwrap();
                assert_eq!(found(load(&storage).await), (current.clone(), None));
            }
            assert_eq!(current.generation, 5);
            assert_eq!(current.files(), [9, 5, 20, 21, 22, 23, 24, 25, 26]);
        });
    }

    #[test]
    fn a_torn_write_leaves_the_older_or_the_newer_manifest() {
        block_on(async {
            let storage = MemoryStorage::new();
            let [old, new] = [manifest(4, 2), manifest(5, 1)];
            store(&storage, &old).await.unwrap();
            let before = manifest(3, 3).encode().unwrap();
            let after = new.encode().unwrap();
            for len in 0..=after.len() {
                let torn = [&after[..len], &before[len..]].concat();
                put(&storage, 1, &torn).await;
                let (loaded, damaged) = found(load(&storage).await);
                let whole = torn.starts_with(&after);
                assert_eq!(loaded, if whole { new.clone() } else { old.clone() }, "torn at {len}");
                assert_eq!(damaged.is_none(), whole || torn == before, "torn at {len}");
            }
        });
    }

    #[test]
    fn after_any_crash_the_stored_manifest_is_there_or_the_one_being_stored() {
        for seed in 0..300 {
            println!("seed {seed}");
            let (rng, disk) = (Rng::new(seed), SimulatedStorage::new(seed));
            disk.set_polls_max(2);
            disk.inject(Some(Call::Write), rng.below(5), Fault::PowerCut);
            let mut current = manifest(0, 0);
            let next = loop {
                let levels = manifest(0, rng.below(30)).levels;
                let next = Manifest { levels, ..current.successor() };
                if block_on(store(&disk, &next)).is_err() {
                    break next;
                }
                current = next;
            };
            match block_on(load(&disk.crash(&rng))).unwrap() {
                Loaded::Found { manifest, .. } => assert!([current, next].contains(&manifest)),
                Loaded::Fresh => assert_eq!(current.generation, 0),
            }
        }
    }

    #[test]
    fn a_store_that_was_killed_and_then_a_power_cut_in_the_next_leave_a_manifest() {
        for seed in 0..100 {
            let (rng, disk) = (Rng::new(seed), SimulatedStorage::new(seed));
            let [first, second, third] = [1, 2, 3].map(|generation| manifest(generation, 20));
            block_on(store(&disk, &first)).unwrap();
            disk.inject(Some(Call::Sync), 0, Fault::Fail(Code::Io));
            block_on(store(&disk, &second)).unwrap_err();
            let disk = disk.restart();
            assert_eq!(found(block_on(load(&disk))).0, second);
            disk.inject(Some(Call::Write), 0, Fault::PowerCut);
            block_on(store(&disk, &third)).unwrap_err();
            let (loaded, _) = found(block_on(load(&disk.crash(&rng))));
            assert!(loaded == second || loaded == third, "seed {seed}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = manifest(4, 2).encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged, 0).unwrap_err().code(), Code::Corruption, "bit {bit}");
        }
    }

    #[test]
    fn a_lost_or_twice_damaged_manifest_is_corruption_and_never_a_new_database() {
        block_on(async {
            let storage = MemoryStorage::new();
            put(&storage, 1, b"torn").await;
            assert!(matches!(load(&storage).await, Ok(Loaded::Fresh)));
            let file = storage.create().await.unwrap();
            assert!(matches!(load(&storage).await, Ok(Loaded::Fresh)));
            storage.write(file, 0, b"x", Durability::Relaxed).await.unwrap();
            assert_eq!(load(&storage).await.unwrap_err().place(), Some((1, 0)));
            put(&storage, 0, b"torn").await;
            let error = load(&storage).await.unwrap_err();
            assert_eq!(error.code(), Code::Corruption);
            assert!(error.message().contains("file 0") && error.message().contains("file 1"));
            for slot in MANIFEST_SLOTS {
                put(&storage, slot, b"").await;
            }
            let error = load(&storage).await.unwrap_err();
            assert_eq!(error.code(), Code::Corruption);
        });
    }

    #[test]
    fn a_newer_format_is_told_apart_and_wins_over_an_older_slot() {
        block_on(async {
            let storage = MemoryStorage::new();
            store(&storage, &manifest(4, 1)).await.unwrap();
            let mut newer = MAGIC.to_vec();
            newer.extend_from_slice(&[
                FORMAT as u8 + 1,
                0,
                0,
                0,
                3,
                0,
                0,
                0,
                5,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
            ]);
            newer.extend_from_slice(b"???");
            newer.extend_from_slice(&xxh3_64(&newer).to_le_bytes());
            put(&storage, 1, &newer).await;
            assert_eq!(load(&storage).await.unwrap_err().code(), Code::NewerFormat);
        });
    }

    #[test]
    fn a_manifest_in_the_wrong_slot_is_damage() {
        let bytes = manifest(4, 1).encode().unwrap();
        assert_eq!(decode(&bytes, 1).unwrap_err().code(), Code::Corruption);
    }

    #[test]
    fn tables_that_overlap_below_level_0_are_damage() {
        let level = [table(1), table(2)];
        let decode = |levels| decode(&Manifest { levels, ..manifest(4, 0) }.encode().unwrap(), 0);
        let backwards = TableMeta { largest: Box::from([0]), ..table(1) };
        let level0 = vec![table(1), table(2), table(1), backwards.clone()];
        assert!(decode(vec![level0, level.to_vec(), vec![table(1)]]).is_ok());
        let [one, two] = level;
        for level in [vec![two.clone(), one.clone()], vec![one.clone(), one], vec![backwards]] {
            let error = decode(vec![vec![], vec![two.clone()], level]).unwrap_err();
            assert_eq!(error.code(), Code::Corruption);
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_decoder_panic(body: Vec<u8>, from_real in 0..200usize) {
            let mut bytes = manifest(4, 2).encode().unwrap();
            bytes.truncate(HEADER_BYTES + from_real);
            bytes.extend_from_slice(&body);
            let length = (bytes.len() - HEADER_BYTES) as u32;
            bytes[12..16].copy_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
            if let Err(error) = decode(&bytes, 0) {
                prop_assert_eq!(error.code(), Code::Corruption);
            }
        }
    }
}
