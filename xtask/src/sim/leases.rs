//! Leases, which readers go on with after the end of the host that granted them: what they see then
//! is what they saw before, or they hear that it is gone, and that not without a reason.

use super::oracle::{Failure, Published, Verdict, fail};
use super::world::World;
use kvass::limits::{LEASE_GRACE_MS, LEASE_HOSTS, SNAPSHOT_LEASE_MS};
use kvass::rng::Rng;
use kvass::snapshot::Lease;
use kvass::stamp::Stamp;

const CHECK: &str = "a lease lasts as long as it says";

/// A lease as its reader knows it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub lease: Lease,
    /// When it was asked for, or renewed last.
    renewed_ms: u64,
    /// Which open that was.
    open: u64,
    /// Nobody may rely on it any more.
    is_released: bool,
    /// A commit that it has seen is lost.
    is_lost: bool,
}

impl World {
    /// What the host has granted that was asked for at a time.
    pub fn grant(&self, lease: Lease, renewed_ms: u64) -> Grant {
        Grant { lease, renewed_ms, open: self.attended, is_released: false, is_lost: false }
    }

    pub fn lease(&mut self) -> Verdict {
        let db = self.db()?;
        match db.snapshots().lease(1, db.snapshot(), db.now_ms()) {
            Ok(lease) => self.leases.push(self.grant(lease, db.now_ms())),
            Err(error) => return fail("nothing fails without a fault", format!("{error:?}")),
        }
        Ok(())
    }

    /// Lets go of a lease, whose reader tries to go on all the same.
    pub fn release_lease(&mut self, rng: &Rng) -> Verdict {
        let db = self.db()?;
        let chosen = rng.below(self.leases.len() as u64) as usize;
        if let Some(grant) = self.leases.get_mut(chosen) {
            grant.is_released = true;
            db.snapshots().release(1, grant.lease.id);
        }
        Ok(())
    }

    /// A leased snapshot goes on answering as it did, whatever was written since.
    pub fn read_lease(&mut self, rng: &Rng) -> Verdict {
        let db = self.db()?;
        if self.leases.is_empty() {
            return Ok(());
        }
        let chosen = rng.below(self.leases.len() as u64) as usize;
        let grant = self.leases.swap_remove(chosen);
        let Ok(renewed) = db.renew(1, grant.lease) else { return self.expired(&grant) };
        self.goes_on(&grant)?;
        if renewed.snapshot != grant.lease.snapshot {
            return fail(CHECK, format!("{grant:?} goes on as {renewed:?}"));
        }
        self.leases.push(self.grant(renewed, db.now_ms()));
        let (from, to) = (vec![1], super::world::EVERYTHING.1.to_vec());
        self.list(from, to, rng.one_in(2), usize::MAX, Some(renewed.snapshot))
    }

    /// Its host has gone on with it.
    pub fn goes_on(&self, grant: &Grant) -> Verdict {
        match grant.is_lost {
            true => fail("a list never goes on without what it has seen", format!("{grant:?}")),
            false => Ok(()),
        }
    }

    /// Its host has not.
    pub fn expired(&self, grant: &Grant) -> Verdict {
        match self.is_held(grant)? {
            true => fail(CHECK, format!("{grant:?} of {}", self.attended)),
            false => Ok(()),
        }
    }

    /// Whether its host must go on with it.
    fn is_held(&self, grant: &Grant) -> Result<bool, Failure> {
        let db = self.db()?;
        let (now_ms, snapshot) = (db.now_ms(), grant.lease.snapshot);
        let in_time = match self.attended - grant.open {
            0 => now_ms - grant.renewed_ms < SNAPSHOT_LEASE_MS,
            1 => {
                let is_past = snapshot.time_ms <= now_ms;
                let is_recent = snapshot.stamp.epoch + LEASE_HOSTS >= db.epoch();
                is_past && is_recent && now_ms - self.attended_ms < LEASE_GRACE_MS
            }
            _ => false,
        };
        Ok(in_time && !grant.is_released && !grant.is_lost)
    }

    /// An open ends. The next one must go on with the leases that hold by then, unless it may have
    /// lost something that they saw; nobody knows of those whose page is on its way.
    pub fn end_grants(&mut self, now_ms: u64, is_safe: impl Fn(Stamp) -> bool) {
        let under_way = self.pages.as_mut().map(|pages| pages.lists_under_way());
        for (client, mut listing) in under_way.into_iter().flatten() {
            if let Some(grant) = &mut listing.grant {
                grant.is_released = true;
                self.resting.push((client, listing));
            }
        }
        let attended = self.attended;
        for grant in self.grants() {
            let Grant { lease, renewed_ms, open, .. } = grant;
            let in_time = *open == attended && now_ms - *renewed_ms < SNAPSHOT_LEASE_MS;
            let stamp = lease.snapshot.stamp;
            grant.is_released |= !(in_time && (stamp.counter == 0 || is_safe(stamp)));
        }
    }

    /// Commits are gone. That of expiries is not known for sure.
    pub fn lose(&mut self, lost: &[Published]) {
        let first = lost.iter().filter(|it| it.number.is_some()).map(|it| it.stamp).min();
        for grant in self.grants() {
            grant.is_lost |= first.is_some_and(|first| first <= grant.lease.snapshot.stamp);
        }
    }

    fn grants(&mut self) -> impl Iterator<Item = &mut Grant> {
        let resting = self.resting.iter_mut().filter_map(|(_, listing)| listing.grant.as_mut());
        self.leases.iter_mut().chain(resting)
    }
}
