//! What the database must hold: every version of every key, by versionstamp.

use kvass::snapshot::Snapshot;
use kvass::stamp::Stamp;
use std::collections::BTreeMap;

pub type Key = Vec<u8>;

/// What a key holds from a commit on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub stamp: Stamp,
    pub value: Vec<u8>,
    /// The first and the last millisecond at which it may have expired; None for never. The two
    /// differ where the clock moved while the commit was under way.
    pub expires: Option<(u64, u64)>,
}

/// An entry that was found.
pub type Row = (Key, Stamp, Vec<u8>);

/// What a read saw: the commits through one, at a time between two.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub stamp: Stamp,
    pub from_ms: u64,
    pub to_ms: u64,
}

impl From<Snapshot> for Seen {
    fn from(Snapshot { stamp, time_ms }: Snapshot) -> Seen {
        Seen { stamp, from_ms: time_ms, to_ms: time_ms }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    versions: BTreeMap<Key, Vec<(Stamp, Option<Entry>)>>,
    /// What expired by this time in an earlier open may have been deleted by an expiry that left
    /// no other trace.
    pub doubtful_ms: u64,
}

/// Whether a key is there, as far as that can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub can_be_there: bool,
    pub can_be_absent: bool,
}

impl Model {
    /// The version of a key that is the newest at a stamp, expired or not.
    pub fn at(&self, key: &[u8], stamp: Stamp) -> Option<&Entry> {
        let versions = self.versions.get(key)?;
        let newest = versions.iter().rev().find(|version| version.0 <= stamp)?;
        newest.1.as_ref()
    }

    /// Adds a version, the newest of its key; None deletes.
    pub fn write(&mut self, key: &[u8], stamp: Stamp, entry: Option<Entry>) {
        let versions = self.versions.entry(key.to_vec()).or_default();
        if versions.last().is_some_and(|last| last.0 == stamp) {
            versions.pop();
        }
        versions.push((stamp, entry));
    }

    /// Deletes all keys of a range.
    pub fn delete_range(&mut self, start: &[u8], end: &[u8], stamp: Stamp) {
        let keys = self.versions.keys().filter(|key| (start..end).contains(&key.as_slice()));
        for key in keys.cloned().collect::<Vec<_>>() {
            self.write(&key, stamp, None);
        }
    }

    /// The least and the greatest number of entries that a read may have seen in a range.
    pub fn count(&self, start: &[u8], end: &[u8], seen: Seen) -> (u64, u64) {
        let keys = self.versions.keys().filter(|key| (start..end).contains(&key.as_slice()));
        keys.fold((0, 0), |(least, most), key| {
            let presence = self.presence(self.at(key, seen.stamp), seen.from_ms, seen.to_ms);
            (least + u64::from(!presence.can_be_absent), most + u64::from(presence.can_be_there))
        })
    }

    /// Takes back every commit after this one.
    pub fn cut(&mut self, stamp: Stamp) {
        for versions in self.versions.values_mut() {
            versions.retain(|version| version.0 <= stamp);
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.versions.keys()
    }

    /// Whether the entry is there between two times of one open.
    pub fn presence(&self, entry: Option<&Entry>, from_ms: u64, to_ms: u64) -> Presence {
        match entry.map(|entry| entry.expires) {
            None => Presence { can_be_there: false, can_be_absent: true },
            Some(None) => Presence { can_be_there: true, can_be_absent: false },
            Some(Some((first, last))) => Presence {
                can_be_there: from_ms < last,
                can_be_absent: to_ms >= first || self.doubtful_ms >= first,
            },
        }
    }

    /// Whether a read may have found this.
    pub fn check(
        &self,
        key: &[u8],
        seen: Seen,
        found: Option<(Stamp, &[u8])>,
    ) -> Result<(), String> {
        let Seen { stamp, from_ms, to_ms } = seen;
        let entry = self.at(key, stamp);
        let presence = self.presence(entry, from_ms, to_ms);
        let right = match (found, entry) {
            (None, _) => presence.can_be_absent,
            (Some(_), None) => false,
            (Some((stamp, value)), Some(entry)) => {
                presence.can_be_there && stamp == entry.stamp && value == entry.value
            }
        };
        if right {
            return Ok(());
        }
        let found = found.map(|(stamp, value)| format!("{} bytes of {stamp}", value.len()));
        let wanted = entry.map(|it| (it.stamp.to_string(), it.value.len(), it.expires));
        let key = String::from_utf8_lossy(key);
        Err(format!("{key:?} at {stamp}, {from_ms} ms: found {found:?} instead of {wanted:?}"))
    }
}
