//! Judges what the database says while it runs: events, answers and reads, against the model.

use super::model::{Entry, Key, Model};
use kvass::commit::Outcome;
use kvass::db::{ChangeKind, ChangeRecord, CommitEvent};
use kvass::error::{Code, Error};
use kvass::stamp::Stamp;
use kvass::value::{self, Arithmetic};
use std::collections::BTreeMap;

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
    DeleteRange { key: Key, end: Key },
}

impl Sent {
    /// Where it begins.
    pub fn key(&self) -> &[u8] {
        match self {
            Sent::Set { key, .. }
            | Sent::Delete { key }
            | Sent::Sum { key, .. }
            | Sent::DeleteRange { key, .. } => key,
        }
    }

    /// Whether it deletes, by its range, all that an earlier mutation of the commit did.
    fn undoes(&self, earlier: &Sent) -> bool {
        match (self, earlier) {
            (_, Sent::DeleteRange { .. }) => false,
            (Sent::DeleteRange { key, end }, other) => {
                **key <= *other.key() && *other.key() < **end
            }
            _ => false,
        }
    }

    /// Whether this is what was told of it: that a key, from then on, holds `value`.
    fn is_told(&self, told: &ChangeRecord, value: Option<&[u8]>) -> bool {
        let right = match (self, &told.change) {
            (Sent::DeleteRange { end, .. }, ChangeKind::DeleteRange(past)) => **past == **end,
            (Sent::DeleteRange { .. }, _) | (_, ChangeKind::DeleteRange(_)) => false,
            (_, ChangeKind::Set(told)) => value == Some(&told.to_vec()),
            (_, ChangeKind::Delete | ChangeKind::Expire) => value.is_none(),
        };
        right && *told.key == *self.key()
    }
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
    /// Commits of one line keep their order; frames of different pages are in different ones.
    pub line: u64,
    pub strict: bool,
    pub checks: Vec<(Key, Option<Stamp>)>,
    pub mutations: Vec<Sent>,
    /// Engine time when it was handed in.
    pub since_ms: u64,
    pub fate: Fate,
    /// It was sent again, and it may be that a fault had refused it and that a later one of its
    /// line was decided since: it is refused then.
    pub may_be_passed: bool,
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

#[derive(Clone, Default)]
pub struct Oracle {
    pub model: Model,
    /// In the order of their stamps.
    pub history: Vec<Published>,
    /// By number, from 1 on.
    pub submissions: Vec<Submission>,
    /// What observers heard.
    pub heard: BTreeMap<Stamp, CommitEvent>,
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
        self.history.iter().filter_map(|published| published.number).max().unwrap_or(0)
    }

    /// The highest number in a line that was published.
    pub fn last_in(&self, line: u64) -> u64 {
        let numbers = self.history.iter().filter_map(|published| published.number);
        numbers.filter(|number| self.line_of(*number) == Some(line)).max().unwrap_or(0)
    }

    fn line_of(&self, number: u64) -> Option<u64> {
        self.submissions.get(number.checked_sub(1)? as usize).map(|it| it.line)
    }

    /// Whether a commit of the line after this one was decided, as far as can be told from here: it
    /// was published, or it may have been refused.
    pub fn may_be_passed(&self, submission: &Submission) -> bool {
        let is_refusable = |it: &Submission| {
            !it.checks.is_empty() || it.mutations.iter().any(|it| matches!(it, Sent::Sum { .. }))
        };
        let later = self.submissions.iter().skip(submission.number as usize);
        let mut in_line = later.filter(|it| it.line == submission.line);
        self.last_in(submission.line) > submission.number || in_line.any(is_refusable)
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
        self.heard.insert(event.stamp, event.clone());
        Ok(())
    }

    fn user_event(&mut self, event: &CommitEvent, number: u64, now_ms: u64) -> Verdict {
        let Some(submission) = self.submission(number).cloned() else {
            return fail("events", format!("commit {number} was never handed in"));
        };
        let last = self.last_in(submission.line);
        let again = self.history.iter().any(|it| it.number == Some(number));
        if again || number <= last {
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
        for (place, mutation) in (1..).zip(&submission.mutations) {
            let later = submission.mutations.iter().skip(place);
            let undone = later.into_iter().any(|later| later.undoes(mutation));
            let change = if undone { None } else { told.next() };
            let found = change.and_then(|change| match &change.change {
                ChangeKind::Set(value) => Some(value.to_vec()),
                _ => None,
            });
            let (stamp, since_ms) = (event.stamp, submission.since_ms);
            let written = self.apply(mutation, stamp, since_ms, now_ms, found.as_deref());
            let Ok(value) = written else {
                return fail("sums add up", format!("commit {number} in event {}", event.stamp));
            };
            let told = |change| mutation.is_told(change, value.as_deref());
            if !undone && !change.is_some_and(told) {
                let detail = format!("commit {number}: {mutation:?} is told as {change:?}");
                return fail("events tell what was written", detail);
            }
        }
        match told.next() {
            Some(change) => fail("events tell what was written", format!("also {change:?}")),
            None => Ok(()),
        }
    }

    /// Applies a mutation; returns what its key holds now. Where there are two values it may hold,
    /// `found` decides.
    pub fn apply(
        &mut self,
        mutation: &Sent,
        stamp: Stamp,
        since_ms: u64,
        now_ms: u64,
        found: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, ()> {
        let (key, value, live_ms) = match mutation {
            Sent::Set { key, value, live_ms } => (key, Some(value.clone()), *live_ms),
            Sent::Delete { key } => (key, None, None),
            Sent::DeleteRange { key, end } => {
                self.model.delete_range(key, end, stamp);
                return Ok(None);
            }
            Sent::Sum { key, value } => {
                let sums = self.sums(key, value, since_ms, now_ms);
                let fitting = sums.iter().find(|sum| found == Some(sum)).or(sums.first());
                (key, Some(fitting.ok_or(())?.clone()), None)
            }
        };
        let expires = live_ms.map(|live| ((since_ms + live).max(1), (now_ms + live).max(1)));
        let entry = value.clone().map(|value| Entry { stamp, value, expires });
        self.model.write(key, stamp, entry);
        Ok(value)
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
                let fails = |before| self.can_fail(&submission, *place as usize, before, now_ms);
                match self.moments(&submission).into_iter().any(fails) {
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
            // No run has so many clients that answers are forgotten.
            Code::OutcomeUnknown if self.disturbed => match published {
                Some(_) => Ok(()),
                None => fail("what is unknown was applied", format!("commit {number}: {error:?}")),
            },
            Code::Io if submission.may_be_passed && published.is_none() => Ok(()),
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

    /// The commits behind any of which this one, which was not published, may have been decided:
    /// the last before it in its line, or what is no part of that since.
    fn moments(&self, submission: &Submission) -> Vec<Stamp> {
        let mut moments = vec![Stamp::ZERO];
        for it in &self.history {
            let in_line = |other: &u64| self.line_of(*other) == Some(submission.line);
            match it.number.filter(in_line) {
                Some(other) if other > submission.number => break,
                Some(_) => moments.clear(),
                None => {}
            }
            moments.push(it.stamp);
        }
        moments
    }
}
