//! Carrying out the requests of a frame.

use super::{Connection, Host, is_commit, only_reads};
use crate::blob::{Large, Pointer, Value};
use crate::commit::{self, Outcome};
use crate::crowd::Crowd;
use crate::db::{self, CommitEvent, Range};
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::expiry::USER_KEYS_START;
use crate::external::External;
use crate::host::subscription::Subscription;
use crate::limits;
use crate::planted::{Bug, planted};
use crate::record::{Op, Record};
use crate::sessions::Origin;
use crate::signal::join_all;
use crate::snapshot::{Lease, Snapshot};
use crate::stamp::Stamp;
use crate::varint;
use crate::wire::{Blob, Changes, Commit, Entry, Event, Failure, List, Page, Request, Response};
use crate::wire::{Damage, Status, Verified, Watch};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// An outbox is posted before its frame is done once it holds this many bytes.
const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Keys of a `getMany` that are read side by side: each that comes in has all others looked at. And
/// requests of a frame that begin in a row.
const SIDE_BY_SIDE: usize = 64;

/// The requests of one frame, on their way.
pub(super) struct Requests<'a, E: Env> {
    pub(super) host: &'a Rc<Host<E>>,
    pub(super) connection: &'a Rc<Connection>,
    /// The client, and the sequence of the first request.
    pub(super) origin: Origin,
}

impl<E: Env> Requests<'_, E> {
    /// Answers every request with the same error.
    pub(super) fn refuse(&self, requests: &[Request<'_>], error: &Error) {
        for (sequence, _) in (self.origin.first..).zip(requests) {
            self.connection.outbox.borrow_mut().error(sequence, error.clone());
        }
    }

    /// Runs the requests: neighbouring commits as one batch, neighbouring reads side by side.
    pub(super) async fn run(&self, requests: &[Request<'_>]) {
        let mut sequence = self.origin.first;
        for run in requests.chunk_by(|a, b| is_commit(a) == is_commit(b)) {
            match run {
                [Request::Commit(_), ..] => self.commit(sequence, run).await,
                [request] => self.read(sequence, request, self.host.db.snapshot()).await,
                reads => self.read_all(sequence, reads).await,
            }
            sequence += run.len() as u64;
        }
    }

    /// Runs reads side by side. So many of them begin in a row, then requests of others have a
    /// turn: all see one snapshot, so that none sees what its client writes later. What is more
    /// than a read begins before anything else happens.
    async fn read_all(&self, first: u64, reads: &[Request<'_>]) {
        let db = &self.host.db;
        let snapshot = db.snapshot();
        let _pin = db.snapshots().pin(snapshot.stamp);
        let at_once = if reads.iter().all(only_reads) { SIDE_BY_SIDE } else { reads.len() };
        let (mut sequences, mut running) = (first.., Crowd::default());
        for (place, some) in reads.chunks(at_once).enumerate() {
            if place > 0 {
                db.give_way().await;
            }
            let mut begun = some.iter().zip(&mut sequences);
            let more = (place + 1) * at_once < reads.len();
            poll_fn(|context| {
                for (read, number) in begun.by_ref() {
                    running.begin(self.read(number, read, snapshot));
                }
                let all = running.poll(context);
                if more { Poll::Ready(()) } else { all }
            })
            .await;
        }
    }

    async fn commit(&self, first: u64, requests: &[Request<'_>]) {
        let mut batch: Vec<&Commit<'_>> = Vec::with_capacity(requests.len());
        for request in requests {
            if let Request::Commit(commit) = request {
                batch.push(commit);
            }
        }
        let origin = Origin { first, ..self.origin };
        let outcomes = self.host.db.commit_from(Some(&origin), &batch).await;
        for (sequence, outcome) in (first..).zip(outcomes) {
            self.reply(
                sequence,
                outcome.map(|outcome| match outcome {
                    Outcome::Committed(stamp) => Response::Committed(stamp.to_bytes()),
                    Outcome::CheckFailed(place) => Response::CheckFailed(place),
                }),
            );
        }
    }

    async fn read(&self, sequence: u64, request: &Request<'_>, snapshot: Snapshot) {
        if self.connection.is_gone.get() {
            return;
        }
        match request {
            Request::Get(key) => self.get(sequence, key, snapshot).await,
            Request::GetMany(keys) => self.get_many(sequence, keys, snapshot).await,
            Request::List(list) => self.list(sequence, list, snapshot).await,
            Request::Count(start, end) => self.count(sequence, (start, end), snapshot).await,
            Request::Release(lease) => {
                self.host.db.snapshots().release(self.connection.id, *lease);
                self.reply(sequence, Ok(Response::Done));
            }
            Request::Watch(watch) => self.watch(sequence, watch).await,
            Request::Changes(changes) => self.changes(sequence, changes).await,
            Request::More(id) => self.more(sequence, *id).await,
            Request::Unsubscribe(id) => {
                self.unsubscribe(*id);
                self.reply(sequence, Ok(Response::Done));
            }
            Request::Flush => {
                let done = self.host.db.flush().await;
                self.reply(sequence, done.map(|()| Response::Done));
            }
            Request::Stats => {
                let stats = self.host.db.stats().await;
                self.reply(sequence, stats.map(Response::Stats));
            }
            Request::Status => self.status(sequence),
            Request::Close => {
                let done = self.host.db.flush().await;
                self.host.db.sessions().forget(&self.connection.client);
                self.host.release_all(self.connection);
                self.reply(sequence, done.map(|()| Response::Done));
            }
            // They have their turns before and after.
            Request::Commit(_) | Request::Verify => {}
        }
    }

    /// Answers those of the requests that read everything: they take long, and hold up nobody.
    pub(super) async fn verify(&self, requests: &[Request<'_>]) {
        for (sequence, request) in (self.origin.first..).zip(requests) {
            if *request == Request::Verify {
                let found = self.host.db.verify().await;
                self.reply(
                    sequence,
                    match &found {
                        Ok(found) => Ok(Response::Verified(verified(found))),
                        Err(error) => Err(error.clone()),
                    },
                );
            }
        }
    }

    async fn get(&self, sequence: u64, key: &[u8], snapshot: Snapshot) {
        let found = match commit::validate_read_key(key) {
            Ok(()) => self.host.db.get(key, snapshot).await,
            Err(error) => Err(error),
        };
        self.reply(
            sequence,
            found.as_ref().map_err(Clone::clone).map(|found| Response::Entry(entry(found))),
        );
    }

    async fn get_many(&self, sequence: u64, keys: &[Blob<'_>], snapshot: Snapshot) {
        let found = self.find_all(keys, limits::GET_MANY_KEYS_MAX, snapshot).await;
        self.reply(
            sequence,
            match &found {
                Ok(found) => Ok(Response::Entries(found.iter().map(entry).collect())),
                Err(error) => Err(error.clone()),
            },
        );
    }

    /// Reads keys side by side on one snapshot. The values together may be much, so they share a
    /// budget of the engine's memory: one that is longer than its share of the rest is moved out.
    async fn find_all(
        &self,
        keys: &[Blob<'_>],
        max: usize,
        snapshot: Snapshot,
    ) -> Result<Vec<Found>> {
        limits::within(keys.len(), max, "Too many keys", "")?;
        for key in keys {
            commit::validate_read_key(key)?;
        }
        let db = &self.host.db;
        let _pin = db.snapshots().pin(snapshot.stamp);
        let (mut found, mut room) = (Vec::with_capacity(keys.len()), limits::REPLY_BYTES);
        for some in keys.chunks(SIDE_BY_SIDE) {
            db.give_way().await;
            for read in join_all(some.iter().map(|key| db.get(key, snapshot))).await {
                let mut read: Found = read?;
                if let Some((_, value)) = &mut read {
                    room -= value.confine(room / (keys.len() - found.len()))?;
                    if found.len() >= SIDE_BY_SIDE {
                        value.leave_block();
                    }
                }
                found.push(read);
            }
        }
        Ok(found)
    }

    async fn count(&self, sequence: u64, (start, end): (&[u8], &[u8]), snapshot: Snapshot) {
        let counted = match commit::validate_range(start, end) {
            Ok(()) => {
                let start = start.max(&[USER_KEYS_START]);
                let range = Range { start, end, reverse: false };
                self.host.db.count(range, snapshot).await
            }
            Err(error) => Err(error),
        };
        self.reply(sequence, counted.map(Response::Counted));
    }

    async fn list(&self, sequence: u64, list: &List<'_>, snapshot: Snapshot) {
        let mut out = Entries::default();
        let page = self.page(list, snapshot, &mut out).await;
        self.reply(
            sequence,
            page.map(|(done, lease)| {
                let lease = lease.map(Into::into);
                let Entries { count, bytes, attached, .. } = &out;
                let (entries, attached) = (Blob(bytes), attached.clone());
                Response::Page(Page { done, lease, count: *count, entries, attached })
            }),
        );
    }

    /// Reads a page into `out`; returns whether it is the last, and its lease.
    async fn page(
        &self,
        list: &List<'_>,
        present: Snapshot,
        out: &mut Entries,
    ) -> Result<(bool, Option<Lease>)> {
        let (db, owner) = (&self.host.db, self.connection.id);
        let longest = limits::READ_KEY_BYTES_MAX + 1;
        if !(1..=limits::PAGE_ENTRIES_MAX).contains(&list.limit)
            || list.start.len() > longest
            || list.end.len() > longest
        {
            return Err(Error::new(Code::MalformedFrame, "a list past its limits"));
        }
        let known = list.lease.map(|lease| db.renew(owner, lease.into())).transpose()?;
        let snapshot = match known {
            Some(lease) if !planted(Bug::PagesOfDifferentSnapshots) => lease.snapshot,
            _ => present,
        };
        // Until the lease holds it, also while large values are read.
        let _pin = db.snapshots().pin(snapshot.stamp);
        let start = list.start.0.max(&[USER_KEYS_START]);
        let range = Range { start, end: &list.end, reverse: list.reverse };
        let exhausted = self.entries(list, range, snapshot, out).await?;
        // A page that ends by its size is not the last one, whatever the list thought. Nobody would
        // let go of what is granted to a connection that has ended.
        let keep = list.keep || out.count < list.limit;
        let keep = keep && !exhausted && !self.connection.is_gone.get();
        let lease = match (known, keep) {
            (Some(lease), true) => Some(lease),
            (Some(lease), false) => {
                db.snapshots().release(owner, lease.id);
                None
            }
            (None, true) => Some(db.snapshots().lease(owner, snapshot, db.now_ms())?),
            (None, false) => None,
        };
        Ok((exhausted, lease))
    }

    /// Reads the entries of a page; returns whether it is the last. What salvage can't read of
    /// large values turns up when they are read: then it begins again, without those entries.
    async fn entries(
        &self,
        list: &List<'_>,
        range: Range<'_>,
        snapshot: Snapshot,
        out: &mut Entries,
    ) -> Result<bool> {
        let (db, mut lost) = (&self.host.db, Vec::new());
        'page: loop {
            *out = Entries::default();
            let mut misled = Ok(());
            let mut sink = |record: Record<'_>| {
                match if list.keys_only { Ok(None) } else { db.locate(record.op) } {
                    _ if list.keys_only => out.push_key(&record),
                    Ok(Some(large)) if lost.contains(&large.pointer()) => {}
                    Ok(large) => out.push(&record, large),
                    Err(error) => misled = db.pass_over(error),
                }
                misled.is_ok() && out.count < list.limit && out.size < limits::PAGE_BYTES
            };
            let exhausted = db.list_to(range, snapshot, &mut sink).await?;
            misled?;
            for large in std::mem::take(&mut out.large) {
                match db.read_large(&large).await {
                    Ok(Value::Large { payload, .. }) => out.attached.push(payload),
                    Ok(Value::Inline(_)) => {}
                    Err(error) => {
                        db.pass_over(error)?;
                        lost.push(large.pointer());
                        continue 'page;
                    }
                }
            }
            return Ok(exhausted);
        }
    }

    /// Registers a watch, then reads its first state: what is published in between waits for
    /// that to be sent. Commits on their way at that moment tell nobody, so they are waited for
    /// and belong to the first state.
    async fn watch(&self, sequence: u64, watch: &Watch<'_>) {
        if let Err(error) =
            limits::within(watch.keys.len(), limits::WATCH_KEYS_MAX, "Too many keys", "")
        {
            return self.reply(sequence, Err(error));
        }
        let subscription = Rc::new(Subscription::watch(watch.id, &watch.keys));
        if let Err(error) = self.subscribe(&subscription) {
            return self.reply(sequence, Err(error));
        }
        self.host.db.settle_all().await;
        let snapshot = self.host.db.snapshot();
        let found = self.find_all(&watch.keys, limits::WATCH_KEYS_MAX, snapshot).await;
        match found {
            Ok(found) => {
                self.reply(sequence, Ok(Response::Done));
                let mut outbox = self.connection.outbox.borrow_mut();
                let entries = (0..).zip(found.iter().map(entry)).collect();
                let versionstamp = snapshot.stamp.to_bytes();
                outbox.event(Event::Watch { id: watch.id, versionstamp, entries });
                subscription.release(snapshot.stamp, &mut outbox);
            }
            Err(error) => {
                self.unsubscribe(watch.id);
                self.reply(sequence, Err(error));
            }
        }
    }

    async fn changes(&self, sequence: u64, changes: &Changes<'_>) {
        if let Err(error) =
            limits::within(changes.ranges.len(), limits::RANGES_MAX, "Too many ranges", "")
        {
            return self.reply(sequence, Err(error));
        }
        // Commits that are on their way are not told of, also where another subscriber hears.
        let last = self.host.db.assigned();
        let since = changes.since.map(Stamp::from_bytes);
        let subscription =
            Subscription::changes(changes.id, &changes.ranges, last, since.is_none());
        let subscription = Rc::new(subscription);
        let reader = since.map(|since| self.host.db.read_changes(since)).transpose();
        let subscribed = reader.and_then(|reader| {
            subscription.catch_up(reader, since.unwrap_or(last));
            self.subscribe(&subscription)
        });
        // What was decided before anybody listened is only told of by the log.
        self.host.db.settle_all().await;
        match subscribed {
            Ok(()) => self.catch_up(sequence, &subscription).await,
            Err(error) => self.reply(sequence, Err(error)),
        }
    }

    async fn more(&self, sequence: u64, id: u32) {
        let found = {
            let subscriptions = self.connection.subscriptions.borrow();
            place_of(&subscriptions, id).ok().and_then(|place| subscriptions.get(place).cloned())
        };
        match found {
            Some(subscription) => self.catch_up(sequence, &subscription).await,
            None => {
                let error = Error::new(Code::MalformedFrame, "there is no such subscription");
                self.reply(sequence, Err(error));
            }
        }
    }

    /// Sends the next commits of a subscription that catches up; one that has goes on with the
    /// events as they happen, without a wait in between, so that it misses none.
    async fn catch_up(&self, sequence: u64, subscription: &Rc<Subscription>) {
        let db = &self.host.db;
        let caught_up = match subscription.reader() {
            Some(reader) => {
                let send = |event: &CommitEvent| {
                    subscription.send(event, &mut self.connection.outbox.borrow_mut());
                };
                let wants = |key: &[u8], end: Option<&[u8]>| subscription.wants(key, end);
                db.next_changes(&reader, wants, send).await
            }
            None => {
                self.reply(sequence, Ok(subscription.begun()));
                return subscription.begin(&mut self.connection.outbox.borrow_mut());
            }
        };
        match caught_up {
            Ok(true) => {
                let gap = planted(Bug::CatchUpGap);
                subscription.catch_up(None, if gap { db.assigned() } else { db.visible() });
                self.reply(sequence, Ok(subscription.begun()));
            }
            Ok(false) => self.reply(sequence, Ok(Response::Done)),
            Err(error) => {
                self.unsubscribe(subscription.id);
                self.reply(sequence, Err(error));
            }
        }
    }

    fn subscribe(&self, subscription: &Rc<Subscription>) -> Result<()> {
        if self.connection.is_gone.get() {
            return Err(Error::new(Code::Closed, "the connection has ended"));
        }
        let mut subscriptions = self.connection.subscriptions.borrow_mut();
        let Err(place) = place_of(&subscriptions, subscription.id) else {
            return Err(Error::new(Code::MalformedFrame, "a subscription's number is in use"));
        };
        limits::within(
            subscriptions.len() + 1,
            limits::SUBSCRIPTIONS_MAX,
            "Too many subscriptions",
            "",
        )?;
        subscriptions.insert(place, subscription.clone());
        drop(subscriptions);
        self.host.interest_in(subscription);
        self.host.observe_if_needed(Some(Rc::downgrade(self.host)));
        Ok(())
    }

    fn unsubscribe(&self, id: u32) {
        let mut subscriptions = self.connection.subscriptions.borrow_mut();
        if let Ok(place) = place_of(&subscriptions, id) {
            self.host.has_ended(&subscriptions.remove(place));
        }
        drop(subscriptions);
        self.host.observe_if_needed(None);
    }

    fn status(&self, sequence: u64) {
        let db = &self.host.db;
        let failure = db.failure();
        let message = failure.as_ref().map(ToString::to_string);
        let failure = failure.as_ref().zip(message.as_ref());
        self.reply(
            sequence,
            Ok(Response::Status(Status {
                storage: self.host.storage,
                durability: db.durability(),
                epoch: db.epoch(),
                format: crate::manifest::FORMAT,
                reason: self.host.reason.as_deref(),
                failure: failure
                    .map(|(error, message)| Failure { code: error.code() as u8, message }),
            })),
        );
    }

    fn reply(&self, sequence: u64, response: Result<Response<'_>>) {
        let full = {
            let mut outbox = self.connection.outbox.borrow_mut();
            match response {
                Ok(response) => outbox.reply(sequence, response),
                Err(error) => outbox.error(sequence, error),
            }
            outbox.bytes() > OUTBOX_BYTES_MAX
        };
        if full {
            self.host.post_outbox(self.connection);
        }
    }
}

/// Where a subscription is, or would be.
fn place_of(subscriptions: &[Rc<Subscription>], id: u32) -> std::result::Result<usize, usize> {
    subscriptions.binary_search_by_key(&id, |subscription| subscription.id)
}

type Found = Option<(crate::stamp::Stamp, Value)>;

/// The entries of a page, encoded.
#[derive(Default)]
struct Entries {
    count: u32,
    bytes: Vec<u8>,
    /// Their bytes with those of the large values.
    size: usize,
    /// The large values, still to be read.
    large: Vec<Large>,
    attached: Vec<External>,
}

impl Entries {
    fn push_key(&mut self, record: &Record<'_>) {
        let before = self.bytes.len();
        varint::put_bytes(&mut self.bytes, record.key);
        self.bytes.extend_from_slice(&record.stamp.to_bytes());
        self.size += self.bytes.len() - before;
        self.count += 1;
    }

    fn push(&mut self, record: &Record<'_>, large: Option<Large>) {
        let Op::Set { value, .. } = record.op else { return };
        self.push_key(record);
        let before = self.bytes.len();
        match large {
            None => varint::put_bytes(&mut self.bytes, value),
            Some(large) => {
                let Pointer { kind, len, .. } = large.pointer();
                self.bytes.extend_from_slice(&[0, kind]);
                varint::put(&mut self.bytes, len);
                self.size = self.size.saturating_add(len as usize);
                self.large.push(large);
            }
        }
        self.size += self.bytes.len() - before;
    }
}

fn verified(found: &db::Verified) -> Verified<'_> {
    let damage = found.damage.iter().map(|(kind, error)| {
        let (file, offset) = error.place().unwrap_or_default();
        Damage { kind: *kind, file, offset, message: error.message() }
    });
    let db::Verified { files, bytes, damaged, .. } = *found;
    Verified { files, bytes, damaged, damage: damage.collect() }
}

fn entry(found: &Found) -> Option<Entry<'_>> {
    let (stamp, value) = found.as_ref()?;
    Some(Entry { versionstamp: stamp.to_bytes(), value: value.into() })
}
