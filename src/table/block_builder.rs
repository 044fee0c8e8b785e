//! Puts blocks together; see [`super::block`] for their form.

use super::block::{
    Handle, LZ4, LZ4_BYTES_MAX, PLAIN, TAG_DELETE, TAG_SET, TAG_SET_EXPIRING, TAG_SET_IN_BLOB, seal,
};
use crate::bytes::common_prefix;
use crate::lz4;
use crate::record::{Op, Record};
use crate::stamp::Stamp;
use crate::varint;

/// Blocks that follow each other in a file, the last one still open.
pub struct BlockBuilder {
    restart_interval: usize,
    bytes: Vec<u8>,
    start: usize,
    restarts: Vec<u32>,
    entries: usize,
    last_key: Vec<u8>,
    last_stamp: Stamp,
}

impl BlockBuilder {
    /// A builder of blocks in which every so many entries there is a restart.
    pub fn new(restart_interval: usize) -> BlockBuilder {
        BlockBuilder {
            restart_interval,
            bytes: Vec::new(),
            start: 0,
            restarts: Vec::new(),
            entries: 0,
            last_key: Vec::new(),
            last_stamp: Stamp::ZERO,
        }
    }

    /// Appends an entry to the open block.
    pub fn add(&mut self, record: Record<'_>) {
        let shared = if self.entries.is_multiple_of(self.restart_interval) {
            self.restarts.push((self.bytes.len() - self.start) as u32);
            0
        } else {
            common_prefix(&self.last_key, record.key)
        };
        self.entries += 1;
        let suffix = record.key.get(shared..).unwrap_or_default();
        let (tag, value) = match record.op {
            Op::Delete => (TAG_DELETE, None),
            Op::Set { value, in_blob: true, .. } => (TAG_SET_IN_BLOB, Some(value)),
            Op::Set { value, expires_at: 0, .. } => (TAG_SET, Some(value)),
            Op::Set { value, .. } => (TAG_SET_EXPIRING, Some(value)),
        };
        let out = &mut self.bytes;
        out.push(tag);
        varint::put(out, shared as u64);
        varint::put(out, suffix.len() as u64);
        varint::put(out, u64::from(record.stamp.epoch));
        varint::put(out, record.stamp.counter);
        if let Op::Set { expires_at, .. } = record.op
            && tag != TAG_SET
        {
            varint::put(out, expires_at);
        }
        if let Some(value) = value {
            varint::put(out, value.len() as u64);
        }
        out.extend_from_slice(suffix);
        out.extend_from_slice(value.unwrap_or_default());
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(suffix);
        self.last_stamp = record.stamp;
    }

    /// The key and stamp of the last entry added.
    pub fn last(&self) -> (&[u8], Stamp) {
        (&self.last_key, self.last_stamp)
    }

    /// How many entries the open block has.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// What the open block would occupy before its trailer, in bytes; 0 where it is empty.
    pub fn open_bytes(&self) -> usize {
        match self.entries {
            0 => 0,
            _ => self.bytes.len() - self.start + 4 * self.restarts.len() + 4,
        }
    }

    /// Closes the open block, which begins at `offset` of the table with this salt.
    pub fn close(&mut self, salt: u64, offset: u64, compressor: &mut Compressor) -> Handle {
        for restart in &self.restarts {
            self.bytes.extend_from_slice(&restart.to_le_bytes());
        }
        self.bytes.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        let kind = compressor.compress(&mut self.bytes, self.start);
        seal(&mut self.bytes, self.start, kind, salt, offset);
        let len = (self.bytes.len() - self.start) as u32;
        self.restarts.clear();
        self.entries = 0;
        self.start = self.bytes.len();
        Handle { offset, len }
    }

    /// Appends bytes that are no block of this builder; no block is open.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.start = self.bytes.len();
    }

    /// The bytes of all closed blocks.
    pub fn closed(&self) -> &[u8] {
        self.bytes.get(..self.start).unwrap_or_default()
    }

    /// Forgets the closed blocks.
    pub fn clear_closed(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
    }
}

/// Compresses blocks, or leaves them as they are.
pub struct Compressor {
    encoder: Option<lz4::Encoder>,
    compressed: Vec<u8>,
}

impl Compressor {
    /// One that compresses, or does not.
    pub fn new(compression: bool) -> Compressor {
        let encoder = compression.then(lz4::Encoder::default);
        Compressor { encoder, compressed: Vec::new() }
    }

    /// Compresses what begins at `start` of `block` where that saves at least an eighth; returns
    /// the kind of the block.
    fn compress(&mut self, block: &mut Vec<u8>, start: usize) -> u8 {
        let (out, plain) = (&mut self.compressed, block.get(start..).unwrap_or_default());
        let encoder = self.encoder.as_mut().filter(|_| plain.len() <= LZ4_BYTES_MAX);
        let Some(encoder) = encoder else { return PLAIN };
        out.clear();
        varint::put(out, plain.len() as u64);
        let limit = (plain.len() - plain.len() / 8).saturating_sub(out.len());
        if !encoder.compress(plain, limit, out) {
            return PLAIN;
        }
        block.truncate(start);
        block.extend_from_slice(out);
        LZ4
    }
}
