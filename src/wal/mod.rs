//! The write-ahead log: every commit, in order, before it is anywhere else.
//!
//! ```text
//! file     | header | record | record | ...
//!
//! header   0          8        10      12     16     24     32            48         56         64
//! (64 B)   +----------+--------+-------+------+------+------+-------------+----------+----------+
//!          | kvasslog | format | flags | zero | id   | salt | previous:   | reserved | checksum |
//!          |          | u16    | u16   | u32  | u64  | 8 B  | id u64, u64 | 8 B      | u64      |
//!          +----------+--------+-------+------+------+------+-------------+----------+----------+
//!
//! record   0         4          12       16        24
//! (24 B +) +---------+----------+--------+---------+---------+
//!          | marker  | checksum | length | durable | payload |   integers little-endian
//!          | 4 B     | u64      | u32    | u64     |         |
//!          +---------+----------+--------+---------+---------+
//! ```
//!
//! - The salt is random and stands in the manifest too ([`LogRef`]). Marker: its first four
//!   bytes, by which records are found again behind a damaged one.
//! - `previous` is the number of the last log before this one that holds records, and the length
//!   at which it ended, all of it durable before this header was written; zeros if there is none.
//!   The zero and reserved fields have room for the number and salt of an encryption key.
//! - Checksum of the header: XXH3-64 of the 56 bytes before it. Of a record: XXH3-64 of all
//!   bytes behind it (length, durable, payload), seeded with the salt plus the record's offset,
//!   so that neither a record of another log nor one from another place is taken for this one.
//! - `durable` is the length of this file known to be durable when the record was written. It
//!   tells a tail that a crash tore from damage to what was safe: see [`recovery`]. A record
//!   without a payload says nothing else: a mark, written after a flush that nothing follows.
//!
//! The header is written with the first group of records, so a log that was made and never used
//! holds no bytes. A log is written by one open only: the next one starts another.

use crate::error::{Error, Result};
use crate::hash::{self, xxh3_64, xxh3_64_with_seed};
use crate::manifest::FORMAT;
use crate::reader::Reader;
use crate::storage::FileNo;
use serde::Serialize;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod lost_tests;
pub mod payload;
pub mod recovery;
pub mod salvage;
pub mod writer;

pub use payload::{Commit, LoggedOp, Ops};
pub use recovery::{Recovered, recover};
pub use salvage::salvage;
pub use writer::{Group, LogWriter};

/// The length of a log's header in bytes.
pub const HEADER_BYTES: usize = 64;
/// The bytes of a record before its payload.
pub const RECORD_BYTES: usize = 24;

const MAGIC: &[u8; 8] = b"kvasslog";
/// Where the part of a record begins that its checksum covers.
const CHECKED_FROM: usize = 12;

/// A log, as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogRef {
    /// Unique over the life of the database.
    pub id: u64,
    /// The file that holds it.
    pub file: FileNo,
    /// Random: tells its records from all others.
    pub salt: [u8; 8],
}

impl LogRef {
    /// Reads what serde wrote; None where it is something else.
    pub(crate) fn decode(rest: &mut Reader<'_>) -> Option<LogRef> {
        Some(LogRef { id: rest.u64()?, file: rest.u32()?, salt: rest.array()? })
    }

    /// The log whose undamaged header `bytes` are, in `file`, for who has no manifest.
    ///
    /// # Errors
    /// `NewerFormat`.
    pub fn identify(bytes: &[u8], file: FileNo) -> Result<Option<LogRef>> {
        let parse = || {
            let (id, rest) = bytes.get(16..HEADER_BYTES)?.split_first_chunk()?;
            Some(LogRef { id: u64::from_le_bytes(*id), file, salt: *rest.first_chunk()? })
        };
        let Some(log) = parse() else { return Ok(None) };
        Ok(log.parse_header(bytes)?.map(|_| log))
    }

    fn marker(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.salt;
        [a, b, c, d]
    }

    /// The checksum of a record at `offset`, over its bytes from [`CHECKED_FROM`] on.
    fn checksum(&self, offset: u64, checked: &[u8]) -> u64 {
        xxh3_64_with_seed(checked, u64::from_le_bytes(self.salt).wrapping_add(offset))
    }

    fn header(&self, previous: Option<Previous>) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let (checked, checksum) = header.split_at_mut(HEADER_BYTES - 8);
        let [f0, f1] = FORMAT.to_le_bytes();
        let previous = previous.unwrap_or(Previous { id: 0, len: 0 });
        let fields = MAGIC.iter().copied().chain([f0, f1, 0, 0, 0, 0, 0, 0]);
        let fields = fields.chain(self.id.to_le_bytes()).chain(self.salt);
        let fields = fields.chain(previous.id.to_le_bytes()).chain(previous.len.to_le_bytes());
        checked.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        checksum.copy_from_slice(&xxh3_64(checked).to_le_bytes());
        header
    }

    /// Reads the header of this log; None where `bytes` are no undamaged one.
    ///
    /// # Errors
    /// `NewerFormat`. `Corruption` where it is another log's: a file holds no bytes when it is
    /// made a log, durably so, and no crash brings back those that it held before.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>> {
        let Some((checked, checksum)) = bytes.split_last_chunk::<8>() else { return Ok(None) };
        if !hash::holds(u64::from_le_bytes(*checksum), xxh3_64(checked)) {
            return Ok(None);
        }
        let mut fields = Fields(checked);
        if fields.take() != Some(*MAGIC) {
            return Ok(None);
        }
        let mut parse = || {
            let format = u16::from_le_bytes(fields.take()?);
            fields.take::<6>()?;
            let (id, salt) = (u64::from_le_bytes(fields.take()?), fields.take()?);
            let previous = u64::from_le_bytes(fields.take()?);
            let len = u64::from_le_bytes(fields.take()?);
            let previous = (len > 0).then_some(Previous { id: previous, len });
            Some((format, (id, salt) == (self.id, self.salt), Header { previous }))
        };
        match parse() {
            Some((format, ..)) if format > FORMAT => {
                Err(Error::newer_format("a log", format, self.file))
            }
            Some((_, false, _)) => {
                Err(Error::corruption(self.file, 0, "the file holds another log"))
            }
            found => Ok(found.map(|(.., header)| header)),
        }
    }
}

/// A log that another one followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its number.
    pub id: u64,
    /// Its length in bytes, all of them durable.
    pub len: u64,
}

/// What the header of a log says beside what its [`LogRef`] does.
#[derive(Clone, Copy)]
struct Header {
    previous: Option<Previous>,
}

/// What stands before a record's payload.
struct Head {
    marker: [u8; 4],
    checksum: u64,
    length: usize,
    durable: u64,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Head> {
        let mut fields = Fields(bytes);
        Some(Head {
            marker: fields.take()?,
            checksum: u64::from_le_bytes(fields.take()?),
            length: usize::try_from(u32::from_le_bytes(fields.take()?)).ok()?,
            durable: u64::from_le_bytes(fields.take()?),
        })
    }
}

/// Takes fixed fields off the front of some bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}
