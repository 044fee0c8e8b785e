//! Files in an IndexedDB database: the calls of worker/indexeddb/files.ts as a [`Storage`].
//!
//! The driver is TypeScript, since nearly every line of it is about JavaScript's objects: in Rust
//! it took several times the bytes. Offsets and lengths are exact in a double.

use crate::error::{Code, Error, Result};
use crate::storage::{Durability, FileNo, Storage};
use crate::wasm::js::Thrown;
use js_sys::{Function, Promise, Uint32Array};
use std::pin::Pin;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// The files of a database. What they are given is copied within the call.
    type Files;
    #[wasm_bindgen(method)]
    fn list(this: &Files) -> Promise;
    #[wasm_bindgen(method)]
    fn prepare(this: &Files, live: &[FileNo], logs: usize);
    #[wasm_bindgen(method)]
    fn adopt(this: &Files, live: &[FileNo]) -> Promise;
    #[wasm_bindgen(method)]
    fn create(this: &Files) -> Promise;
    #[wasm_bindgen(method)]
    fn len(this: &Files, file: FileNo) -> Promise;
    #[wasm_bindgen(method)]
    fn read(this: &Files, file: FileNo, offset: f64, bytes: usize) -> Promise;
    #[wasm_bindgen(method)]
    fn write(this: &Files, file: FileNo, offset: f64, data: &[u8], strict: bool) -> Promise;
    #[wasm_bindgen(method)]
    fn sync(this: &Files, file: FileNo) -> Promise;
    #[wasm_bindgen(method)]
    fn truncate(this: &Files, file: FileNo, len: f64) -> Promise;
    #[wasm_bindgen(method)]
    fn remove(this: &Files, file: FileNo) -> Promise;
    #[wasm_bindgen(method)]
    fn usage(this: &Files) -> Promise;
    #[wasm_bindgen(catch, method)]
    fn close(this: &Files) -> Thrown<()>;

    /// What `read` resolves to.
    type Bytes;
    #[wasm_bindgen(method, js_name = copyTo)]
    fn copy_to(this: &Bytes, buffer: &mut [u8]) -> usize;

    /// What they throw and reject with.
    type Failure;
    #[wasm_bindgen(method, getter)]
    fn code(this: &Failure) -> Option<u8>;
    #[wasm_bindgen(method, getter)]
    fn message(this: &Failure) -> Option<String>;
}

/// A [`Storage`] in an IndexedDB database.
pub struct IndexedDb(Files);

impl IndexedDb {
    /// Opens the files of the database `name` and takes them over: whoever had them open before
    /// can't write any more. `open` is `openIndexedDb` of worker/indexeddb/files.ts.
    ///
    /// # Errors
    /// `Unsupported` where there is no IndexedDB, `NewerFormat` where a newer kvass has made the
    /// database, `Io` when the browser does not open it within ten seconds.
    pub async fn open(name: &str, open: &Function) -> Result<IndexedDb> {
        Ok(IndexedDb(open_with(open, name).await?.unchecked_into()))
    }

    /// Begins with [`Storage::prepare`]; what is called later waits for it.
    pub fn begin_to_prepare(&self, live: &[FileNo], logs: usize) {
        self.0.prepare(live, logs);
    }
}

/// What the worker's function `open` opens of the database `name`.
pub fn open_with(open: &Function, name: &str) -> Settled {
    match open.call1(&JsValue::NULL, &name.into()) {
        Ok(promise) => settled(promise.into(), None),
        Err(thrown) => Box::pin(async { Err(failed(thrown)) }),
    }
}

/// The error for what was thrown.
fn failed(thrown: JsValue) -> Error {
    let failure: &Failure = thrown.unchecked_ref();
    let number = failure.code();
    let codes = [
        Code::Busy,
        Code::Closed,
        Code::Corruption,
        Code::QuotaExceeded,
        Code::NewerFormat,
        Code::TooLarge,
        Code::Unsupported,
    ];
    let code = codes.into_iter().find(|code| number == Some(*code as u8));
    Error::new(code.unwrap_or(Code::Io), failure.message().unwrap_or_default())
}

/// What a call resolves to, its errors about a place in a file. Boxed, to keep the futures of
/// [`WebStorage`](super::storage::WebStorage) small for those who are on OPFS.
fn settled(call: Promise, place: Option<(FileNo, u64)>) -> Settled {
    Box::pin(async move {
        call.await.map_err(|thrown| match (failed(thrown), place) {
            (error, Some((file, offset))) => error.at(file, offset),
            (error, None) => error,
        })
    })
}

/// The outcome of a call, once it is there.
pub type Settled = Pin<Box<dyn Future<Output = Result<JsValue>>>>;

fn number(value: &JsValue) -> f64 {
    value.as_f64().unwrap_or_default()
}

impl Storage for IndexedDb {
    async fn list(&self) -> Result<Vec<FileNo>> {
        let numbers: Uint32Array = settled(self.0.list(), None).await?.unchecked_into();
        Ok(numbers.to_vec())
    }

    async fn adopt(&self, live: &[FileNo]) -> Result<()> {
        settled(self.0.adopt(live), None).await?;
        Ok(())
    }

    async fn create(&self) -> Result<FileNo> {
        Ok(number(&settled(self.0.create(), None).await?) as FileNo)
    }

    async fn len(&self, file: FileNo) -> Result<u64> {
        Ok(number(&settled(self.0.len(file), Some((file, 0))).await?) as u64)
    }

    async fn read(&self, file: FileNo, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = self.0.read(file, offset as f64, buffer.len());
        let bytes: Bytes = settled(read, Some((file, offset))).await?.unchecked_into();
        Ok(bytes.copy_to(buffer))
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        let strict = durability == Durability::Strict;
        settled(self.0.write(file, offset as f64, data, strict), Some((file, offset))).await?;
        Ok(())
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        settled(self.0.sync(file), Some((file, 0))).await?;
        Ok(())
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        settled(self.0.truncate(file, len as f64), Some((file, len))).await?;
        Ok(())
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        settled(self.0.remove(file), Some((file, 0))).await?;
        Ok(())
    }

    async fn usage(&self) -> Result<u64> {
        Ok(number(&settled(self.0.usage(), None).await?) as u64)
    }

    async fn close(&self) -> Result<()> {
        self.0.close().map_err(failed)
    }
}

impl Drop for IndexedDb {
    fn drop(&mut self) {
        // It throws where that was done before.
        let _ = self.0.close();
    }
}
