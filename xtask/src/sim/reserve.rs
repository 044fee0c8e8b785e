//! What the space in reserve is good for, checked at the end of each run that has some.

use super::oracle::{Verdict, fail};
use super::plan::{Change, CommitPlan, Place, probe, write};
use super::world::World;
use kvass::env::manual::block_on;
use kvass::rng::Rng;

/// How long the reserve is once it was given up.
const SPENT_BYTES: u64 = 8;
/// What an entry takes of it, as some of them expire: where many do, the tombstones use it up
/// before a compaction fits.
const TOMBSTONE_BYTES: u64 = 3;
/// Enough for a small commit.
const ROOM_BYTES_MIN: u64 = 250;

impl World {
    /// Where there is enough in reserve, a full disk takes deletes, and expiries are such, however
    /// often it refused to take anything else.
    pub fn expire_on_a_full_disk(&mut self, rng: &Rng) -> Verdict {
        let db = self.db()?;
        let Ok(stats) = block_on(db.stats()) else { return Ok(()) };
        let budget = self.plan.config.budgets.memtable_bytes as u64;
        let tombstones = stats.entries.saturating_mul(TOMBSTONE_BYTES);
        if db.reserved_bytes() < 2 * stats.memtable_bytes.max(budget) + tombstones + 1_500 {
            return Ok(());
        }
        self.oracle.disturbed = true;
        self.disk.set_room_bytes(Some(rng.below(500)));
        for _ in 0..20 {
            self.commit(&[write(500)], rng)?;
            self.settle(rng)?;
        }
        self.clock_ms = self.clock_ms.max(db.now_ms()) + 10_000_000;
        db.env().set_now_ms(self.clock_ms);
        if let Err(error) = block_on(db.expire()) {
            return fail("a full disk takes deletes", format!("{error:?}"));
        }
        self.counts.full_expiries += 1;
        self.recover(rng)
    }

    /// Once an expiry on a full disk has used the reserve, nothing else is written, though there
    /// is room for it, while there is none to make the reserve again.
    pub fn write_beside_the_reserve(&mut self, rng: &Rng) -> Verdict {
        let db = self.db()?;
        if db.reserved_bytes() < ROOM_BYTES_MIN {
            return Ok(());
        }
        let set = Change::Set { place: Place::Key(0), bytes: 10, live_ms: Some(1) };
        let expires = CommitPlan { strict: None, checks: Vec::new(), mutations: vec![set] };
        self.commit(&[expires], rng)?;
        self.settle(rng)?;
        self.oracle.disturbed = true;
        self.disk.set_room_bytes(Some(0));
        self.clock_ms = self.clock_ms.max(db.now_ms()) + 1;
        db.env().set_now_ms(self.clock_ms);
        let expired = block_on(db.expire());
        // As long as tables alone want it to be, and it may be longer.
        let tables = block_on(db.stats()).map_or_else(|_| Vec::new(), |stats| stats.levels);
        let share = tables.iter().map(|(_, bytes)| bytes).sum::<u64>() / 4;
        let wanted = share.min(self.plan.config.budgets.reserve_bytes);
        let room = wanted.saturating_sub(SPENT_BYTES + 1);
        if expired.is_ok() && db.reserved_bytes() == SPENT_BYTES && room >= ROOM_BYTES_MIN {
            self.disk.set_room_bytes(Some(room));
            let before = self.oracle.last_number();
            self.commit(&[probe()], rng)?;
            self.settle(rng)?;
            if self.oracle.last_number() > before {
                let detail = format!("a commit was applied where {wanted} bytes are wanted");
                return fail("what a spent reserve leaves is for deletes", detail);
            }
            self.counts.spent_reserves += 1;
        }
        self.recover(rng)
    }
}
