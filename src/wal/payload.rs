//! The payload of a log record: one commit.
//!
//! ```text
//! +---------+---------+---------+-------+--------+-----------+------+------+-----
//! | epoch   | counter | time ms | flags | sender | refusal   | op   | op   | ...   to the end
//! | varint  | varint  | varint  | u8    | bit 0  | bit 1     |      |      |
//! +---------+---------+---------+-------+--------+-----------+------+------+-----
//!
//! sender  | client, varint | sequence, varint | of these unacknowledged, varint |
//!         | 0 | client id, 16 bytes | sequence | unacknowledged |
//! refusal | 0 | place of the failed check, varint |
//!         | 1 | message: a varint length, UTF-8 |
//! op     delete  | 0 | key           |           key and value: a varint length, then bytes
//!        set     | 1 | key | value   |
//!        set     | 2 | key | expires at, varint | value   |
//!        expire  | 3 | key           |           a delete because its time had come
//!        range   | 4 | start | end   |           all keys from the start, before the end, deleted
//!        set     | 5 | key | expires at, varint, 0 never | pointer into a blob file |
//! ```
//!
//! The flags say which of sender and refusal there are; all other bits are zero. A client is
//! written out in its first record in a log, and is then the next number there, from 1 on: of a
//! log that is read, all records before this one were. The client has the answers to all commits
//! before the last `unacknowledged` ones, this one included. A commit that was refused has no ops.
//! The value stands last, so that a large one can be cut off.

use crate::error::{Code, Error, Result};
use crate::reader::Reader;
use crate::sessions::{ClientId, Verdict};
use crate::stamp::Stamp;
use crate::varint;

/// What a commit did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedOp<'a> {
    /// It got a value.
    Set {
        /// As in [`Op::Set`].
        value: &'a [u8],
        /// Milliseconds since the Unix epoch; 0 is never.
        expires_at: u64,
        /// As in [`Op::Set`].
        in_blob: bool,
    },
    /// It was deleted.
    Delete,
    /// It was deleted because its time had come.
    Expire,
    /// It was deleted, and all keys behind it with it.
    DeleteRange {
        /// The first key that was not.
        end: &'a [u8],
    },
}

const DELETE: u8 = 0;
const SET: u8 = 1;
const SET_EXPIRING: u8 = 2;
const EXPIRE: u8 = 3;
const DELETE_RANGE: u8 = 4;
const SET_IN_BLOB: u8 = 5;

const SENDER: u8 = 1;
const REFUSED: u8 = 2;

const CHECK_FAILED: u8 = 0;
const MISMATCH: u8 = 1;

/// A client as a record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// For the first time in this log.
    New(ClientId),
    /// By its number in this log, from 1 on.
    Known(u64),
}

/// Who sent a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The client.
    pub client: Client,
    /// The commit's number there.
    pub sequence: u64,
    /// The client has the answers up to this sequence, which is lower.
    pub acked_through: u64,
}

/// What a record says beside its ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The versionstamp of the commit.
    pub stamp: Stamp,
    /// The engine's time when it was made, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Who sent it, if a client did.
    pub sender: Option<Sender>,
    /// What was decided.
    pub verdict: Verdict,
}

impl Head {
    /// Begins a payload; the ops follow, unless the commit was refused.
    pub fn begin(&self, out: &mut Vec<u8>) {
        varint::put(out, u64::from(self.stamp.epoch));
        varint::put(out, self.stamp.counter);
        varint::put(out, self.time_ms);
        let refused = if self.verdict == Verdict::Applied { 0 } else { REFUSED };
        out.push(refused | if self.sender.is_some() { SENDER } else { 0 });
        if let Some(Sender { client, sequence, acked_through }) = &self.sender {
            match client {
                Client::Known(number) => varint::put(out, *number),
                Client::New(id) => {
                    out.push(0);
                    out.extend_from_slice(id);
                }
            }
            varint::put(out, *sequence);
            varint::put(out, sequence.saturating_sub(*acked_through));
        }
        match &self.verdict {
            Verdict::Applied => {}
            Verdict::CheckFailed(place) => {
                out.push(CHECK_FAILED);
                varint::put(out, u64::from(*place));
            }
            Verdict::Mismatch(message) => {
                out.push(MISMATCH);
                varint::put_bytes(out, message.as_bytes());
            }
        }
    }

    fn parse(rest: &mut Reader<'_>) -> Option<Head> {
        let (stamp, time_ms, flags) = (rest.stamp()?, rest.u64()?, rest.byte()?);
        let sender = if flags & SENDER == 0 { None } else { Some(Sender::parse(rest)?) };
        let verdict = match flags & REFUSED {
            0 => Verdict::Applied,
            _ => match rest.byte()? {
                CHECK_FAILED => Verdict::CheckFailed(rest.u32()?),
                MISMATCH => Verdict::Mismatch(core::str::from_utf8(rest.bytes()?).ok()?.into()),
                _ => return None,
            },
        };
        let is_known = flags & !(SENDER | REFUSED) == 0;
        is_known.then_some(Head { stamp, time_ms, sender, verdict })
    }
}

impl Sender {
    fn parse(rest: &mut Reader<'_>) -> Option<Sender> {
        let client = match rest.u64()? {
            0 => Client::New(rest.array()?),
            number => Client::Known(number),
        };
        let sequence = rest.u64()?;
        let acked_through = sequence.checked_sub(rest.u64()?)?;
        Some(Sender { client, sequence, acked_through })
    }
}

/// Appends what the commit does to `key`, or to the range that begins with it.
pub fn op(out: &mut Vec<u8>, key: &[u8], op: LoggedOp<'_>) {
    let tag = match op {
        LoggedOp::Set { in_blob: true, .. } => SET_IN_BLOB,
        LoggedOp::Set { expires_at: 0, .. } => SET,
        LoggedOp::Set { .. } => SET_EXPIRING,
        LoggedOp::Delete => DELETE,
        LoggedOp::Expire => EXPIRE,
        LoggedOp::DeleteRange { .. } => DELETE_RANGE,
    };
    out.push(tag);
    varint::put_bytes(out, key);
    if let LoggedOp::Set { value, expires_at, .. } = op {
        if tag != SET {
            varint::put(out, expires_at);
        }
        varint::put_bytes(out, value);
    }
    if let LoggedOp::DeleteRange { end } = op {
        varint::put_bytes(out, end);
    }
}

/// A commit as it was logged.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// All but its ops.
    pub head: Head,
    /// What it did, in order.
    pub ops: Ops<'a>,
}

impl<'a> Commit<'a> {
    /// Reads a payload; the ops are checked as they are read.
    ///
    /// # Errors
    /// `Corruption`, without a place: the log is asked for it.
    pub fn decode(payload: &'a [u8]) -> Result<Commit<'a>> {
        let mut rest = Reader::new(payload, 0);
        let head = Head::parse(&mut rest).ok_or_else(malformed)?;
        let ops = Ops { rest: rest.rest() };
        match head.verdict == Verdict::Applied || ops.rest.is_empty() {
            true => Ok(Commit { head, ops }),
            false => Err(malformed()),
        }
    }

    /// Reads all ops, to see that they can be.
    ///
    /// # Errors
    /// As [`Commit::decode`].
    pub fn check(mut self) -> Result<()> {
        self.ops.try_for_each(|op| op.map(|_| ()))
    }
}

/// The ops of a commit: each a key and what happened to it. After an error there are no more.
#[derive(Clone, Copy, Debug)]
pub struct Ops<'a> {
    rest: &'a [u8],
}

impl<'a> Ops<'a> {
    fn parse(&mut self, tag: u8) -> Option<(&'a [u8], LoggedOp<'a>)> {
        let key = varint::take_bytes(&mut self.rest)?;
        let expires_at = match tag {
            SET_EXPIRING => varint::take(&mut self.rest).filter(|time| *time > 0)?,
            SET_IN_BLOB => varint::take(&mut self.rest)?,
            _ => 0,
        };
        let op = match tag {
            SET | SET_EXPIRING | SET_IN_BLOB => LoggedOp::Set {
                value: varint::take_bytes(&mut self.rest)?,
                expires_at,
                in_blob: tag == SET_IN_BLOB,
            },
            DELETE => LoggedOp::Delete,
            EXPIRE => LoggedOp::Expire,
            DELETE_RANGE => LoggedOp::DeleteRange { end: varint::take_bytes(&mut self.rest)? },
            _ => return None,
        };
        Some((key, op))
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<(&'a [u8], LoggedOp<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        let op = self.parse(*tag);
        if op.is_none() {
            self.rest = &[];
        }
        Some(op.ok_or_else(malformed))
    }
}

fn malformed() -> Error {
    Error::new(Code::Corruption, "a log record with a valid checksum that is no commit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::COUNTER_MAX;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    type Owned = (Vec<u8>, Option<(Vec<u8>, u64)>, u8);

    fn logged((_, set, kind): &Owned) -> LoggedOp<'_> {
        match (set, kind % 4) {
            (Some((end, _)), 0) => LoggedOp::DeleteRange { end },
            (Some((value, expires_at)), kind) => {
                let expires_at = if kind == 1 { 0 } else { *expires_at };
                LoggedOp::Set { value, expires_at, in_blob: kind < 3 }
            }
            (None, 0) => LoggedOp::Expire,
            (None, _) => LoggedOp::Delete,
        }
    }

    fn sender() -> impl Strategy<Value = Option<Sender>> {
        let client = prop_oneof![
            any::<[u8; 16]>().prop_map(Client::New),
            (1..400u64).prop_map(Client::Known),
        ];
        option::of((client, any::<u64>(), any::<u64>()).prop_map(|(client, sequence, acked)| {
            Sender { client, sequence, acked_through: acked.min(sequence) }
        }))
    }

    fn head() -> impl Strategy<Value = Head> {
        let stamp = (any::<u32>(), 0..=COUNTER_MAX);
        let verdict = prop_oneof![
            Just(Verdict::Applied),
            any::<u32>().prop_map(Verdict::CheckFailed),
            any::<String>().prop_map(|message| Verdict::Mismatch(message.into())),
        ];
        (stamp, any::<u64>(), sender(), verdict).prop_map(|(stamp, time_ms, sender, verdict)| {
            let stamp = Stamp { epoch: stamp.0, counter: stamp.1 };
            Head { stamp, time_ms, sender, verdict }
        })
    }

    proptest! {
        #[test]
        fn a_commit_comes_back(head in head(), ops in vec(any::<Owned>(), 0..8)) {
            let ops = if head.verdict == Verdict::Applied { ops } else { vec![] };
            let mut out = Vec::new();
            head.begin(&mut out);
            ops.iter().for_each(|one| op(&mut out, &one.0, logged(one)));
            let commit = Commit::decode(&out).unwrap();
            prop_assert_eq!(commit.head, head);
            let read: Vec<_> = commit.ops.collect::<Result<_>>().unwrap();
            let wanted: Vec<_> = ops.iter().map(|one| (one.0.as_slice(), logged(one))).collect();
            prop_assert_eq!(read, wanted);
        }

        #[test]
        fn what_decodes_is_what_would_be_encoded(bytes in vec(any::<u8>(), 0..60)) {
            let Ok(commit) = Commit::decode(&bytes) else { return Ok(()) };
            let Ok(ops) = commit.ops.collect::<Result<Vec<_>>>() else { return Ok(()) };
            let mut out = Vec::new();
            commit.head.begin(&mut out);
            ops.iter().for_each(|(key, one)| op(&mut out, key, *one));
            prop_assert_eq!(out, bytes);
        }
    }

    #[test]
    fn a_commit_cut_short_is_an_error() {
        let mut out = Vec::new();
        let stamp = Stamp { epoch: 1, counter: 300 };
        let sender = Sender { client: Client::New([7; 16]), sequence: 200, acked_through: 3 };
        let (time_ms, verdict) = (1_700_000_000_000, Verdict::Applied);
        Head { stamp, time_ms, sender: Some(sender), verdict }.begin(&mut out);
        let head = out.len();
        op(&mut out, b"key", LoggedOp::Set { value: b"value", expires_at: 9, in_blob: false });
        for len in 0..out.len() {
            let read = Commit::decode(&out[..len])
                .and_then(|commit| commit.ops.collect::<Result<Vec<_>>>());
            match read {
                Ok(ops) => assert!(len == head && ops.is_empty(), "cut at {len}"),
                Err(error) => assert_eq!(error.code(), Code::Corruption),
            }
        }
    }
}
