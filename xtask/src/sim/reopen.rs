//! Ends of an open, and what must be there at the next one.

use super::model::{Row, Seen};
use super::oracle::{Failure, Fate, Published, Sent, Verdict, fail, marker_of};
use super::plan::{End, How};
use super::reads::rows;
use super::sums::left_behind;
use super::world::{Disk, Done, World, storage_error};
use kvass::db::Db;
use kvass::env::manual::block_on;
use kvass::error::{Code, Error};
use kvass::manifest::{self, Loaded};
use kvass::rng::Rng;
use kvass::stamp::Stamp;
use kvass::storage::MANIFEST_SLOTS;
use kvass::storage::simulated::Fault;
use std::collections::{BTreeMap, BTreeSet};

/// How often a commit may be refused once all faults are over: for the failure that nobody was
/// told of, and for one that the first repair met.
const REFUSALS_MAX: usize = 3;

impl World {
    /// Opens the database for the first time.
    pub fn open(&mut self, rng: &Rng) -> Verdict {
        self.cut_opens(&[], rng)?;
        Ok(())
    }

    pub fn end(&mut self, end: &End, rng: &Rng) -> Verdict {
        self.closed_well = false;
        let (disk, kept) = match end.how {
            How::Close => {
                self.settle(rng)?;
                self.close(rng)?;
                self.counts.closes += 1;
                (self.disk.crash(rng), false)
            }
            How::Kill => {
                self.counts.kills += 1;
                (self.disk.restart(), true)
            }
            How::PowerCut => (self.disk.crash(rng), false),
            How::PowerCutAfter(calls) => {
                self.oracle.disturbed = true;
                self.disk.inject(None, calls, Fault::PowerCut);
                while !self.disk.powered_off() && self.poll(rng)? {}
                (self.disk.crash(rng), false)
            }
        };
        if !kept {
            self.counts.power_cuts += 1;
        }
        let gave_up = self.disk.gave_up();
        self.disk = disk;
        self.tasks.clear();
        let now_ms = self.db()?.now_ms();
        self.oracle.model.doubtful_ms = self.oracle.model.doubtful_ms.max(now_ms);
        // A flush that fails gives up what it could not write, the cache of the system included.
        let cached = kept && end.cuts.is_empty() && !gave_up;
        if cached || self.closed_well {
            self.oracle.durable = self.oracle.durable.max(self.oracle.last());
        }
        let (durable, last, disturbed) =
            (self.oracle.durable, self.oracle.last(), self.oracle.disturbed);
        // A snapshot that begins right after a failed write may bear the stamp of what was undone.
        let is_safe = |stamp| (cached || stamp <= durable) && (!disturbed || stamp <= last);
        self.end_grants(now_ms, is_safe);
        (self.db, self.pages) = (None, None);
        let rows = self.cut_opens(&end.cuts, rng)?;
        self.reconcile(&rows)?;
        self.resend()
    }

    fn close(&mut self, rng: &Rng) -> Verdict {
        let db = self.db()?;
        let polled = self.tasks.spawn(0, async move { Done::Close { result: db.close().await } });
        self.polled(polled)?;
        self.settle(rng)
    }

    /// Opens the database, with a power cut in the middle of some attempts; returns all there is.
    pub fn cut_opens(&mut self, cuts: &[u64], rng: &Rng) -> Result<Vec<Row>, Failure> {
        for after in cuts {
            self.disk.inject(None, *after, Fault::PowerCut);
            let (env, options) = self.environment();
            if let Err(error) = block_on(Db::open(env, options))
                && !storage_error(&error)
            {
                return Err(unopened(&error));
            }
            self.counts.power_cuts += 1;
            self.disk = self.disk.crash(rng);
        }
        self.disk.set_polls_max(self.plan.config.polls_max);
        let (env, options) = self.environment();
        let db = block_on(Db::open(env, options)).map_err(|error| unopened(&error))?;
        let last_epoch = self.oracle.greatest.epoch;
        if db.epoch() <= last_epoch {
            let detail = format!("epoch {} after {last_epoch}", db.epoch());
            return Err(Failure { check: "epochs rise", detail });
        }
        self.attend(db.clone())?;
        self.check_files()?;
        let snapshot = db.snapshot();
        let all = block_on(rows(&db, (&[1], &[0xff]), false, usize::MAX, snapshot));
        all.map_err(|error| Failure {
            check: "everything is readable",
            detail: format!("{error:?}"),
        })
    }

    /// No file is there that the manifest does not name.
    fn check_files(&self) -> Verdict {
        let named = match block_on(manifest::load(&self.disk)) {
            Ok(Loaded::Found { manifest, .. }) => manifest.files(),
            other => return fail("the manifest is there", format!("{other:?}")),
        };
        let known = |file: &u32| MANIFEST_SLOTS.contains(file) || named.contains(file);
        match self.disk.file_numbers().iter().find(|file| !known(file)) {
            Some(file) => fail("no file leaks", format!("file {file} is in no manifest")),
            None => Ok(()),
        }
    }

    /// Finds out which commits survived, whether those that must have did, and whether the
    /// database holds just what they wrote.
    pub fn reconcile(&mut self, found: &[Row]) -> Verdict {
        let db = self.db()?;
        let mut markers = BTreeMap::new();
        for (key, stamp, value) in found {
            if let Some(number) = marker_of(key, value) {
                markers.insert(number, *stamp);
            }
        }
        self.cut_history(markers.values().max().copied().unwrap_or_default())?;
        self.revive(&markers, found)?;
        let now_ms = db.now_ms();
        let snapshot = db.snapshot();
        let everything: (&[u8], &[u8]) = (&[1], &[0xff]);
        self.check_list(everything, false, usize::MAX, snapshot.into(), found)
            .or_else(|detail| fail("what survives is a prefix of the commits", detail))?;
        self.forget_expired(found, now_ms, db.epoch());
        // What an open has found is durable from then on.
        self.oracle.durable = self.oracle.last();
        self.oracle.disturbed = false;
        Ok(())
    }

    /// Clients send again what was not answered: it is applied now or was before, and once.
    fn resend(&mut self) -> Verdict {
        let since_ms = self.db()?.now_ms();
        for batch in self.clients.take_unanswered() {
            for number in batch.first..batch.first + batch.strict.len() as u64 {
                let Some(submission) = self.oracle.submission(number).cloned() else { continue };
                let may_be_passed = self.oracle.may_be_passed(&submission);
                let Some(submission) = self.oracle.submission(number) else { continue };
                submission.fate = Fate::UnderWay;
                submission.may_be_passed = may_be_passed;
                submission.since_ms = submission.since_ms.min(since_ms);
            }
            self.counts.resent += batch.strict.len() as u64;
            let epoch = batch.epoch;
            self.send(batch, epoch)?;
        }
        Ok(())
    }

    /// Keeps the published commits up to the last that survived.
    fn cut_history(&mut self, last: Stamp) -> Verdict {
        let oracle = &mut self.oracle;
        // Expiries leave no mark: behind the last commit they count where they had to survive.
        let (durable, revived) = (oracle.durable, last > oracle.last());
        let survives = |it: &Published| {
            it.stamp <= last || revived || it.number.is_none() && it.stamp <= durable
        };
        let end = oracle.history.iter().position(|it| !survives(it));
        let lost = oracle.history.split_off(end.unwrap_or(oracle.history.len()));
        let survivors = oracle.last();
        oracle.model.cut(survivors);
        self.counts.lost += lost.len() as u64;
        self.lose(&lost);
        match lost.iter().find(|it| it.stamp <= durable) {
            Some(it) => fail(
                "what was promised survives",
                format!("{it:?} is lost, all through {durable} was promised; {survivors} is left"),
            ),
            None => Ok(()),
        }
    }

    /// Takes up the commits that survived although nobody heard of them.
    fn revive(&mut self, markers: &BTreeMap<u64, Stamp>, found: &[Row]) -> Verdict {
        let published = self.oracle.last();
        let mut revived: Vec<(Stamp, u64)> =
            markers.iter().map(|(number, stamp)| (*stamp, *number)).collect();
        revived.retain(|(stamp, _)| *stamp > published);
        revived.sort_unstable();
        let highest = revived.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let mut lasts: BTreeMap<u64, u64> = BTreeMap::new();
        for (_, number) in &revived {
            let line = self.oracle.submission(*number).map_or(0, |it| it.line);
            let last = lasts.entry(line).or_default();
            *last = (*last).max(*number);
        }
        for number in 1..highest {
            let Some(submission) = self.oracle.submission(number).cloned() else { continue };
            let last = lasts.get(&submission.line).copied().unwrap_or(0);
            if number <= self.oracle.last_in(submission.line) || last < number {
                continue;
            }
            let sums = submission.mutations.iter().any(|it| matches!(it, Sent::Sum { .. }));
            let sure = submission.checks.is_empty() && !sums && !self.oracle.disturbed;
            if submission.fate == Fate::UnderWay && sure && !markers.contains_key(&number) {
                let detail = format!("commit {last} survived, {number} did not");
                return fail("what survives is a prefix of the commits", detail);
            }
        }
        let mut submissions = Vec::new();
        for (stamp, number) in revived {
            submissions.extend(self.oracle.submission(number).map(|it| (stamp, it.clone())));
        }
        let mutations: Vec<_> = submissions.iter().flat_map(|(_, it)| &it.mutations).collect();
        let mut left = left_behind(&mutations, found).into_iter();
        for (stamp, submission) in &submissions {
            let (stamp, number) = (*stamp, submission.number);
            let first = self.oracle.last_in(submission.line) + 1;
            if number < first {
                let detail = format!("commit {number} has {stamp}, and {first} was the next");
                return fail("commits keep their order", detail);
            }
            self.counts.revived += 1;
            let now_ms = self.oracle.model.doubtful_ms;
            for (mutation, left) in submission.mutations.iter().zip(&mut left) {
                let since_ms = submission.since_ms;
                let applied = self.oracle.apply(mutation, stamp, since_ms, now_ms, left.as_deref());
                if applied.is_err() {
                    return fail("sums add up", format!("commit {number} came back"));
                }
            }
            self.oracle.greatest = self.oracle.greatest.max(stamp);
            self.oracle.history.push(Published { stamp, number: Some(number) });
        }
        // Those that did not survive are never to come back.
        let survivors: BTreeSet<u64> =
            self.oracle.history.iter().filter_map(|it| it.number).collect();
        for submission in &mut self.oracle.submissions {
            if !survivors.contains(&submission.number) {
                submission.fate = Fate::Failed;
            }
        }
        Ok(())
    }

    /// An entry that an expiry took, which left no other trace, is gone for good.
    fn forget_expired(&mut self, found: &[Row], now_ms: u64, epoch: u32) {
        let model = &mut self.oracle.model;
        let gone: Vec<Vec<u8>> = model
            .keys()
            .filter_map(|key| Some((key, model.at(key, Stamp::MAX)?)))
            .filter(|(_, entry)| entry.expires.is_some_and(|(first, _)| now_ms < first))
            .filter(|(key, _)| found.binary_search_by(|row| row.0.cmp(key)).is_err())
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            // After all that snapshots of earlier opens see.
            model.write(&key, Stamp { epoch, counter: 0 }, None);
        }
    }

    /// Once all faults are over, the database works again.
    pub fn recover(&mut self, rng: &Rng) -> Verdict {
        self.settle(rng)?;
        self.disk.clear_faults();
        if !self.oracle.disturbed {
            return Ok(());
        }
        let db = self.db()?;
        for _ in 0..=REFUSALS_MAX {
            let before = self.oracle.last_number();
            self.probe()?;
            self.settle(rng)?;
            if self.oracle.last_number() > before {
                self.counts.recoveries += 1;
                return match block_on(db.flush()) {
                    Ok(()) => Ok(()),
                    Err(error) => fail("a repair makes it work again", format!("{error:?}")),
                };
            }
        }
        fail("a repair makes it work again", format!("{:?}", db.failure()))
    }

    /// What must hold at the end of every run.
    pub fn finish(&mut self, rng: &Rng) -> Verdict {
        self.recover(rng)?;
        self.settle(rng)?;
        self.expire_on_a_full_disk(rng)?;
        self.expire_all(rng)?;
        self.other("upkeep", |db| async move {
            db.upkeep().await;
            db.failure().map_or(Ok(()), Err)
        })?;
        self.settle(rng)?;
        self.write_beside_the_reserve(rng)?;
        self.end(&End { how: How::Close, cuts: Vec::new() }, rng)?;
        self.check_decay(rng)
    }

    /// Everything that has expired is told of, once.
    fn expire_all(&mut self, rng: &Rng) -> Verdict {
        self.clock_ms = self.clock_ms.max(self.db()?.now_ms()) + 10_000_000;
        self.db()?.env().set_now_ms(self.clock_ms);
        while self.db()?.next_expiry_ms() <= self.db()?.now_ms() {
            self.other("expire", |db| async move { db.expire().await })?;
            self.settle(rng)?;
        }
        let model = &self.oracle.model;
        let untold = model.keys().find(|key| {
            let entry = model.at(key, Stamp::MAX);
            entry
                .and_then(|entry| entry.expires)
                .is_some_and(|(first, _)| first > model.doubtful_ms)
        });
        match untold {
            Some(key) => fail("every expiry is told of", format!("{key:?} was not")),
            None => Ok(()),
        }
    }

    /// Flips a bit of some file: whatever is read then is right, or a corruption that names it.
    fn check_decay(&mut self, rng: &Rng) -> Verdict {
        // Damage to the end of a log shows once something later says that it was durable.
        self.probe()?;
        self.settle(rng)?;
        if let Err(error) = block_on(self.db()?.flush()) {
            return fail("nothing fails without a fault", format!("a flush: {error:?}"));
        }
        let disk = self.disk.restart();
        let files = disk.file_numbers();
        let file = files[rng.below(files.len() as u64) as usize];
        let length = disk.contents(file).len() as u64;
        if length == 0 {
            return Ok(());
        }
        let offset = rng.below(length);
        disk.flip_bit(file, offset, rng.below(8) as u32);
        self.counts.bit_flips += 1;
        self.say(|| format!("a bit at {offset} of file {file} flips"));
        self.decayed(&disk, file)
    }

    fn decayed(&mut self, disk: &Disk, file: u32) -> Verdict {
        const CHECK: &str = "a flipped bit is corruption or harmless";
        let named = |error: &Error| {
            let code = matches!(error.code(), Code::Corruption | Code::NewerFormat);
            code && error.place().is_none_or(|place| place.0 == file)
        };
        self.disk = disk.clone();
        let (env, options) = self.environment();
        let db = match block_on(Db::open(env, options)) {
            Ok(db) => db,
            Err(error) if named(&error) || MANIFEST_SLOTS.contains(&file) => return Ok(()),
            Err(error) => return fail(CHECK, format!("file {file}: {error:?}")),
        };
        for key in self.oracle.model.keys() {
            let snapshot = db.snapshot();
            let found = match block_on(db.get(key, snapshot)) {
                Ok(found) => found,
                Err(error) if named(&error) => continue,
                Err(error) => return fail(CHECK, format!("file {file}: {error:?}")),
            };
            let found = found.map(|(stamp, value)| (stamp, value.to_vec()));
            let found = found.as_ref().map(|(stamp, value)| (*stamp, &**value));
            // Stamps of an earlier open: the model's newest.
            let seen = Seen { stamp: Stamp::MAX, ..snapshot.into() };
            let read = self.oracle.model.check(key, seen, found);
            read.or_else(|detail| fail(CHECK, format!("file {file}: {detail}")))?;
        }
        Ok(())
    }

    fn probe(&mut self) -> Verdict {
        self.commit(&[super::plan::probe()], &Rng::new(0))
    }
}

fn unopened(error: &Error) -> Failure {
    Failure { check: "it opens after any crash", detail: format!("{error:?}") }
}
