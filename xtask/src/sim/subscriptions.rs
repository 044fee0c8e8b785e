//! What subscribers must hear: every commit that touches theirs, once and in order.

use super::changes::plain;
use super::model::{Key, Seen};
use super::oracle::{Verdict, fail};
use super::pages::{Beside, bytes_of, stored};
use super::world::World;
use kvass::blob::Value;
use kvass::bytes::Bytes;
use kvass::db::{ChangeKind, ChangeRecord, CommitEvent};
use kvass::stamp::Stamp;
use kvass::wire::{Change, Event};
use std::collections::BTreeMap;
use std::rc::Rc;

const CHECK: &str = "subscribers hear of every commit once";

/// A subscription of a page.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub id: u32,
    pub client: u8,
    /// Those that are watched; none where it is one to changes.
    pub keys: Vec<Key>,
    pub range: (Key, Key),
    /// Engine time when it was asked for.
    since_ms: u64,
    /// Where it is to catch up from.
    pub since: Option<Stamp>,
    /// It was asked for; what follows is asked for by `More`.
    pub is_asked: bool,
    pub is_ending: bool,
    /// The last commit that it knows of; None while it has not begun.
    cursor: Option<Stamp>,
    /// It hears of commits as they happen.
    is_live: bool,
    /// What came before the answer that says where it begins.
    early: Vec<CommitEvent>,
}

impl Subscription {
    fn new(id: u32, client: u8, range: (Key, Key), since: Option<Stamp>) -> Subscription {
        let (keys, early) = (Vec::new(), Vec::new());
        let (is_asked, is_ending, is_live) = (false, false, false);
        Subscription {
            id,
            client,
            keys,
            range,
            since_ms: 0,
            since,
            is_asked,
            is_ending,
            cursor: since,
            is_live,
            early,
        }
    }

    /// To the state of keys.
    pub fn watch(id: u32, client: u8, keys: Vec<Key>, since_ms: u64) -> Subscription {
        let whole = (Vec::new(), Vec::new());
        Subscription { keys, since_ms, ..Subscription::new(id, client, whole, None) }
    }

    /// To the commits that touch a range.
    pub fn changes(id: u32, client: u8, range: (Key, Key), since: Option<Stamp>) -> Subscription {
        Subscription::new(id, client, range, since)
    }

    /// From now on it hears of commits as they happen, the first being the one after `last`
    /// unless it has caught up.
    pub fn begin(&mut self, last: Stamp) {
        self.is_live = true;
        if self.cursor.is_none() {
            self.cursor = Some(last);
            self.early.retain(|event| event.stamp > last);
        }
    }

    /// What it is to hear of a commit.
    fn share(&self, event: &CommitEvent) -> Vec<ChangeRecord> {
        let (start, end) = &self.range;
        let touches = |it: &&ChangeRecord| match &it.change {
            ChangeKind::DeleteRange(past) => *it.key < **end && **start < **past,
            _ => (start.as_slice()..end).contains(&&*it.key),
        };
        event.changes.iter().filter(touches).cloned().collect()
    }

    /// What the watched keys hold after a commit that touches them, by their places.
    fn states(&self, event: &CommitEvent) -> BTreeMap<u32, Option<Vec<u8>>> {
        let mut states = BTreeMap::new();
        for it in &event.changes {
            for (place, key) in (0..).zip(&self.keys) {
                let state = match &it.change {
                    ChangeKind::DeleteRange(end) if *it.key <= **key && **key < **end => None,
                    ChangeKind::DeleteRange(_) => continue,
                    _ if *it.key != **key => continue,
                    ChangeKind::Set(value) => Some(value.to_vec()),
                    ChangeKind::Delete | ChangeKind::Expire => None,
                };
                states.insert(place, state);
            }
        }
        states
    }

    fn concerns(&self, event: &CommitEvent) -> bool {
        match self.keys.is_empty() {
            true => !self.share(event).is_empty(),
            false => !self.states(event).is_empty(),
        }
    }
}

/// A commit as a page hears of it.
pub fn event_of(event: &Event<'_>, beside: &mut Beside<'_>) -> Option<CommitEvent> {
    let Event::Changes { versionstamp, changes, .. } = event else { return None };
    let changes = changes.iter().map(|change| {
        let (key, change) = match change {
            Change::Set { key, value } => {
                let value = Bytes::copy(&bytes_of(value, beside));
                (key, ChangeKind::Set(Value::Inline(value)))
            }
            Change::Delete { key } => (key, ChangeKind::Delete),
            Change::Expire { key } => (key, ChangeKind::Expire),
            Change::DeleteRange { start, end } => (start, ChangeKind::DeleteRange(Rc::from(end.0))),
        };
        ChangeRecord { key: Rc::from(key.0), change }
    });
    let stamp = Stamp::from_bytes(*versionstamp);
    Some(CommitEvent { stamp, changes: changes.collect() })
}

/// What a watched key holds, by its place.
type State = (u32, Option<(Stamp, Vec<u8>)>);

fn states_of(event: &Event<'_>, beside: &mut Beside<'_>) -> Vec<State> {
    let Event::Watch { entries, .. } = event else { return Vec::new() };
    let state = |(place, entry): &(u32, Option<_>)| {
        (*place, entry.as_ref().map(|entry| stored(entry, beside)))
    };
    entries.iter().map(state).collect()
}

impl World {
    /// A page is told of something.
    pub fn told(&mut self, event: Event<'_>, beside: &mut Beside<'_>) -> Verdict {
        let (Event::Watch { id, .. } | Event::Changes { id, .. } | Event::Lagged { id, .. }) =
            &event;
        let changes = event_of(&event, beside);
        let states = states_of(&event, beside);
        let Some(subscription) = self.subscription(*id).cloned() else { return Ok(()) };
        match (&event, changes) {
            (Event::Watch { versionstamp, .. }, _) => {
                self.told_states(subscription, Stamp::from_bytes(*versionstamp), &states)
            }
            (_, Some(event)) if subscription.cursor.is_none() => {
                if let Some(subscription) = self.subscription(*id) {
                    subscription.early.push(event);
                }
                Ok(())
            }
            (_, Some(event)) => self.told_changes(subscription, &event),
            (_, None) => fail(CHECK, format!("{event:?} can't be read")),
        }
    }

    fn told_changes(&mut self, it: Subscription, event: &CommitEvent) -> Verdict {
        let next = self.next_for(&it);
        // An expiry that nobody heard of before a crash, and that survived it, is told of here.
        let unheard = !self.oracle.history.iter().any(|it| it.stamp == event.stamp)
            && event.changes.iter().all(|it| matches!(it.change, ChangeKind::Expire))
            && next.is_none_or(|next| event.stamp < next);
        if !unheard && next != Some(event.stamp) || it.cursor >= Some(event.stamp) {
            return fail(CHECK, format!("{it:?}: {} instead of {next:?}", event.stamp));
        }
        let wanted = self.oracle.heard.get(&event.stamp).map(|heard| it.share(heard));
        if wanted.as_ref().is_some_and(|wanted| plain(wanted) != plain(&event.changes)) {
            return fail(CHECK, format!("{it:?}: {event:?} instead of {wanted:?}"));
        }
        self.move_to(it.id, event.stamp)
    }

    fn told_states(&mut self, it: Subscription, stamp: Stamp, entries: &[State]) -> Verdict {
        if it.cursor.is_none() {
            let seen = Seen { stamp, from_ms: it.since_ms, to_ms: self.db()?.now_ms() };
            let places = entries.iter().map(|(place, _)| *place as usize);
            if !places.eq(0..it.keys.len()) {
                return fail(CHECK, format!("{it:?}: {} states", entries.len()));
            }
            for (key, (_, entry)) in it.keys.iter().zip(entries) {
                let found = entry.as_ref().map(|(stamp, value)| (*stamp, value.as_slice()));
                let right = self.oracle.model.check(key, seen, found);
                right.or_else(|detail| fail("watches tell what is there", detail))?;
            }
            if let Some(subscription) = self.subscription(it.id) {
                subscription.is_live = true;
            }
            return self.move_to(it.id, stamp);
        }
        let next = self.next_for(&it);
        let wanted = self.oracle.heard.get(&stamp).map(|heard| it.states(heard));
        let state = |(place, entry): &State| (*place, entry.as_ref().map(|it| it.1.clone()));
        let found: BTreeMap<_, _> = entries.iter().map(state).collect();
        match next == Some(stamp) && wanted.as_ref() == Some(&found) {
            true => self.move_to(it.id, stamp),
            false => {
                fail(CHECK, format!("{it:?}: {stamp} {found:?} instead of {next:?} {wanted:?}"))
            }
        }
    }

    fn move_to(&mut self, id: u32, stamp: Stamp) -> Verdict {
        if let Some(subscription) = self.subscription(id) {
            subscription.cursor = Some(stamp);
        }
        Ok(())
    }

    /// The next commit that a subscription is to hear of.
    fn next_for(&self, it: &Subscription) -> Option<Stamp> {
        let cursor = it.cursor?;
        let later = self.oracle.history.iter().map(|it| it.stamp).filter(|at| *at > cursor);
        let concerns =
            |stamp: &Stamp| self.oracle.heard.get(stamp).is_none_or(|event| it.concerns(event));
        later.into_iter().find(concerns)
    }

    /// Whoever hears of commits as they happen has heard of all.
    pub fn check_subscriptions(&mut self) -> Verdict {
        let all = self.pages.as_ref().map(|pages| pages.subscriptions.clone());
        for mut it in all.into_iter().flatten() {
            if !it.is_live {
                continue;
            }
            for event in std::mem::take(&mut it.early) {
                self.told_changes(it.clone(), &event)?;
                it.cursor = Some(event.stamp);
            }
            if let Some(subscription) = self.subscription(it.id) {
                subscription.early.clear();
            }
            if let Some(next) = self.next_for(&it).filter(|_| !it.is_ending) {
                return fail(CHECK, format!("{it:?} has not heard of {next}"));
            }
        }
        Ok(())
    }
}
