//! Snapshots: which commits must stay readable, and for how long.
//!
//! A pin holds a stamp for as long as a call runs. A lease holds one between the pages of a list;
//! its reader renews it with each page, and one that is not renewed runs out, so that a forgotten
//! iterator does not keep old versions for ever.
//!
//! A lease says which snapshot it is for, so a list goes on where nobody knows its lease any more,
//! above all with the next host: every snapshot from the floor on can be read. The floor rises
//! where versions may be dropped, and the manifest keeps it. For a moment after an open it stays
//! where it was, so that the lists of the host before can say what they need.

use crate::error::{Code, Error, Result};
use crate::limits::{LEASES_MAX, SNAPSHOT_LEASE_MS};
use crate::planted::{Bug, planted};
use crate::stamp::Stamp;
use std::cell::{Cell, RefCell};

/// The numbers of the leases of a host begin at its epoch, times this many: below 2^53, for
/// JavaScript has them as numbers.
const LEASES_OF_EPOCH: u64 = 1 << 20;

/// What a read sees: the commits through `stamp`, and of those the entries alive at `time_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The last commit it includes.
    pub stamp: Stamp,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// A snapshot that is held for a list, and the number under which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// No other lease has it, of this host or another.
    pub id: u64,
    /// What it holds.
    pub snapshot: Snapshot,
}

struct Held {
    lease: Lease,
    owner: u32,
    ends_ms: u64,
}

/// What is left of the snapshots of earlier opens.
#[derive(Default)]
pub struct Inherited {
    /// All versions are there that a snapshot from this one on sees.
    pub floor: Stamp,
    /// Of epochs the last commits that are there. A power cut may have taken later ones, which
    /// snapshots had seen.
    pub ends: Vec<Stamp>,
    /// Until then nothing is dropped that a snapshot from the floor on sees.
    pub until_ms: u64,
}

/// The pins and leases of one database: few enough at a time to be looked through one by one.
#[derive(Default)]
pub struct Snapshots {
    pins: RefCell<Vec<Stamp>>,
    leases: RefCell<Vec<Held>>,
    leases_made: Cell<u64>,
    inherited: Inherited,
    /// Versions may be gone that earlier snapshots see.
    floor: Cell<Stamp>,
}

impl Snapshots {
    /// Those of an open that is the `epoch`th.
    pub fn new(epoch: u32, inherited: Inherited) -> Snapshots {
        let leases_made = Cell::new(u64::from(epoch) * LEASES_OF_EPOCH);
        let floor = Cell::new(inherited.floor);
        Snapshots { leases_made, floor, inherited, ..Snapshots::default() }
    }

    /// Keeps what `stamp` sees readable until the pin is dropped.
    pub fn pin(&self, stamp: Stamp) -> Pin<'_> {
        self.pins.borrow_mut().push(stamp);
        Pin { snapshots: self, stamp }
    }

    /// Grants `owner` (a connection) a lease on a snapshot that can be read.
    ///
    /// # Errors
    /// `TooLarge` where it has too many.
    pub fn lease(&self, owner: u32, snapshot: Snapshot, now_ms: u64) -> Result<Lease> {
        let mut leases = self.leases.borrow_mut();
        if leases.iter().filter(|held| held.owner == owner).count() >= LEASES_MAX {
            return Err(Error::new(Code::TooLarge, "Too many lists at a time (max 1024)"));
        }
        let id = self.leases_made.get() + 1;
        self.leases_made.set(id);
        let lease = Lease { id, snapshot };
        leases.push(Held { lease, owner, ends_ms: now_ms + SNAPSHOT_LEASE_MS });
        Ok(lease)
    }

    /// Renews a lease. One that is not known, for it ran out or an earlier host granted it, is
    /// granted anew, under another number, if its snapshot can still be read. `present` is what
    /// a read that begins now sees.
    ///
    /// # Errors
    /// `SnapshotExpired` where versions of the snapshot may be gone, or commits that it has seen;
    /// `TooLarge` as for [`Snapshots::lease`].
    pub fn renew(&self, owner: u32, lease: Lease, present: Snapshot) -> Result<Lease> {
        let now_ms = present.time_ms;
        self.end_overdue(now_ms);
        let known = |held: &&mut Held| held.lease == lease && held.owner == owner;
        if let Some(held) = self.leases.borrow_mut().iter_mut().find(known) {
            held.ends_ms = now_ms + SNAPSHOT_LEASE_MS;
            return Ok(lease);
        }
        if self.is_readable(lease, present) {
            return self.lease(owner, lease.snapshot, now_ms);
        }
        Err(Error::new(
            Code::SnapshotExpired,
            "the list was left for too long and its snapshot was let go: list again",
        ))
    }

    /// Whether everything is there that the snapshot of a lease has seen. What a host has found
    /// when it was opened is durable from then on: only commits of its own may be lost.
    fn is_readable(&self, Lease { id, snapshot }: Lease, present: Snapshot) -> bool {
        let Snapshot { stamp, time_ms } = snapshot;
        let Inherited { ends, .. } = &self.inherited;
        let is_there = stamp.epoch == present.stamp.epoch
            || stamp.counter == 0
            || u64::from(stamp.epoch) < id / LEASES_OF_EPOCH
            || ends.iter().any(|end| stamp.epoch == end.epoch && stamp <= *end)
            || planted(Bug::LostCommitsUnnoticed);
        let is_past = stamp <= present.stamp && time_ms <= present.time_ms;
        is_there && is_past && stamp >= self.floor.get()
    }

    /// Ends a lease; one that is not there is none to end.
    pub fn release(&self, owner: u32, id: u64) {
        self.leases.borrow_mut().retain(|held| held.lease.id != id || held.owner != owner);
    }

    /// Ends all leases of an owner that has gone.
    pub fn release_all(&self, owner: u32) {
        self.leases.borrow_mut().retain(|held| held.owner != owner);
    }

    /// Until when clients of an earlier host may turn up.
    pub fn awaited_until_ms(&self) -> u64 {
        self.inherited.until_ms
    }

    /// Whether clients of an earlier host may still turn up.
    pub fn awaits_clients(&self, now_ms: u64) -> bool {
        now_ms < self.awaited_until_ms()
    }

    /// The oldest stamp that must stay readable: of pins, leases, what earlier hosts may have
    /// granted, and `visible`, at which reads begin now.
    pub fn oldest(&self, visible: Stamp, now_ms: u64) -> Stamp {
        self.end_overdue(now_ms);
        let inherited = match self.awaits_clients(now_ms) {
            true => visible.min(self.inherited.floor),
            false => visible,
        };
        let leases = self.leases.borrow();
        let leased = leases.iter().map(|held| held.lease.snapshot.stamp);
        let oldest = leased.fold(inherited, Stamp::min);
        self.pins.borrow().iter().fold(oldest, |oldest, pin| oldest.min(*pin))
    }

    /// As [`Snapshots::oldest`], for one who drops versions that only earlier snapshots see.
    pub fn let_go(&self, visible: Stamp, now_ms: u64) -> Stamp {
        let oldest = self.oldest(visible, now_ms);
        self.floor.set(self.floor.get().max(oldest));
        oldest
    }

    /// The oldest snapshot that can be read for sure.
    pub fn floor(&self) -> Stamp {
        self.floor.get()
    }

    /// Whether nobody needs more than what reads begin with now.
    pub fn is_unused(&self, now_ms: u64) -> bool {
        self.pins.borrow().is_empty() && self.next_end_ms(now_ms) == u64::MAX
    }

    /// When the next of those ends that nobody renews; `u64::MAX` where there is none.
    pub fn next_end_ms(&self, now_ms: u64) -> u64 {
        self.end_overdue(now_ms);
        let leases = self.leases.borrow();
        let inherited = Some(self.inherited.until_ms).filter(|_| self.awaits_clients(now_ms));
        leases.iter().map(|held| held.ends_ms).chain(inherited).min().unwrap_or(u64::MAX)
    }

    fn end_overdue(&self, now_ms: u64) {
        self.leases.borrow_mut().retain(|held| held.ends_ms > now_ms);
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

    fn present(counter: u64, time_ms: u64) -> Snapshot {
        Snapshot { time_ms, ..snapshot(counter) }
    }

    fn code(renewed: Result<Lease>) -> Option<Code> {
        renewed.err().map(|error| error.code())
    }

    #[test]
    fn the_oldest_of_pins_and_leases_is_retained_and_a_forgotten_lease_runs_out() {
        let snapshots = Snapshots::default();
        let visible = snapshot(9).stamp;
        let lease = snapshots.lease(1, snapshot(3), 1_000).unwrap();
        let pin = snapshots.pin(snapshot(5).stamp);
        assert_eq!(snapshots.oldest(visible, 1_000), snapshot(3).stamp);
        assert_eq!(snapshots.renew(1, lease, present(9, 60_000)), Ok(lease));
        assert_eq!(snapshots.oldest(visible, 119_999), snapshot(3).stamp);
        assert_eq!(snapshots.next_end_ms(119_999), 120_000);
        assert_eq!(snapshots.oldest(visible, 120_000), snapshot(5).stamp);
        assert!(!snapshots.is_unused(120_000));
        drop(pin);
        assert!(snapshots.is_unused(120_000));
        assert_eq!(snapshots.let_go(visible, 120_000), visible);
        assert_eq!(
            code(snapshots.renew(1, lease, present(9, 120_000))),
            Some(Code::SnapshotExpired)
        );
    }

    #[test]
    fn a_lease_serves_its_owner_only() {
        let snapshots = Snapshots::default();
        let lease = snapshots.lease(1, snapshot(3), 0).unwrap();
        let other = snapshots.renew(2, lease, present(3, 1)).unwrap();
        assert_ne!(other.id, lease.id);
        snapshots.release_all(2);
        snapshots.release(2, lease.id);
        assert_eq!(snapshots.let_go(snapshot(9).stamp, 1), snapshot(3).stamp);
        snapshots.release_all(1);
        assert_eq!(snapshots.let_go(snapshot(9).stamp, 1), snapshot(9).stamp);
        assert!(snapshots.renew(1, lease, present(9, 1)).is_err());
    }

    #[test]
    fn a_lease_of_an_earlier_host_goes_on_where_all_that_it_saw_is_there() {
        let at = |epoch, counter| Stamp { epoch, counter };
        let snapshot_at = |stamp| Snapshot { stamp, time_ms: 50 };
        let inherited =
            Inherited { floor: at(2, 5), ends: vec![at(2, 9), at(3, 4)], until_ms: 100 };
        let snapshots = Snapshots::new(4, inherited);
        let present = snapshot_at(at(4, 7));
        let renew = |stamp, time_ms| {
            let lease = Lease { id: 1, snapshot: Snapshot { time_ms, ..snapshot_at(stamp) } };
            snapshots.renew(1, lease, present)
        };
        for stamp in [at(2, 5), at(2, 9), at(3, 0), at(3, 4), at(4, 0), at(4, 7)] {
            let renewed = renew(stamp, 50).unwrap();
            assert_eq!(renewed.snapshot.stamp, stamp);
            assert!(renewed.id > 4 * LEASES_OF_EPOCH);
        }
        for stamp in [at(1, 3), at(2, 4), at(2, 10), at(3, 5), at(4, 8), at(5, 0), Stamp::MAX] {
            assert_eq!(code(renew(stamp, 50)), Some(Code::SnapshotExpired), "{stamp}");
        }
        assert_eq!(code(renew(at(3, 4), 51)), Some(Code::SnapshotExpired), "in the future");
        let of_the_third = Lease { id: 3 * LEASES_OF_EPOCH + 1, snapshot: snapshot_at(at(2, 10)) };
        assert!(snapshots.renew(1, of_the_third, present).is_ok(), "that host had found it there");
        snapshots.release_all(1);
        assert_eq!(snapshots.let_go(present.stamp, 99), at(2, 5));
        assert_eq!(snapshots.let_go(present.stamp, 100), present.stamp);
        assert_eq!(code(renew(at(3, 4), 50)), Some(Code::SnapshotExpired), "it was let go");
    }

    #[test]
    fn an_owner_has_a_bounded_number_of_leases() {
        let snapshots = Snapshots::default();
        for _ in 0..LEASES_MAX {
            snapshots.lease(1, snapshot(3), 0).unwrap();
        }
        assert_eq!(code(snapshots.lease(1, snapshot(3), 0)), Some(Code::TooLarge));
        assert!(snapshots.lease(2, snapshot(3), 0).is_ok());
    }
}
