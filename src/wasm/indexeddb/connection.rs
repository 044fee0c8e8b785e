//! The connection to one database: opening it, opening it again when it was lost, and the
//! transactions on it.
//!
//! One closure takes every event of every request and transaction, and finds the call that an
//! event belongs to by a number on its target: a request costs no closure, and none can leak.
//!
//! The fence: [`Connection::open`] writes a random owner into the database. Every transaction
//! that writes asks for the owner first and queues its writes at once; when the answer is another
//! owner, it is aborted, before any of them counts. That is decided within the event, since a
//! future may be polled when the transaction is over.

use super::bindings::{self, Database, Event, Options, Request, Store, Target, Transaction};
use super::calls::{Calls, Kind};
use crate::error::{Code, Error, Result};
use crate::signal::Turnstile;
use crate::storage::Durability;
use crate::wasm::env::fill_random;
use crate::wasm::js::{self, Exception, Thrown, Tried};
use js_sys::{Array, Function};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use wasm_bindgen::prelude::*;

/// The version of every database, for ever: an upgrade would have to wait for all other tabs.
const VERSION: u32 = 1;
/// How long opening may take: a deletion that waits for another tab holds it up.
const OPEN_MS_MAX: i32 = 10_000;
/// How often a step that has certainly changed nothing is tried again on a new connection.
const RETRIES: u32 = 2;
/// The exceptions of a connection that is closing or lost.
const LOST: [&str; 3] = ["InvalidStateError", "AbortError", "UnknownError"];

/// Makes the requests of a transaction that reads a store.
pub type Ask<'a> = &'a dyn Fn(&Store) -> Thrown<Vec<Request>>;
/// Queues the changes of a transaction on the chunks and on the meta store.
pub type Change<'a> = &'a dyn Fn(&Store, &Store) -> Thrown<()>;

/// A connection that is made again when it was lost.
pub struct Connection {
    name: String,
    owner: f64,
    shared: Rc<Shared>,
    opening: Turnstile,
    words: Words,
    closed: Cell<bool>,
}

/// What the handler of the events needs.
struct Shared {
    calls: Rc<Calls>,
    owner: f64,
    /// Another owner was found.
    fenced: Cell<bool>,
    database: RefCell<Option<Database>>,
    handler: Closure<dyn FnMut(Event)>,
}

/// JavaScript's copies of the words that every transaction needs.
struct Words {
    stores: JsValue,
    chunks: JsValue,
    meta: JsValue,
    owner: JsValue,
    readonly: JsValue,
    readwrite: JsValue,
    relaxed: Options,
    strict: Options,
}

impl Words {
    fn new() -> Words {
        let [chunks, meta] = [CHUNKS, META].map(JsValue::from_str);
        Words {
            stores: Array::of2(&chunks, &meta).into(),
            chunks,
            meta,
            owner: JsValue::from_str("owner"),
            readonly: JsValue::from_str("readonly"),
            readwrite: JsValue::from_str("readwrite"),
            relaxed: Options::with_durability("relaxed"),
            strict: Options::with_durability("strict"),
        }
    }
}

const CHUNKS: &str = "chunks";
const META: &str = "meta";

impl Connection {
    /// Connects to the database `name`, making it if it is not there, and takes it over from
    /// any earlier owner.
    pub async fn open(name: String) -> Result<Connection> {
        let owner = random_owner();
        let connection = Connection {
            name,
            owner,
            shared: Shared::new(owner),
            opening: Turnstile::default(),
            words: Words::new(),
            closed: Cell::new(false),
        };
        let database = connection.connect(true).await?;
        if let Err(exception) = connection.claim(&database).await {
            database.close();
            return Err(exception.while_doing("taking over the database"));
        }
        connection.shared.database.replace(Some(database));
        Ok(connection)
    }

    /// Runs a transaction that reads: `ask` makes the requests, whose results are returned in
    /// that order. It is run again on a new connection where the old one was lost.
    pub async fn read(&self, ask: Ask<'_>) -> Result<Vec<JsValue>> {
        let mut retries = RETRIES;
        loop {
            let database = self.database().await?;
            match self.read_on(&database, &self.words.chunks, ask).await {
                Err(exception) if retries > 0 && exception.is(&LOST) => retries -= 1,
                outcome => return outcome.map_err(|e| e.while_doing("reading")),
            }
            self.shared.disconnect(&database);
        }
    }

    async fn read_on(
        &self,
        database: &Database,
        store: &JsValue,
        ask: Ask<'_>,
    ) -> Tried<Vec<JsValue>> {
        let words = &self.words;
        let transaction = database.transaction(store, &words.readonly, &words.relaxed)?;
        let requests = ask(&transaction.object_store(store)?)?;
        let pending = self.shared.calls.begin(Kind::Read { results: requests.len() });
        self.listen(&transaction, &pending);
        for request in requests {
            pending.mark(&request);
            request.set_onsuccess(self.shared.handler());
        }
        pending.await
    }

    /// Runs a transaction that writes: `change` queues everything on the chunks and on the meta
    /// store. Resolves when it is complete; then, and only then, it has been applied.
    pub async fn write(&self, durability: Durability, change: Change<'_>) -> Result<()> {
        let transaction = self.begin_write(durability).await?;
        let outcome = self.write_on(&transaction, true, change).await;
        if self.shared.fenced.get() {
            return Err(fenced());
        }
        outcome.map_err(|e| e.while_doing("writing"))
    }

    /// A transaction on a connection that is there. Nothing is applied where that fails.
    async fn begin_write(&self, durability: Durability) -> Result<Transaction> {
        let options = match durability {
            Durability::Relaxed => &self.words.relaxed,
            Durability::Strict => &self.words.strict,
        };
        let mut retries = RETRIES;
        loop {
            let database = self.database().await?;
            let words = &self.words;
            match database.transaction(&words.stores, &words.readwrite, options) {
                Ok(transaction) => return Ok(transaction),
                Err(thrown) => {
                    let exception = Exception::from(thrown);
                    if retries == 0 || !exception.is(&LOST) {
                        return Err(exception.while_doing("writing"));
                    }
                    retries -= 1;
                    self.shared.disconnect(&database);
                }
            }
        }
    }

    async fn write_on(
        &self,
        transaction: &Transaction,
        check_owner: bool,
        change: Change<'_>,
    ) -> Tried<()> {
        let pending = self.shared.calls.begin(Kind::Write);
        self.listen(transaction, &pending);
        transaction.set_oncomplete(self.shared.handler());
        let asked = (|| {
            let meta = transaction.object_store(&self.words.meta)?;
            if check_owner {
                let owner = meta.get(&self.words.owner)?;
                pending.mark(&owner);
                owner.set_onsuccess(self.shared.handler());
            }
            change(&transaction.object_store(&self.words.chunks)?, &meta)
        })();
        if let Err(thrown) = asked {
            pending.forget();
            // Where it can't be aborted it is over, and nothing was applied either.
            let _ = transaction.abort();
            return Err(thrown.into());
        }
        pending.await.map(|_| ())
    }

    fn listen(&self, transaction: &Transaction, pending: &super::calls::Pending) {
        pending.mark(transaction);
        transaction.set_onabort(self.shared.handler());
        transaction.set_onerror(self.shared.handler());
    }

    /// The connection, made again where it was lost.
    async fn database(&self) -> Result<Database> {
        self.check()?;
        if let Some(database) = self.shared.database() {
            return Ok(database);
        }
        let _turn = self.opening.enter().await;
        self.check()?;
        match self.shared.database() {
            Some(database) => Ok(database),
            None => self.reconnect().await,
        }
    }

    /// Fails when the connection was closed or another owner was met.
    pub fn check(&self) -> Result<()> {
        match (self.closed.get(), self.shared.fenced.get()) {
            (true, _) => Err(Error::new(Code::Closed, "the storage was closed")),
            (_, true) => Err(fenced()),
            _ => Ok(()),
        }
    }

    /// Connects to a database that must be there, and must still be ours.
    async fn reconnect(&self) -> Result<Database> {
        let database = self.connect(false).await?;
        let ask = |meta: &Store| Ok(vec![meta.get(&self.words.owner)?]);
        let found = self.read_on(&database, &self.words.meta, &ask).await;
        match found.map(|found| found.first().and_then(JsValue::as_f64)) {
            Ok(Some(owner)) if owner == self.owner => {
                self.shared.database.replace(Some(database.clone()));
                Ok(database)
            }
            Ok(_) => {
                self.shared.fenced.set(true);
                database.close();
                Err(fenced())
            }
            Err(exception) => {
                database.close();
                Err(exception.while_doing("looking for the owner"))
            }
        }
    }

    async fn connect(&self, create: bool) -> Result<Database> {
        let opened = js::within(OPEN_MS_MAX, self.request_database(create)).await;
        let too_long = || Error::io("IndexedDB did not open the database in time");
        match opened.ok_or_else(too_long)? {
            Ok(database) => Ok(database),
            Err(exception) if !create && exception.is(&["AbortError"]) => {
                Err(Error::io("the browser has deleted the data of this database"))
            }
            Err(exception) => Err(open_failure(&exception)),
        }
    }

    async fn request_database(&self, create: bool) -> Tried<Database> {
        let request = bindings::open_database(&self.name, VERSION)?;
        let pending = self.shared.calls.begin(Kind::Open { create });
        pending.mark(&request);
        request.set_onsuccess(self.shared.handler());
        request.set_request_onerror(self.shared.handler());
        request.set_onupgradeneeded(self.shared.handler());
        let mut results = pending.await?;
        let database: Database = results.pop().unwrap_or_default().unchecked_into();
        database.set_onclose(self.shared.handler());
        database.set_onversionchange(self.shared.handler());
        Ok(database)
    }

    async fn claim(&self, database: &Database) -> Tried<()> {
        let words = &self.words;
        let transaction = database.transaction(&words.stores, &words.readwrite, &words.relaxed)?;
        let owner = JsValue::from_f64(self.owner);
        let change = |_: &Store, meta: &Store| meta.put(&owner, &words.owner).map(|_| ());
        self.write_on(&transaction, false, &change).await
    }

    /// Ends the connection, once its transactions are through.
    pub fn close(&self) {
        self.closed.set(true);
        if let Some(database) = self.shared.database() {
            self.shared.disconnect(&database);
        }
    }

    /// How many calls have not ended.
    pub fn calls(&self) -> usize {
        self.shared.calls.count()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// A number that no other open has drawn.
fn random_owner() -> f64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    (u64::from_le_bytes(bytes) >> 11) as f64
}

fn fenced() -> Error {
    Error::new(Code::Busy, "another tab or worker has taken over the database")
}

fn open_failure(exception: &Exception) -> Error {
    match exception.name.as_str() {
        // Calling what is not there is a ReferenceError or a TypeError.
        "SecurityError" | "ReferenceError" | "TypeError" => {
            exception.with_code(Code::Unsupported, "IndexedDB can't be used here")
        }
        "VersionError" => exception.with_code(
            Code::NewerFormat,
            "a newer version of kvass made the database: update the page",
        ),
        _ => exception.while_doing("opening the database"),
    }
}

impl Shared {
    fn new(owner: f64) -> Rc<Shared> {
        Rc::new_cyclic(|this: &Weak<Shared>| {
            let this = this.clone();
            let handler = Closure::new(move |event: Event| {
                if let Some(shared) = this.upgrade() {
                    shared.on_event(&event);
                }
            });
            Shared {
                calls: Rc::default(),
                owner,
                fenced: Cell::new(false),
                database: RefCell::new(None),
                handler,
            }
        })
    }

    fn handler(&self) -> &Function {
        self.handler.as_ref().unchecked_ref()
    }

    fn database(&self) -> Option<Database> {
        self.database.borrow().clone()
    }

    fn disconnect(&self, database: &Database) {
        database.close();
        let mut current = self.database.borrow_mut();
        if current.as_ref().is_some_and(|current| current == database) {
            *current = None;
        }
    }

    fn on_event(&self, event: &Event) {
        let target = event.current_target();
        match event.kind().as_str() {
            "success" => self.on_success(&target),
            "complete" => self.calls.end(&target, Ok(())),
            "abort" => {
                let error = target.unchecked_ref::<Transaction>().error();
                self.calls.end(&target, Err(error.into()));
            }
            "error" => self.on_error(event, &target),
            "upgradeneeded" => self.on_upgrade(&target),
            // "versionchange" and "close": somebody deletes the database, or the browser has
            // ended the connection. The next call finds out.
            _ => self.disconnect(target.unchecked_ref()),
        }
    }

    fn on_success(&self, target: &Target) {
        let request: &Request = target.unchecked_ref();
        let Ok(result) = request.result() else { return };
        let call = self.calls.with(target, |call| (call.kind, call.abandoned));
        match call {
            Some((Kind::Write, _)) => self.on_owner(&request.request_transaction(), &result),
            Some((Kind::Open { .. }, true)) => {
                result.unchecked_ref::<Database>().close();
                self.calls.end(target, Ok(()));
            }
            Some((Kind::Open { .. }, false)) => self.on_result(target, result, 1),
            Some((Kind::Read { results }, _)) => self.on_result(target, result, results),
            // A read that has failed already.
            None => (),
        }
    }

    fn on_result(&self, target: &Target, result: JsValue, wanted: usize) {
        let count = self.calls.with(target, |call| {
            call.results.push(result);
            call.results.len()
        });
        if count == Some(wanted) {
            self.calls.end(target, Ok(()));
        }
    }

    fn on_owner(&self, transaction: &Transaction, found: &JsValue) {
        if found.as_f64() == Some(self.owner) {
            // It would commit by itself, a little later; old browsers can't be told.
            let _ = transaction.commit();
        } else {
            self.fenced.set(true);
            // Where it is over already, it was aborted for a reason of its own.
            let _ = transaction.abort();
        }
    }

    /// The first request that fails decides about its call. The event is kept from the worker,
    /// to which it would look like a script that failed.
    fn on_error(&self, event: &Event, target: &Target) {
        event.prevent_default();
        let failed = event.target();
        let error = failed.unchecked_ref::<Request>().request_error();
        self.calls.end(target, Err(error.unwrap_or_else(|thrown| thrown).into()));
        let of_transaction = failed != *target;
        if of_transaction {
            let _ = target.unchecked_ref::<Transaction>().abort();
        }
    }

    fn on_upgrade(&self, target: &Target) {
        let request: &Request = target.unchecked_ref();
        let create = self
            .calls
            .with(target, |call| call.kind == Kind::Open { create: true } && !call.abandoned);
        let made = create == Some(true)
            && request.result().is_ok_and(|database| {
                let database: &Database = database.unchecked_ref();
                [CHUNKS, META].iter().all(|name| database.create_object_store(name).is_ok())
            });
        if !made {
            let _ = request.request_transaction().abort();
        }
    }
}
