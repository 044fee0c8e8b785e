//! Reading postcard by hand: what is left of some bytes, taken off the front part by part.
//!
//! The encoder is the one that serde derives, which the tests hold the decoders built on this
//! to. A derived decoder is five times the code, and says less about its bounds: here a count is
//! held against the bytes that are left, of which every item takes at least one, and against how
//! many items there may be in all, before anything is allocated.

use crate::external::External;
use crate::stamp::{COUNTER_MAX, Stamp};
use crate::varint;

/// What is left to decode. Every method returns None where it does not find what it is for.
pub struct Reader<'a> {
    bytes: &'a [u8],
    items: usize,
    attachments: &'a [External],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, in which all sequences together may have so many items.
    pub fn new(bytes: &'a [u8], items: usize) -> Reader<'a> {
        Reader { bytes, items, attachments: &[] }
    }

    /// The same, with what travelled beside the bytes.
    pub fn with_attachments(self, attachments: &'a [External]) -> Reader<'a> {
        Reader { attachments, ..self }
    }

    /// Whether all bytes were read, and all attachments taken.
    pub fn is_at_end(&self) -> bool {
        self.bytes.is_empty() && self.attachments.is_empty()
    }

    /// The bytes that were not read.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// A byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*byte)
    }

    /// So many bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*array)
    }

    /// An integer.
    pub fn u64(&mut self) -> Option<u64> {
        varint::take(&mut self.bytes)
    }

    /// An integer of 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.u64()?).ok()
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        varint::take_bytes(&mut self.bytes)
    }

    /// The next attachment, whose length stands in the bytes.
    pub fn attachment(&mut self) -> Option<External> {
        let len = self.u64()?;
        let (attachment, rest) = self.attachments.split_first()?;
        self.attachments = rest;
        (attachment.size() as u64 == len).then(|| attachment.clone())
    }

    /// A bool.
    pub fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A versionstamp as the manifest has it: two integers.
    pub fn stamp(&mut self) -> Option<Stamp> {
        let (epoch, counter) = (self.u32()?, self.u64()?);
        (counter <= COUNTER_MAX).then_some(Stamp { epoch, counter })
    }

    /// An Option of what `item` reads.
    pub fn maybe<T>(&mut self, item: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => item(self).map(Some),
            false => Some(None),
        }
    }

    /// A sequence of what `item` reads.
    pub fn many<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.u64()?).ok().filter(|count| *count <= self.bytes.len())?;
        self.items = self.items.checked_sub(count)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }
}
