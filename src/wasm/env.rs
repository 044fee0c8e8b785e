//! The engine's outside world in a browser worker.

use crate::env::Env;
use crate::wasm::storage::WebStorage;
use js_sys::Function;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use wasm_bindgen::prelude::*;

/// How long a background task runs before it lets requests in, in milliseconds, while there are
/// none and while they keep coming.
const SLICE_MS: f64 = 4.0;
const BUSY_SLICE_MS: f64 = 1.0;
/// How many turns requests get before the next slice while they keep coming, at the most, and how
/// many in a row without one show that they do no longer: an answer takes a moment to become the
/// next request.
const BUSY_TURNS: u32 = 8;
const QUIET_TURNS: u32 = 3;
/// What `crypto.getRandomValues` fills in one call, in bytes.
const RANDOM_BYTES_MAX: usize = 65_536;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(buffer: &mut [u8]);

    type MessageChannel;
    #[wasm_bindgen(constructor)]
    fn new() -> MessageChannel;
    #[wasm_bindgen(method, getter)]
    fn port1(this: &MessageChannel) -> MessagePort;
    #[wasm_bindgen(method, getter)]
    fn port2(this: &MessageChannel) -> MessagePort;

    type MessagePort;
    #[wasm_bindgen(method, setter)]
    fn set_onmessage(this: &MessagePort, handler: Option<&Function>);
    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &MessagePort, message: bool);
    #[wasm_bindgen(method)]
    fn close(this: &MessagePort);
}

/// An [`Env`] over a storage of the browser.
pub struct WebEnv {
    storage: Rc<WebStorage>,
    turns: Turns,
    /// When the last turn was over, or the last request came in.
    slice_start_ms: Rc<Cell<f64>>,
    /// A request came in since this was last looked at.
    asked: Cell<bool>,
    /// Requests came in when the last rest began.
    busy: Cell<bool>,
}

impl WebEnv {
    /// An environment whose first slice begins now.
    pub fn new(storage: Rc<WebStorage>) -> WebEnv {
        let slice_start_ms = Rc::new(Cell::new(performance_now()));
        let turns = Turns::new(slice_start_ms.clone());
        let (asked, busy) = (Cell::new(false), Cell::new(false));
        WebEnv { storage, turns, slice_start_ms, asked, busy }
    }

    /// Notes that a request has come in. That is a turn of the event loop too: a slice begins.
    pub fn asked(&self) {
        self.asked.set(true);
        self.slice_start_ms.set(performance_now());
    }
}

impl Env for WebEnv {
    type Storage = WebStorage;

    fn storage(&self) -> &Rc<WebStorage> {
        &self.storage
    }

    fn now_ms(&self) -> u64 {
        date_now() as u64
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(RANDOM_BYTES_MAX) {
            get_random_values(part);
        }
    }

    async fn turn(&self) {
        self.turns.take().await;
    }

    async fn rest(&self) {
        let (mut turns, mut quiet) = (0, 0);
        loop {
            self.turns.take().await;
            turns += 1;
            quiet = if self.asked.replace(false) { 0 } else { quiet + 1 };
            if turns == 1 {
                self.busy.set(quiet == 0);
            }
            if !self.busy.get() || turns == BUSY_TURNS || quiet == QUIET_TURNS {
                return;
            }
        }
    }

    fn memory_bytes(&self) -> u64 {
        const PAGE_BYTES: u64 = 64 * 1024;
        core::arch::wasm32::memory_size(0) as u64 * PAGE_BYTES
    }

    fn slice_used_up(&self) -> bool {
        let slice_ms = if self.busy.get() { BUSY_SLICE_MS } else { SLICE_MS };
        performance_now() - self.slice_start_ms.get() >= slice_ms
    }
}

/// Turns of the event loop: a message to ourselves arrives behind those that the page has sent
/// already. (Measured in Chromium: behind all 100 of a burst from the page, behind nearly all that
/// came over another port, in 70 µs where none are waiting. A timer would soon be rounded up to
/// 4 ms, and a microtask lets nothing in.)
struct Turns {
    inbox: MessagePort,
    outbox: MessagePort,
    line: Rc<Line>,
    _on_message: Closure<dyn FnMut()>,
}

#[derive(Default)]
struct Line {
    received: Cell<u64>,
    /// Who waits for the messages that have not come, in their order: each wakes one of them, for
    /// thousands may wait.
    waiting: RefCell<Vec<Option<Waker>>>,
}

impl Turns {
    /// Each turn that is over notes its time in `over_ms`: all that goes on in it shares a slice.
    fn new(over_ms: Rc<Cell<f64>>) -> Turns {
        let channel = MessageChannel::new();
        let line = Rc::new(Line::default());
        let receiver = line.clone();
        let on_message = Closure::<dyn FnMut()>::new(move || {
            receiver.received.set(receiver.received.get() + 1);
            over_ms.set(performance_now());
            // As many messages come as were sent.
            let next = receiver.waiting.borrow_mut().remove(0);
            if let Some(waker) = next {
                waker.wake();
            }
        });
        let inbox = channel.port1();
        inbox.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Turns { inbox, outbox: channel.port2(), line, _on_message: on_message }
    }

    async fn take(&self) {
        let Line { received, waiting } = &*self.line;
        let ticket = received.get() + waiting.borrow().len() as u64;
        waiting.borrow_mut().push(None);
        self.outbox.post_message(true);
        poll_fn(|context| {
            let Some(place) = ticket.checked_sub(received.get()) else { return Poll::Ready(()) };
            if let Some(waker) = waiting.borrow_mut().get_mut(place as usize) {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.inbox.set_onmessage(None);
        self.outbox.close();
    }
}
