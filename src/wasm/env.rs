//! The engine's outside world in a browser worker.

use crate::env::Env;
use crate::signal::Signal;
use crate::wasm::storage::WebStorage;
use js_sys::Function;
use std::cell::Cell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// How long a background task runs before it lets requests in, in milliseconds.
const SLICE_MS: f64 = 4.0;
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

/// Fills `buffer` with random bytes.
pub fn fill_random(buffer: &mut [u8]) {
    for part in buffer.chunks_mut(RANDOM_BYTES_MAX) {
        get_random_values(part);
    }
}

/// An [`Env`] over a storage of the browser.
pub struct WebEnv {
    storage: Rc<WebStorage>,
    turns: Turns,
    slice_start_ms: Cell<f64>,
}

impl WebEnv {
    /// An environment whose first slice begins now.
    pub fn new(storage: Rc<WebStorage>) -> WebEnv {
        WebEnv { storage, turns: Turns::new(), slice_start_ms: Cell::new(performance_now()) }
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
        fill_random(buffer);
    }

    async fn turn(&self) {
        self.turns.take().await;
        self.slice_start_ms.set(performance_now());
    }

    fn memory_bytes(&self) -> u64 {
        const PAGE_BYTES: u64 = 64 * 1024;
        core::arch::wasm32::memory_size(0) as u64 * PAGE_BYTES
    }

    fn slice_used_up(&self) -> bool {
        performance_now() - self.slice_start_ms.get() >= SLICE_MS
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
    sent: Cell<u64>,
    received: Cell<u64>,
    moved: Signal,
}

impl Turns {
    fn new() -> Turns {
        let channel = MessageChannel::new();
        let line = Rc::new(Line::default());
        let receiver = line.clone();
        let on_message = Closure::<dyn FnMut()>::new(move || {
            receiver.received.set(receiver.received.get() + 1);
            receiver.moved.notify();
        });
        let inbox = channel.port1();
        inbox.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Turns { inbox, outbox: channel.port2(), line, _on_message: on_message }
    }

    async fn take(&self) {
        let ticket = self.line.sent.get() + 1;
        self.line.sent.set(ticket);
        self.outbox.post_message(true);
        self.line.moved.until(|| (self.line.received.get() >= ticket).then_some(())).await;
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.inbox.set_onmessage(None);
        self.outbox.close();
    }
}
