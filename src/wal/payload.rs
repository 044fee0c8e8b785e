//! The payload of a log record: one commit.
//!
//! ```text
//! +---------+---------+---------+-------+------+------+-----
//! | epoch   | counter | time ms | flags | op   | op   | ...   to the end of the payload
//! | varint  | varint  | varint  | u8    |      |      |
//! +---------+---------+---------+-------+------+------+-----
//!
//! op     delete  | 0 | key           |           key and value: a varint length, then bytes
//!        set     | 1 | key | value   |
//!        set     | 2 | key | expires at, varint | value   |
//!        expire  | 3 | key           |           a delete because its time had come
//! ```
//!
//! Flags are zero; a bit will say that a client's id and sequence follow, for exactly-once
//! commits. The value stands last, so that a large one can be cut off.

use crate::error::{Code, Error, Result};
use crate::record::Op;
use crate::stamp::{COUNTER_MAX, Stamp};
use crate::varint;

/// What a commit did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedOp<'a> {
    /// It got a value.
    Set {
        /// Tag byte and payload.
        value: &'a [u8],
        /// Milliseconds since the Unix epoch; 0 is never.
        expires_at: u64,
    },
    /// It was deleted.
    Delete,
    /// It was deleted because its time had come.
    Expire,
}

impl<'a> LoggedOp<'a> {
    /// The same as memtable and tables hold it.
    pub fn op(self) -> Op<'a> {
        match self {
            LoggedOp::Set { value, expires_at } => Op::Set { value, expires_at },
            LoggedOp::Delete | LoggedOp::Expire => Op::Delete,
        }
    }
}

const DELETE: u8 = 0;
const SET: u8 = 1;
const SET_EXPIRING: u8 = 2;
const EXPIRE: u8 = 3;

/// Begins the payload of the commit `stamp`, made at `time_ms`; its ops follow.
pub fn begin(out: &mut Vec<u8>, stamp: Stamp, time_ms: u64) {
    varint::put(out, u64::from(stamp.epoch));
    varint::put(out, stamp.counter);
    varint::put(out, time_ms);
    out.push(0);
}

/// Appends what the commit does to `key`.
pub fn op(out: &mut Vec<u8>, key: &[u8], op: LoggedOp<'_>) {
    out.push(match op {
        LoggedOp::Set { expires_at: 0, .. } => SET,
        LoggedOp::Set { .. } => SET_EXPIRING,
        LoggedOp::Delete => DELETE,
        LoggedOp::Expire => EXPIRE,
    });
    varint::put_bytes(out, key);
    if let LoggedOp::Set { value, expires_at } = op {
        if expires_at > 0 {
            varint::put(out, expires_at);
        }
        varint::put_bytes(out, value);
    }
}

/// A commit as it was logged.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Its versionstamp.
    pub stamp: Stamp,
    /// The engine's time when it was made, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What it did, in order.
    pub ops: Ops<'a>,
}

impl<'a> Commit<'a> {
    /// Reads a payload; the ops are checked as they are read.
    ///
    /// # Errors
    /// `Corruption`, without a place: the log is asked for it.
    pub fn decode(payload: &'a [u8]) -> Result<Commit<'a>> {
        let mut rest = payload;
        let mut parse = || {
            let epoch = u32::try_from(varint::take(&mut rest)?).ok()?;
            let counter = varint::take(&mut rest).filter(|counter| *counter <= COUNTER_MAX)?;
            let time_ms = varint::take(&mut rest)?;
            let (flags, ops) = rest.split_first()?;
            let stamp = Stamp { epoch, counter };
            (*flags == 0).then_some(Commit { stamp, time_ms, ops: Ops { rest: ops } })
        };
        parse().ok_or_else(malformed)
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
            _ => 0,
        };
        let op = match tag {
            SET | SET_EXPIRING => {
                LoggedOp::Set { value: varint::take_bytes(&mut self.rest)?, expires_at }
            }
            DELETE => LoggedOp::Delete,
            EXPIRE => LoggedOp::Expire,
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
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Owned = (Vec<u8>, Option<(Vec<u8>, u64)>, bool);

    fn logged((_, set, expired): &Owned) -> LoggedOp<'_> {
        match (set, expired) {
            (Some((value, expires_at)), _) => LoggedOp::Set { value, expires_at: *expires_at },
            (None, true) => LoggedOp::Expire,
            (None, false) => LoggedOp::Delete,
        }
    }

    proptest! {
        #[test]
        fn a_commit_comes_back(
            (epoch, counter, time_ms) in (any::<u32>(), 0..=COUNTER_MAX, any::<u64>()),
            ops in vec(any::<Owned>(), 0..8),
        ) {
            let mut out = Vec::new();
            let stamp = Stamp { epoch, counter };
            begin(&mut out, stamp, time_ms);
            ops.iter().for_each(|one| op(&mut out, &one.0, logged(one)));
            let commit = Commit::decode(&out).unwrap();
            prop_assert_eq!((commit.stamp, commit.time_ms), (stamp, time_ms));
            let read: Vec<_> = commit.ops.collect::<Result<_>>().unwrap();
            let wanted: Vec<_> = ops.iter().map(|one| (one.0.as_slice(), logged(one))).collect();
            prop_assert_eq!(read, wanted);
        }

        #[test]
        fn what_decodes_is_what_would_be_encoded(bytes in vec(any::<u8>(), 0..60)) {
            let Ok(commit) = Commit::decode(&bytes) else { return Ok(()) };
            let Ok(ops) = commit.ops.collect::<Result<Vec<_>>>() else { return Ok(()) };
            let mut out = Vec::new();
            begin(&mut out, commit.stamp, commit.time_ms);
            ops.iter().for_each(|(key, one)| op(&mut out, key, *one));
            prop_assert_eq!(out, bytes);
        }
    }

    #[test]
    fn a_commit_cut_short_is_an_error() {
        let mut out = Vec::new();
        begin(&mut out, Stamp { epoch: 1, counter: 300 }, 1_700_000_000_000);
        let head = out.len();
        op(&mut out, b"key", LoggedOp::Set { value: b"value", expires_at: 9 });
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
