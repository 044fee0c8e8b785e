//! Commits of a plan as they are sent: keys and values for its places.

use super::model::Key;
use super::oracle::Sent;
use super::plan::{Change, Place};
use kvass::rng::Rng;
use kvass::stamp::Stamp;
use kvass::storage::Durability;
use kvass::wire::{Blob, Check, Commit, Mutation};

/// The key of a place.
pub fn key_of(place: Place) -> Key {
    match place {
        // Some keys are prefixes of others, and some are long.
        Place::Key(n) => {
            [&[0x02, b'k'][..], &b"abcdefgh"[..n as usize % 9], &[b'0' + n as u8, 0]].concat()
        }
        Place::Counter(n) => vec![0x02, b'n', b'0' + n as u8, 0],
    }
}

/// The range between two places, or where they are the same, that of all keys of their kind.
pub fn range_of(from: Place, to: Place) -> (Key, Key) {
    let (a, b) = (key_of(from), key_of(to));
    match a == b {
        true => (a[..2].to_vec(), vec![a[0], a[1] + 1]),
        false => (a.clone().min(b.clone()), a.max(b)),
    }
}

/// An encoded u64.
fn u64_value(n: u64) -> Vec<u8> {
    [&[2][..], &n.to_le_bytes()].concat()
}

/// A change of the commit with this number, its value drawn.
pub fn sent(change: &Change, number: u64, rng: &Rng) -> Sent {
    match change {
        Change::Set { place: place @ Place::Counter(_), bytes, live_ms } => {
            Sent::Set { key: key_of(*place), value: u64_value(*bytes), live_ms: *live_ms }
        }
        Change::Set { place, bytes, live_ms } => {
            let text = match rng.one_in(2) {
                true => rng.bytes(*bytes as usize),
                false => vec![b'v'; *bytes as usize],
            };
            let value = [&[3][..], &number.to_le_bytes(), &text].concat();
            Sent::Set { key: key_of(*place), value, live_ms: *live_ms }
        }
        Change::Delete(place) => Sent::Delete { key: key_of(*place) },
        Change::DeleteRange { from, to } => {
            let (key, end) = range_of(*from, *to);
            Sent::DeleteRange { key, end }
        }
        Change::Sum { place, by } => Sent::Sum { key: key_of(*place), value: u64_value(*by) },
    }
}

/// A commit as the database takes it.
pub fn wire<'a>(
    checks: &'a [(Key, Option<Stamp>)],
    mutations: &'a [Sent],
    strict: Option<bool>,
) -> Commit<'a> {
    let mutations = mutations.iter().map(|mutation| match mutation {
        Sent::Set { key, value, live_ms } => Mutation::Set {
            key: Blob(key),
            value: Blob(value),
            expire_in_ms: *live_ms,
            stamp_key: false,
        },
        Sent::Delete { key } => Mutation::Delete { key: Blob(key) },
        Sent::DeleteRange { key, end } => {
            Mutation::DeleteRange { start: Blob(key), end: Blob(end) }
        }
        Sent::Sum { key, value } => Mutation::Sum { key: Blob(key), value: Blob(value) },
    });
    let checks = checks
        .iter()
        .map(|(key, stamp)| Check { key: Blob(key), versionstamp: stamp.map(Stamp::to_bytes) });
    let durability = strict.map(|strict| match strict {
        true => Durability::Strict,
        false => Durability::Relaxed,
    });
    Commit { checks: checks.collect(), mutations: mutations.collect(), durability }
}
