//! Decoding the frames of clients, which are not trusted; see [`Reader`].

use super::{Blob, Changes, Check, Commit, Lease, List, Mutation, Request, RequestFrame, Watch};
use crate::external::External;
use crate::limits;
use crate::reader::Reader;
use crate::storage::Durability;

/// Decodes a frame; None unless all bytes are used up by it, and its sequences have one behind
/// them: what is kept of a client's commits ends there.
pub(super) fn request_frame<'a>(
    bytes: &'a [u8],
    attachments: &'a [External],
) -> Option<RequestFrame<'a>> {
    let mut rest = Reader::new(bytes, limits::FRAME_ITEMS_MAX).with_attachments(attachments);
    let frame = RequestFrame {
        client: rest.array()?,
        epoch: rest.u32()?,
        deadline_ms: rest.u64()?,
        acked_through: rest.u64()?,
        resend_of: rest.u32()?,
        first: rest.u64()?,
        requests: rest.many(request)?,
    };
    let behind = frame.first.checked_add(frame.requests.len() as u64 + 1);
    (rest.is_at_end() && behind.is_some()).then_some(frame)
}

fn blob<'a>(rest: &mut Reader<'a>) -> Option<Blob<'a>> {
    rest.bytes().map(Blob)
}

fn request<'a>(rest: &mut Reader<'a>) -> Option<Request<'a>> {
    Some(match rest.byte()? {
        0 => Request::Get(blob(rest)?),
        1 => Request::GetMany(rest.many(blob)?),
        2 => Request::List(list(rest)?),
        3 => Request::Release(rest.u64()?),
        4 => Request::Commit(commit(rest)?),
        5 => Request::Watch(Watch { id: rest.u32()?, keys: rest.many(blob)? }),
        6 => Request::Changes(Changes {
            id: rest.u32()?,
            ranges: rest.many(range)?,
            since: rest.maybe(Reader::array)?,
        }),
        7 => Request::Unsubscribe(rest.u32()?),
        8 => Request::Flush,
        9 => Request::Stats,
        10 => Request::Status,
        11 => Request::Close,
        12 => Request::Verify,
        13 => Request::More(rest.u32()?),
        14 => Request::Count(blob(rest)?, blob(rest)?),
        _ => return None,
    })
}

fn range<'a>(rest: &mut Reader<'a>) -> Option<(Blob<'a>, Blob<'a>)> {
    Some((blob(rest)?, blob(rest)?))
}

fn list<'a>(rest: &mut Reader<'a>) -> Option<List<'a>> {
    Some(List {
        start: blob(rest)?,
        end: blob(rest)?,
        reverse: rest.flag()?,
        limit: rest.u32()?,
        lease: rest.maybe(lease)?,
        keep: rest.flag()?,
        keys_only: rest.flag()?,
    })
}

fn lease(rest: &mut Reader<'_>) -> Option<Lease> {
    Some(Lease { id: rest.u64()?, stamp: rest.array()?, time_ms: rest.u64()? })
}

fn commit<'a>(rest: &mut Reader<'a>) -> Option<Commit<'a>> {
    Some(Commit {
        checks: rest.many(check)?,
        mutations: rest.many(mutation)?,
        durability: rest.maybe(durability)?,
    })
}

fn durability(rest: &mut Reader<'_>) -> Option<Durability> {
    rest.flag().map(|strict| if strict { Durability::Strict } else { Durability::Relaxed })
}

fn check<'a>(rest: &mut Reader<'a>) -> Option<Check<'a>> {
    Some(Check { key: blob(rest)?, versionstamp: rest.maybe(Reader::array)? })
}

fn mutation<'a>(rest: &mut Reader<'a>) -> Option<Mutation<'a>> {
    let tag = rest.byte()?;
    let key = blob(rest)?;
    if tag == 1 {
        return Some(Mutation::Delete { key });
    }
    if tag == 6 {
        let (kind, value) = (rest.byte()?, rest.attachment()?);
        let expire_in_ms = rest.maybe(Reader::u64)?;
        return Some(Mutation::SetLarge {
            key,
            kind,
            value,
            expire_in_ms,
            stamp_key: rest.flag()?,
        });
    }
    let value = blob(rest)?;
    Some(match tag {
        0 => {
            let expire_in_ms = rest.maybe(Reader::u64)?;
            Mutation::Set { key, value, expire_in_ms, stamp_key: rest.flag()? }
        }
        2 => Mutation::Sum { key, value },
        3 => Mutation::Min { key, value },
        4 => Mutation::Max { key, value },
        5 => Mutation::DeleteRange { start: key, end: value },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A random request, its parts borrowed from `bytes`.
    fn some_request<'a>(rng: &Rng, bytes: &'a [u8]) -> Request<'a> {
        let blob = || {
            let start = rng.below(bytes.len() as u64) as usize;
            let len = rng.below((bytes.len() - start) as u64 + 1) as usize;
            Blob(&bytes[start..start + len])
        };
        let blobs = || (0..rng.below(4)).map(|_| blob()).collect::<Vec<_>>();
        let maybe = || rng.one_in(2).then(|| rng.next() >> rng.below(64));
        let flag = || rng.one_in(2);
        let lease = || maybe().map(|id| Lease { id, stamp: [id as u8; 10], time_ms: rng.next() });
        match rng.below(15) {
            0 => Request::Get(blob()),
            1 => Request::GetMany(blobs()),
            2 => Request::List(List {
                start: blob(),
                end: blob(),
                reverse: flag(),
                limit: rng.next() as u32,
                lease: lease(),
                keep: flag(),
                keys_only: flag(),
            }),
            3 => Request::Release(rng.next()),
            4 => Request::Commit(some_commit(rng, &blobs(), &maybe)),
            5 => Request::Watch(Watch { id: rng.next() as u32, keys: blobs() }),
            6 => {
                let ranges = blobs().into_iter().map(|start| (start, blob())).collect();
                let since = rng.one_in(2).then_some([7; 10]);
                Request::Changes(Changes { id: rng.next() as u32, ranges, since })
            }
            7 => Request::Unsubscribe(rng.next() as u32),
            8 => Request::Flush,
            9 => Request::Stats,
            10 => Request::Status,
            11 => Request::Close,
            12 => Request::Verify,
            13 => Request::More(rng.next() as u32),
            _ => Request::Count(blob(), blob()),
        }
    }

    fn some_commit<'a>(
        rng: &Rng,
        keys: &[Blob<'a>],
        maybe: &dyn Fn() -> Option<u64>,
    ) -> Commit<'a> {
        let stamp = || maybe().map(|n| [n as u8; 10]);
        let mutation = |key: &Blob<'a>| {
            let (key, value) = (*key, *key);
            match rng.below(6) {
                0 => {
                    let (expire_in_ms, stamp_key) = (maybe(), rng.one_in(2));
                    Mutation::Set { key, value, expire_in_ms, stamp_key }
                }
                1 => Mutation::Delete { key },
                2 => Mutation::Sum { key, value },
                3 => Mutation::Min { key, value },
                4 => Mutation::DeleteRange { start: key, end: value },
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
                resend_of: rng.next() as u32,
                first: rng.next(),
                requests: (0..rng.below(5)).map(|_| some_request(&rng, &bytes)).collect(),
            };
            let encoded = postcard::to_allocvec(&frame).unwrap();
            assert_eq!(request_frame(&encoded, &[]).as_ref(), Some(&frame), "seed {seed}");
            for len in 0..encoded.len() {
                assert_eq!(request_frame(&encoded[..len], &[]), None, "seed {seed}, cut at {len}");
            }
        }
    }
}
