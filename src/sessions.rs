//! Sessions: what came of the commits of each client, kept until the client has heard it, so that
//! one that is sent again is answered from here and never applied twice.
//!
//! - A commit is known by its client and its sequence. Answers of sequences that follow on, under
//!   stamps that follow on, are one [`Run`]: a client that only writes has one of them.
//! - What a client has acknowledged is dropped. `through` is the highest sequence that was dropped
//!   or never will be asked for: a repeat at or below it is `OutcomeUnknown`.
//! - Above it, a sequence without an answer was never decided: it was a read, or failed and was
//!   undone. Behind all answers it is new. Before a later one it stays failed: applied now, it
//!   would take effect after what its client did after it.
//! - The log brings back what came after the last flush, the manifest what came before.
//! - Kept by count and age. Where answers went for want of room, `forgotten` is the last epoch of
//!   them: a client that nothing is known of may have been theirs if it first sent its commit in
//!   that epoch or before, and not otherwise.

use crate::commit::Outcome;
use crate::error::{Code, Error, Result};
use crate::limits::{RUNS_MAX, SESSION_AGE_MS, SESSIONS_MAX};
use crate::reader::Reader;
use crate::stamp::{COUNTER_MAX, Stamp};
use crate::wal::payload::{Client, Sender};
use serde::Serialize;
use std::cell::{Cell, RefCell};

const UNKNOWN: &str = "the commit was sent before, and what came of it is not known any more";
const PASSED: &str = "the commit failed, and later ones of its client were decided since";

/// The random number of a client.
pub type ClientId = [u8; 16];

/// Who sends commits, and which ones they are.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The client.
    pub client: ClientId,
    /// The sequence of the first commit; the others follow on.
    pub first: u64,
    /// The client has the answers up to this sequence.
    pub acked_through: u64,
    /// The epoch in which the commits were sent before; 0 where this is the first time.
    pub resend_of: u32,
}

impl Origin {
    /// The sender of the commit `sequence`, for the log.
    pub fn sender(&self, sequence: u64) -> Sender {
        let acked_through = self.acked_through.min(sequence);
        Sender { client: Client::New(self.client), sequence, acked_through }
    }
}

/// What was decided of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// It was applied.
    Applied,
    /// The check at this place did not hold.
    CheckFailed(u32),
    /// A mutation did not fit what it met: the message of the `TypeMismatch`.
    Mismatch(Box<str>),
}

impl Verdict {
    /// The answer to a commit with this verdict and stamp.
    ///
    /// # Errors
    /// `TypeMismatch`, if that is the answer.
    pub fn answer(&self, stamp: Stamp) -> Result<Outcome> {
        match self {
            Verdict::Applied => Ok(Outcome::Committed(stamp)),
            Verdict::CheckFailed(place) => Ok(Outcome::CheckFailed(*place)),
            Verdict::Mismatch(message) => {
                Err(Error::new(Code::TypeMismatch, String::from(&**message)))
            }
        }
    }

    fn decode(rest: &mut Reader<'_>) -> Option<Verdict> {
        Some(match rest.byte()? {
            0 => Verdict::Applied,
            1 => Verdict::CheckFailed(rest.u32()?),
            2 => Verdict::Mismatch(core::str::from_utf8(rest.bytes()?).ok()?.into()),
            _ => return None,
        })
    }
}

/// Commits whose sequences and stamps follow on and that had the same verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    sequence: u64,
    count: u64,
    stamp: Stamp,
    verdict: Verdict,
}

impl Run {
    fn end(&self) -> u64 {
        self.sequence + self.count
    }

    fn stamp_of(&self, sequence: u64) -> Stamp {
        let counter = self.stamp.counter + (sequence - self.sequence);
        Stamp { counter, ..self.stamp }
    }

    /// Keeps the commits through `stamp`; returns whether there are any.
    fn cut(&mut self, stamp: Stamp) -> bool {
        if self.stamp > stamp {
            return false;
        }
        if self.stamp.epoch == stamp.epoch {
            self.count = self.count.min(stamp.counter - self.stamp.counter + 1);
        }
        true
    }

    /// Keeps the commits behind `sequence`; returns whether there are any.
    fn drop_through(&mut self, sequence: u64) -> bool {
        if sequence >= self.sequence {
            let first = self.end().min(sequence.saturating_add(1));
            self.stamp = self.stamp_of(first);
            self.count = self.end() - first;
            self.sequence = first;
        }
        self.count > 0
    }

    fn decode(rest: &mut Reader<'_>) -> Option<Run> {
        let (sequence, count, stamp) = (rest.u64()?, rest.u64()?, rest.stamp()?);
        let last = stamp.counter.checked_add(count.checked_sub(1)?)?;
        let is_sound = last <= COUNTER_MAX && sequence.checked_add(count).is_some();
        let verdict = Verdict::decode(rest)?;
        is_sound.then_some(Run { sequence, count, stamp, verdict })
    }
}

/// What is known of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    client: ClientId,
    through: u64,
    used_ms: u64,
    /// By sequence.
    runs: Vec<Run>,
}

impl Session {
    /// Reads what serde wrote; None where it is something else.
    pub(crate) fn decode(rest: &mut Reader<'_>) -> Option<Session> {
        Some(Session {
            client: rest.array()?,
            through: rest.u64()?,
            used_ms: rest.u64()?,
            runs: rest.many(Run::decode)?,
        })
    }

    /// Adds an answer; returns whether that took another run.
    fn record(&mut self, sequence: u64, stamp: Stamp, verdict: Verdict) -> bool {
        let place = self.runs.partition_point(|run| run.sequence <= sequence);
        let before = place.checked_sub(1).and_then(|last| self.runs.get_mut(last));
        let follows = |run: &Run| {
            run.end() == sequence && run.stamp_of(sequence) == stamp && run.verdict == verdict
        };
        if let Some(run) = before.filter(|run| follows(run)) {
            run.count += 1;
            return false;
        }
        self.runs.insert(place, Run { sequence, count: 1, stamp, verdict });
        true
    }

    fn last_epoch(&self) -> u32 {
        self.runs.iter().map(|run| run.stamp.epoch).max().unwrap_or(0)
    }
}

/// The sessions of a database: few enough to be looked through one by one.
#[derive(Default)]
pub struct Sessions {
    sessions: RefCell<Vec<Session>>,
    forgotten: Cell<u32>,
}

impl Sessions {
    /// Those that a manifest has kept.
    pub fn new(sessions: Vec<Session>, forgotten: u32) -> Sessions {
        Sessions { sessions: RefCell::new(sessions), forgotten: Cell::new(forgotten) }
    }

    /// What came of a commit that was decided before, `OutcomeUnknown` where that is not known
    /// any more, `Io` where it failed and a later one of its client was decided since; None for one
    /// that is new.
    pub fn answer(&self, origin: &Origin, sequence: u64) -> Option<Result<Outcome>> {
        let sessions = self.sessions.borrow();
        let session = sessions.iter().find(|session| session.client == origin.client);
        let runs = session.map(|session| session.runs.as_slice()).unwrap_or_default();
        let place = runs.partition_point(|run| run.end() <= sequence);
        if let Some(run) = runs.get(place).filter(|run| run.sequence <= sequence) {
            return Some(run.verdict.answer(run.stamp_of(sequence)));
        }
        let through = session.map_or(0, |session| session.through).max(origin.acked_through);
        let is_lost =
            session.is_none() && origin.resend_of != 0 && origin.resend_of <= self.forgotten.get();
        if sequence <= through || is_lost {
            return Some(Err(Error::new(Code::OutcomeUnknown, UNKNOWN)));
        }
        (place < runs.len()).then(|| Err(Error::new(Code::Io, PASSED)))
    }

    /// Keeps what came of a commit of a client.
    pub fn record(
        &self,
        client: &ClientId,
        sender: &Sender,
        stamp: Stamp,
        verdict: Verdict,
        now_ms: u64,
    ) {
        let &Sender { sequence, acked_through, .. } = sender;
        let mut sessions = self.sessions.borrow_mut();
        let has_grown = match sessions.iter_mut().find(|session| session.client == *client) {
            Some(session) => {
                session.used_ms = now_ms;
                session.record(sequence, stamp, verdict)
            }
            None => {
                let runs = vec![Run { sequence, count: 1, stamp, verdict }];
                // Where answers were forgotten, those of this client may be among them.
                let through = match self.forgotten.get() {
                    0 => acked_through,
                    _ => sequence.saturating_sub(1),
                };
                sessions.push(Session { client: *client, through, used_ms: now_ms, runs });
                true
            }
        };
        if has_grown {
            self.make_room(&mut sessions);
        }
    }

    /// Drops what a client has heard.
    pub fn acknowledge(&self, client: &ClientId, acked_through: u64) {
        let mut sessions = self.sessions.borrow_mut();
        let session = sessions.iter_mut().find(|session| session.client == *client);
        if let Some(session) = session.filter(|session| session.through < acked_through) {
            session.through = acked_through;
            session.runs.retain_mut(|run| run.drop_through(acked_through));
        }
    }

    /// Drops a client that closes, unless there are answers that it has not heard: if the host ends
    /// before it hears them, it asks the next one.
    pub fn forget(&self, client: &ClientId) {
        let is_done = |session: &Session| session.client == *client && session.runs.is_empty();
        self.sessions.borrow_mut().retain(|session| !is_done(session));
    }

    /// Undoes every answer above `published`: what a failed write left behind.
    pub fn roll_back(&self, published: Stamp) {
        for session in self.sessions.borrow_mut().iter_mut() {
            session.runs.retain_mut(|run| run.cut(published));
        }
    }

    /// What the manifest is to keep: the answers through `stamp`, without those of sessions that
    /// were not used for long.
    pub fn through(&self, stamp: Stamp, now_ms: u64) -> Vec<Session> {
        self.sessions.borrow_mut().retain(|session| {
            let is_kept = session.used_ms.saturating_add(SESSION_AGE_MS) > now_ms;
            if !is_kept {
                self.lose(session.last_epoch());
            }
            is_kept
        });
        let mut kept = Vec::new();
        for session in self.sessions.borrow().iter() {
            let mut session = session.clone();
            session.runs.retain_mut(|run| run.cut(stamp));
            if !session.runs.is_empty() {
                kept.push(session);
            }
        }
        kept
    }

    /// Takes sessions that were used after `now_ms`, by a clock that was ahead, for ones used then.
    pub fn none_after(&self, now_ms: u64) {
        for session in self.sessions.borrow_mut().iter_mut() {
            session.used_ms = session.used_ms.min(now_ms);
        }
    }

    /// The last epoch of answers that went for want of room; 0 if none did.
    pub fn forgotten(&self) -> u32 {
        self.forgotten.get()
    }

    fn lose(&self, epoch: u32) {
        self.forgotten.set(self.forgotten.get().max(epoch));
    }

    /// Lets go of the sessions used longest ago, and of the oldest answers of one that has more
    /// than all may have.
    fn make_room(&self, sessions: &mut Vec<Session>) {
        loop {
            let runs: usize = sessions.iter().map(|session| session.runs.len()).sum();
            if sessions.len() <= SESSIONS_MAX && runs <= RUNS_MAX {
                return;
            }
            if let [session] = sessions.as_mut_slice() {
                let oldest = session.runs.remove(0);
                session.through = session.through.max(oldest.end() - 1);
                self.lose(oldest.stamp.epoch);
                continue;
            }
            let places = 0..sessions.len();
            let oldest = places.min_by_key(|place| sessions.get(*place).map(|one| one.used_ms));
            self.lose(sessions.remove(oldest.unwrap_or(0)).last_epoch());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::BTreeMap;

    const NOW: u64 = 1_700_000_000_000;

    fn origin(client: u8, resend_of: u32) -> Origin {
        Origin { client: [client; 16], first: 0, acked_through: 0, resend_of }
    }

    fn sender(sequence: u64, acked_through: u64) -> Sender {
        Sender { client: Client::Known(1), sequence, acked_through }
    }

    fn stamp(counter: u64) -> Stamp {
        Stamp { epoch: 1, counter }
    }

    fn is_unknown(answer: Option<Result<Outcome>>) -> bool {
        matches!(answer, Some(Err(error)) if error.code() == Code::OutcomeUnknown)
    }

    fn has_failed(answer: Option<Result<Outcome>>) -> bool {
        matches!(answer, Some(Err(error)) if error.code() == Code::Io)
    }

    fn runs(sessions: &Sessions) -> usize {
        sessions.sessions.borrow().iter().map(|session| session.runs.len()).sum()
    }

    fn verdict(rng: &Rng) -> Verdict {
        match rng.below(8) {
            0 => Verdict::CheckFailed(rng.below(2) as u32),
            1 => Verdict::Mismatch("not a number".into()),
            _ => Verdict::Applied,
        }
    }

    /// What a map of every answer says, for two clients through any history.
    #[test]
    fn every_answer_is_the_one_that_was_given_or_unknown_and_new_ones_are_new() {
        for seed in 0..300 {
            let rng = Rng::new(seed);
            let mut sessions = Sessions::default();
            let mut given: BTreeMap<(u8, u64), (Stamp, Verdict)> = BTreeMap::new();
            let (mut next, mut acked, mut counter) = ([1, 1], [0, 0], 0);
            for _ in 0..200 {
                let client = rng.below(2) as usize;
                let id = [client as u8; 16];
                match rng.below(12) {
                    0 => {
                        let through = acked[client] + rng.below(next[client] - acked[client]);
                        acked[client] = through;
                        sessions.acknowledge(&id, through);
                    }
                    1 => {
                        let published = stamp(counter - rng.below(counter.min(5) + 1));
                        sessions.roll_back(published);
                        given.retain(|_, (stamp, _)| *stamp <= published);
                    }
                    2 => {
                        let kept = sessions.through(Stamp::MAX, NOW);
                        let bytes = postcard::to_allocvec(&kept).unwrap();
                        let mut rest = Reader::new(&bytes, bytes.len());
                        let kept = rest.many(Session::decode).unwrap();
                        assert!(rest.is_at_end());
                        sessions = Sessions::new(kept, sessions.forgotten());
                    }
                    _ => {
                        // A read takes a sequence too.
                        let sequence = next[client] + rng.below(3) / 2;
                        next[client] = sequence + 1;
                        counter += 1 + rng.below(3) / 2;
                        let verdict = verdict(&rng);
                        let sender = sender(sequence, acked[client]);
                        sessions.record(&id, &sender, stamp(counter), verdict.clone(), NOW);
                        given.insert((client as u8, sequence), (stamp(counter), verdict));
                    }
                }
                for client in 0..2u8 {
                    let (next, acked) = (next[usize::from(client)], acked[usize::from(client)]);
                    for sequence in 1..next + 2 {
                        let answer = sessions.answer(&origin(client, 0), sequence);
                        match given.get(&(client, sequence)) {
                            Some((stamp, verdict)) if sequence > acked => {
                                assert_eq!(answer, Some(verdict.answer(*stamp)), "seed {seed}");
                            }
                            None if sequence > acked => {
                                let later = (client, sequence + 1)..(client + 1, 0);
                                let is_passed = given.range(later).next().is_some();
                                let held =
                                    if is_passed { has_failed(answer) } else { answer.is_none() };
                                assert!(held, "seed {seed}: {sequence} of {client}");
                            }
                            _ => assert!(answer.is_none() || is_unknown(answer)),
                        }
                        assert!(
                            sequence < next || sessions.answer(&origin(client, 0), next).is_none()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_client_that_closes_is_forgotten_once_it_has_heard_every_answer() {
        let sessions = Sessions::default();
        sessions.record(&[1; 16], &sender(1, 0), stamp(1), Verdict::Applied, NOW);
        sessions.forget(&[1; 16]);
        let answer = sessions.answer(&origin(1, 1), 1);
        assert_eq!(answer, Some(Ok(Outcome::Committed(stamp(1)))));
        sessions.acknowledge(&[1; 16], 1);
        sessions.forget(&[1; 16]);
        assert!(sessions.sessions.borrow().is_empty());
    }

    #[test]
    fn any_number_of_commits_that_follow_on_take_the_room_of_one() {
        let sessions = Sessions::default();
        for sequence in 1..100_000 {
            let sender = sender(sequence, 0);
            sessions.record(&[1; 16], &sender, stamp(sequence + 5), Verdict::Applied, NOW);
        }
        assert_eq!(runs(&sessions), 1);
        let answer = sessions.answer(&origin(1, 1), 70_000);
        assert_eq!(answer, Some(Ok(Outcome::Committed(stamp(70_005)))));
        sessions.acknowledge(&[1; 16], 70_000);
        assert!(is_unknown(sessions.answer(&origin(1, 1), 70_000)));
        let answer = sessions.answer(&origin(1, 1), 70_001);
        assert_eq!(answer, Some(Ok(Outcome::Committed(stamp(70_006)))));
    }

    #[test]
    fn a_client_that_was_forgotten_is_told_so_and_one_that_never_wrote_is_not() {
        let sessions = Sessions::default();
        for client in 0..=SESSIONS_MAX {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&client.to_le_bytes());
            let stamp = stamp(client as u64 + 1);
            sessions.record(&id, &sender(1, 0), stamp, Verdict::Applied, client as u64);
        }
        assert!(is_unknown(sessions.answer(&origin(0, 1), 1)), "it was used longest ago");
        assert!(sessions.answer(&origin(9, 2), 1).is_none(), "first sent after what was forgotten");
        assert!(sessions.answer(&origin(9, 0), 1).is_none(), "sent for the first time");
        assert_eq!(sessions.through(Stamp::MAX, SESSION_AGE_MS).len(), SESSIONS_MAX);
        assert_eq!(sessions.through(Stamp::MAX, 2 * SESSION_AGE_MS).len(), 0);
    }

    #[test]
    fn what_was_never_decided_has_failed_unless_its_answer_may_have_been_forgotten() {
        let sessions = Sessions::default();
        sessions.record(&[1; 16], &sender(5, 2), stamp(1), Verdict::Applied, NOW);
        assert!(is_unknown(sessions.answer(&origin(1, 1), 2)), "the client has heard of it");
        assert!(has_failed(sessions.answer(&origin(1, 1), 3)), "it failed and was undone");
        assert!(sessions.answer(&origin(1, 1), 6).is_none(), "nothing came after it");
        let kept = sessions.through(Stamp::MAX, NOW);
        assert!(has_failed(Sessions::new(kept, 0).answer(&origin(1, 1), 3)));
        let forgetful = Sessions::new(Vec::new(), 1);
        forgetful.record(&[1; 16], &sender(5, 2), stamp(1), Verdict::Applied, NOW);
        assert!(is_unknown(forgetful.answer(&origin(1, 1), 3)), "it may have been applied");
    }

    #[test]
    fn answers_that_are_too_old_are_unknown_and_those_of_a_client_in_use_stay() {
        let sessions = Sessions::default();
        for client in [1, 2] {
            let first = stamp(u64::from(client));
            sessions.record(&[client; 16], &sender(1, 0), first, Verdict::Applied, NOW);
        }
        sessions.record(&[2; 16], &sender(2, 0), stamp(3), Verdict::Applied, NOW + 1);
        sessions.through(Stamp::MAX, NOW + SESSION_AGE_MS);
        assert!(is_unknown(sessions.answer(&origin(1, 1), 1)), "it was applied");
        let answer = sessions.answer(&origin(2, 1), 1);
        assert_eq!(answer, Some(Ok(Outcome::Committed(stamp(2)))));
    }

    #[test]
    fn what_a_client_says_that_it_has_heard_is_no_new_commit_though_nothing_is_known_of_it() {
        let sessions = Sessions::default();
        let origin = Origin { acked_through: 5, ..origin(1, 0) };
        assert!(is_unknown(sessions.answer(&origin, 5)));
        assert!(sessions.answer(&origin, 6).is_none());
    }

    #[test]
    fn answers_past_the_bound_are_unknown_and_not_new() {
        let sessions = Sessions::default();
        for sequence in 1..=RUNS_MAX as u64 + 10 {
            let verdict = Verdict::CheckFailed(sequence as u32);
            let sender = sender(sequence, 0);
            sessions.record(&[1; 16], &sender, stamp(sequence), verdict, NOW);
        }
        assert_eq!(runs(&sessions), RUNS_MAX);
        assert!(is_unknown(sessions.answer(&origin(1, 1), 10)));
        assert!(matches!(sessions.answer(&origin(1, 1), 11), Some(Ok(Outcome::CheckFailed(11)))));
        // A power cut may take all that came after the flush.
        let flushed = sessions.through(stamp(10), NOW);
        let sessions = Sessions::new(flushed, sessions.forgotten());
        assert!(is_unknown(sessions.answer(&origin(1, 1), 10)));
        assert!(sessions.answer(&origin(1, 2), 11).is_none(), "first sent after that");
    }
}
