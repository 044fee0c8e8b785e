//! Large values on their way into a blob file and out of it: in pieces, each of which is in
//! memory for a moment only, and checked as they go.

use super::store::{BlobFile, Large};
use super::{HEADER_BYTES, PIECE_BYTES, Pointer, checksum};
use crate::error::{Error, Result};
use crate::external::External;
use crate::hash;
use crate::storage::{Durability, Storage};

/// Where a value is read from.
#[derive(Clone)]
enum Source<'a> {
    Bytes(&'a [u8]),
    External(&'a External),
    Blob(&'a Large),
}

/// A value, piece by piece.
#[derive(Clone)]
pub struct Pieces<'a> {
    source: Source<'a>,
    at: u64,
    len: u64,
    /// The checksum so far, of a value that is read from a blob file.
    sum: u64,
    scratch: Vec<u8>,
}

impl<'a> Pieces<'a> {
    /// The value in `bytes`, which don't have its kind.
    pub fn of_bytes(bytes: &'a [u8]) -> Pieces<'a> {
        Pieces::new(Source::Bytes(bytes), bytes.len() as u64, Vec::new())
    }

    /// The value in `external`.
    pub fn of_external(external: &'a External) -> Pieces<'a> {
        Pieces::new(Source::External(external), external.size() as u64, Vec::new())
    }

    /// A value that is in a blob file. `scratch` is a buffer to be used.
    pub fn of_blob(large: &'a Large, scratch: Vec<u8>) -> Pieces<'a> {
        let sum = large.file.seed(large.pointer.offset);
        Pieces { sum, ..Pieces::new(Source::Blob(large), large.pointer.len, scratch) }
    }

    fn new(source: Source<'a>, len: u64, scratch: Vec<u8>) -> Pieces<'a> {
        Pieces { source, at: 0, len, sum: 0, scratch }
    }

    /// How long the value is, in bytes.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// The next piece and where in the value it begins; None at the end.
    ///
    /// # Errors
    /// `Corruption` with file and offset where a blob file does not hold the value, also once all
    /// pieces were given out: what was made of them is of no use then. Those of the storage.
    pub async fn next<S: Storage>(&mut self, storage: &S) -> Result<Option<(u64, &[u8])>> {
        let at = self.at;
        if let (0, Source::Blob(large)) = (at, &self.source) {
            large.check_bounds()?;
            large.file.check(storage).await?;
        }
        let len = (self.len - at).min(PIECE_BYTES as u64) as usize;
        self.at += len as u64;
        let piece = match self.source {
            Source::Bytes(bytes) => bytes.get(at as usize..self.at as usize).unwrap_or_default(),
            Source::External(external) => {
                self.scratch.resize(len, 0);
                external.copy_to(at as usize, &mut self.scratch);
                &self.scratch
            }
            Source::Blob(large) => {
                self.scratch.resize(len, 0);
                let Pointer { offset, checksum: expected, .. } = large.pointer;
                let file = large.file.meta().file;
                let read = storage.read(file, offset + at, &mut self.scratch).await?;
                if len > 0 {
                    self.sum = checksum(self.sum, &self.scratch);
                }
                if read < len || self.at == self.len && !hash::holds(expected, self.sum) {
                    return Err(Error::corruption(file, offset, "a large value is damaged"));
                }
                &self.scratch
            }
        };
        Ok((len > 0).then_some((at, piece)))
    }
}

/// Tells when so much of a value is through that others are to have a turn.
pub struct Stretch {
    bytes: u64,
    end: u64,
}

impl Stretch {
    /// Stretches of `bytes`, rounded up to whole pieces.
    pub fn new(bytes: u64) -> Stretch {
        Stretch { bytes, end: bytes }
    }

    /// Whether one is over now that the value is through as far as `at`; the next one begins then.
    pub fn is_over(&mut self, at: u64) -> bool {
        let is_over = at >= self.end;
        if is_over {
            self.end = at + self.bytes;
        }
        is_over
    }
}

/// A value on its way into a blob file, piece by piece.
pub struct Append<'a> {
    to: &'a BlobFile,
    pieces: Pieces<'a>,
    kind: u8,
    /// Where the value begins; 0 until the first step.
    offset: u64,
    sum: u64,
}

impl<'a> Append<'a> {
    /// Appends the value in `pieces`, which is of this kind. While that goes on, nothing else is
    /// appended to the file.
    pub fn new(to: &'a BlobFile, kind: u8, pieces: Pieces<'a>) -> Append<'a> {
        Append { to, pieces, kind, offset: 0, sum: 0 }
    }

    /// How many bytes of the value are written.
    pub fn written(&self) -> u64 {
        self.pieces.at
    }

    /// Writes the next piece; once there is none left, returns where the value is, which is not
    /// flushed yet.
    ///
    /// # Errors
    /// Those of reading and writing. The file may have more bytes then, which the next value is
    /// written over.
    pub async fn step<S: Storage>(&mut self, storage: &S) -> Result<Option<Pointer>> {
        let (to, file) = (self.to, self.to.meta().file);
        if self.offset == 0 {
            if to.size() == 0 {
                storage.write(file, 0, &to.meta().header(), Durability::Relaxed).await?;
                to.grow(HEADER_BYTES as u64);
            }
            self.offset = to.size();
            self.sum = to.seed(self.offset);
        }
        if let Some((at, piece)) = self.pieces.next(storage).await? {
            self.sum = checksum(self.sum, piece);
            storage.write(file, self.offset + at, piece, Durability::Relaxed).await?;
            return Ok(None);
        }
        let (offset, len) = (self.offset, self.pieces.len);
        to.grow(offset + len);
        let (blob, kind, checksum) = (to.meta().id, self.kind, self.sum);
        Ok(Some(Pointer { blob, offset, len, kind, checksum }))
    }
}

/// Reads a value piece by piece and checks it; calls `pause` after each stretch. `scratch` is a
/// buffer to be used, which is returned.
///
/// # Errors
/// `Corruption` with file and offset, also once `sink` was given all pieces; those of the storage
/// and of `pause`.
pub async fn read_pieces<S: Storage>(
    storage: &S,
    large: &Large,
    scratch: Vec<u8>,
    mut stretch: Stretch,
    pause: impl AsyncFn() -> Result<()>,
    sink: &mut dyn FnMut(u64, &[u8]),
) -> Result<Vec<u8>> {
    let mut pieces = Pieces::of_blob(large, scratch);
    while let Some((at, piece)) = pieces.next(storage).await? {
        sink(at, piece);
        if stretch.is_over(pieces.at) {
            pause().await?;
        }
    }
    Ok(pieces.scratch)
}
