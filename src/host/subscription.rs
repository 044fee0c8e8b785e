//! Who wants to hear of which commits: watches of keys, and ranges of changes.

use super::outbox::Outbox;
use crate::db::{ChangeKind, ChangeRecord, CommitEvent};
use crate::history::Reader;
use crate::planted::{Bug, planted};
use crate::ranges::Ranges;
use crate::stamp::Stamp;
use crate::wire::{Blob, Change, Entry, Event, Response, Value};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

/// One subscription of one connection.
pub(super) struct Subscription {
    pub(super) id: u32,
    kind: Kind,
    /// Commits wait here until the subscriber is told where it begins, and while the first state of
    /// a watch is being read.
    held: RefCell<Option<Vec<Rc<CommitEvent>>>>,
    /// The subscriber hears of commits after this one.
    since: Cell<Stamp>,
    /// Where it catches up: it reads of commits, and hears of none yet.
    reader: RefCell<Option<Rc<Reader>>>,
    /// The last of the commits that it was not told of, and how many those are.
    missed: Cell<(Stamp, u64)>,
}

enum Kind {
    /// Keys and their places in the client's list, ordered by key.
    Watch(Vec<Watched>),
    /// As if the ranges were deleted: those find keys fast.
    Changes(Ranges),
}

type Watched = (Vec<u8>, u32);

impl Subscription {
    /// A watch, which holds events back until [`Subscription::release`].
    pub(super) fn watch(id: u32, keys: &[Blob<'_>]) -> Subscription {
        let mut places: Vec<Watched> = Vec::with_capacity(keys.len());
        for (place, key) in (0..).zip(keys) {
            let at = places.partition_point(|(other, _)| **other <= **key);
            places.insert(at, (key.to_vec(), place));
        }
        let held = RefCell::new(Some(Vec::new()));
        Subscription { held, ..Subscription::new(id, Kind::Watch(places), Stamp::ZERO) }
    }

    /// The commits after `since` that touch `ranges`. One that `begins_now` holds events back until
    /// [`Subscription::begin`].
    pub(super) fn changes(
        id: u32,
        ranges: &[(Blob<'_>, Blob<'_>)],
        since: Stamp,
        begins_now: bool,
    ) -> Subscription {
        let mut all = Ranges::default();
        for (start, end) in ranges {
            all.insert(&Rc::from(&**start), &Rc::from(&**end), Stamp::MAX, Stamp::MAX);
        }
        let held = RefCell::new(begins_now.then(Vec::new));
        Subscription { held, ..Subscription::new(id, Kind::Changes(all), since) }
    }

    fn new(id: u32, kind: Kind, since: Stamp) -> Subscription {
        let (held, reader, missed) = (RefCell::default(), RefCell::default(), Cell::default());
        Subscription { id, kind, held, since: Cell::new(since), reader, missed }
    }

    /// How many keys or ranges it is about.
    pub(super) fn len(&self) -> usize {
        match &self.kind {
            Kind::Watch(places) => places.len(),
            Kind::Changes(all) => all.fragments().len(),
        }
    }

    /// Adds the ranges of keys that it is about to what somebody is interested in.
    pub(super) fn add_to(&self, interest: &mut Ranges) {
        let mut add = |start: &Rc<[u8]>, end: &Rc<[u8]>| {
            interest.insert(start, end, Stamp::MAX, Stamp::MAX);
        };
        match &self.kind {
            Kind::Watch(places) => {
                for (key, _) in places {
                    add(&Rc::from(&**key), &[key, &[0][..]].concat().into());
                }
            }
            Kind::Changes(all) => all.fragments().iter().for_each(|one| add(&one.start, &one.end)),
        }
    }

    /// Has the subscriber catch up with `reader` before it hears of anything, or, with None, hear
    /// of the commits after `since`.
    pub(super) fn catch_up(&self, reader: Option<Rc<Reader>>, since: Stamp) {
        *self.reader.borrow_mut() = reader;
        self.since.set(since);
    }

    /// The answer to a subscriber that from now on hears of commits as they happen.
    pub(super) fn begun(&self) -> Response<'static> {
        Response::Committed(self.since.get().to_bytes())
    }

    /// Sends on what was held back: the subscriber is told where it begins.
    pub(super) fn begin(&self, outbox: &mut Outbox) {
        self.release(self.since.get(), outbox);
    }

    /// What the subscriber catches up with.
    pub(super) fn reader(&self) -> Option<Rc<Reader>> {
        self.reader.borrow().clone()
    }

    /// Sends on the commits after `since` that were held back, and all later ones at once.
    pub(super) fn release(&self, since: Stamp, outbox: &mut Outbox) {
        for event in self.held.take().unwrap_or_default() {
            if event.stamp > since {
                self.send(&event, outbox);
            }
        }
        self.tell_missed(outbox);
    }

    /// Puts what the subscriber wants to hear of a commit into its outbox.
    pub(super) fn offer(&self, event: &Rc<CommitEvent>, outbox: &mut Outbox) {
        match &mut *self.held.borrow_mut() {
            Some(_) if planted(Bug::HeldEventsLost) => {}
            Some(held) if self.concerns(event) => held.push(event.clone()),
            Some(_) => {}
            // It will read of this one.
            None if self.reader.borrow().is_some() => {}
            None => self.send(event, outbox),
        }
    }

    /// Counts a commit that the subscriber is not told of.
    pub(super) fn miss(&self, event: &CommitEvent) {
        let is_wanted = event.stamp > self.since.get() && self.concerns(event);
        if is_wanted && self.reader.borrow().is_none() {
            let (_, count) = self.missed.get();
            self.missed.set((event.stamp, count + 1));
        }
    }

    /// Tells how many commits it was not told of, if there are any, behind those that are held.
    pub(super) fn tell_missed(&self, outbox: &mut Outbox) {
        if self.held.borrow().is_some() {
            return;
        }
        let (last, missed) = self.missed.take();
        if missed > 0 {
            let versionstamp = last.to_bytes();
            outbox.event(Event::Lagged { id: self.id, versionstamp, missed });
        }
    }

    /// Whether the subscriber wants to hear of a change: of a key, or of all from it up to `end`.
    pub(super) fn wants(&self, key: &[u8], end: Option<&[u8]>) -> bool {
        match &self.kind {
            // It is told of states, and reads of no commits.
            Kind::Watch(_) => false,
            Kind::Changes(ranges) => overlaps(ranges, key, end),
        }
    }

    /// Whether the subscriber wants to hear of a commit.
    fn concerns(&self, event: &CommitEvent) -> bool {
        event.changes.iter().any(|record| match &self.kind {
            Kind::Watch(places) => !touched(places, record).is_empty(),
            Kind::Changes(ranges) => touches(ranges, record),
        })
    }

    /// Puts what the subscriber wants to hear of a commit into its outbox, at once.
    pub(super) fn send(&self, event: &CommitEvent, outbox: &mut Outbox) {
        // Most commits concern few of many: nothing is made for the others.
        if event.stamp <= self.since.get() || !self.concerns(event) {
            return;
        }
        match &self.kind {
            Kind::Watch(places) => self.send_states(places, event, outbox),
            Kind::Changes(ranges) => self.send_changes(ranges, event, outbox),
        }
    }

    fn send_states(&self, places: &[Watched], event: &CommitEvent, outbox: &mut Outbox) {
        let versionstamp = event.stamp.to_bytes();
        let mut entries: Vec<(u32, Option<Entry<'_>>)> = Vec::new();
        let mut told = vec![false; places.len()];
        for record in event.changes.iter().rev() {
            let Range { start: from, end: to } = touched(places, record);
            for ((_, place), told) in places.iter().zip(&mut told).take(to).skip(from) {
                // Of several changes of one key the last one counts, which comes first here.
                if std::mem::replace(told, true) {
                    continue;
                }
                let value = match &record.change {
                    ChangeKind::Set(value) => Some(Value::from(value)),
                    _ => None,
                };
                entries.push((*place, value.map(|value| Entry { versionstamp, value })));
            }
        }
        if !entries.is_empty() {
            outbox.event(Event::Watch { id: self.id, versionstamp, entries });
        }
    }

    fn send_changes(&self, ranges: &Ranges, event: &CommitEvent, outbox: &mut Outbox) {
        let wanted = event.changes.iter().filter(|record| touches(ranges, record));
        let changes: Vec<_> = wanted
            .map(|ChangeRecord { key, change }| match change {
                ChangeKind::Set(value) => Change::Set { key: Blob(key), value: value.into() },
                ChangeKind::Delete => Change::Delete { key: Blob(key) },
                ChangeKind::Expire => Change::Expire { key: Blob(key) },
                ChangeKind::DeleteRange(end) => {
                    Change::DeleteRange { start: Blob(key), end: Blob(end) }
                }
            })
            .collect();
        if !changes.is_empty() {
            let versionstamp = event.stamp.to_bytes();
            outbox.event(Event::Changes { id: self.id, versionstamp, changes });
        }
    }
}

/// Where those are of the watched keys that a change touches.
fn touched(places: &[Watched], ChangeRecord { key, change }: &ChangeRecord) -> Range<usize> {
    let from = places.partition_point(|(watched, _)| **watched < **key);
    let to = places.partition_point(|(watched, _)| match change {
        ChangeKind::DeleteRange(end) => **watched < **end,
        _ => **watched <= **key,
    });
    from..to
}

/// Whether a change touches one of the ranges.
pub(super) fn touches(ranges: &Ranges, ChangeRecord { key, change }: &ChangeRecord) -> bool {
    match change {
        ChangeKind::DeleteRange(past) => overlaps(ranges, key, Some(past)),
        _ => overlaps(ranges, key, None),
    }
}

/// Whether one of the ranges has a key, or some of those from it up to `past`.
fn overlaps(ranges: &Ranges, key: &[u8], past: Option<&[u8]>) -> bool {
    let cover = ranges.cover(key, Stamp::MAX);
    let next = past.zip(cover.end);
    cover.stamp > Stamp::ZERO || next.is_some_and(|(past, next)| *next < *past)
}
