//! Pages: clients that send frames to the host of the database and judge what it answers.

use super::changes::Heard;
use super::lists::Listing;
use super::model::{Key, Seen};
use super::oracle::{Failure, Published, Verdict, fail};
use super::subscriptions::Subscription;
use super::world::{Database, Disk, Done, World};
use kvass::commit::Outcome;
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::{Code, Error, Result};
use kvass::external::External;
use kvass::host::{Frame, Host};
use kvass::manifest::FORMAT;
use kvass::rng::Rng;
use kvass::sessions::Origin;
use kvass::stamp::Stamp;
use kvass::wire::{Blob, Changes, Entry, Event, PROTOCOL, Request, RequestFrame, Response};
use kvass::wire::{ResponseFrame, Value, Watch};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The connection that hears of every commit, before all others.
const LISTENER: u8 = 0xee;

/// A connection and the sequence of a request.
type Place = (u32, u64);
/// A connection and a frame for it.
type Posted = (u32, Frame);

/// The host of an open, and what its pages wait for.
pub struct Pages {
    pub host: Rc<Host<ManualEnv<Disk>>>,
    posted: Rc<RefCell<Vec<Posted>>>,
    asked: BTreeMap<Place, Asked>,
    /// What is to be asked for once all that has arrived was looked at.
    follow_ups: Vec<(u8, Asked)>,
    pub subscriptions: Vec<Subscription>,
    subscribed: u32,
}

/// What a page asked for.
#[derive(Clone)]
pub enum Asked {
    /// The commit of this number, the last of its frame being another.
    Commit {
        number: u64,
        last: u64,
    },
    Get {
        key: Key,
        since: Moment,
    },
    Count {
        range: (Key, Key),
        since: Moment,
    },
    List(Listing),
    Watch(u32),
    Changes {
        id: u32,
        since_ms: u64,
    },
    Unsubscribe(u32),
}

/// When something was asked for.
#[derive(Clone)]
pub struct Moment {
    pub stamp: Stamp,
    pub time_ms: u64,
    /// The commits that the page had sent before.
    sent: Vec<u64>,
}

impl Pages {
    fn new(db: Rc<Database>) -> Pages {
        let posted: Rc<RefCell<Vec<Posted>>> = Rc::default();
        let sink = posted.clone();
        let post = Box::new(move |id, frame| sink.borrow_mut().push((id, frame)));
        let host = Host::new(db, "memory", None, post);
        let (asked, follow_ups, subscriptions) = (BTreeMap::new(), Vec::new(), Vec::new());
        Pages { host, posted, asked, follow_ups, subscriptions, subscribed: 0 }
    }

    fn connect(&self, client: u8) -> Result<()> {
        let mut hello = b"KVSH".to_vec();
        for version in [PROTOCOL, PROTOCOL, FORMAT, FORMAT] {
            hello.extend_from_slice(&version.to_le_bytes());
        }
        hello.extend_from_slice(&[client; 16]);
        hello.push(0);
        self.host.connect(u32::from(client), &hello).map(|_| ())
    }

    /// The lists of which a page is on its way.
    pub fn lists_under_way(&mut self) -> Vec<(u8, Listing)> {
        let asked = std::mem::take(&mut self.asked).into_iter();
        let lists = asked.filter_map(|((connection, _), asked)| match asked {
            Asked::List(listing) => Some((connection as u8, listing)),
            _ => None,
        });
        lists.collect()
    }

    /// The frames that were posted, those of the listener first.
    fn take_posted(&self) -> Vec<Posted> {
        self.host.post_all();
        self.posted.take()
    }
}

/// A frame as it is sent.
fn frame(origin: &Origin, requests: Vec<Request<'_>>) -> Result<Vec<u8>> {
    let Origin { client, first, acked_through, resend_of } = *origin;
    let (epoch, deadline_ms) = (0, 0);
    let frame =
        RequestFrame { client, epoch, deadline_ms, acked_through, resend_of, first, requests };
    postcard::to_allocvec(&frame).map_err(|error| Error::io(error.to_string()))
}

/// The large values that came beside a frame, those that are still to be taken.
pub type Beside<'a> = std::slice::Iter<'a, External>;

/// What an entry holds.
pub fn stored(entry: &Entry<'_>, beside: &mut Beside<'_>) -> (Stamp, Vec<u8>) {
    (Stamp::from_bytes(entry.versionstamp), bytes_of(&entry.value, beside))
}

/// Tag byte and payload of a value.
pub fn bytes_of(value: &Value<'_>, beside: &mut Beside<'_>) -> Vec<u8> {
    match value {
        Value::Inline(bytes) => bytes.to_vec(),
        Value::Attached(kind, _) => {
            [&[*kind][..], beside.next().map_or(&[], |payload| payload)].concat()
        }
    }
}

fn decode(bytes: &[u8]) -> std::result::Result<ResponseFrame<'_>, Failure> {
    let failure = |error: postcard::Error| Failure {
        check: "frames can be decoded",
        detail: error.to_string(),
    };
    postcard::from_bytes(bytes).map_err(failure)
}

fn error_of(code: u8, message: &str) -> Error {
    const CODES: [Code; 5] =
        [Code::Closed, Code::QuotaExceeded, Code::Io, Code::TypeMismatch, Code::OutcomeUnknown];
    const READING: [Code; 3] = [Code::Corruption, Code::SnapshotExpired, Code::HistoryGone];
    let mut codes = CODES.into_iter().chain(READING);
    let code = codes.find(|known| *known as u8 == code).unwrap_or(Code::MalformedFrame);
    Error::new(code, message.to_string())
}

impl World {
    /// Has pages connect to a host of the database, one of which listens to everything.
    pub fn connect_pages(&mut self, db: Rc<Database>) -> Verdict {
        let pages = Pages::new(db);
        let connected = [LISTENER, 0, 1].iter().try_for_each(|client| pages.connect(*client));
        let listening = connected.and_then(|()| {
            let ranges = vec![(Blob(&[1]), Blob(&[0xff]))];
            let all = Request::Changes(Changes { id: 1, ranges, since: None });
            let origin =
                Origin { client: [LISTENER; 16], first: 1, acked_through: 0, resend_of: 0 };
            let host = pages.host.clone();
            block_on(host.frame(u32::from(LISTENER), frame(&origin, vec![all])?, Vec::new()))
        });
        pages.take_posted();
        self.pages = Some(pages);
        listening.or_else(|error| fail("frames are taken in", format!("{error:?}")))
    }

    /// Sends commits as a frame. The first has the number `first`.
    pub fn send_frame(
        &mut self,
        origin: &Origin,
        first: u64,
        commits: Vec<Request<'_>>,
        label: u64,
    ) -> Verdict {
        let last = first + commits.len() as u64 - 1;
        if let Some(pages) = &mut self.pages {
            let connection = u32::from(origin.client[0]);
            let numbers = (origin.first..).zip(first..=last);
            let asked = |(at, number)| ((connection, at), Asked::Commit { number, last });
            pages.asked.extend(numbers.map(asked));
        }
        self.post(origin, commits, label)
    }

    fn post(&mut self, origin: &Origin, requests: Vec<Request<'_>>, label: u64) -> Verdict {
        let Some(pages) = &self.pages else { return Ok(()) };
        let (host, id) = (pages.host.clone(), u32::from(origin.client[0]));
        let bytes = match frame(origin, requests) {
            Ok(bytes) => bytes,
            Err(error) => return fail("harness", format!("{error:?}")),
        };
        let polled = self.tasks.spawn(label, async move {
            Done::Other { what: "a frame", result: host.frame(id, bytes, Vec::new()).await }
        });
        self.polled(polled).map(|_| ())
    }

    pub fn moment(&self, client: u8) -> Moment {
        let (stamp, time_ms) =
            self.db.as_ref().map_or((Stamp::ZERO, 0), |db| (db.visible(), db.now_ms()));
        Moment { stamp, time_ms, sent: self.clients.under_way(client) }
    }

    /// Sends a request as a frame of its own.
    pub fn ask(&mut self, client: u8, asked: Asked) -> Verdict {
        let origin = self.clients.request(client);
        let Some(pages) = &mut self.pages else { return Ok(()) };
        let place = (u32::from(client), origin.first);
        pages.asked.insert(place, asked.clone());
        let found = |id| pages.subscriptions.iter().find(|it| it.id == id).cloned();
        match &asked {
            Asked::Commit { .. } => Ok(()),
            Asked::Get { key, .. } => self.post(&origin, vec![Request::Get(Blob(key))], 0),
            Asked::Count { range: (start, end), .. } => {
                self.post(&origin, vec![Request::Count(Blob(start), Blob(end))], 0)
            }
            Asked::List(listing) => self.post(&origin, vec![Request::List(listing.request())], 0),
            Asked::Watch(id) => {
                let Some(subscription) = found(*id) else { return Ok(()) };
                let keys = subscription.keys.iter().map(|key| Blob(key)).collect();
                self.post(&origin, vec![Request::Watch(Watch { id: *id, keys })], 0)
            }
            Asked::Changes { id, .. } => {
                let Some(subscription) = found(*id) else { return Ok(()) };
                if subscription.is_asked {
                    return self.post(&origin, vec![Request::More(*id)], 0);
                }
                if let Some(asked) = self.subscription(*id) {
                    asked.is_asked = true;
                }
                let (start, end) = &subscription.range;
                let ranges = vec![(Blob(start), Blob(end))];
                let since = subscription.since.map(Stamp::to_bytes);
                self.post(&origin, vec![Request::Changes(Changes { id: *id, ranges, since })], 0)
            }
            Asked::Unsubscribe(id) => self.post(&origin, vec![Request::Unsubscribe(*id)], 0),
        }
    }

    pub fn ask_get(&mut self, key: Key, rng: &Rng) -> Verdict {
        let client = rng.below(2) as u8;
        let since = self.moment(client);
        self.ask(client, Asked::Get { key, since })
    }

    pub fn ask_count(&mut self, range: (Key, Key), rng: &Rng) -> Verdict {
        let client = rng.below(2) as u8;
        let since = self.moment(client);
        self.ask(client, Asked::Count { range, since })
    }

    /// Watches keys.
    pub fn ask_watch(&mut self, keys: Vec<Key>, rng: &Rng) -> Verdict {
        let client = rng.below(2) as u8;
        let time_ms = self.db()?.now_ms();
        let Some(pages) = &mut self.pages else { return Ok(()) };
        pages.subscribed += 1;
        let id = pages.subscribed;
        pages.subscriptions.push(Subscription::watch(id, client, keys, time_ms));
        self.ask(client, Asked::Watch(id))
    }

    /// Subscribes to the changes of a range from now on, or to all since a commit.
    pub fn ask_changes(&mut self, range: (Key, Key), since: Option<Stamp>, rng: &Rng) -> Verdict {
        let client = rng.below(2) as u8;
        let since_ms = self.db()?.now_ms();
        let Some(pages) = &mut self.pages else { return Ok(()) };
        pages.subscribed += 1;
        let id = pages.subscribed;
        pages.subscriptions.push(Subscription::changes(id, client, range, since));
        self.ask(client, Asked::Changes { id, since_ms })
    }

    /// Ends one of the subscriptions.
    pub fn unsubscribe(&mut self, rng: &Rng) -> Verdict {
        let Some(pages) = &mut self.pages else { return Ok(()) };
        let chosen = rng.below(pages.subscriptions.len() as u64) as usize;
        let Some(subscription) = pages.subscriptions.get_mut(chosen) else { return Ok(()) };
        subscription.is_ending = true;
        let (client, id) = (subscription.client, subscription.id);
        self.ask(client, Asked::Unsubscribe(id))
    }

    /// Takes in what the host has posted.
    pub fn read_mail(&mut self) -> Verdict {
        let Some(pages) = &self.pages else { return Ok(()) };
        let mail = pages.take_posted();
        if mail.is_empty() {
            return Ok(());
        }
        for (connection, Frame { bytes, attachments }) in &mail {
            let frame = decode(bytes)?;
            let mut beside = attachments.iter();
            if *connection == u32::from(LISTENER) {
                let mut events = frame.events.into_iter();
                events.try_for_each(|event| self.hear(event, &mut beside))?;
                continue;
            }
            for reply in frame.replies {
                let pages = self.pages.as_mut();
                let asked = pages.and_then(|it| it.asked.remove(&(*connection, reply.sequence)));
                match asked {
                    Some(asked) => {
                        self.replied(*connection as u8, asked, reply.response, &mut beside)?;
                    }
                    None => return fail("each request is answered once", format!("{reply:?}")),
                }
            }
            let mut events = frame.events.into_iter();
            events.try_for_each(|event| self.told(event, &mut beside))?;
            if beside.next().is_some() {
                return fail("frames can be decoded", "with an attachment too many");
            }
        }
        self.check_subscriptions()?;
        let follow_ups = self.pages.as_mut().map(|pages| std::mem::take(&mut pages.follow_ups));
        let mut follow_ups = follow_ups.into_iter().flatten();
        follow_ups.try_for_each(|(client, asked)| self.ask(client, asked))
    }

    fn hear(&mut self, event: Event<'_>, beside: &mut Beside<'_>) -> Verdict {
        match super::subscriptions::event_of(&event, beside) {
            Some(event) => self.published(&event),
            None => fail("events can be read", format!("{event:?}")),
        }
    }

    fn replied(
        &mut self,
        client: u8,
        asked: Asked,
        response: Response<'_>,
        beside: &mut Beside<'_>,
    ) -> Verdict {
        let response = match response {
            Response::Error(failure) => Err(error_of(failure.code, failure.message)),
            response => Ok(response),
        };
        match (asked, response) {
            (Asked::Commit { number, last }, response) => {
                let answer = response.and_then(|response| match response {
                    Response::Committed(stamp) => Ok(Outcome::Committed(Stamp::from_bytes(stamp))),
                    Response::CheckFailed(place) => Ok(Outcome::CheckFailed(place)),
                    other => Err(error_of(0, &format!("{other:?}"))),
                });
                self.answered(number, last, &answer)
            }
            (asked @ Asked::Changes { .. }, response) => {
                self.changes_replied(client, asked, response)
            }
            (Asked::List(listing), Err(error)) if error.code() == Code::SnapshotExpired => {
                listing.grant.map_or(Ok(()), |grant| self.expired(&grant))
            }
            (asked, response) => match self.readable("a request", response)? {
                Some(response) => self.read_replied(client, asked, response, beside),
                None => {
                    if let Asked::Watch(id) = asked {
                        self.forget_subscription(id);
                    }
                    Ok(())
                }
            },
        }
    }

    fn read_replied(
        &mut self,
        client: u8,
        asked: Asked,
        response: Response<'_>,
        beside: &mut Beside<'_>,
    ) -> Verdict {
        self.counts.reads += 1;
        match (asked, response) {
            (Asked::Get { key, since }, Response::Entry(entry)) => {
                let found = entry.as_ref().map(|it| stored(it, beside));
                let found = found.as_ref().map(|(stamp, value)| (*stamp, value.as_slice()));
                let model = &self.oracle.model;
                let seen = self.window(&since)?;
                let mut checks = seen.into_iter().map(|seen| model.check(&key, seen, found));
                any(&mut checks, "reads answer as the model does")
            }
            (Asked::Count { range: (start, end), since }, Response::Counted(count)) => {
                let seen = self.window(&since)?;
                let mut checks = seen.into_iter().map(|seen| {
                    let (least, most) = self.oracle.model.count(&start, &end, seen);
                    let right = (least..=most).contains(&count);
                    right.then_some(()).ok_or_else(|| format!("{count}, not {least}"))
                });
                any(&mut checks, "counts answer as the model does")
            }
            (Asked::List(listing), Response::Page(page)) => {
                self.page(client, listing, &page, beside)
            }
            (Asked::Watch(_), Response::Done) => Ok(()),
            (Asked::Unsubscribe(id), Response::Done) => {
                self.forget_subscription(id);
                Ok(())
            }
            (_, response) => fail("requests are answered in kind", format!("{response:?}")),
        }
    }

    /// What a read may have seen that was asked for then and is answered now: at the least the
    /// commits that were published then, and those that its page had sent before.
    pub fn window(&self, since: &Moment) -> std::result::Result<Vec<Seen>, Failure> {
        let history = &self.oracle.history;
        let sent = |it: &&Published| it.number.is_some_and(|number| since.sent.contains(&number));
        let sent = history.iter().filter(sent).map(|it| it.stamp).max();
        let least = sent.unwrap_or_default().max(since.stamp);
        let later = history.iter().map(|it| it.stamp).filter(|stamp| *stamp > least);
        let (from_ms, to_ms) = (since.time_ms, self.db()?.now_ms());
        let stamps = std::iter::once(least).chain(later);
        Ok(stamps.map(|stamp| Seen { stamp, from_ms, to_ms }).collect())
    }

    fn changes_replied(
        &mut self,
        client: u8,
        asked: Asked,
        response: Result<Response<'_>>,
    ) -> Verdict {
        let Asked::Changes { id, since_ms } = asked else { return Ok(()) };
        let last = self.oracle.last();
        let Some(subscription) = self.subscription(id) else { return Ok(()) };
        let (since, is_ending) = (subscription.since, subscription.is_ending);
        match response {
            Ok(Response::Committed(stamp)) => {
                subscription.begin(Stamp::from_bytes(stamp).min(last));
                Ok(())
            }
            Ok(Response::Done) => {
                self.ask_later(client, asked);
                Ok(())
            }
            Ok(response) => fail("requests are answered in kind", format!("{response:?}")),
            Err(_) if is_ending => Ok(()),
            Err(error) => {
                self.forget_subscription(id);
                let since = since.unwrap_or_default();
                let ended = Heard { since, since_ms, error: Some(error), ..Heard::default() };
                self.heard_changes(ended)
            }
        }
    }

    pub fn ask_later(&mut self, client: u8, asked: Asked) {
        if let Some(pages) = &mut self.pages {
            pages.follow_ups.push((client, asked));
        }
    }

    pub fn subscription(&mut self, id: u32) -> Option<&mut Subscription> {
        let subscriptions = &mut self.pages.as_mut()?.subscriptions;
        subscriptions.iter_mut().find(|subscription| subscription.id == id)
    }

    fn forget_subscription(&mut self, id: u32) {
        if let Some(pages) = &mut self.pages {
            pages.subscriptions.retain(|subscription| subscription.id != id);
        }
    }
}

/// Whether one of the checks passes.
pub fn any(
    checks: &mut dyn Iterator<Item = std::result::Result<(), String>>,
    check: &'static str,
) -> Verdict {
    let mut detail = String::new();
    for checked in checks {
        match checked {
            Ok(()) => return Ok(()),
            Err(why) => detail = why,
        }
    }
    fail(check, detail)
}
