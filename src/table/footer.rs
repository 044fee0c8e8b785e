//! The two ends of a table file.
//!
//! ```text
//! header (48 bytes)                         footer (104 bytes)
//!  0  8  magic "kvasstbl"                    0  8  offset of the block of deleted ranges
//!  8  2  format                              8  8  offset of the top of the index
//! 10  2  flags: zero                        16  4  length of the ranges, trailer included
//! 12  4  key id: zero                       20  4  length of the top, trailer included
//! 16  8  table id                           24  8  versions that set
//! 24  8  salt                               32  8  versions that delete
//! 32 16  nonce salt: zeros                  40  8  table id
//!                                           48  8  deleted ranges
//! All numbers are little-endian.            56  4  key id: zero
//! Without deleted ranges the footer         60 16  nonce salt: zeros
//! says zeros where they would lie.          76  4  zero
//!                                           80  4  length of the footer
//!                                           84  2  format
//!                                           86  2  flags: zero
//!                                           88  8  xxh3-64 of the bytes before
//!                                           96  8  magic "kvasstbl"
//! ```
//!
//! Readers use the footer, and the header only names the file to whoever finds it without a
//! manifest. The last 24 bytes keep their form in every format. The checksum is
//! seeded as those of blocks are.
//!
//! In format 1 the header ends before the nonce salt. The footer has 80 bytes, without those from
//! 56 to 79, and a filter of the whole table where the ranges are now; it is not used.

use super::block::{Handle, checksum};
use crate::error::{Code, Error, Result};
use crate::hash;
use crate::manifest::FORMAT;
use crate::storage::FileNo;

const MAGIC: [u8; 8] = *b"kvasstbl";
/// The length of the header, in bytes.
pub const HEADER_BYTES: usize = 48;
/// The length of the footer, in bytes.
pub const FOOTER_BYTES: usize = 104;

/// The header of a table of this format.
pub fn header(format: u16, id: u64, salt: u64) -> Vec<u8> {
    let mut out = vec![0; if format < 2 { 32 } else { HEADER_BYTES }];
    let (id, salt) = (id.to_le_bytes(), salt.to_le_bytes());
    fill(&mut out, [&MAGIC[..], &format.to_le_bytes(), &[0; 6], &id, &salt]);
    out
}

/// The number and the salt of the table whose header this is.
pub fn identify(header: &[u8]) -> Option<(u64, u64)> {
    let mut rest = header.strip_prefix(&MAGIC)?.get(8..)?;
    Some((take_u64(&mut rest)?, take_u64(&mut rest)?))
}

/// What the footer says of the rest of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The block at the top of the index.
    pub top: Handle,
    /// The block of deleted ranges; of no length where there are none.
    pub ranges: Handle,
    /// As in `TableMeta`.
    pub sets: u64,
    /// As in `TableMeta`.
    pub deletes: u64,
    /// As in `TableMeta`.
    pub id: u64,
    /// How many deleted ranges the block of them has: `ranges` in `TableMeta`.
    pub deleted_ranges: u64,
    /// The version of the table's format.
    pub format: u16,
}

impl Footer {
    /// The bytes of the footer that lies at `offset` of the table with this salt.
    pub fn encode(&self, salt: u64, offset: u64) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        fill(
            &mut out,
            [
                &self.ranges.offset.to_le_bytes()[..],
                &self.top.offset.to_le_bytes(),
                &self.ranges.len.to_le_bytes(),
                &self.top.len.to_le_bytes(),
                &self.sets.to_le_bytes(),
                &self.deletes.to_le_bytes(),
                &self.id.to_le_bytes(),
                &self.deleted_ranges.to_le_bytes(),
                &[0; 24],
                &(FOOTER_BYTES as u32).to_le_bytes(),
                &self.format.to_le_bytes(),
                &[0; 2],
            ],
        );
        let (covered, tail) = out.split_at_mut(FOOTER_BYTES - 16);
        fill(tail, [&checksum(salt, offset, covered).to_le_bytes()[..], &MAGIC]);
        out
    }

    /// The footer at the end of `tail`, the last bytes of a file of `file_bytes`.
    ///
    /// # Errors
    /// `Corruption` where it is damaged or of another table, `NewerFormat` where a newer version
    /// of kvass wrote the file.
    pub fn decode(tail: &[u8], salt: u64, file: FileNo, file_bytes: u64) -> Result<Footer> {
        let damaged = || {
            let offset = file_bytes.saturating_sub(FOOTER_BYTES as u64);
            Error::corruption(file, offset, "the footer of a table is damaged")
        };
        let (covered, sum) = tail
            .strip_suffix(&MAGIC)
            .and_then(|rest| rest.split_last_chunk::<8>())
            .ok_or_else(damaged)?;
        let mut fixed = covered.last_chunk::<8>().ok_or_else(damaged)?.as_slice();
        let footer_bytes = take_u32(&mut fixed).ok_or_else(damaged)?;
        let format = take_u32(&mut fixed).ok_or_else(damaged)? as u16;
        let start = (tail.len().checked_sub(footer_bytes as usize)).ok_or_else(damaged)?;
        let covered = covered.get(start..).ok_or_else(damaged)?;
        let offset = file_bytes.saturating_sub(u64::from(footer_bytes));
        if !hash::holds(u64::from_le_bytes(*sum), checksum(salt, offset, covered)) {
            return Err(damaged());
        }
        if format > FORMAT {
            let message = "a table was written by a newer version of kvass: update the page";
            return Err(Error::new(Code::NewerFormat, message).at(file, offset));
        }
        let footer = Footer::parse(covered, format).ok_or_else(damaged)?;
        let in_file = |handle: Handle| {
            let end = handle.offset.checked_add(u64::from(handle.len));
            end.is_some_and(|end| end <= offset)
        };
        if !in_file(footer.ranges) || !in_file(footer.top) {
            return Err(damaged());
        }
        Ok(footer)
    }

    fn parse(mut bytes: &[u8], format: u16) -> Option<Footer> {
        let rest = &mut bytes;
        let (ranges_offset, top_offset) = (take_u64(rest)?, take_u64(rest)?);
        let (ranges_len, top_len) = (take_u32(rest)?, take_u32(rest)?);
        let ranges = Handle { offset: ranges_offset, len: ranges_len };
        Some(Footer {
            top: Handle { offset: top_offset, len: top_len },
            ranges: if format < 2 { Handle::default() } else { ranges },
            sets: take_u64(rest)?,
            deletes: take_u64(rest)?,
            id: take_u64(rest)?,
            deleted_ranges: if format < 2 { 0 } else { take_u64(rest)? },
            format,
        })
    }
}

/// Copies the fields one after the other.
fn fill<'a>(mut out: &mut [u8], fields: impl IntoIterator<Item = &'a [u8]>) {
    for field in fields {
        let (to, rest) = out.split_at_mut(field.len());
        to.copy_from_slice(field);
        out = rest;
    }
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}
