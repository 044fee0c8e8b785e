//! Where the bytes of a file are: the arithmetic of keys, slots and pieces.

use super::bindings::{KeyRange, bound};
use crate::storage::FileNo;
use crate::wasm::js::Thrown;
use std::ops::Range;
use wasm_bindgen::JsValue;

/// A piece never crosses a multiple of this many bytes, so that any byte is found by reading
/// its slot. (Up to 64 KiB Chromium keeps a record in its log; a larger one becomes a file.)
pub const SLOT_BYTES: u64 = 32 * 1024;
/// A piece at the end of a file is written again, with what is appended to it, up to this size:
/// a commit costs one record, and its bytes a few times over, and a slot has few pieces.
pub const PIECE_BYTES: usize = 4 * 1024;
/// The largest file; also the distance between the keys of two files.
pub const FILE_BYTES_MAX: u64 = 1 << 33;
/// Above this number a file's keys would not be exact in a double.
pub const FILES_MAX: FileNo = 1 << 20;

/// The key of the piece of `file` that begins at `offset`.
pub fn key(file: FileNo, offset: u64) -> f64 {
    (u64::from(file) * FILE_BYTES_MAX + offset) as f64
}

/// The file and the offset of a key.
pub fn parse_key(key: &JsValue) -> Option<(FileNo, u64)> {
    let key = key.as_f64()? as u64;
    Some((FileNo::try_from(key / FILE_BYTES_MAX).ok()?, key % FILE_BYTES_MAX))
}

/// The keys of the pieces of `file` that begin in `offsets`.
pub fn pieces_in(file: FileNo, offsets: Range<u64>) -> Thrown<KeyRange> {
    bound(key(file, offsets.start), key(file, offsets.end), false, true)
}

/// The keys of all files in `files`.
pub fn files_in(files: Range<FileNo>) -> Thrown<KeyRange> {
    bound(key(files.start, 0), key(files.end, 0), false, true)
}

/// The beginning of the slot of `offset`.
pub fn slot_start(offset: u64) -> u64 {
    offset - offset % SLOT_BYTES
}

/// The end of the slot of the byte before `end`.
pub fn slot_end(end: u64) -> u64 {
    end.div_ceil(SLOT_BYTES) * SLOT_BYTES
}

/// Cuts `data`, which begins at `offset`, into pieces: one for each slot.
pub fn split(mut offset: u64, mut data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let room = slot_start(offset) + SLOT_BYTES - offset;
        let (piece, rest) = data.split_at(data.len().min(room as usize));
        let begin = offset;
        (offset, data) = (offset + piece.len() as u64, rest);
        Some((begin, piece))
    })
}
