//! The part of the File System API that OPFS is used through. Every method is allowed to throw:
//! old browsers lack some of them.

use crate::wasm::js::Thrown;
use js_sys::{AsyncIterator, Object, Promise};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// A FileSystemDirectoryHandle.
    pub type Directory;
    #[wasm_bindgen(catch, method, js_name = getFileHandle)]
    pub fn get_file_handle(this: &Directory, name: &str, options: &Options) -> Thrown<Promise>;
    #[wasm_bindgen(catch, method, js_name = removeEntry)]
    pub fn remove_entry(this: &Directory, name: &str) -> Thrown<Promise>;
    #[wasm_bindgen(catch, method)]
    pub fn keys(this: &Directory) -> Thrown<AsyncIterator>;

    /// What the iterator of `keys` resolves to.
    pub type Next;
    #[wasm_bindgen(method, getter)]
    pub fn done(this: &Next) -> bool;
    #[wasm_bindgen(method, getter)]
    pub fn value(this: &Next) -> JsValue;

    /// A FileSystemFileHandle.
    pub type FileHandle;
    #[wasm_bindgen(catch, method, js_name = createSyncAccessHandle)]
    pub fn create_sync_access_handle(this: &FileHandle) -> Thrown<Promise>;
    #[wasm_bindgen(catch, method, js_name = getFile)]
    pub fn get_file(this: &FileHandle) -> Thrown<Promise>;

    /// The File of a FileSystemFileHandle.
    pub type Blob;
    #[wasm_bindgen(method, getter)]
    pub fn size(this: &Blob) -> f64;

    /// A FileSystemSyncAccessHandle.
    pub type SyncHandle;
    #[wasm_bindgen(catch, method)]
    pub fn read(this: &SyncHandle, buffer: &mut [u8], options: &Options) -> Thrown<f64>;
    #[wasm_bindgen(catch, method)]
    pub fn write(this: &SyncHandle, data: &[u8], options: &Options) -> Thrown<f64>;
    #[wasm_bindgen(catch, method)]
    pub fn flush(this: &SyncHandle) -> Thrown<()>;
    #[wasm_bindgen(catch, method, js_name = getSize)]
    pub fn get_size(this: &SyncHandle) -> Thrown<f64>;
    #[wasm_bindgen(catch, method)]
    pub fn truncate(this: &SyncHandle, len: f64) -> Thrown<()>;
    #[wasm_bindgen(method)]
    pub fn close(this: &SyncHandle);

    /// The options of the methods above: `create` of the directory's, `at` of the handle's.
    pub type Options;
    #[wasm_bindgen(method, setter)]
    pub fn set_create(this: &Options, create: bool);
    #[wasm_bindgen(method, setter)]
    pub fn set_at(this: &Options, offset: f64);
}

impl Options {
    pub fn new() -> Options {
        Object::new().unchecked_into()
    }
}
