//! Large values that deletes in memory hide. Nothing is read when a key is deleted, so what it held
//! is looked for once nobody writes: if it is much, the deletes are written out, and the compaction
//! that frees it follows.

use super::Db;
use crate::compaction::LOOK_COST;
use crate::env::Env;
use crate::memtable::{Memtable, Page};
use crate::record::{Op, Record};
use crate::stamp::Stamp;
use crate::table::Wanted;
use std::cell::Cell;
use std::rc::Rc;

/// This many keys of a memtable are looked through at once.
const PAGE_KEYS: usize = 256;

/// What is known of the deletes of the active memtable.
#[derive(Default)]
pub(super) struct Dead {
    /// The memtable is worth writing out at so many deletes, of whatever is usual in the tables.
    pub deletes_due: Cell<u64>,
    /// The same for so many bytes of tables that are hidden, with their large values.
    pub bytes_due: Cell<u64>,
    /// How many deletes had come when they were looked at, and through which commit.
    deletes: Cell<u64>,
    through: Cell<Stamp>,
    /// The bytes of the large values that they hide.
    bytes: Cell<u64>,
}

impl Dead {
    /// Begins anew, with an empty memtable.
    pub fn clear(&self) {
        self.deletes.set(0);
        self.through.set(Stamp::ZERO);
        self.bytes.set(0);
    }

    /// The bytes of large values that are known to be dead.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

impl<E: Env> Db<E> {
    /// Whether there are deletes that were not looked at, and large values that they may hide.
    pub(super) fn has_new_deletes(&self) -> bool {
        let view = self.view.borrow();
        let is_new = view.active.deleted() != self.dead.deletes.get();
        is_new && view.frozen.is_none() && !self.tables.blobs.is_empty()
    }

    /// Looks for what the deletes of the active memtable hide that were not looked at.
    pub(super) async fn look_for_dead(&self) {
        let (view, through) = (self.view(), self.assigned.get());
        let deletes = view.active.deleted();
        let bytes = self.dead_below(&view.active, self.dead.through.get()).await;
        let dead = &self.dead;
        if Rc::ptr_eq(&view.active, &self.view.borrow().active) {
            dead.deletes.set(deletes);
            dead.through.set(through);
            dead.bytes.set(dead.bytes.get().saturating_add(bytes));
        }
    }

    /// The bytes of the large values in tables that deletes after `after` in a memtable above them
    /// hide. What can't be read counts as none: whoever reads it is told.
    pub(super) async fn dead_below(&self, memtable: &Memtable, after: Stamp) -> u64 {
        if self.tables.blobs.is_empty() {
            return 0;
        }
        let version = self.view().version.clone();
        let (mut page, mut last, mut bytes) = (Page::default(), None, 0u64);
        loop {
            page.clear();
            last = memtable.versions(last.as_deref(), PAGE_KEYS, &mut page);
            for Record { key, stamp, op } in page.iter() {
                if op == Op::Delete && after < stamp {
                    if let Ok(Some(found)) = version.find(Wanted::new(key, Stamp::MAX)).await {
                        bytes = bytes.saturating_add(found.large_bytes());
                    }
                    self.breathe(LOOK_COST).await;
                }
            }
            if last.is_none() || self.closed.get() {
                return bytes;
            }
            self.breathe(0).await;
        }
    }
}
