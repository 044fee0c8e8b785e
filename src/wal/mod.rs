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

use crate::error::{Code, Error, Result};
use crate::hash::{xxh3_64, xxh3_64_with_seed};
use crate::manifest::FORMAT;
use crate::reader::Reader;
use crate::storage::FileNo;
use serde::Serialize;

#[cfg(test)]
mod crash_tests;
pub mod payload;
pub mod recovery;
pub mod writer;

pub use payload::{Commit, LoggedOp, Ops};
pub use recovery::{Recovered, recover, verify};
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
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>> {
        let Some((checked, checksum)) = bytes.split_last_chunk::<8>() else { return Ok(None) };
        let mut fields = Fields(checked);
        let mut parse = || {
            let magic = fields.take::<8>()? == *MAGIC;
            let format = u16::from_le_bytes(fields.take()?);
            fields.take::<6>()?;
            let id = u64::from_le_bytes(fields.take()?);
            let ours = magic && id == self.id && fields.take()? == self.salt;
            let id = u64::from_le_bytes(fields.take()?);
            let len = u64::from_le_bytes(fields.take()?);
            let previous = (len > 0).then_some(Previous { id, len });
            ours.then_some((format, Header { previous }))
        };
        if u64::from_le_bytes(*checksum) != xxh3_64(checked) {
            return Ok(None);
        }
        match parse() {
            Some((format, _)) if format > FORMAT => {
                let message = format!("a log of format {format}; this build knows {FORMAT}");
                Err(Error::new(Code::NewerFormat, message).at(self.file, 0))
            }
            found => Ok(found.map(|(_, header)| header)),
        }
    }
}

/// The number of the log that begins with these bytes; None where they are no undamaged header.
pub fn id_of(header: &[u8; HEADER_BYTES]) -> Option<u64> {
    let (checked, checksum) = header.split_last_chunk::<8>()?;
    let (magic, fields) = checked.split_first_chunk::<8>()?;
    let (_, fields) = fields.split_first_chunk::<8>()?;
    let known = magic == MAGIC && u64::from_le_bytes(*checksum) == xxh3_64(checked);
    known.then(|| Some(u64::from_le_bytes(*fields.first_chunk()?))).flatten()
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
