//! Snapshots: which commits must stay readable, and for how long.
//!
//! A pin holds a stamp for as long as a call runs. A lease holds one between the pages of a list;
//! its reader renews it with each page, and one that is not renewed runs out, so that a forgotten
//! iterator does not keep old versions for ever.

use crate::error::{Code, Error, Result};
use crate::limits::SNAPSHOT_LEASE_MS;
use crate::stamp::Stamp;
use std::cell::{Cell, RefCell};

/// What a read sees: the commits through `stamp`, and of those the entries alive at `time_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last commit it includes.
    pub stamp: Stamp,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
}

struct Lease {
    id: u64,
    owner: u32,
    snapshot: Snapshot,
    ends_ms: u64,
}

/// The pins and leases of one database: few enough at a time to be looked through one by one.
#[derive(Default)]
pub struct Snapshots {
    pins: RefCell<Vec<Stamp>>,
    leases: RefCell<Vec<Lease>>,
    leases_made: Cell<u64>,
}

impl Snapshots {
    /// Keeps what `stamp` sees readable until the pin is dropped.
    pub fn pin(&self, stamp: Stamp) -> Pin<'_> {
        self.pins.borrow_mut().push(stamp);
        Pin { snapshots: self, stamp }
    }

    /// Grants `owner` (a connection) a lease on a snapshot; returns its number.
    pub fn lease(&self, owner: u32, snapshot: Snapshot, now_ms: u64) -> u64 {
        let id = self.leases_made.get() + 1;
        self.leases_made.set(id);
        let lease = Lease { id, owner, snapshot, ends_ms: now_ms + SNAPSHOT_LEASE_MS };
        self.leases.borrow_mut().push(lease);
        id
    }

    /// Renews a lease and returns its snapshot.
    ///
    /// # Errors
    /// `SnapshotExpired` where the lease ran out, was released, or belongs to another owner.
    pub fn renew(&self, owner: u32, id: u64, now_ms: u64) -> Result<Snapshot> {
        self.end_overdue(now_ms);
        let mut leases = self.leases.borrow_mut();
        match leases.iter_mut().find(|lease| lease.id == id && lease.owner == owner) {
            Some(lease) => {
                lease.ends_ms = now_ms + SNAPSHOT_LEASE_MS;
                Ok(lease.snapshot)
            }
            None => Err(Error::new(
                Code::SnapshotExpired,
                "the list was left for too long and its snapshot was let go: list again",
            )),
        }
    }

    /// Ends a lease; one that is not there is none to end.
    pub fn release(&self, owner: u32, id: u64) {
        self.leases.borrow_mut().retain(|lease| lease.id != id || lease.owner != owner);
    }

    /// Ends all leases of an owner that has gone.
    pub fn release_all(&self, owner: u32) {
        self.leases.borrow_mut().retain(|lease| lease.owner != owner);
    }

    /// The oldest stamp that must stay readable: of pins, leases, and `visible`, at which reads
    /// begin now.
    pub fn oldest(&self, visible: Stamp, now_ms: u64) -> Stamp {
        self.end_overdue(now_ms);
        let leased = self
            .leases
            .borrow()
            .iter()
            .fold(visible, |oldest, lease| oldest.min(lease.snapshot.stamp));
        self.pins.borrow().iter().fold(leased, |oldest, pin| oldest.min(*pin))
    }

    /// Whether nobody needs more than what reads begin with now.
    pub fn is_unused(&self) -> bool {
        self.pins.borrow().is_empty() && self.leases.borrow().is_empty()
    }

    fn end_overdue(&self, now_ms: u64) {
        self.leases.borrow_mut().retain(|lease| lease.ends_ms > now_ms);
    }
}

/// Holds a snapshot readable; see [`Snapshots::pin`].
pub struct Pin<'a> {
    snapshots: &'a Snapshots,
    stamp: Stamp,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut pins = self.snapshots.pins.borrow_mut();
        if let Some(place) = pins.iter().position(|pin| *pin == self.stamp) {
            pins.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(counter: u64) -> Snapshot {
        Snapshot { stamp: Stamp { epoch: 1, counter }, time_ms: 0 }
    }

    #[test]
    fn the_oldest_of_pins_and_leases_is_retained_and_a_forgotten_lease_runs_out() {
        let snapshots = Snapshots::default();
        let visible = snapshot(9).stamp;
        let lease = snapshots.lease(1, snapshot(3), 1_000);
        let pin = snapshots.pin(snapshot(5).stamp);
        assert_eq!(snapshots.oldest(visible, 1_000), snapshot(3).stamp);
        assert_eq!(snapshots.renew(1, lease, 60_000), Ok(snapshot(3)));
        assert_eq!(snapshots.oldest(visible, 119_999), snapshot(3).stamp);
        assert_eq!(snapshots.oldest(visible, 120_000), snapshot(5).stamp);
        drop(pin);
        assert_eq!(snapshots.oldest(visible, 120_000), visible);
        let expired = snapshots.renew(1, lease, 120_000).expect_err("it ran out");
        assert_eq!(expired.code(), Code::SnapshotExpired);
    }

    #[test]
    fn a_lease_serves_its_owner_only() {
        let snapshots = Snapshots::default();
        let lease = snapshots.lease(1, snapshot(3), 0);
        assert!(snapshots.renew(2, lease, 1).is_err());
        snapshots.release(2, lease);
        assert!(snapshots.renew(1, lease, 1).is_ok());
        snapshots.release_all(1);
        assert!(snapshots.renew(1, lease, 1).is_err());
    }
}
