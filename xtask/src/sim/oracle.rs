//! Judges what the database says while it runs: events, answers and reads, against the model.

use super::model::{Entry, Key, Model};
use kvass::commit::Outcome;
use kvass::db::{ChangeKind, CommitEvent};
use kvass::error::{Code, Error};
use kvass::stamp::Stamp;
use kvass::value::{self, Arithmetic};

/// Why a run failed: which check, and what it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub check: &'static str,
    pub detail: String,
}

pub type Verdict = Result<(), Failure>;

pub fn fail(check: &'static str, detail: impl Into<String>) -> Verdict {
    Err(Failure { check, detail: detail.into() })
}

/// A mutation as it was sent.
#[derive(Clone, Debug)]
pub enum Sent {
    Set { key: Key, value: Vec<u8>, live_ms: Option<u64> },
    Delete { key: Key },
    Sum { key: Key, value: Vec<u8> },
}

/// What is known of a commit that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    UnderWay,
    /// Its future was dropped: it may or may not have been decided.
    Abandoned,
    /// An error was answered: it is not applied, and comes back only if the process ends before
    /// a repair.
    Failed,
    Answered,
}

/// A commit that was handed in, numbered from 1.
#[derive(Clone, Debug)]
pub struct Submission {
    pub number: u64,
    pub strict: bool,
    pub checks: Vec<(Key, Option<Stamp>)>,
    pub mutations: Vec<Sent>,
    /// Engine time when it was handed in.
    pub since_ms: u64,
    pub fate: Fate,
}

/// A commit that was published.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    pub stamp: Stamp,
    /// None for an expiry.
    pub number: Option<u64>,
}

/// Each commit writes its number under one of these keys.
pub const MARKERS: u64 = 64;

pub fn marker_key(number: u64) -> Key {
    vec![0x02, b'm', b'0' + (number % MARKERS / 8) as u8, b'0' + (number % 8) as u8, 0]
}

pub fn marker_value(number: u64) -> Vec<u8> {
    [&[3][..], &number.to_be_bytes()].concat()
}

pub fn marker_of(key: &[u8], value: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(value.strip_prefix(&[3])?.try_into().ok()?);
    (key == marker_key(number)).then_some(number)
}

#[derive(Default)]
pub struct Oracle {
    pub model: Model,
    /// In the order of their stamps.
    pub history: Vec<Published>,
    /// By number, from 1 on.
    pub submissions: Vec<Submission>,
    /// All commits up to here survive a power cut.
    pub durable: Stamp,
    /// The last commit that was acknowledged.
    pub acknowledged: Stamp,
    /// The greatest stamp ever seen.
    pub greatest: Stamp,
    /// Whether anything happened in this open that allows for errors.
    pub disturbed: bool,
}

impl Oracle {
    /// The last commit that was published.
    pub fn last(&self) -> Stamp {
        self.history.last().map_or(Stamp::ZERO, |last| last.stamp)
    }

    pub fn submission(&mut self, number: u64) -> Option<&mut Submission> {
        self.submissions.get_mut(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// The highest number that was published.
    pub fn last_number(&self) -> u64 {
        self.history.iter().rev().find_map(|published| published.number).unwrap_or(0)
    }

    /// A commit is told to observers.
    pub fn event(&mut self, event: &CommitEvent, now_ms: u64) -> Verdict {
        if event.stamp <= self.greatest.max(self.last()) {
            return fail("stamps rise", format!("{} after {}", event.stamp, self.greatest));
        }
        self.greatest = event.stamp;
        let mut markers = event.changes.iter().rev().filter_map(|change| match &change.change {
            ChangeKind::Set(value) => marker_of(&change.key, &value.to_vec()),
            _ => None,
        });
        let number = markers.next();
        match number {
            Some(number) => self.user_event(event, number, now_ms)?,
            None => self.expiry_event(event, now_ms)?,
        }
        self.history.push(Published { stamp: event.stamp, number });
        Ok(())
    }

    fn user_event(&mut self, event: &CommitEvent, number: u64, now_ms: u64) -> Verdict {
        let last = self.last_number();
        let Some(submission) = self.submission(number).cloned() else {
            return fail("events", format!("commit {number} was never handed in"));
        };
        if number <= last {
            return fail("commits keep their order", format!("commit {number} after {last}"));
        }
        if submission.fate == Fate::Failed {
            return fail("a refused commit is undone", format!("commit {number} is published"));
        }
        if let Some(place) = self.broken_check(&submission, self.last(), now_ms) {
            let detail = format!("commit {number}, check {place} does not hold");
            return fail("checks hold", detail);
        }
        let mut told = event.changes.iter();
        for mutation in &submission.mutations {
            let change = told.next();
            let found = change.and_then(|change| match &change.change {
                ChangeKind::Set(value) => Some(value.to_vec()),
                _ => None,
            });
            let written =
                self.apply(mutation, event.stamp, submission.since_ms, now_ms, found.as_deref());
            let Ok((key, value)) = written else {
                return fail("sums add up", format!("commit {number} in event {}", event.stamp));
            };
            let same = change.is_some_and(|change| *change.key == *key) && found == value;
            if !same {
                let detail = format!("commit {number}: {mutation:?} is told as {change:?}");
                return fail("events tell what was written", detail);
            }
        }
        match told.next() {
            Some(change) => fail("events tell what was written", format!("also {change:?}")),
            None => Ok(()),
        }
    }

    /// Applies a mutation; returns the key and what it holds now. Where there are two values it
    /// may hold, `found` decides.
    pub fn apply(
        &mut self,
        mutation: &Sent,
        stamp: Stamp,
        since_ms: u64,
        now_ms: u64,
        found: Option<&[u8]>,
    ) -> Result<(Key, Option<Vec<u8>>), ()> {
        let (key, value, live_ms) = match mutation {
            Sent::Set { key, value, live_ms } => (key, Some(value.clone()), *live_ms),
            Sent::Delete { key } => (key, None, None),
            Sent::Sum { key, value } => {
                let sums = self.sums(key, value, since_ms, now_ms);
                let fitting = sums.iter().find(|sum| found == Some(sum)).or(sums.first());
                (key, Some(fitting.ok_or(())?.clone()), None)
            }
        };
        let expires = live_ms.map(|live| ((since_ms + live).max(1), (now_ms + live).max(1)));
        let entry = value.clone().map(|value| Entry { stamp, value, expires });
        self.model.write(key, stamp, entry);
        Ok((key.clone(), value))
    }

    /// What adding to a key may come to.
    fn sums(&self, key: &[u8], operand: &[u8], since_ms: u64, now_ms: u64) -> Vec<Vec<u8>> {
        let entry = self.model.at(key, Stamp::MAX);
        let presence = self.model.presence(entry, since_ms, now_ms);
        let there = entry.filter(|_| presence.can_be_there).map(|entry| Some(&*entry.value));
        let bases = there.into_iter().chain(presence.can_be_absent.then_some(None));
        bases.filter_map(|base| value::apply(Arithmetic::Sum, base, operand).ok()).collect()
    }

    /// The first check that surely does not hold after the commit `before`.
    fn broken_check(&self, it: &Submission, before: Stamp, now_ms: u64) -> Option<usize> {
        it.checks.iter().position(|(key, expected)| {
            let entry = self.model.at(key, before);
            let presence = self.model.presence(entry, it.since_ms, now_ms);
            match expected {
                None => !presence.can_be_absent,
                Some(_) => !(presence.can_be_there && entry.map(|entry| entry.stamp) == *expected),
            }
        })
    }

    /// Whether the check at `place` may fail after the commit `before`.
    fn can_fail(&self, it: &Submission, place: usize, before: Stamp, now_ms: u64) -> bool {
        it.checks.get(place).is_some_and(|(key, expected)| {
            let entry = self.model.at(key, before);
            let presence = self.model.presence(entry, it.since_ms, now_ms);
            match expected {
                None => presence.can_be_there,
                Some(_) => presence.can_be_absent || entry.map(|entry| entry.stamp) != *expected,
            }
        })
    }

    /// An expiry deletes only what has expired.
    fn expiry_event(&mut self, event: &CommitEvent, now_ms: u64) -> Verdict {
        for change in &event.changes {
            let entry = self.model.at(&change.key, Stamp::MAX);
            let due =
                entry.and_then(|entry| entry.expires).is_some_and(|(first, _)| first <= now_ms);
            if !matches!(change.change, ChangeKind::Expire) || !due {
                let detail = format!("{} tells {change:?} of {entry:?}", event.stamp);
                return fail("only what is due expires", detail);
            }
            self.model.write(&change.key, event.stamp, None);
        }
        Ok(())
    }

    /// A commit is answered.
    pub fn answer(&mut self, number: u64, answer: &Result<Outcome, Error>, now_ms: u64) -> Verdict {
        let published = self.history.iter().find(|it| it.number == Some(number)).copied();
        let Some(submission) = self.submission(number).cloned() else {
            return fail("answers", format!("commit {number} was never handed in"));
        };
        let mut fate = Fate::Answered;
        let verdict = match answer {
            Ok(Outcome::Committed(stamp)) => {
                self.acknowledged = self.acknowledged.max(*stamp);
                if submission.strict {
                    self.durable = self.durable.max(*stamp);
                }
                match published.is_some_and(|published| published.stamp == *stamp) {
                    true => Ok(()),
                    false => fail(
                        "an acknowledged commit is published",
                        format!("commit {number} is answered {stamp}, published {published:?}"),
                    ),
                }
            }
            Ok(Outcome::CheckFailed(place)) => {
                let before = self.before(number);
                match self.can_fail(&submission, *place as usize, before, now_ms) {
                    true if published.is_none() => Ok(()),
                    _ => fail(
                        "only a broken check fails",
                        format!("commit {number}, check {place}: {:?}", submission.checks),
                    ),
                }
            }
            Err(error) => {
                fate = Fate::Failed;
                self.refusal(&submission, error, published)
            }
        };
        if let Some(submission) = self.submission(number) {
            submission.fate = fate;
        }
        verdict
    }

    fn refusal(
        &self,
        submission: &Submission,
        error: &Error,
        published: Option<Published>,
    ) -> Verdict {
        let number = submission.number;
        match error.code() {
            Code::TypeMismatch => {
                let sums = |it: &Sent| matches!(it, Sent::Sum { .. });
                match submission.mutations.iter().any(sums) {
                    true => Ok(()),
                    false => fail("answers", format!("commit {number}: {error:?}")),
                }
            }
            Code::OutcomeUnknown if self.disturbed => Ok(()),
            Code::Io | Code::QuotaExceeded | Code::Closed if self.disturbed => match published {
                None => Ok(()),
                Some(it) => fail(
                    "a refused commit is undone",
                    format!("commit {number} is published as {} and answered {error:?}", it.stamp),
                ),
            },
            _ => fail("nothing fails without a fault", format!("commit {number}: {error:?}")),
        }
    }

    /// The last commit published before the one with this number.
    fn before(&self, number: u64) -> Stamp {
        let earlier = |it: &&Published| it.number.is_none_or(|other| other < number);
        self.history.iter().take_while(earlier).last().map_or(Stamp::ZERO, |it| it.stamp)
    }
}
