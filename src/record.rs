//! One version of one key, as memtable, tables and merge see it.
//!
//! Versions are ordered by key ascending, then by stamp descending: a forward scan meets the
//! newest version of a key first.

use crate::blob::Pointer;
use crate::bytes::Bytes;
use crate::stamp::Stamp;
use core::cmp::Ordering;

/// What a version says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// The key has this value (tag byte and payload, see `value`) until `expires_at`.
    Set {
        /// The encoded value, or where it is.
        value: &'a [u8],
        /// Milliseconds since the Unix epoch from which the entry is invisible; 0 is never.
        expires_at: u64,
        /// Whether `value` is a [`crate::blob::Pointer`] to the value.
        in_blob: bool,
    },
    /// The key is gone: a tombstone that hides older versions.
    Delete,
}

/// A borrowed version: what a cursor stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The encoded key.
    pub key: &'a [u8],
    /// The commit that wrote it.
    pub stamp: Stamp,
    /// What it says.
    pub op: Op<'a>,
}

impl<'a> Record<'a> {
    /// The same version, its value at another place where there is one.
    #[must_use]
    pub fn with_pointer(self, moved: Option<&'a [u8]>) -> Record<'a> {
        match (self.op, moved) {
            (Op::Set { expires_at, .. }, Some(value)) => {
                Record { op: Op::Set { value, expires_at, in_blob: true }, ..self }
            }
            _ => self,
        }
    }
}

/// An owned answer of a point read: the newest version of a key at a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A value; whether it has expired is for the reader to say, by its time.
    Set {
        /// The commit that wrote it.
        stamp: Stamp,
        /// As in [`Op::Set`].
        value: Bytes,
        /// As in [`Op::Set`].
        expires_at: u64,
        /// As in [`Op::Set`].
        in_blob: bool,
    },
    /// A tombstone, with the commit that wrote it.
    Delete {
        /// The commit that deleted the key.
        stamp: Stamp,
    },
}

impl Found {
    /// What a reader finds at a key: this version of it, or a delete where a range that holds the
    /// key was deleted later; `Stamp::ZERO` is never.
    pub fn newer(version: Option<Found>, deleted: Stamp) -> Option<Found> {
        let hidden = version.as_ref().is_none_or(|version| version.stamp() < deleted);
        if hidden && deleted > Stamp::ZERO {
            Some(Found::Delete { stamp: deleted })
        } else {
            version
        }
    }

    /// The bytes of the large value that it points at; 0 where it does not.
    pub fn large_bytes(&self) -> u64 {
        match self {
            Found::Set { value, in_blob: true, .. } => {
                Pointer::decode(value).map_or(0, |pointer| pointer.len)
            }
            _ => 0,
        }
    }

    fn stamp(&self) -> Stamp {
        match self {
            Found::Set { stamp, .. } | Found::Delete { stamp } => *stamp,
        }
    }
}

/// The order of versions: by key ascending, then newest first.
pub fn order(a: (&[u8], Stamp), b: (&[u8], Stamp)) -> Ordering {
    a.0.cmp(b.0).then_with(|| b.1.cmp(&a.1))
}

/// Whether an entry with this `expires_at` is visible at `now_ms`.
pub fn alive(expires_at: u64, now_ms: u64) -> bool {
    expires_at == 0 || expires_at > now_ms
}
