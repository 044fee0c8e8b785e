//! What tests in a browser share: the back ends, opened as the worker opens them, and JavaScript.

use js_sys::{Function, Promise};
use kvass::error::Result;
use kvass::storage::{Durability, FileNo, Storage};
use kvass::wasm::opfs::Opfs;
use wasm_bindgen::prelude::*;

// What scripts/test.mjs makes of worker/.
#[wasm_bindgen(module = "/target/worker/indexeddb.js")]
extern "C" {
    #[wasm_bindgen(thread_local_v2, js_name = openIndexedDb)]
    pub static OPEN_INDEXEDDB: Function;
}

#[wasm_bindgen(module = "/target/worker/directory.js")]
extern "C" {
    #[wasm_bindgen(thread_local_v2, js_name = openDirectory)]
    pub static OPEN_DIRECTORY: Function;
}

pub async fn opfs(name: &str) -> Result<Opfs> {
    Opfs::open(name, &OPEN_DIRECTORY.with(Function::clone)).await
}

/// Runs JavaScript, the body of an async function.
pub async fn javascript(body: &str) -> JsValue {
    let function = Function::new_no_args(&format!("return (async () => {{ {body} }})()"));
    let promise: Promise = function.call0(&JsValue::NULL).unwrap().unchecked_into();
    promise.await.unwrap()
}

pub async fn sleep(ms: u32) {
    javascript(&format!("await new Promise((resolve) => setTimeout(resolve, {ms}));")).await;
}

/// A file of its own number for content, in a storage that was just opened.
pub async fn write_number<S: Storage>(storage: &S) -> FileNo {
    let file = storage.create().await.unwrap();
    storage.write(file, 0, &file.to_le_bytes(), Durability::Relaxed).await.unwrap();
    file
}
