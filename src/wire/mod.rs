//! Frames: what crosses between a client and its host.
//!
//! Everything here is postcard: integers are LEB128 varints (zigzag never occurs), byte strings
//! and sequences carry a varint count, an Option is a byte 0 or 1 before its content, an enum is
//! a varint of its variant's number, structs and fixed arrays are their fields in order and
//! nothing else. client/wire/ speaks the same by hand; the vectors in tests/vectors/frames.json
//! are written here and tested on both sides.
//!
//! All calls that a page makes in one microtask travel as one [`RequestFrame`]; the host answers
//! with [`ResponseFrame`]s, which carry replies in any order, and events in commit order.

use crate::error::{Code, Error, Result};
use crate::external::External;
use crate::limits;
use crate::snapshot::{self, Snapshot};
use crate::stamp::Stamp;
use crate::storage::Durability;
use serde::{Deserialize, Serialize};

pub mod blob;
mod decode;
pub mod hello;
mod value;

pub use blob::Blob;
pub use value::Value;

/// The newest protocol that this build speaks.
pub const PROTOCOL: u16 = 3 + cfg!(feature = "next") as u16;
/// The oldest one.
pub const PROTOCOL_OLDEST: u16 = 3;

/// All that a client asked for in one microtask.
#[derive(Debug, PartialEq, Serialize)]
pub struct RequestFrame<'a> {
    /// The connection that asks: random, made by the page.
    pub client: [u8; 16],
    /// The epoch of the host that the frame is meant for; 0 before the client knows one. No other
    /// host does anything about it.
    pub epoch: u32,
    /// Milliseconds since the Unix epoch after which nobody waits for an answer; 0 is never.
    pub deadline_ms: u64,
    /// The highest sequence for which it and all below have been answered.
    pub acked_through: u64,
    /// Where the requests were sent before and not answered: the epoch of the host that they were
    /// first sent to. 0 where this is the first time.
    pub resend_of: u32,
    /// The sequence of the first request; the others follow on.
    pub first: u64,
    /// The requests, in the order of the calls. Writes take effect in this order, and a read
    /// sees the writes before it.
    pub requests: Vec<Request<'a>>,
}

/// One call.
#[derive(Debug, PartialEq, Serialize)]
pub enum Request<'a> {
    /// Reads a key; answered by `Entry`.
    Get(Blob<'a>),
    /// Reads keys on one snapshot; answered by `Entries`, in the order of the keys.
    GetMany(Vec<Blob<'a>>),
    /// Reads a page of a range; answered by `Page`.
    List(List<'a>),
    /// Lets go of the snapshot of a list that was not read to its end; answered by `Done`.
    Release(u64),
    /// Checks and mutations, all or nothing; answered by `Committed` or `CheckFailed`.
    Commit(Commit<'a>),
    /// Subscribes to the state of some keys: `Event::Watch`, first with what is there now.
    /// Answered by `Done`.
    Watch(Watch<'a>),
    /// Subscribes to the commits that touch some ranges: `Event::Changes`. Answered by
    /// `Committed` with the last commit before the events that follow as they happen; where the
    /// subscriber is to catch up first and has not yet, by `Done`: see `More`.
    Changes(Changes<'a>),
    /// Ends a subscription; answered by `Done`.
    Unsubscribe(u32),
    /// Flushes what was committed relaxed; answered by `Done`.
    Flush,
    /// Figures; answered by `Stats`.
    Stats,
    /// The state of host and storage; answered by `Status`.
    Status,
    /// Flushes what was committed relaxed, and forgets the client, its subscriptions and its
    /// snapshots: the last request of a connection. Answered by `Done`.
    Close,
    /// Reads everything, to find what is damaged; answered by `Verified`, after all others of
    /// the frame.
    Verify,
    /// The next events of a subscription to changes that catches up; answered as that was.
    More(u32),
    /// Counts the entries of a range, from its start and before its end; answered by `Counted`.
    Count(Blob<'a>, Blob<'a>),
}

/// A page of a range of keys.
#[derive(Debug, PartialEq, Serialize)]
pub struct List<'a> {
    /// The first key, inclusive.
    pub start: Blob<'a>,
    /// The end of the range, exclusive.
    pub end: Blob<'a>,
    /// Whether to read from the end down.
    pub reverse: bool,
    /// At most this many entries (1 to `PAGE_ENTRIES_MAX`); a page may end earlier, by its size.
    pub limit: u32,
    /// The lease of an earlier page of the same list, to read on at its snapshot.
    pub lease: Option<Lease>,
    /// Whether a lease is wanted for a next page, should there be one, also where this one has as
    /// many entries as it may. A page that has fewer is granted one anyway.
    pub keep: bool,
    /// Whether the entries of the page are to have no values.
    pub keys_only: bool,
}

/// A snapshot that a host keeps for a list. It says all that another host needs to go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The host's number for it.
    pub id: u64,
    /// The last commit of the snapshot.
    pub stamp: [u8; 10],
    /// Its time, in milliseconds since the Unix epoch: entries alive then are part of it.
    pub time_ms: u64,
}

impl From<snapshot::Lease> for Lease {
    fn from(snapshot::Lease { id, snapshot }: snapshot::Lease) -> Lease {
        Lease { id, stamp: snapshot.stamp.to_bytes(), time_ms: snapshot.time_ms }
    }
}

impl From<Lease> for snapshot::Lease {
    fn from(Lease { id, stamp, time_ms }: Lease) -> snapshot::Lease {
        snapshot::Lease { id, snapshot: Snapshot { stamp: Stamp::from_bytes(stamp), time_ms } }
    }
}

/// A commit.
#[derive(Debug, PartialEq, Serialize)]
pub struct Commit<'a> {
    /// All of these must hold.
    pub checks: Vec<Check<'a>>,
    /// Applied in order.
    pub mutations: Vec<Mutation<'a>>,
    /// None: as the database is configured.
    pub durability: Option<Durability>,
}

/// A condition of a commit.
#[derive(Debug, PartialEq, Serialize)]
pub struct Check<'a> {
    /// The encoded key.
    pub key: Blob<'a>,
    /// The versionstamp it must have, or None for a key that must not exist.
    pub versionstamp: Option<[u8; 10]>,
}

/// A change to one key or a range of keys.
#[derive(Debug, PartialEq, Serialize)]
pub enum Mutation<'a> {
    /// Writes a value.
    Set {
        /// The encoded key.
        key: Blob<'a>,
        /// Tag byte and payload.
        value: Blob<'a>,
        /// Milliseconds from the commit until the entry expires.
        expire_in_ms: Option<u64>,
        /// Whether the commit's versionstamp, as a string part of 20 hex digits, is to be
        /// appended to the key.
        stamp_key: bool,
    },
    /// Removes a key.
    Delete {
        /// The encoded key.
        key: Blob<'a>,
    },
    /// Adds to a u64 (wrapping), a number or a bigint.
    Sum {
        /// The encoded key.
        key: Blob<'a>,
        /// The operand: tag byte and payload.
        value: Blob<'a>,
    },
    /// Keeps the smaller of two u64.
    Min {
        /// The encoded key.
        key: Blob<'a>,
        /// The operand: tag byte and payload.
        value: Blob<'a>,
    },
    /// Keeps the larger of two u64.
    Max {
        /// The encoded key.
        key: Blob<'a>,
        /// The operand: tag byte and payload.
        value: Blob<'a>,
    },
    /// Removes all keys of a range.
    DeleteRange {
        /// The first key, inclusive.
        start: Blob<'a>,
        /// The end of the range, exclusive.
        end: Blob<'a>,
    },
    /// Writes a value that travels beside the frame.
    SetLarge {
        /// The encoded key.
        key: Blob<'a>,
        /// The tag byte: of CBOR or bytes.
        kind: u8,
        /// The payload; in the frame stands its length.
        value: External,
        /// As in `Set`.
        expire_in_ms: Option<u64>,
        /// As in `Set`.
        stamp_key: bool,
    },
}

/// A subscription to keys.
#[derive(Debug, PartialEq, Serialize)]
pub struct Watch<'a> {
    /// The subscription's number, chosen by the client, unused among its open ones.
    pub id: u32,
    /// The keys; they may repeat.
    pub keys: Vec<Blob<'a>>,
}

/// A subscription to ranges.
#[derive(Debug, PartialEq, Serialize)]
pub struct Changes<'a> {
    /// The subscription's number, chosen by the client, unused among its open ones.
    pub id: u32,
    /// Ranges `start..end`; a commit is reported where it touches any of them.
    pub ranges: Vec<(Blob<'a>, Blob<'a>)>,
    /// Where to begin: behind this commit; None for the commits from now on.
    pub since: Option<[u8; 10]>,
}

/// Answers and events of a host to one client.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseFrame<'a> {
    /// The epoch of the host.
    pub epoch: u32,
    /// Answers, in any order.
    #[serde(borrow)]
    pub replies: Vec<Reply<'a>>,
    /// Events, in commit order.
    pub events: Vec<Event<'a>>,
}

/// The answer to one request.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply<'a> {
    /// The sequence of the request.
    pub sequence: u64,
    /// What came of it.
    #[serde(borrow)]
    pub response: Response<'a>,
}

/// What came of a request.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Response<'a> {
    /// It failed.
    Error(#[serde(borrow)] Failure<'a>),
    /// The entry of a key, if there is one.
    Entry(Option<Entry<'a>>),
    /// Entries, one for each key asked for.
    Entries(Vec<Option<Entry<'a>>>),
    /// A page of a range.
    Page(Page<'a>),
    /// The versionstamp of the commit.
    Committed([u8; 10]),
    /// The first check that did not hold, by its place in the commit.
    CheckFailed(u32),
    /// Done.
    Done,
    /// Figures.
    Stats(Stats),
    /// The state of host and storage.
    Status(Status<'a>),
    /// What is damaged.
    Verified(Verified<'a>),
    /// How many entries there are.
    Counted(u64),
}

/// An error on the wire.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure<'a> {
    /// The number of the [`Code`].
    pub code: u8,
    /// The engine's message.
    #[serde(borrow)]
    pub message: &'a str,
}

/// A value and its commit.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// The commit that wrote it.
    pub versionstamp: [u8; 10],
    /// The value.
    #[serde(borrow)]
    pub value: Value<'a>,
}

/// Entries of a range, in the order of the list.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<'a> {
    /// Whether the range was read to its end (or to the limit asked for, see `List::limit`).
    pub done: bool,
    /// Names the snapshot for the next page; only where that was wanted and there is more.
    pub lease: Option<Lease>,
    /// How many entries follow.
    pub count: u32,
    /// The entries, each: key (varint length, bytes), versionstamp (10 bytes), value ([`Value`];
    /// left out of a list of keys only). One byte string, so that the engine writes it while it
    /// reads.
    #[serde(borrow)]
    pub entries: Blob<'a>,
    /// The large values among them, which travel beside the frame; in it stand their lengths.
    pub attached: Vec<External>,
}

/// Figures of an open database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// An estimate of the number of entries: sets less deletes, which counts a key that was
    /// overwritten twice until compaction has met both versions.
    pub entries: u64,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Commits since the open.
    pub commits: u64,
    /// Blocks found in the cache since the open.
    pub cache_hits: u64,
    /// Blocks read from storage since the open.
    pub cache_misses: u64,
    /// Bytes of the block cache in use.
    pub cache_bytes: u64,
    /// Bytes of the memtables in use.
    pub memtable_bytes: u64,
    /// Bytes of the write-ahead log since its last rotation.
    pub wal_bytes: u64,
    /// Flushes of the storage since the open.
    pub flushes: u64,
    /// Tables and bytes of each level.
    pub levels: Vec<(u32, u64)>,
    /// Bytes of wasm linear memory; 0 natively.
    pub memory_bytes: u64,
}

/// The state of host and storage.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Status<'a> {
    /// "opfs", "indexeddb" or "memory": what was really obtained.
    #[serde(borrow)]
    pub storage: &'a str,
    /// The default of this database.
    pub durability: Durability,
    /// The open epoch.
    pub epoch: u32,
    /// The version of the files' format.
    pub format: u16,
    /// Why the files are not in OPFS, where it was to be taken if it can be used.
    pub reason: Option<&'a str>,
    /// The last failure of a background flush or compaction, until one succeeds again.
    pub failure: Option<Failure<'a>>,
}

/// What came of reading everything.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified<'a> {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How many places are damaged.
    pub damaged: u64,
    /// The first of them.
    #[serde(borrow)]
    pub damage: Vec<Damage<'a>>,
}

/// A damaged place.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Damage<'a> {
    /// What the file is for.
    pub kind: FileKind,
    /// The file's number.
    pub file: u32,
    /// From its start, in bytes: where what is damaged begins.
    pub offset: u64,
    /// What is wrong there.
    pub message: &'a str,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A slot of the manifest.
    Manifest,
    /// Commits in their order.
    Log,
    /// Sorted versions.
    Table,
    /// Large values.
    Blob,
}

/// Something that happened.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Event<'a> {
    /// New states of watched keys.
    Watch {
        /// The subscription.
        id: u32,
        /// The last commit that the states include.
        versionstamp: [u8; 10],
        /// Places in the list of keys, each with what is there now. The first event has all.
        #[serde(borrow)]
        entries: Vec<(u32, Option<Entry<'a>>)>,
    },
    /// One commit that touched a range subscribed to.
    Changes {
        /// The subscription.
        id: u32,
        /// The commit.
        versionstamp: [u8; 10],
        /// Its changes within the ranges, in the order of its mutations; a range that it deleted as
        /// a whole, where they overlap.
        changes: Vec<Change<'a>>,
    },
    /// Commits that a subscription was to hear of, and did not, for its client was too slow. It
    /// goes on with those that follow.
    Lagged {
        /// The subscription.
        id: u32,
        /// The last of them.
        versionstamp: [u8; 10],
        /// How many there were.
        missed: u64,
    },
}

/// What a commit did to a key.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Change<'a> {
    /// The key has this value now.
    Set {
        /// The encoded key.
        #[serde(borrow)]
        key: Blob<'a>,
        /// The value.
        value: Value<'a>,
    },
    /// The key was deleted.
    Delete {
        /// The encoded key.
        key: Blob<'a>,
    },
    /// The key expired.
    Expire {
        /// The encoded key.
        key: Blob<'a>,
    },
    /// All keys of a range were deleted.
    DeleteRange {
        /// The first key, inclusive.
        start: Blob<'a>,
        /// The end of the range, exclusive.
        end: Blob<'a>,
    },
}

impl Response<'_> {
    /// Adds what travels beside the frame to `out`, in order.
    pub fn attach_to(&self, out: &mut Vec<External>) {
        match self {
            Response::Entry(Some(entry)) => entry.value.attach_to(out),
            Response::Entries(entries) => {
                entries.iter().flatten().for_each(|entry| entry.value.attach_to(out));
            }
            Response::Page(page) => out.extend_from_slice(&page.attached),
            _ => {}
        }
    }
}

impl Event<'_> {
    /// Adds what travels beside the frame to `out`, in order.
    pub fn attach_to(&self, out: &mut Vec<External>) {
        match self {
            Event::Watch { entries, .. } => {
                let entries = entries.iter().filter_map(|(_, entry)| entry.as_ref());
                entries.for_each(|entry| entry.value.attach_to(out));
            }
            Event::Changes { changes, .. } => {
                for change in changes {
                    if let Change::Set { value, .. } = change {
                        value.attach_to(out);
                    }
                }
            }
            Event::Lagged { .. } => {}
        }
    }
}

impl<'a> RequestFrame<'a> {
    /// Decodes a frame of a client, which is not trusted: nothing is allocated by a count that
    /// the bytes at hand don't cover, and bytes left over are an error. The large values in it are
    /// `attachments`, in this order, all of them.
    ///
    /// # Errors
    /// `MalformedFrame`; nothing was changed.
    pub fn decode(bytes: &'a [u8], attachments: &'a [External]) -> Result<RequestFrame<'a>> {
        let malformed = |what| Error::new(Code::MalformedFrame, what);
        if bytes.len() > limits::FRAME_BYTES_MAX {
            return Err(malformed("the frame is larger than FRAME_BYTES_MAX"));
        }
        let undecodable = || malformed("the frame is cut short or not of this protocol");
        decode::request_frame(bytes, attachments).ok_or_else(undecodable)
    }
}
