//! Versionstamps: the place of a commit in the one order of all commits.
//!
//! ```text
//! 0         4                   10
//! +---------+-------------------+
//! | epoch   | counter           |   big-endian, so bytes compare as stamps do
//! +---------+-------------------+
//! ```
//!
//! The epoch is made durable before the first commit of an open, so a counter that started again
//! after a lost, unflushed tail never leads to the same stamp twice.

use core::fmt;

/// The largest counter: 48 bits.
pub const COUNTER_MAX: u64 = (1 << 48) - 1;

/// A versionstamp. Strictly increasing over the life of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Stamp {
    /// Which open of the database made the commit; 1 for the first one.
    pub epoch: u32,
    /// The commit within its epoch, from 1; at most [`COUNTER_MAX`].
    pub counter: u64,
}

impl Stamp {
    /// Below every stamp of a commit.
    pub const ZERO: Stamp = Stamp { epoch: 0, counter: 0 };
    /// Above every stamp of a commit: reads at it see what is not yet published too.
    pub const MAX: Stamp = Stamp { epoch: u32::MAX, counter: COUNTER_MAX };

    /// The ten bytes in which a stamp crosses the wire; shown to users as 20 hex digits.
    pub fn to_bytes(self) -> [u8; 10] {
        let [e0, e1, e2, e3] = self.epoch.to_be_bytes();
        let [_, _, c0, c1, c2, c3, c4, c5] = self.counter.to_be_bytes();
        [e0, e1, e2, e3, c0, c1, c2, c3, c4, c5]
    }

    /// The inverse of [`Stamp::to_bytes`].
    pub fn from_bytes(bytes: [u8; 10]) -> Stamp {
        let [e0, e1, e2, e3, c0, c1, c2, c3, c4, c5] = bytes;
        Stamp {
            epoch: u32::from_be_bytes([e0, e1, e2, e3]),
            counter: u64::from_be_bytes([0, 0, c0, c1, c2, c3, c4, c5]),
        }
    }

    /// The stamp of the commit after this one in the same epoch.
    #[must_use]
    pub fn next(self) -> Stamp {
        Stamp { epoch: self.epoch, counter: self.counter + 1 }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:012x}", self.epoch, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_hex_compare_as_stamps_do() {
        let small = Stamp { epoch: 1, counter: COUNTER_MAX };
        let large = Stamp { epoch: 2, counter: 1 };
        assert!(small < large);
        assert!(small.to_bytes() < large.to_bytes());
        assert!(small.to_string() < large.to_string());
        assert_eq!(small.to_string().len(), 20);
        assert_eq!(Stamp::from_bytes(large.to_bytes()), large);
    }
}
