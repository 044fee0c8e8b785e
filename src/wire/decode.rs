//! Decoding the frames of clients. By hand, though the encoding is postcard's and the derived
//! encoder of the same types is what the tests hold this to: it takes a fifth of the code of the
//! derived decoder, and says itself where its bounds are.
//!
//! A frame is not trusted. A count is held against the bytes that are left, of which every item
//! takes at least one, and against what a frame may hold in all, before anything is allocated.

use super::{Blob, Changes, Check, Commit, List, Mutation, Request, RequestFrame, Watch};
use crate::limits;
use crate::storage::Durability;
use crate::varint;

/// What is left to decode, and how many items that may be.
struct Rest<'a> {
    bytes: &'a [u8],
    items: usize,
}

/// Decodes a frame; None unless all bytes are used up by it.
pub(super) fn request_frame(bytes: &[u8]) -> Option<RequestFrame<'_>> {
    let mut rest = Rest { bytes, items: limits::FRAME_ITEMS_MAX };
    let frame = RequestFrame {
        client: rest.array()?,
        epoch: rest.u32()?,
        deadline_ms: rest.u64()?,
        acked_through: rest.u64()?,
        first: rest.u64()?,
        requests: rest.many(Rest::request)?,
    };
    rest.bytes.is_empty().then_some(frame)
}

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*array)
    }

    fn u64(&mut self) -> Option<u64> {
        varint::take(&mut self.bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.u64()?).ok()
    }

    fn blob(&mut self) -> Option<Blob<'a>> {
        varint::take_bytes(&mut self.bytes).map(Blob)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn maybe<T>(&mut self, item: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => item(self).map(Some),
            false => Some(None),
        }
    }

    fn many<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.u64()?).ok().filter(|count| *count <= self.bytes.len())?;
        self.items = self.items.checked_sub(count)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn request(&mut self) -> Option<Request<'a>> {
        Some(match self.byte()? {
            0 => Request::Get(self.blob()?),
            1 => Request::GetMany(self.many(Rest::blob)?),
            2 => Request::List(self.list()?),
            3 => Request::Release(self.u64()?),
            4 => Request::Commit(self.commit()?),
            5 => Request::Watch(Watch { id: self.u32()?, keys: self.many(Rest::blob)? }),
            6 => Request::Changes(Changes { id: self.u32()?, ranges: self.many(Rest::range)? }),
            7 => Request::Unsubscribe(self.u32()?),
            8 => Request::Flush,
            9 => Request::Stats,
            10 => Request::Status,
            11 => Request::Close,
            _ => return None,
        })
    }

    fn range(&mut self) -> Option<(Blob<'a>, Blob<'a>)> {
        Some((self.blob()?, self.blob()?))
    }

    fn list(&mut self) -> Option<List<'a>> {
        Some(List {
            start: self.blob()?,
            end: self.blob()?,
            reverse: self.flag()?,
            limit: self.u32()?,
            lease: self.maybe(Rest::u64)?,
            keep: self.flag()?,
        })
    }

    fn commit(&mut self) -> Option<Commit<'a>> {
        Some(Commit {
            checks: self.many(Rest::check)?,
            mutations: self.many(Rest::mutation)?,
            durability: self.maybe(Rest::durability)?,
        })
    }

    fn durability(&mut self) -> Option<Durability> {
        self.flag().map(|strict| if strict { Durability::Strict } else { Durability::Relaxed })
    }

    fn check(&mut self) -> Option<Check<'a>> {
        Some(Check { key: self.blob()?, versionstamp: self.maybe(Rest::array)? })
    }

    fn mutation(&mut self) -> Option<Mutation<'a>> {
        let tag = self.byte()?;
        let key = self.blob()?;
        if tag == 1 {
            return Some(Mutation::Delete { key });
        }
        let value = self.blob()?;
        Some(match tag {
            0 => {
                let expire_in_ms = self.maybe(Rest::u64)?;
                Mutation::Set { key, value, expire_in_ms, stamp_key: self.flag()? }
            }
            2 => Mutation::Sum { key, value },
            3 => Mutation::Min { key, value },
            4 => Mutation::Max { key, value },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A random request, its parts borrowed from `bytes`.
    fn request<'a>(rng: &Rng, bytes: &'a [u8]) -> Request<'a> {
        let blob = || {
            let start = rng.below(bytes.len() as u64) as usize;
            let len = rng.below((bytes.len() - start) as u64 + 1) as usize;
            Blob(&bytes[start..start + len])
        };
        let blobs = || (0..rng.below(4)).map(|_| blob()).collect::<Vec<_>>();
        let maybe = || rng.one_in(2).then(|| rng.next() >> rng.below(64));
        let flag = || rng.one_in(2);
        match rng.below(12) {
            0 => Request::Get(blob()),
            1 => Request::GetMany(blobs()),
            2 => Request::List(List {
                start: blob(),
                end: blob(),
                reverse: flag(),
                limit: rng.next() as u32,
                lease: maybe(),
                keep: flag(),
            }),
            3 => Request::Release(rng.next()),
            4 => Request::Commit(commit(rng, &blobs(), &maybe)),
            5 => Request::Watch(Watch { id: rng.next() as u32, keys: blobs() }),
            6 => {
                let ranges = blobs().into_iter().map(|start| (start, blob())).collect();
                Request::Changes(Changes { id: rng.next() as u32, ranges })
            }
            7 => Request::Unsubscribe(rng.next() as u32),
            8 => Request::Flush,
            9 => Request::Stats,
            10 => Request::Status,
            _ => Request::Close,
        }
    }

    fn commit<'a>(rng: &Rng, keys: &[Blob<'a>], maybe: &dyn Fn() -> Option<u64>) -> Commit<'a> {
        let stamp = || maybe().map(|n| [n as u8; 10]);
        let mutation = |key: &Blob<'a>| {
            let (key, value) = (*key, *key);
            match rng.below(5) {
                0 => {
                    let (expire_in_ms, stamp_key) = (maybe(), rng.one_in(2));
                    Mutation::Set { key, value, expire_in_ms, stamp_key }
                }
                1 => Mutation::Delete { key },
                2 => Mutation::Sum { key, value },
                3 => Mutation::Min { key, value },
                _ => Mutation::Max { key, value },
            }
        };
        let durability = [None, Some(Durability::Relaxed), Some(Durability::Strict)];
        Commit {
            checks: keys.iter().map(|key| Check { key: *key, versionstamp: stamp() }).collect(),
            mutations: keys.iter().map(mutation).collect(),
            durability: durability[rng.below(3) as usize],
        }
    }

    #[test]
    fn what_postcard_encodes_is_decoded_as_it_was_and_never_when_cut() {
        for seed in 0..3_000 {
            let rng = Rng::new(seed);
            let bytes = rng.bytes(40);
            let frame = RequestFrame {
                client: [seed as u8; 16],
                epoch: rng.next() as u32,
                deadline_ms: rng.next(),
                acked_through: rng.next(),
                first: rng.next(),
                requests: (0..rng.below(5)).map(|_| request(&rng, &bytes)).collect(),
            };
            let encoded = postcard::to_allocvec(&frame).unwrap();
            assert_eq!(request_frame(&encoded).as_ref(), Some(&frame), "seed {seed}");
            for len in 0..encoded.len() {
                assert_eq!(request_frame(&encoded[..len]), None, "seed {seed}, cut at {len}");
            }
        }
    }
}
