//! The part of IndexedDB that is used. (web-sys has the durability of a transaction behind a
//! compiler flag only.)

use crate::wasm::js::Thrown;
use js_sys::{Function, Object};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(catch, js_namespace = indexedDB, js_name = open)]
    pub fn open_database(name: &str, version: u32) -> Thrown<Request>;

    #[derive(Clone, PartialEq)]
    pub type Database;
    #[wasm_bindgen(catch, method)]
    pub fn transaction(
        this: &Database,
        stores: &JsValue,
        mode: &JsValue,
        options: &Options,
    ) -> Thrown<Transaction>;
    #[wasm_bindgen(catch, method, js_name = createObjectStore)]
    pub fn create_object_store(this: &Database, name: &str) -> Thrown<Store>;
    #[wasm_bindgen(method)]
    pub fn close(this: &Database);
    #[wasm_bindgen(method, setter)]
    pub fn set_onclose(this: &Database, handler: &Function);
    #[wasm_bindgen(method, setter)]
    pub fn set_onversionchange(this: &Database, handler: &Function);

    #[derive(Clone)]
    pub type Transaction;
    #[wasm_bindgen(catch, method, js_name = objectStore)]
    pub fn object_store(this: &Transaction, name: &JsValue) -> Thrown<Store>;
    #[wasm_bindgen(catch, method)]
    pub fn commit(this: &Transaction) -> Thrown<()>;
    #[wasm_bindgen(catch, method)]
    pub fn abort(this: &Transaction) -> Thrown<()>;
    #[wasm_bindgen(method, getter)]
    pub fn error(this: &Transaction) -> JsValue;
    #[wasm_bindgen(method, setter)]
    pub fn set_oncomplete(this: &Transaction, handler: &Function);
    #[wasm_bindgen(method, setter)]
    pub fn set_onabort(this: &Transaction, handler: &Function);
    #[wasm_bindgen(method, setter)]
    pub fn set_onerror(this: &Transaction, handler: &Function);

    pub type Store;
    #[wasm_bindgen(catch, method)]
    pub fn get(this: &Store, key: &JsValue) -> Thrown<Request>;
    #[wasm_bindgen(catch, method, js_name = getAll)]
    pub fn get_all(this: &Store, range: &KeyRange) -> Thrown<Request>;
    #[wasm_bindgen(catch, method, js_name = getAllKeys)]
    pub fn get_all_keys(this: &Store, range: &KeyRange) -> Thrown<Request>;
    #[wasm_bindgen(catch, method)]
    pub fn put(this: &Store, value: &JsValue, key: &JsValue) -> Thrown<Request>;
    #[wasm_bindgen(catch, method)]
    pub fn delete(this: &Store, range: &KeyRange) -> Thrown<Request>;

    pub type KeyRange;
    #[wasm_bindgen(catch, js_namespace = IDBKeyRange)]
    pub fn bound(lower: f64, upper: f64, lower_open: bool, upper_open: bool) -> Thrown<KeyRange>;

    pub type Request;
    #[wasm_bindgen(catch, method, getter)]
    pub fn result(this: &Request) -> Thrown<JsValue>;
    #[wasm_bindgen(catch, method, getter, js_name = error)]
    pub fn request_error(this: &Request) -> Thrown<JsValue>;
    #[wasm_bindgen(method, getter, js_name = transaction)]
    pub fn request_transaction(this: &Request) -> Transaction;
    #[wasm_bindgen(method, setter)]
    pub fn set_onsuccess(this: &Request, handler: &Function);
    #[wasm_bindgen(method, setter, js_name = onerror)]
    pub fn set_request_onerror(this: &Request, handler: &Function);
    #[wasm_bindgen(method, setter)]
    pub fn set_onupgradeneeded(this: &Request, handler: &Function);

    pub type Event;
    #[wasm_bindgen(method, getter, js_name = type)]
    pub fn kind(this: &Event) -> String;
    #[wasm_bindgen(method, getter)]
    pub fn target(this: &Event) -> Target;
    #[wasm_bindgen(method, getter, js_name = currentTarget)]
    pub fn current_target(this: &Event) -> Target;
    #[wasm_bindgen(method, js_name = preventDefault)]
    pub fn prevent_default(this: &Event);

    #[derive(PartialEq)]
    /// Whatever an event happens to: a request, a transaction or a database. It carries the
    /// number of the call that it belongs to in a property of ours.
    pub type Target;
    #[wasm_bindgen(method, getter, js_name = kvassCall)]
    pub fn call(this: &Target) -> Option<u32>;
    #[wasm_bindgen(method, setter, js_name = kvassCall)]
    pub fn set_call(this: &Target, call: u32);

    pub type Options;
    #[wasm_bindgen(method, setter)]
    pub fn set_durability(this: &Options, durability: &str);
}

impl Options {
    /// The options of a transaction.
    pub fn with_durability(durability: &str) -> Options {
        let options: Options = Object::new().unchecked_into();
        options.set_durability(durability);
        options
    }
}
