//! The class that the worker's JavaScript drives: a database and the frames of its clients.
//!
//! A frame is one call: the future that answers it is polled once, and where the storage answers
//! at once, as OPFS does, the reply is what the call returns and no promise was made. What has to
//! wait goes on by itself and reaches the client through `send`.

use crate::db::{Db, Options};
use crate::error::{Code, Error};
use crate::external::External;
use crate::history::Retention;
use crate::host::{Frame, Host as EngineHost};
use crate::wasm::env::WebEnv;
use crate::wasm::js::Thrown;
use crate::wasm::storage::{Wanted, WebStorage};
use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{future_to_promise, spawn_local};

/// The longest wait that a timer of the browser can be set to.
const TIMER_MS_MAX: u64 = i32::MAX as u64;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(run: &Function, delay_ms: i32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);

    /// What the worker does for the engine; see worker/wasm.d.ts.
    pub type Callbacks;
    #[wasm_bindgen(catch, method)]
    fn send(this: &Callbacks, connection: u32, frame: &JsValue) -> Thrown<()>;
    #[wasm_bindgen(method, getter, js_name = openDirectory)]
    fn open_directory(this: &Callbacks) -> Function;
    #[wasm_bindgen(method, getter, js_name = openIndexedDb)]
    fn open_indexeddb(this: &Callbacks) -> Function;
}

/// An open database; see worker/index.ts.
#[wasm_bindgen]
pub struct Host {
    inner: Rc<Inner>,
}

struct Inner {
    host: Rc<EngineHost<WebEnv>>,
    upkeep_runs: Cell<bool>,
    timer: RefCell<Option<Timer>>,
}

type Answer = Pin<Box<dyn Future<Output = crate::error::Result<()>>>>;

struct Timer {
    due_ms: u64,
    handle: JsValue,
    _run: Closure<dyn FnMut()>,
}

#[wasm_bindgen]
impl Host {
    /// Opens a database. `storage` is "auto", "opfs", "indexeddb" or "memory"; `history_bytes` and
    /// `history_ms` are how much of the change log to keep, infinite for all of it.
    ///
    /// # Errors
    /// `{ code, message }`, as all methods throw them.
    #[wasm_bindgen(unchecked_return_type = "Promise<Host>")]
    pub fn open(
        name: String,
        storage: String,
        history_bytes: f64,
        history_ms: f64,
        salvage: bool,
        callbacks: Callbacks,
    ) -> Promise {
        promise(async move {
            let wanted = match storage.as_str() {
                "auto" => Wanted::Auto,
                "opfs" => Wanted::Opfs,
                "indexeddb" => Wanted::IndexedDb,
                "memory" => Wanted::Memory,
                _ => {
                    return Err(thrown(&Error::new(Code::Unsupported, "there is no such storage")));
                }
            };
            let ways = (callbacks.open_directory(), callbacks.open_indexeddb());
            let opened = WebStorage::open(&name, wanted, &ways.0, &ways.1).await;
            let (storage, reason) = opened.map_err(|error| thrown(&error))?;
            let storage = Rc::new(storage);
            let kind = storage.kind();
            let history = Retention { bytes: history_bytes as u64, ms: history_ms as u64 };
            // Each commit says its durability.
            let options = Options { history, salvage, ..Options::default() };
            let opened = Db::open(WebEnv::new(storage.clone()), options).await;
            let db = match opened {
                Ok(db) => db,
                Err(error) => {
                    // The error of opening says more than one of letting go after it would.
                    let _ = crate::storage::Storage::close(&*storage).await;
                    return Err(thrown(&error));
                }
            };
            let post = Box::new(move |connection: u32, frame: Frame| {
                let frame = message(frame);
                // The worker's `send` only posts a message; where even that throws, the client
                // notices that its worker is gone.
                let _ = callbacks.send(connection, &frame);
            });
            let host = EngineHost::new(db, kind, reason, post);
            let inner = Inner { host, upkeep_runs: Cell::new(false), timer: RefCell::default() };
            let host = Host { inner: Rc::new(inner) };
            Inner::look_after(&host.inner);
            Ok(host.into())
        })
    }

    /// The storage that was obtained: "opfs", "indexeddb" or "memory".
    #[wasm_bindgen(getter)]
    pub fn storage(&self) -> String {
        self.inner.host.storage().to_owned()
    }

    /// Takes up a connection by its hello; returns the welcome.
    ///
    /// # Errors
    /// `MalformedFrame`, `VersionMismatch`.
    pub fn connect(&self, connection: u32, hello: &[u8]) -> Result<Vec<u8>, JsValue> {
        self.inner.host.connect(connection, hello).map_err(|error| thrown(&error))
    }

    /// Ends a connection. Its commits that have come in are carried out all the same.
    pub fn disconnect(&self, connection: u32) {
        self.inner.host.disconnect(connection);
    }

    /// Says whether a client has more to read than it should: until it has not, it hears of no
    /// commits, and then of how many there were.
    pub fn stall(&self, connection: u32, is_stalled: bool) {
        self.inner.host.stall(connection, is_stalled);
        self.inner.host.post_all();
    }

    /// Takes in a frame and the buffers of the large values beside it; returns the message with
    /// the answers that needed no waiting: a frame, or an array of a frame and buffers.
    ///
    /// # Errors
    /// `MalformedFrame`; nothing was changed.
    pub fn frame(
        &self,
        connection: u32,
        bytes: Vec<u8>,
        attachments: Vec<Uint8Array>,
    ) -> Result<JsValue, JsValue> {
        let host = &self.inner.host;
        host.db().env().asked();
        let attachments = attachments.into_iter().map(External::from).collect();
        let mut answer: Answer = Box::pin(host.clone().frame(connection, bytes, attachments));
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answered) => answered.map_err(|error| thrown(&error))?,
            Poll::Pending => {
                let inner = self.inner.clone();
                spawn_local(async move {
                    // Only its first poll can fail.
                    let _ = inner.host.posting(answer).await;
                    Inner::look_after(&inner);
                });
            }
        }
        let reply = host.take_outbox(connection);
        host.post_all();
        Inner::look_after(&self.inner);
        Ok(reply.map_or(JsValue::UNDEFINED, message))
    }

    /// Flushes what was committed relaxed: the page is about to be hidden or frozen.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn flush(&self) -> Promise {
        let host = self.inner.host.clone();
        promise(async move {
            host.db().flush_in_background().await;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Flushes, and lets go of the storage.
    ///
    /// # Errors
    /// Those of the flush.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn close(&self) -> Promise {
        let host = self.inner.host.clone();
        self.inner.timer.take();
        promise(async move {
            let closed = host.db().close().await;
            closed.map_err(|error| thrown(&error)).map(|()| JsValue::UNDEFINED)
        })
    }
}

impl Inner {
    /// Sees to it that what is due later is done then.
    fn wait(inner: &Rc<Inner>) {
        let due_ms = inner.host.next_tick_ms();
        if due_ms < inner.timer.borrow().as_ref().map_or(u64::MAX, |timer| timer.due_ms) {
            inner.timer.replace(Some(Timer::new(inner, due_ms)));
        }
    }

    /// The same, and that upkeep is done now.
    fn look_after(inner: &Rc<Inner>) {
        Inner::wait(inner);
        if inner.host.wants_upkeep() && !inner.upkeep_runs.replace(true) {
            let inner = inner.clone();
            spawn_local(async move {
                // Not in the call that made it necessary: its reply goes first.
                crate::env::Env::turn(inner.host.db().env()).await;
                inner.host.upkeep().await;
                inner.upkeep_runs.set(false);
                // It may have found out what is to be done once the database rests.
                Inner::wait(&inner);
            });
        }
    }
}

impl Timer {
    fn new(inner: &Rc<Inner>, due_ms: u64) -> Timer {
        let weak = Rc::downgrade(inner);
        let run = Closure::<dyn FnMut()>::new(move || {
            let Some(inner) = weak.upgrade() else { return };
            spawn_local(async move {
                inner.timer.take();
                inner.host.tick().await;
                Inner::look_after(&inner);
            });
        });
        let delay_ms = due_ms.saturating_sub(inner.host.db().now_ms()).min(TIMER_MS_MAX);
        let handle = set_timeout(run.as_ref().unchecked_ref(), delay_ms as i32);
        Timer { due_ms, handle, _run: run }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        clear_timeout(&self.handle);
    }
}

/// A frame as it is posted: a Uint8Array, or an array of several, in buffers of their own.
fn message(Frame { bytes, attachments }: Frame) -> JsValue {
    let frame = Uint8Array::from(bytes.as_slice());
    if attachments.is_empty() {
        return frame.into();
    }
    let parts = Array::of1(&frame);
    for external in attachments {
        parts.push(&external.into_buffer());
    }
    parts.into()
}

/// The promise of what a future comes to. Boxed, so that the way to a promise is compiled once.
fn promise(future: impl Future<Output = Result<JsValue, JsValue>> + 'static) -> Promise {
    let future: Pin<Box<dyn Future<Output = Result<JsValue, JsValue>>>> = Box::pin(future);
    future_to_promise(future)
}

/// An error as `{ code, message }`.
fn thrown(error: &Error) -> JsValue {
    let object = Object::new();
    // Setting a property of a plain object does not fail.
    let _ = Reflect::set(&object, &"code".into(), &(error.code() as u8).into());
    let _ = Reflect::set(&object, &"message".into(), &error.to_string().into());
    object.into()
}
