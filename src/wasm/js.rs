//! What the browser modules share: exceptions as errors, and promises.

use crate::error::{Code, Error};
use js_sys::Promise;
use std::fmt;
use wasm_bindgen::prelude::*;

/// The outcome of a call that may throw.
pub type Thrown<T> = Result<T, JsValue>;
/// The same, when it is known what was thrown.
pub type Tried<T> = Result<T, Exception>;

#[wasm_bindgen]
extern "C" {
    /// Any value that can be thrown; usually a DOMException.
    type Throwable;
    #[wasm_bindgen(catch, method, getter)]
    fn name(this: &Throwable) -> Thrown<JsValue>;
    #[wasm_bindgen(catch, method, getter)]
    fn message(this: &Throwable) -> Thrown<JsValue>;
}

/// A JavaScript exception, or the reason of a rejected promise.
#[derive(Clone, Debug)]
pub struct Exception {
    /// The name of the DOMException or error class; empty where the value has none.
    pub name: String,
    message: String,
}

impl Exception {
    /// The error for an exception that nothing more is known about than what was being done:
    /// `QuotaExceeded` for a full storage, `Io` for the rest.
    pub fn while_doing(&self, what: &str) -> Error {
        match self.name.as_str() {
            "QuotaExceededError" => self.with_code(Code::QuotaExceeded, what),
            _ => self.with_code(Code::Io, what),
        }
    }

    /// The error of the given kind, with the browser's own words at the end.
    pub fn with_code(&self, code: Code, what: &str) -> Error {
        Error::new(code, format!("{what}: {self}"))
    }
}

impl From<JsValue> for Exception {
    fn from(value: JsValue) -> Exception {
        let thrown: &Throwable = value.unchecked_ref();
        let text = |field: Thrown<JsValue>| field.ok().and_then(|text| text.as_string());
        Exception {
            name: text(thrown.name()).unwrap_or_default(),
            message: text(thrown.message()).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.message.as_str()) {
            ("", "") => f.write_str("an unknown exception"),
            (name, "") => f.write_str(name),
            ("", message) => f.write_str(message),
            (name, message) => write!(f, "{name}: {message}"),
        }
    }
}

/// What the promise of a call resolves to; the call itself may throw as well as reject.
///
/// # Errors
/// What was thrown, or what the promise was rejected with.
pub async fn settle(call: Thrown<Promise>) -> Tried<JsValue> {
    Ok(call?.await?)
}
