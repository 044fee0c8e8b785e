//! [`Bytes`]: a cheap, shared slice. A value found in a cached block is handed out as a reference
//! into that block, so a read copies a value once, into the reply.

use std::ops::{Deref, Range};
use std::rc::Rc;

/// A slice of a reference-counted buffer; cloning it copies no bytes.
#[derive(Clone)]
pub struct Bytes {
    buffer: Rc<[u8]>,
    start: u32,
    end: u32,
}

impl Bytes {
    /// The part of `buffer` in `range`; None where the range lies outside of it.
    pub fn slice(buffer: &Rc<[u8]>, range: Range<usize>) -> Option<Bytes> {
        buffer.get(range.clone())?;
        let start = u32::try_from(range.start).ok()?;
        let end = u32::try_from(range.end).ok()?;
        Some(Bytes { buffer: buffer.clone(), start, end })
    }

    /// The part of these bytes in `range`, in the same buffer; None where it lies outside.
    pub fn part(&self, range: Range<usize>) -> Option<Bytes> {
        self.get(range.clone())?;
        let start = self.start + u32::try_from(range.start).ok()?;
        let end = self.start + u32::try_from(range.end).ok()?;
        Some(Bytes { buffer: self.buffer.clone(), start, end })
    }

    /// The `len` bytes in front of these in the same buffer; none where there are fewer.
    pub fn before(&self, len: usize) -> &[u8] {
        let end = self.start as usize;
        let start = end.checked_sub(len);
        start.and_then(|start| self.buffer.get(start..end)).unwrap_or_default()
    }

    /// How many bytes of memory go with these: all of the buffer, unless others share it.
    pub fn alone(&self) -> usize {
        if Rc::strong_count(&self.buffer) == 1 { self.buffer.len() } else { 0 }
    }

    /// Copies `bytes` into a buffer of their own.
    #[inline(never)]
    pub fn copy(bytes: &[u8]) -> Bytes {
        Bytes::from(Rc::from(bytes))
    }
}

impl From<Rc<[u8]>> for Bytes {
    fn from(buffer: Rc<[u8]>) -> Bytes {
        let end = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        Bytes { buffer, start: 0, end }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl core::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.deref().fmt(f)
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        **self == **other
    }
}

/// Byte strings that lie side by side in one buffer: an allocation for each would take longer than
/// all else that is done with small ones.
#[derive(Default)]
pub struct Pack {
    buffer: Option<Rc<[u8]>>,
    taken: usize,
}

impl Pack {
    /// These byte strings, one behind the other; not all of them are empty.
    pub fn new(strings: &[u8]) -> Pack {
        Pack { buffer: Some(Rc::from(strings)), taken: 0 }
    }

    /// Whether all of them were taken.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_none()
    }

    /// The next one, which is `len` bytes long. The pack lets go of the buffer with its last byte.
    pub fn take(&mut self, len: usize) -> Bytes {
        let start = self.taken as u32;
        self.taken += len;
        let buffer = match &self.buffer {
            Some(buffer) if self.taken < buffer.len() => buffer.clone(),
            _ => self.buffer.take().unwrap_or_default(),
        };
        Bytes { buffer, start, end: self.taken as u32 }
    }
}

/// A zeroed buffer that can be filled through `Rc::get_mut` and shared without another copy.
pub fn zeroed(len: usize) -> Rc<[u8]> {
    std::iter::repeat_n(0u8, len).collect()
}

/// So many bytes are copied at once.
const COPIED: usize = 16;

/// Appends the first `len` bytes of `from`, of which there are as many at least; up to 16 where 16
/// are there to be read, without a call or a branch for how many they are.
pub fn append(out: &mut Vec<u8>, from: &[u8], len: usize) {
    match from.first_chunk::<COPIED>() {
        Some(chunk) if len <= COPIED => {
            let end = out.len() + len;
            out.extend_from_slice(chunk);
            out.truncate(end);
        }
        _ => out.extend_from_slice(from.get(..len).unwrap_or(from)),
    }
}

/// As [`append`], with the bytes from `start` of `out` itself.
pub fn repeat(out: &mut Vec<u8>, start: usize, len: usize) {
    match out.get(start..).and_then(|from| from.first_chunk::<COPIED>()) {
        Some(chunk) if len <= COPIED => {
            let (chunk, end) = (*chunk, out.len() + len);
            out.extend_from_slice(&chunk);
            out.truncate(end);
        }
        _ => out.extend_from_within(start..start + len),
    }
}

/// Eight bytes of a key from `skip` on as an integer, with zeros for those past its end: of two
/// keys that are the same up to there, the lesser one has the lesser integer or the same.
pub fn eight_bytes(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or_default();
    if let Some(eight) = rest.first_chunk() {
        return u64::from_be_bytes(*eight);
    }
    let bytes = match key.last_chunk() {
        // The shift drops those before `skip`.
        Some(eight) => u64::from_be_bytes(*eight),
        None => rest.iter().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)),
    };
    bytes.checked_shl(u64::BITS - 8 * rest.len() as u32).unwrap_or(0)
}

/// How many bytes the two have in common at the front.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut common = 0;
    // Eight at a time: the first bit that differs says in which byte.
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differing = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differing != 0 {
            return common + differing.trailing_zeros() as usize / 8;
        }
        common += 8;
    }
    let (a, b) = (a.get(common..).unwrap_or_default(), b.get(common..).unwrap_or_default());
    common + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_its_memory_goes_with_the_last_of_it() {
        let mut pack = Pack::new(b"keyvalue");
        let taken = [3, 0, 5].map(|len| (pack.is_empty(), pack.take(len)).1);
        assert_eq!(taken.each_ref().map(|bytes| &**bytes), [&b"key"[..], b"", b"value"]);
        assert!(pack.is_empty());
        let [key, nothing, value] = taken;
        assert_eq!(key.alone(), 0);
        drop((key, nothing));
        assert_eq!(value.alone(), 8);
    }
}
