//! Reading the change log: no gap, no repeat, and gone only where that was configured.

use super::oracle::{Verdict, fail};
use super::world::{Database, Done, World};
use kvass::db::{ChangeKind, ChangeRecord, CommitEvent};
use kvass::error::{Code, Error};
use kvass::limits::{CATCH_UP_LEASE_MS, HISTORY_BYTES, HISTORY_LOGS_MAX};
use kvass::rng::Rng;
use kvass::stamp::Stamp;
use std::rc::Rc;

/// What a reader of the change log heard.
#[derive(Default)]
pub struct Heard {
    pub since: Stamp,
    /// The last commit that was published when it ended.
    pub through: Stamp,
    pub events: Vec<CommitEvent>,
    /// Engine time when it began.
    pub since_ms: u64,
    pub error: Option<Error>,
}

/// Changes in a form that can be compared: the key, what happened, and the value or the end.
pub fn plain(changes: &[ChangeRecord]) -> Vec<(&[u8], &'static str, Vec<u8>)> {
    let plain = |it| {
        let ChangeRecord { key, change }: &ChangeRecord = it;
        let (what, rest) = match change {
            ChangeKind::Set(value) => ("set", value.to_vec()),
            ChangeKind::Delete => ("deleted", Vec::new()),
            ChangeKind::Expire => ("expired", Vec::new()),
            ChangeKind::DeleteRange(end) => ("range deleted", end.to_vec()),
        };
        (&key[..], what, rest)
    };
    changes.iter().map(plain).collect()
}

async fn read(db: Rc<Database>, since: Stamp) -> Heard {
    let mut heard =
        Heard { since, through: since, events: Vec::new(), since_ms: db.now_ms(), error: None };
    let read = async {
        let reader = db.read_changes(since)?;
        while !db
            .next_changes(&reader, |_, _| true, |event| heard.events.push(event.clone()))
            .await?
        {}
        Ok(())
    };
    heard.error = read.await.err();
    heard.through = db.visible();
    heard
}

impl World {
    /// Reads what happened since some commit that survived all crashes so far.
    pub fn read_changes(&mut self, rng: &Rng) -> Verdict {
        let db = self.db()?;
        let published = &self.oracle.history;
        let since = match published.get(rng.below(published.len() as u64 + 1) as usize) {
            Some(published) => published.stamp,
            None => Stamp::ZERO,
        };
        if self.pages.is_some() {
            return self.ask_changes((vec![1], vec![0xff]), Some(since), rng);
        }
        let polled = self.tasks.spawn(0, async move { Done::Changes(read(db, since).await) });
        self.polled(polled).map(|_| ())
    }

    /// Holds what a reader heard against what was published.
    pub fn heard_changes(&mut self, heard: Heard) -> Verdict {
        if let Some(error) = &heard.error
            && error.code() == Code::HistoryGone
        {
            return match self.may_be_gone(&heard) {
                true => Ok(()),
                false => fail("history is kept as configured", format!("{error:?}")),
            };
        }
        let ended = heard.error.clone().map_or(Ok(()), Err);
        let through = match self.readable("reading changes", ended)? {
            Some(()) => heard.through,
            // What came before a failure is right all the same.
            None => heard.events.last().map_or(heard.since, |event| event.stamp),
        };
        self.counts.reads += 1;
        self.compare(&heard, through)
            .or_else(|detail| fail("changes have no gap and no repeat", detail))
    }

    fn compare(&self, Heard { since, events, .. }: &Heard, through: Stamp) -> Result<(), String> {
        if !events.is_sorted_by(|a, b| a.stamp < b.stamp) {
            return Err("stamps do not rise".to_string());
        }
        // An expiry that nobody heard of before a crash, and that survived it, is told of here.
        let unheard = |event: &CommitEvent| {
            event.changes.iter().all(|it| matches!(it.change, ChangeKind::Expire))
        };
        let mut told = events.iter();
        let published = self.oracle.history.iter().map(|published| published.stamp);
        for stamp in published.filter(|stamp| since < stamp && *stamp <= through) {
            let wanted = self.oracle.heard.get(&stamp);
            if wanted.is_some_and(|wanted| wanted.changes.is_empty()) {
                continue;
            }
            let found = told.find(|event| event.stamp >= stamp || !unheard(event));
            let right = found.is_some_and(|found| {
                let told = plain(&found.changes);
                let same = wanted.is_none_or(|wanted| plain(&wanted.changes) == told);
                found.stamp == stamp && same
            });
            if !right {
                return Err(format!("since {since}: {found:?} instead of {stamp}, {wanted:?}"));
            }
        }
        match told.find(|event| !unheard(event)) {
            Some(event) => Err(format!("since {since}: {event:?} was not published")),
            None => Ok(()),
        }
    }

    /// Whether something let history go: its configuration, a fault (a repair leaves
    /// behind the log that it is in doubt of), or too many logs, each begun by an open or after
    /// some commits.
    fn may_be_gone(&self, heard: &Heard) -> bool {
        let now_ms = self.db.as_ref().map_or(0, |db| db.now_ms());
        let logs = self.opens + self.counts.commits / 2;
        self.plan.config.history.bytes < HISTORY_BYTES
            || self.counts.faults() > 0
            || logs > HISTORY_LOGS_MAX as u64
            || now_ms - heard.since_ms > CATCH_UP_LEASE_MS
    }
}
