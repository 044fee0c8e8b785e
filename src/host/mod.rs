//! The host: one database, the clients connected to it, and their frames.
//!
//! A frame is taken in whole. Its requests run in order where order shows: writes take effect in
//! the order of the calls, also across the frames of one client, and a read sees the writes
//! before it; reads between two writes run side by side. Answers and events gather in the
//! client's outbox and leave together.
//!
//! Many clients share a database, and another host may have served them before. So a frame says
//! for which host it is, the end of one connection ends nothing but what it asked for, and who is
//! slow to read hears how much was left out rather than having it gather here.

mod outbox;
mod request;
mod subscription;

use crate::db::{CommitEvent, Db};
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::external::External;
use crate::manifest::FORMAT;
use crate::planted::{Bug, planted};
use crate::ranges::Ranges;
use crate::sessions::Origin;
use crate::signal::Turnstile;
use crate::wire::hello::{self, Hello};
use crate::wire::{Request, RequestFrame};
pub use outbox::Frame;
use outbox::Outbox;
use request::Requests;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::Poll;
use subscription::Subscription;

/// How long a relaxed commit waits for its flush, at the most, in milliseconds.
pub const FLUSH_DELAY_MS: u64 = 250;

/// What is subscribed to is not gathered anew before so many keys and ranges of it have ended.
const ENDED_MIN: usize = 64;

/// Sends a frame to a connection.
type Post = Box<dyn Fn(u32, Frame)>;

/// A client that said hello.
pub(crate) struct Connection {
    id: u32,
    client: [u8; 16],
    outbox: RefCell<Outbox>,
    /// By number: there may be thousands.
    subscriptions: RefCell<Vec<Rc<Subscription>>>,
    /// Frames begin in their order; one that both reads and writes is over before the next.
    writing: Turnstile,
    /// Frames of commits that have begun and are not answered.
    commits_under_way: Cell<u32>,
    /// Its client is slow to read: commits are not told to it but counted.
    is_stalled: Cell<bool>,
    /// It has ended, while frames of it are under way: nobody hears of them.
    is_gone: Cell<bool>,
}

/// Counts a frame for as long as it runs, also when its future is dropped.
struct UnderWay<'a>(&'a Cell<u32>);

impl<'a> UnderWay<'a> {
    fn new(count: &'a Cell<u32>) -> UnderWay<'a> {
        count.set(count.get() + 1);
        UnderWay(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Connection {
    /// Runs `work` to its end, or until the connection is found to have ended.
    async fn unless_gone(&self, mut work: Pin<&mut dyn Future<Output = ()>>) {
        poll_fn(|context| match self.is_gone.get() {
            true => Poll::Ready(()),
            false => work.as_mut().poll(context),
        })
        .await;
    }
}

/// Whether a request can be given up anywhere: others may be about to write to the log, and that
/// is not to be left half-way.
fn only_reads(request: &Request<'_>) -> bool {
    matches!(
        request,
        Request::Get(_)
            | Request::GetMany(_)
            | Request::List(_)
            | Request::Count(..)
            | Request::Verify
    )
}

fn is_commit(request: &Request<'_>) -> bool {
    matches!(request, Request::Commit(_))
}

/// An open database and its clients.
pub struct Host<E: Env> {
    db: Rc<Db<E>>,
    storage: &'static str,
    reason: Option<String>,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// What anybody is subscribed to, as if it were deleted, and what some were that have ended.
    interest: RefCell<Ranges>,
    /// So many keys and ranges were gathered in it, and so many have ended since.
    gathered: Cell<usize>,
    ended: Cell<usize>,
    post: Post,
    flush_due_ms: Cell<u64>,
    /// Whether expired entries are being deleted: 0 or 1.
    expiring: Cell<u32>,
}

impl<E: Env> Host<E> {
    /// A host for `db`, whose files are in `storage` ("opfs", "indexeddb" or "memory"), with the
    /// `reason` why not in a better one. Frames that no call of [`Host::frame`] returns go to
    /// `post`.
    pub fn new(
        db: Rc<Db<E>>,
        storage: &'static str,
        reason: Option<String>,
        post: Post,
    ) -> Rc<Host<E>> {
        let flush_due_ms = Cell::new(u64::MAX);
        let (connections, expiring) = (RefCell::default(), Cell::new(0));
        let (interest, gathered, ended) = (RefCell::default(), Cell::new(0), Cell::new(0));
        Rc::new(Host {
            db,
            storage,
            reason,
            connections,
            interest,
            gathered,
            ended,
            post,
            flush_due_ms,
            expiring,
        })
    }

    /// The database.
    pub fn db(&self) -> &Rc<Db<E>> {
        &self.db
    }

    /// The storage that was obtained.
    pub fn storage(&self) -> &'static str {
        self.storage
    }

    /// Takes up a connection by its first message; returns the answer to it. An earlier connection
    /// of that number ends.
    ///
    /// # Errors
    /// `MalformedFrame`, `VersionMismatch`; nothing was changed then.
    pub fn connect(self: &Rc<Self>, id: u32, hello: &[u8]) -> Result<Vec<u8>> {
        let hello = Hello::decode(hello)?;
        let protocol = hello.choose()?;
        let connection = Connection {
            id,
            client: hello.client,
            outbox: RefCell::default(),
            subscriptions: RefCell::default(),
            writing: Turnstile::default(),
            commits_under_way: Cell::new(0),
            is_stalled: Cell::new(false),
            is_gone: Cell::new(false),
        };
        self.disconnect(id);
        self.connections.borrow_mut().push(Rc::new(connection));
        Ok(hello::welcome(protocol, FORMAT, self.db.epoch(), &self.db.uuid()))
    }

    /// Ends a connection with its subscriptions and snapshots. Its commits that have come in are
    /// carried out all the same; what else it asked for is given up, and nobody is answered.
    pub fn disconnect(&self, id: u32) {
        if let Some(connection) = self.connection(id) {
            self.connections.borrow_mut().retain(|other| other.id != id);
            self.release_all(&connection);
            connection.is_gone.set(true);
        }
    }

    /// Ends the subscriptions and snapshots of a connection, unless another has its number by now.
    fn release_all(&self, connection: &Connection) {
        if connection.is_gone.get() {
            return;
        }
        for subscription in connection.subscriptions.take() {
            self.has_ended(&subscription);
        }
        self.db.snapshots().release_all(connection.id);
        self.observe_if_needed(None);
    }

    /// Says whether a client has more to read than it should. While it has, its subscriptions hear
    /// of no commits; afterwards each hears of how many there were, and of those that follow.
    pub fn stall(&self, id: u32, is_stalled: bool) {
        let Some(connection) = self.connection(id) else { return };
        connection.is_stalled.set(is_stalled);
        if !is_stalled {
            for subscription in connection.subscriptions.borrow().iter() {
                subscription.tell_missed(&mut connection.outbox.borrow_mut());
            }
        }
    }

    /// Takes in a frame and the large values that came beside it, and answers it. Polled once, the
    /// future has left in the outbox (see [`Host::take_outbox`]) all answers that needed no
    /// waiting, and where the storage answers at once it is over then. A frame that is meant for
    /// another host, by its epoch, does nothing: its client will send it again.
    ///
    /// # Errors
    /// At the first poll: `MalformedFrame` for a frame that can't be decoded, is in another
    /// client's name, or comes before the hello; nothing was changed then.
    pub async fn frame(
        self: Rc<Self>,
        id: u32,
        bytes: Vec<u8>,
        attachments: Vec<External>,
    ) -> Result<()> {
        let malformed = |message| Error::new(Code::MalformedFrame, message);
        let connection =
            self.connection(id).ok_or_else(|| malformed("a frame before the hello"))?;
        let frame = RequestFrame::decode(&bytes, &attachments)?;
        if frame.client != connection.client {
            return Err(malformed("a frame in another client's name"));
        }
        if frame.epoch == 0 || frame.epoch == self.db.epoch() {
            self.answer(&connection, &frame).await;
        }
        Ok(())
    }

    /// The frame that waits for a connection, if there is one.
    pub fn take_outbox(&self, id: u32) -> Option<Frame> {
        let connection = self.connection(id)?;
        connection.outbox.borrow_mut().take(self.db.epoch())
    }

    /// Runs a frame's future to its end, posting what it answers whenever it has to wait.
    pub async fn posting(
        &self,
        mut answer: Pin<Box<dyn Future<Output = Result<()>>>>,
    ) -> Result<()> {
        poll_fn(|context| {
            let polled = answer.as_mut().poll(context);
            self.post_all();
            polled
        })
        .await
    }

    /// Posts what waits in the outboxes of all connections.
    pub fn post_all(&self) {
        let connections = self.connections.borrow();
        let waiting = connections.iter().filter(|one| !one.outbox.borrow().is_empty());
        let waiting: Vec<_> = waiting.cloned().collect();
        drop(connections);
        waiting.iter().for_each(|connection| self.post_outbox(connection));
    }

    /// Whether [`Host::upkeep`] has something to do.
    pub fn wants_upkeep(&self) -> bool {
        self.db.wants_upkeep()
    }

    /// Writes out a full memtable and compacts, until there is nothing left to do. Failures are
    /// kept for `status()`, and where a write depends on them, for that write.
    pub async fn upkeep(&self) {
        self.db.upkeep().await;
    }

    /// When [`Host::tick`] has something to do next, in milliseconds since the Unix epoch;
    /// `u64::MAX` for never.
    pub fn next_tick_ms(&self) -> u64 {
        let flush = if self.db.unflushed() { self.flush_due_ms.get() } else { u64::MAX };
        // A batch that is under way is not begun twice.
        let expiry = if self.expiring.get() > 0 { u64::MAX } else { self.db.next_expiry_ms() };
        flush.min(expiry).min(self.db.next_release_ms())
    }

    /// Does what is due: flushes relaxed commits, logs expiries. A failure is kept for the next
    /// commit and for `status()`.
    pub async fn tick(&self) {
        let now_ms = self.db.now_ms();
        if self.db.unflushed() && self.flush_due_ms.get() <= now_ms {
            self.flush_due_ms.set(u64::MAX);
            self.db.flush_in_background().await;
        }
        if self.expiring.get() == 0 && self.db.next_expiry_ms() <= now_ms {
            let _under_way = UnderWay::new(&self.expiring);
            // What waits goes first, and a new slice begins.
            self.db.env().turn().await;
            self.db.expire_in_background().await;
            self.expect_flush();
        }
        self.post_all();
    }

    /// Takes note of what a subscription is about.
    fn interest_in(&self, subscription: &Subscription) {
        self.gathered.set(self.gathered.get() + subscription.len());
        subscription.add_to(&mut self.interest.borrow_mut());
    }

    /// Takes note that nobody wants to hear of what a subscription was about.
    fn has_ended(&self, subscription: &Subscription) {
        self.ended.set(self.ended.get() + subscription.len());
    }

    /// Forgets what only those wanted that have ended, once that is half of it: to gather the rest
    /// takes long where it is much.
    fn forget_interest(&self) {
        if self.ended.get() <= ENDED_MIN || 2 * self.ended.get() <= self.gathered.get() {
            return;
        }
        self.forget_all_interest();
        for connection in self.connections.borrow().iter() {
            for subscription in connection.subscriptions.borrow().iter() {
                self.interest_in(subscription);
            }
        }
    }

    fn forget_all_interest(&self) {
        self.interest.take();
        self.gathered.set(0);
        self.ended.set(0);
    }

    fn connection(&self, id: u32) -> Option<Rc<Connection>> {
        self.connections.borrow().iter().find(|connection| connection.id == id).cloned()
    }

    async fn answer(self: &Rc<Self>, connection: &Rc<Connection>, frame: &RequestFrame<'_>) {
        let &RequestFrame { client, acked_through, resend_of, first, .. } = frame;
        let origin = Origin { client, first, acked_through, resend_of };
        let requests = Requests { host: self, connection, origin };
        self.db.sessions().acknowledge(&client, acked_through);
        // By the clock that the client looks at too: engine time may be ahead of it.
        if frame.deadline_ms != 0 && frame.deadline_ms < self.db.env().now_ms() {
            requests.refuse(&frame.requests, &Error::new(Code::Timeout, "the deadline has passed"));
            return;
        }
        let turn = connection.writing.enter().await;
        if frame.requests.iter().all(is_commit) {
            // The next frame may come in once these stand in the line of the database, which is
            // when this future is polled next: so the commits of many frames share an append.
            drop(turn);
            let _under_way = UnderWay::new(&connection.commits_under_way);
            requests.run(&frame.requests).await;
        } else {
            if connection.commits_under_way.get() > 0 && !planted(Bug::ReadPassesWrite) {
                self.db.barrier().await;
            }
            // A frame that only reads holds up nobody.
            let turn = frame.requests.iter().any(is_commit).then_some(turn);
            let mut run = pin!(requests.run(&frame.requests));
            match frame.requests.iter().all(only_reads) {
                true => connection.unless_gone(run).await,
                false => run.as_mut().await,
            }
            drop(turn);
        }
        self.expect_flush();
        connection.unless_gone(pin!(requests.verify(&frame.requests))).await;
    }

    /// Has what was committed relaxed flushed a moment later.
    fn expect_flush(&self) {
        if self.db.unflushed() {
            let due = self.db.now_ms() + FLUSH_DELAY_MS;
            self.flush_due_ms.set(self.flush_due_ms.get().min(due));
        }
    }

    fn post_outbox(&self, connection: &Connection) {
        if connection.is_gone.get() {
            return;
        }
        let frame = connection.outbox.borrow_mut().take(self.db.epoch());
        if let Some(frame) = frame {
            (self.post)(connection.id, frame);
        }
    }

    /// Listens to commits while anybody is subscribed, and only then: nothing is gathered for
    /// nobody.
    fn observe_if_needed(&self, this: Option<Weak<Host<E>>>) {
        let connections = self.connections.borrow();
        let wanted = connections.iter().any(|one| !one.subscriptions.borrow().is_empty());
        match (wanted, this) {
            (true, Some(host)) => self.db.observe(Some(Rc::new(move |event| {
                if let Some(host) = host.upgrade() {
                    host.distribute(event);
                }
            }))),
            (false, _) => {
                self.forget_all_interest();
                self.db.observe(None);
            }
            (true, None) => {}
        }
    }

    /// Tells the subscribers of a commit. To ask each of thousands about each change takes long, so
    /// what none of them wants is left out first.
    fn distribute(&self, mut event: CommitEvent) {
        self.forget_interest();
        let interest = self.interest.borrow();
        event.changes.retain(|record| subscription::touches(&interest, record));
        if event.changes.is_empty() {
            return;
        }
        let event = &Rc::new(event);
        for connection in self.connections.borrow().iter() {
            for subscription in connection.subscriptions.borrow().iter() {
                match connection.is_stalled.get() {
                    true => subscription.miss(event),
                    false => subscription.offer(event, &mut connection.outbox.borrow_mut()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Options;
    use crate::env::manual::{ManualEnv, block_on};
    use crate::storage::memory::MemoryStorage;
    use crate::wire::{Blob, Commit, Mutation, PROTOCOL, Watch};

    const CLIENT: [u8; 16] = [1; 16];

    #[test]
    fn what_nobody_subscribes_to_any_more_is_forgotten() {
        let env = ManualEnv::new(Rc::new(MemoryStorage::new()), 1_000, 1);
        let db = block_on(Db::open(env, Options::default())).unwrap();
        let host = Host::new(db, "memory", None, Box::new(|_, _| {}));
        let versions = [PROTOCOL, PROTOCOL, FORMAT, FORMAT].map(u16::to_le_bytes).concat();
        let hello = [b"KVSH", &*versions, &CLIENT, &[4], b"test"].concat();
        host.connect(1, &hello).unwrap();
        for n in 1..1_000u32 {
            let key = [&b"\x02"[..], &n.to_string().into_bytes(), b"\0"].concat();
            let (name, value, durability) = (Blob(&key), Blob(&[3, 1]), None);
            let set = Mutation::Set { key: name, value, expire_in_ms: None, stamp_key: false };
            let put = Commit { checks: vec![], mutations: vec![set], durability };
            let watch = Request::Watch(Watch { id: n, keys: vec![name] });
            // One of them stays, until the end.
            let end = Request::Unsubscribe(if n == 999 { 1 } else { n.max(2) });
            let requests = vec![watch, Request::Commit(put), end];
            let first = u64::from(n) * 3;
            let (epoch, deadline_ms) = (host.db.epoch(), 0);
            let (acked_through, resend_of, client) = (first - 1, 0, CLIENT);
            let frame = RequestFrame {
                client,
                epoch,
                deadline_ms,
                acked_through,
                resend_of,
                first,
                requests,
            };
            let bytes = postcard::to_allocvec(&frame).unwrap();
            block_on(host.clone().frame(1, bytes, Vec::new())).unwrap();
            assert!(host.interest.borrow().fragments().len() <= ENDED_MIN + 3, "{n}");
        }
        assert!(!host.interest.borrow().is_empty(), "the last one stays");
        host.disconnect(1);
        assert!(host.interest.borrow().is_empty());
    }

    #[test]
    fn what_is_much_is_not_gathered_anew_where_little_of_it_has_ended() {
        let env = ManualEnv::new(Rc::new(MemoryStorage::new()), 1_000, 1);
        let db = block_on(Db::open(env, Options::default())).unwrap();
        let host = Host::new(db, "memory", None, Box::new(|_, _| {}));
        let key = |n: u32| [&b"\x02"[..], &n.to_string().into_bytes(), b"\0"].concat();
        let watch = |keys: &[u32]| {
            let keys: Vec<_> = keys.iter().map(|n| key(*n)).collect();
            let keys: Vec<_> = keys.iter().map(|key| Blob(key)).collect();
            Subscription::watch(1, &keys)
        };
        let many: Vec<u32> = (0..1_000).collect();
        host.interest_in(&watch(&many));
        for n in 0..500 {
            let one = watch(&[1_000 + n]);
            host.interest_in(&one);
            host.has_ended(&one);
            host.forget_interest();
            assert_eq!(host.interest.borrow().fragments().len(), 1_001 + n as usize);
        }
    }
}
