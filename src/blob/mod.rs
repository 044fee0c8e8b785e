//! Large values: written once, into blob files, while log, memtable and tables hold a [`Pointer`].
//!
//! ```text
//! file     | header | value | value | ...                  values end to end, only ever appended
//!
//! header   0          8        10      12       16     24     32         48     56         64
//! (64 B)   +----------+--------+-------+--------+------+------+----------+------+----------+
//!          | kvassblb | format | flags | key id | id   | salt | reserved | zero | checksum |
//!          |          | u16    | u16   | u32    | u64  | u64  | 16 B     | 8 B  | u64      |
//!          +----------+--------+-------+--------+------+------+----------+------+----------+
//!
//! pointer  | blob file's id | offset | length | kind | checksum |
//!          | varint         | varint | varint | u8   | u64      |          integers little-endian
//! ```
//!
//! - A value stands in its file without the byte that says its kind, which is in the pointer.
//! - Checksum of the header: XXH3-64 of the 56 bytes before it. Key id and reserved bytes are
//!   zero; they have room for an encryption key's number and a salt.
//! - Checksum of a value: XXH3-64 of its first [`PIECE_BYTES`], seeded with the file's salt plus
//!   the value's offset; the checksum of each further piece is seeded with the one before. So a
//!   value is checked piece by piece, and one of another file or place is damage.
//! - The manifest names a blob file before a log or a table points into it, and a value is
//!   flushed before the log record that points at it is written. Bytes that nothing points to
//!   (a commit that failed, a crash) are dead, as those of overwritten values are; [`live`] says
//!   when a file goes and when what lives in it moves to another.

use crate::error::{Code, Error, Result};
use crate::hash::{self, xxh3_64, xxh3_64_with_seed};
use crate::manifest::FORMAT;
use crate::planted::{Bug, planted};
use crate::reader::Reader;
use crate::storage::FileNo;
use crate::varint;
use serde::Serialize;

pub mod live;
mod store;
mod stream;

pub use store::{BlobFile, Blobs, Large, Value};
pub use stream::{Append, Pieces, Stretch, read_pieces};

/// The length of a blob file's header in bytes.
pub const HEADER_BYTES: usize = 64;
/// The number under which the manifest names the space in reserve, which holds no values.
pub const RESERVE_ID: u64 = u64::MAX;
/// A value is read, written and checked in pieces of this many bytes.
pub const PIECE_BYTES: usize = 64 * 1024;

const MAGIC: &[u8; 8] = b"kvassblb";

/// What the manifest keeps of a blob file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobMeta {
    /// Its number, never given to another file.
    pub id: u64,
    /// The file it is in.
    pub file: FileNo,
    /// Mixed into all its checksums.
    pub salt: u64,
    /// Its length in bytes; not known (0) while it is written.
    pub bytes: u64,
    /// Logs with a lower number may point into it: `u64::MAX` while it is written, 0 where
    /// compaction has written it.
    pub logs_before: u64,
}

impl BlobMeta {
    pub(crate) fn decode(rest: &mut Reader<'_>) -> Option<BlobMeta> {
        Some(BlobMeta {
            id: rest.u64()?,
            file: rest.u32()?,
            salt: rest.u64()?,
            bytes: rest.u64()?,
            logs_before: rest.u64()?,
        })
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.resize(16, 0);
        header.extend_from_slice(&self.id.to_le_bytes());
        header.extend_from_slice(&self.salt.to_le_bytes());
        header.resize(HEADER_BYTES - 8, 0);
        header.extend_from_slice(&xxh3_64(&header).to_le_bytes());
        header
    }

    /// The blob file that begins with `header`, of this length, for who has no manifest. None
    /// where it is something else or the header is damaged.
    ///
    /// # Errors
    /// `NewerFormat`.
    pub fn identify(header: &[u8], file: FileNo, bytes: u64) -> Result<Option<BlobMeta>> {
        let number = |at| header.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let (Some(id), Some(salt)) = (number(16), number(24)) else { return Ok(None) };
        let meta = BlobMeta { id, file, salt, bytes, logs_before: 0 };
        match meta.check_header(header) {
            Ok(()) => Ok(Some(meta)),
            Err(error) if error.code() == Code::Corruption => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `header` is that of this file.
    ///
    /// # Errors
    /// `NewerFormat`; `Corruption` where it is damaged or of another file.
    fn check_header(&self, header: &[u8]) -> Result<()> {
        let parse = || {
            let (checked, checksum) = header.split_last_chunk::<8>()?;
            let intact = hash::holds(u64::from_le_bytes(*checksum), xxh3_64(checked));
            let (magic, rest) = checked.split_first_chunk::<8>()?;
            let (format, rest) = rest.split_first_chunk()?;
            let (id, rest) = rest.get(6..)?.split_first_chunk()?;
            let ours = magic == MAGIC
                && u64::from_le_bytes(*id) == self.id
                && rest.starts_with(&self.salt.to_le_bytes());
            (intact && ours).then_some(u16::from_le_bytes(*format))
        };
        match parse() {
            Some(..=FORMAT) => Ok(()),
            Some(format) => Err(Error::newer_format("a blob file", format, self.file)),
            None => Err(Error::corruption(self.file, 0, "the header of a blob file is damaged")),
        }
    }
}

/// How many bytes of a blob file a table points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BlobUse {
    /// The number of the blob file.
    pub id: u64,
    /// The bytes of the values in it.
    pub bytes: u64,
}

impl BlobUse {
    pub(crate) fn decode(rest: &mut Reader<'_>) -> Option<BlobUse> {
        Some(BlobUse { id: rest.u64()?, bytes: rest.u64()? })
    }
}

/// Adds what `pointer` points to.
pub fn count(uses: &mut Vec<BlobUse>, pointer: Pointer) {
    if planted(Bug::BlobUseNotCounted) {
        return;
    }
    match uses.iter_mut().find(|used| used.id == pointer.blob) {
        Some(used) => used.bytes += pointer.len,
        None => uses.push(BlobUse { id: pointer.blob, bytes: pointer.len }),
    }
}

/// Where a large value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The number of the blob file.
    pub blob: u64,
    /// Where in it the value begins.
    pub offset: u64,
    /// The length of the value without the byte that says its kind.
    pub len: u64,
    /// The kind of the value; see [`crate::value`].
    pub kind: u8,
    /// As the module says.
    pub checksum: u64,
}

impl Pointer {
    /// The bytes that log and tables hold.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        for field in [self.blob, self.offset, self.len] {
            varint::put(&mut out, field);
        }
        out.push(self.kind);
        out.extend_from_slice(&self.checksum.to_le_bytes());
        out
    }

    /// Reads them; None where they are no pointer.
    pub fn decode(bytes: &[u8]) -> Option<Pointer> {
        let mut rest = Reader::new(bytes, 0);
        let (blob, offset, len) = (rest.u64()?, rest.u64()?, rest.u64()?);
        let pointer = Pointer {
            blob,
            offset,
            len,
            kind: rest.byte()?,
            checksum: u64::from_le_bytes(rest.array()?),
        };
        (rest.is_at_end() && offset.checked_add(len).is_some()).then_some(pointer)
    }
}

/// Goes on with the checksum of a value over its next piece.
fn checksum(before: u64, piece: &[u8]) -> u64 {
    xxh3_64_with_seed(piece, before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta() -> BlobMeta {
        BlobMeta { id: 7, file: 3, salt: 99, bytes: 0, logs_before: u64::MAX }
    }

    #[test]
    fn a_header_is_known_as_its_files_and_every_flipped_bit_is_noticed() {
        let header = meta().header();
        assert_eq!(meta().check_header(&header), Ok(()));
        assert!(BlobMeta { id: 8, ..meta() }.check_header(&header).is_err());
        assert!(BlobMeta { salt: 98, ..meta() }.check_header(&header).is_err());
        for bit in 0..8 * HEADER_BYTES {
            let mut damaged = header.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = meta().check_header(&damaged).expect_err("it is damaged");
            assert_eq!((error.code(), error.place()), (Code::Corruption, Some((3, 0))));
        }
        for len in 0..HEADER_BYTES {
            assert!(meta().check_header(&header[..len]).is_err());
        }
    }

    #[test]
    fn a_blob_file_of_a_newer_format_is_told_apart() {
        let mut header = meta().header();
        header[8..10].copy_from_slice(&(FORMAT + 1).to_le_bytes());
        let checksum = xxh3_64(&header[..56]);
        header[56..].copy_from_slice(&checksum.to_le_bytes());
        let error = meta().check_header(&header).expect_err("it is newer");
        assert_eq!(error.code(), Code::NewerFormat);
        assert!(error.message().ends_with("update the page"), "{error}");
    }

    proptest! {
        #[test]
        fn a_pointer_comes_back_and_never_from_a_part(
            blob: u64, offset in 0..u64::MAX / 2, len in 0..u64::MAX / 2, kind: u8, checksum: u64,
        ) {
            let pointer = Pointer { blob, offset, len, kind, checksum };
            let bytes = pointer.encode();
            prop_assert_eq!(Pointer::decode(&bytes), Some(pointer));
            for len in 0..bytes.len() {
                prop_assert_eq!(Pointer::decode(&bytes[..len]), None);
            }
        }
    }
}
