//! Blocks: a stretch of sorted versions under one checksum.
//!
//! Data blocks and both levels of the index have the same form. An index entry is a version too:
//! its key and stamp lie at or past the last one of the block it points to and before the first
//! one of the next, and its value is that block's [`Handle`], or its [`Part`] in the top.
//!
//! ```text
//! +-------+-------+-----+---------------------+----------+------+------------+
//! | entry | entry | ... | restart offsets u32 | count u32| kind | xxh3-64 u64|   little-endian
//! +-------+-------+-----+---------------------+----------+------+------------+
//!  <------------------ stored bytes --------------------> <---- trailer ---->
//!
//! entry: tag u8 | shared | unshared | epoch | counter | [expires_at] | [value length]
//!        | the last `unshared` bytes of the key | [value]             (numbers are varints)
//! ```
//!
//! A key shares its first `shared` bytes with the key before it, as many as there are; every
//! [`DATA_INTERVAL`]th entry, in the index every [`INDEX_INTERVAL`]th, is a restart, which shares
//! none. Readers go by the restart offsets alone. The checksum covers kind and
//! stored bytes, and its seed is the table's salt plus the block's offset, so that a block in the
//! wrong place or of another table is damage. What passed the checksum is still decoded checked.
//!
//! Kind 0 is stored as it is. Kind 1 is stored as its length (a varint) and one block of LZ4,
//! where that saves an eighth or more.

use super::guide::{Guide, Start};
use crate::bytes::{Bytes, common_prefix, zeroed};
use crate::error::{Code, Error, Result};
use crate::hash::{self, xxh3_64_with_seed};
use crate::lz4;
use crate::memtable::OwnedOp;
use crate::record::{Found, Op, order};
use crate::stamp::{COUNTER_MAX, Stamp};
use crate::storage::FileNo;
use crate::varint;
use core::cmp::Ordering;
use core::ops::Range;
use std::rc::Rc;

/// A restart of a data block comes this many entries after the one before it: a search decodes
/// half of them on average.
pub(super) const DATA_INTERVAL: usize = 8;
/// In the index, where keys share little and a search is all there is.
pub(super) const INDEX_INTERVAL: usize = 4;

/// The kind of a block that is stored as it is.
pub(super) const PLAIN: u8 = 0;
/// The kind of a block that is stored compressed.
pub(super) const LZ4: u8 = 1;
/// What most processors fetch from memory at once, in bytes.
const CACHE_LINE: usize = 64;
/// A block of more bytes than this, which holds one large value, is never compressed: that would
/// take longer than a slice.
pub(super) const LZ4_BYTES_MAX: usize = 1024 * 1024;

pub(super) const TAG_DELETE: u8 = 0;
pub(super) const TAG_SET: u8 = 1;
pub(super) const TAG_SET_EXPIRING: u8 = 2;
/// A set whose value is a pointer into a blob file; it always says when it expires, 0 for never.
pub(super) const TAG_SET_IN_BLOB: u8 = 3;

/// Where a block lies in its file, trailer included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handle {
    /// From the start of the file, in bytes.
    pub offset: u64,
    /// The length in bytes.
    pub len: u32,
}

impl Handle {
    /// Appends the handle to `out`.
    pub fn put(self, out: &mut Vec<u8>) {
        varint::put(out, self.offset);
        varint::put(out, u64::from(self.len));
    }

    fn take(bytes: &mut &[u8]) -> Option<Handle> {
        let offset = varint::take(bytes)?;
        let len = u32::try_from(varint::take(bytes)?).ok()?;
        Some(Handle { offset, len })
    }
}

/// What an entry of the top of the index points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// An index leaf.
    pub leaf: Handle,
    /// The filter of the keys below it, right behind it. Format 1 has none.
    pub filter: Option<Handle>,
}

impl Part {
    /// Appends the part to `out`.
    pub fn put(self, out: &mut Vec<u8>) {
        self.leaf.put(out);
        varint::put(out, self.filter.map_or(0, |filter| u64::from(filter.len)));
    }

    fn take(mut bytes: &[u8]) -> Option<Part> {
        let leaf = Handle::take(&mut bytes)?;
        let filter = if bytes.is_empty() {
            None
        } else {
            let len = u32::try_from(varint::take(&mut bytes)?).ok()?;
            Some(Handle { offset: leaf.offset.checked_add(u64::from(leaf.len))?, len })
        };
        bytes.is_empty().then_some(Part { leaf, filter })
    }
}

/// The checksum of `bytes` that lie at `offset` of the table with this salt.
pub fn checksum(salt: u64, offset: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, salt.wrapping_add(offset))
}

/// Appends the trailer of the block that starts at `start` in `out` and at `offset` in its file.
pub fn seal(out: &mut Vec<u8>, start: usize, kind: u8, salt: u64, offset: u64) {
    out.push(kind);
    let sum = checksum(salt, offset, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
}

/// The bytes of the block at `range` of `buffer` and at `offset` of `file`, decompressed. They
/// share `buffer` where they are stored as they are.
///
/// # Errors
/// `Corruption` where it lies outside or the checksum does not hold, `NewerFormat` for an unknown
/// kind of block.
pub fn open(
    buffer: &Rc<[u8]>,
    range: Range<usize>,
    salt: u64,
    file: FileNo,
    offset: u64,
) -> Result<Bytes> {
    let damaged = || Error::corruption(file, offset, "a block of a table is damaged");
    let block = buffer.get(range.clone()).ok_or_else(damaged)?;
    let (covered, sum) = block.split_last_chunk::<8>().ok_or_else(damaged)?;
    let (kind, stored) = covered.split_last().ok_or_else(damaged)?;
    if !hash::holds(u64::from_le_bytes(*sum), checksum(salt, offset, covered)) {
        return Err(damaged());
    }
    match *kind {
        PLAIN => Bytes::slice(buffer, range.start..range.start + stored.len()),
        LZ4 => decompress(stored),
        _ => {
            let message = "a block was compressed by a newer version of kvass: update the page";
            return Err(Error::new(Code::NewerFormat, message).at(file, offset));
        }
    }
    .ok_or_else(damaged)
}

/// The bytes of a compressed block, in a buffer of their own.
fn decompress(mut stored: &[u8]) -> Option<Bytes> {
    let len = usize::try_from(varint::take(&mut stored)?).ok()?;
    if len > LZ4_BYTES_MAX || !lz4::can_hold(stored.len(), len) {
        return None;
    }
    let mut buffer = zeroed(len);
    lz4::decompress(stored, Rc::get_mut(&mut buffer)?)?;
    Bytes::slice(&buffer, 0..len)
}

/// A verified block, or a filter.
#[derive(Clone)]
pub struct Block {
    bytes: Bytes,
    offset: u64,
    file: FileNo,
    /// A filter has no entries, and ends there.
    entries_end: u32,
    guide: Guide,
}

/// Where the parts of an entry lie in its block.
#[derive(Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(super) shared: usize,
    pub(super) suffix_at: usize,
    pub(super) value_at: usize,
    pub(super) end: usize,
    pub(super) stamp: Stamp,
    pub(super) expires_at: u64,
    pub(super) deletes: bool,
    pub(super) in_blob: bool,
}

/// How a search for a version ended. The entry that it stopped at is left in place, for moving one
/// about takes longer than finding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// All entries come before.
    End,
    /// At an entry of another key, which comes after.
    Past,
    /// At a version of the key.
    Key,
}

impl Entry {
    /// Reads the entry in place `at` of a block's entries; None where there is no valid one.
    #[inline]
    pub(super) fn decode(&mut self, entries: &[u8], at: usize) -> Option<()> {
        let rest = entries.get(at..)?;
        if let Some(first) = rest.first_chunk()
            && let Some((len, unshared, value_len)) = self.take_short(first)
        {
            self.suffix_at = at + len;
            self.value_at = self.suffix_at + usize::from(unshared);
            self.end = self.value_at + usize::from(value_len);
            if self.end <= entries.len() {
                return Some(());
            }
        }
        self.take(entries.len(), rest)
    }

    /// Reads the numbers of a set or delete that does not expire, if they are as short as nearly
    /// always; how many bytes they take, and how many those of its key and value.
    fn take_short(&mut self, bytes: &[u8; 12]) -> Option<(usize, u8, u8)> {
        let [tag @ (TAG_DELETE | TAG_SET), shared, unshared, epoch, ref rest @ ..] = *bytes else {
            return None;
        };
        let rest = u64::from_le_bytes(*rest);
        let (counter, len) = varint::within_eight(rest)?;
        let is_set = tag == TAG_SET;
        // A number of eight bytes is refused below, whatever the shift makes of it.
        let value_len = if is_set { rest.wrapping_shr(8 * len as u32) as u8 } else { 0 };
        if (shared | unshared | epoch | value_len) >= 0x80 || len > 6 {
            return None;
        }
        self.shared = usize::from(shared);
        self.stamp = Stamp { epoch: u32::from(epoch), counter };
        self.expires_at = 0;
        (self.deletes, self.in_blob) = (!is_set, false);
        Some((4 + len + usize::from(is_set), unshared, value_len))
    }

    /// Reads any entry from the front of `rest`, which is the end of so many bytes.
    #[inline(never)]
    fn take(&mut self, end: usize, mut rest: &[u8]) -> Option<()> {
        let (tag, after) = rest.split_first()?;
        rest = after;
        self.shared = usize::try_from(varint::take(&mut rest)?).ok()?;
        let unshared = usize::try_from(varint::take(&mut rest)?).ok()?;
        self.stamp.epoch = u32::try_from(varint::take(&mut rest)?).ok()?;
        self.stamp.counter = varint::take(&mut rest).filter(|counter| *counter <= COUNTER_MAX)?;
        self.expires_at = match *tag {
            TAG_SET_EXPIRING | TAG_SET_IN_BLOB => varint::take(&mut rest)?,
            _ => 0,
        };
        let value_len = match *tag {
            TAG_DELETE => 0,
            TAG_SET | TAG_SET_EXPIRING | TAG_SET_IN_BLOB => {
                usize::try_from(varint::take(&mut rest)?).ok()?
            }
            _ => return None,
        };
        if unshared.checked_add(value_len)? > rest.len() {
            return None;
        }
        self.suffix_at = end - rest.len();
        self.value_at = self.suffix_at + unshared;
        self.end = self.value_at + value_len;
        self.deletes = *tag == TAG_DELETE;
        self.in_blob = *tag == TAG_SET_IN_BLOB;
        Some(())
    }
}

impl Block {
    /// The block in these stored bytes, which begin at `offset` of `file`.
    ///
    /// # Errors
    /// `Corruption` where they are no block with entries.
    pub fn new(bytes: Bytes, file: FileNo, offset: u64) -> Result<Block> {
        let entries_end = || {
            let count = u32::from_le_bytes(*bytes.last_chunk::<4>()?);
            let behind = count.checked_mul(4)?.checked_add(4)?;
            u32::try_from(bytes.len()).ok()?.checked_sub(behind)
        };
        let entries_end = entries_end().unwrap_or(u32::MAX);
        let guide = Guide::default();
        Block { bytes, offset, file, entries_end, guide }.with_entries()
    }

    /// The filter in these stored bytes.
    pub fn filter(bytes: Bytes, file: FileNo, offset: u64) -> Block {
        Block { bytes, offset, file, entries_end: u32::MAX, guide: Guide::default() }
    }

    /// The same with a guide, for a block that is searched again and again. Where it holds no valid
    /// entries it gets none: a search says so.
    #[must_use]
    pub fn guided(self) -> Block {
        match Guide::new(&self) {
            Ok(Some((guide, bytes))) => Block { guide, bytes, ..self },
            Ok(None) | Err(_) => self,
        }
    }

    /// # Errors
    /// `Corruption` where it has no entries.
    pub fn with_entries(self) -> Result<Block> {
        if self.restarts() > 0 { Ok(self) } else { Err(self.damaged()) }
    }

    /// Where it begins in its file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Has the processor fetch all of it from memory at once. Decoded one after the other, an
    /// entry would be waited for when its place is known, in reverse each anew.
    pub(super) fn fetch(&self) {
        let lines = self.bytes.iter().step_by(CACHE_LINE);
        std::hint::black_box(lines.fold(0u8, |sum, byte| sum ^ byte));
    }

    /// What lies in front of it in memory, so many bytes: its guide.
    pub(super) fn before(&self, len: usize) -> &[u8] {
        self.bytes.before(len)
    }

    #[cfg(test)]
    pub(super) fn guide(&self) -> Guide {
        self.guide
    }

    /// What it occupies with its guide, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.guide.bytes()
    }

    /// The number of restarts: at least one, but for a filter.
    pub(super) fn restarts(&self) -> usize {
        // Behind the entries are four bytes for each, and four for their number.
        (self.bytes.len().saturating_sub(self.entries_end()) / 4).saturating_sub(1)
    }

    /// Where the entries end.
    pub(super) fn entries_end(&self) -> usize {
        self.entries_end as usize
    }

    #[cold]
    pub(super) fn damaged(&self) -> Error {
        Error::corruption(self.file, self.offset, "a block of a table holds no valid entries")
    }

    /// Goes to the first entry at or past (`key`, `stamp`). It shares with `key` what it shares
    /// with the entry before it.
    ///
    /// # Errors
    /// `Corruption` where it meets no valid entry.
    pub(crate) fn search(&self, key: &[u8], stamp: Stamp, entry: &mut Entry) -> Result<Reached> {
        let restart = self.restart_before(key, stamp)?;
        self.walk(self.interval_start(restart)?, 0, key, stamp, entry)
    }

    /// Goes to the same entry, by the guide as far as there is one; it may share other bytes.
    ///
    /// # Errors
    /// As [`Block::search`].
    #[inline]
    pub(crate) fn find(&self, key: &[u8], stamp: Stamp, entry: &mut Entry) -> Result<Reached> {
        match self.guide.start(self, key, entry)? {
            Start::AtEntry => {
                let mut matched = entry.shared;
                match self.compare(entry, &mut matched, key, stamp) {
                    Some(reached) => Ok(reached),
                    None => self.walk(entry.end, matched, key, stamp, entry),
                }
            }
            Start::Past => Ok(Reached::Past),
            Start::End => Ok(Reached::End),
            Start::Unknown => self.search(key, stamp, entry),
        }
    }

    /// For an index: the number of the first entry past the key, as far as the guide alone tells.
    #[inline]
    pub fn number_past(&self, key: &[u8]) -> Option<usize> {
        self.guide.number_past(self, key)
    }

    /// The first entry at or past (`key`, `stamp`) from the one in place `at` on.
    ///
    /// It compares without putting keys together: `matched` is how many bytes the entry before
    /// has in common with `key`. An entry that shares more than those with it comes before `key`
    /// too, one that shares less comes after. One that shares none is compared as a whole, for it
    /// may be a restart.
    fn walk(
        &self,
        mut at: usize,
        mut matched: usize,
        key: &[u8],
        stamp: Stamp,
        entry: &mut Entry,
    ) -> Result<Reached> {
        while at < self.entries_end() {
            self.decode(at, entry)?;
            if entry.shared == 0 {
                matched = 0;
            }
            if entry.shared < matched {
                return Ok(Reached::Past);
            }
            if entry.shared == matched
                && let Some(reached) = self.compare(entry, &mut matched, key, stamp)
            {
                return Ok(reached);
            }
            at = entry.end;
        }
        Ok(Reached::End)
    }

    /// What is reached with an entry, None if it comes before (`key`, `stamp`). It shares `matched`
    /// bytes with the one before it and with `key`; those that it has in common with `key` itself
    /// are `matched` then.
    #[inline]
    fn compare(
        &self,
        entry: &Entry,
        matched: &mut usize,
        key: &[u8],
        stamp: Stamp,
    ) -> Option<Reached> {
        let (suffix, rest) = (self.suffix(entry), key.get(*matched..).unwrap_or(&[]));
        let common = common_prefix(suffix, rest);
        *matched += common;
        match suffix.get(common).cmp(&rest.get(common)) {
            Ordering::Greater => Some(Reached::Past),
            Ordering::Equal if entry.stamp <= stamp => Some(Reached::Key),
            _ => None,
        }
    }

    /// The last restart whose entry comes before (`key`, `stamp`), or the first one.
    pub(super) fn restart_before(&self, key: &[u8], stamp: Stamp) -> Result<usize> {
        let (mut low, mut high) = (0, self.restarts());
        if high == 0 {
            // An index that names a filter where it should name a block.
            return Err(self.damaged());
        }
        while low + 1 < high {
            let middle = low.midpoint(high);
            let entry = self.entry(self.interval_start(middle)?)?;
            match order((self.suffix(&entry), entry.stamp), (key, stamp)) {
                Ordering::Less => low = middle,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Where the interval of entries after a restart begins; past the last one, the end.
    pub(super) fn interval_start(&self, restart: usize) -> Result<usize> {
        if restart >= self.restarts() {
            return Ok(self.entries_end());
        }
        let offsets = self.bytes.get(self.entries_end() + 4 * restart..);
        match offsets.and_then(|offsets| offsets.first_chunk::<4>()) {
            Some(offset) => Ok(u32::from_le_bytes(*offset) as usize),
            None => Err(self.damaged()),
        }
    }

    #[inline]
    pub(super) fn entry(&self, at: usize) -> Result<Entry> {
        let mut entry = Entry::default();
        self.decode(at, &mut entry)?;
        Ok(entry)
    }

    #[inline]
    pub(super) fn decode(&self, at: usize, entry: &mut Entry) -> Result<()> {
        entry.decode(self.entries(), at).ok_or_else(|| self.damaged())
    }

    /// The bytes of all entries.
    #[inline]
    pub(super) fn entries(&self) -> &[u8] {
        self.bytes.get(..self.entries_end()).unwrap_or_default()
    }

    pub(super) fn suffix(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.suffix_at..entry.value_at).unwrap_or_default()
    }

    /// Makes the key of the entry before into that of an entry.
    #[inline]
    pub(super) fn put_key(&self, entry: &Entry, key: &mut Vec<u8>) {
        key.truncate(entry.shared);
        key.extend_from_slice(self.suffix(entry));
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.value_at..entry.end).unwrap_or_default()
    }

    pub(super) fn op(&self, entry: &Entry) -> Op<'_> {
        match entry.deletes {
            true => Op::Delete,
            false => Op::Set {
                value: self.value(entry),
                expires_at: entry.expires_at,
                in_blob: entry.in_blob,
            },
        }
    }

    pub(super) fn owned_op(&self, entry: &Entry) -> OwnedOp {
        match self.bytes.part(entry.value_at..entry.end) {
            Some(value) if !entry.deletes => {
                OwnedOp::Set { value, expires_at: entry.expires_at, in_blob: entry.in_blob }
            }
            _ => OwnedOp::Delete,
        }
    }

    /// The entry as the answer of a point read.
    #[inline]
    pub(crate) fn found(&self, entry: &Entry) -> Found {
        let Entry { stamp, expires_at, in_blob, .. } = *entry;
        match self.bytes.part(entry.value_at..entry.end) {
            Some(value) if !entry.deletes => Found::Set { stamp, value, expires_at, in_blob },
            _ => Found::Delete { stamp },
        }
    }

    pub(crate) fn handle(&self, entry: &Entry) -> Result<Handle> {
        let mut value = self.value(entry);
        let handle = Handle::take(&mut value).filter(|_| value.is_empty());
        handle.ok_or_else(|| self.damaged())
    }

    pub(crate) fn part(&self, entry: &Entry) -> Result<Part> {
        Part::take(self.value(entry)).ok_or_else(|| self.damaged())
    }
}
