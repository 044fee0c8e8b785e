//! Pacing: writers wait for flushes and compactions in proportion to what they write.
//!
//! Work is counted in bytes, as [`crate::compaction`] reads them. A writer owes the burden
//! ([`crate::compaction::burden`]) times the bytes it has written, and waits until as much work was
//! done since; nobody waits where nobody works, for it would never end.

use crate::signal::Signal;
use std::cell::Cell;

/// How far writers are ahead of background work.
#[derive(Default)]
pub struct Pace {
    burden: Cell<u64>,
    /// Somebody sees to flushes and compactions.
    working: Cell<bool>,
    /// Work done since the database was opened, in bytes.
    worked: Cell<u64>,
    /// The work that writers wait for, as a value of `worked`.
    owed: Cell<u64>,
    waiting: Cell<usize>,
    moved: Signal,
}

impl Pace {
    /// Takes in what a byte costs from now on.
    pub fn set_burden(&self, burden: u64) {
        self.burden.set(burden);
        self.moved.notify();
    }

    /// The work that a byte costs its writer, in bytes.
    pub fn burden(&self) -> u64 {
        self.burden.get()
    }

    /// Whether somebody sees to flushes and compactions.
    pub fn is_working(&self) -> bool {
        self.working.get()
    }

    /// Says that the caller sees to them, for as long as it holds what is returned.
    pub fn work(&self) -> Working<'_> {
        self.working.set(true);
        Working(self)
    }

    /// Counts work; whether a writer that waited has waited long enough.
    pub fn worked(&self, bytes: usize) -> bool {
        let before = self.worked.get();
        self.worked.set(before + bytes as u64);
        self.moved.notify();
        self.waiting.get() > 0 && before < self.owed.get() && self.owed.get() <= self.worked.get()
    }

    /// Waits for what `written` bytes cost. Work that was done ahead, up to `credit`, counts.
    pub async fn pay(&self, written: usize, credit: u64) {
        let owed = self.owed.get().max(self.worked.get().saturating_sub(credit));
        self.owed.set(owed + written as u64 * self.burden.get());
        self.until(|| self.burden.get() == 0 || self.worked.get() >= self.owed.get()).await;
    }

    /// Waits until a condition holds or nobody works.
    pub async fn until(&self, mut condition: impl FnMut() -> bool) {
        let _waiting = Waiting::new(&self.waiting);
        self.moved.until(|| (condition() || !self.working.get()).then_some(())).await;
    }
}

/// Somebody sees to flushes and compactions; see [`Pace::work`].
pub struct Working<'a>(&'a Pace);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.set(false);
        self.0.moved.notify();
    }
}

struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Waiting<'a> {
        count.set(count.get() + 1);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
