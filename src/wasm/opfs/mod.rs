//! Files in the origin private file system, through synchronous access handles.
//!
//! ```text
//! OPFS root / kvass / <name> / 0, 1     the manifest slots
//!                            / 2 ...    one file for each number
//! ```
//!
//! <name> is the name of the database; every byte that is not a lower-case letter, a digit, `-`
//! or `_` is written as `%xx`, so that any string is a file name, on file systems that take `A`
//! for `a` too. The empty name is a lone `%`.
//!
//! A handle is exclusive. Those of the manifest slots are opened before anything is read and
//! closed last: whoever has both owns the database. Opening one asks another process of the
//! browser, which takes its time when there is much to do, so what an open needs is asked for at
//! once rather than one after the other. Everything that needs no handle opened is
//! done within the first poll, without a promise, directly between linear memory and the file.

use crate::error::{Code, Error, Result};
use crate::storage::{Durability, FileNo, MANIFEST_SLOTS, Storage};
use crate::wasm::indexeddb::open_with;
use crate::wasm::js::Exception;
use bindings::Options;
use files::{Files, OpenFile};
use js_sys::Function;
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};

mod bindings;
mod files;

pub use files::HANDLES_MAX;

/// A [`Storage`] in the origin private file system.
pub struct Opfs {
    files: Rc<Files>,
    at: Options,
}

impl Opfs {
    /// Opens the files of the database `name`, exclusively. `open_directory` is `openDirectory` of
    /// worker/directory.ts.
    ///
    /// # Errors
    /// `Unsupported` where there is no OPFS or no access handle (private windows, old browsers,
    /// outside of dedicated workers), `Busy` when another worker holds the files, `TooLarge` for
    /// a name that makes no file name.
    pub async fn open(name: &str, open_directory: &Function) -> Result<Opfs> {
        let directory = open_with(open_directory, name).await?;
        let files = Rc::new(Files::new(directory.unchecked_into()));
        files.open_slots().await?;
        Ok(Opfs { files, at: Options::new() })
    }

    fn at(&self, offset: u64) -> &Options {
        self.at.set_at(offset as f64);
        &self.at
    }
}

/// Checks what `write` returned. On a full disk it is less than asked for, or a negative number
/// taken for an unsigned one.
pub fn check_written(written: f64, wanted: usize) -> Result<()> {
    if written == wanted as f64 {
        return Ok(());
    }
    // As a whole number: to format a double takes 15 KB of code.
    let returned = written as i64;
    let message = format!("the storage is full: a write of {wanted} bytes returned {returned}");
    Err(Error::new(Code::QuotaExceeded, message))
}

/// The error of a method of an access handle that has thrown.
fn failed(what: &str) -> impl FnOnce(JsValue) -> Error {
    move |thrown| Exception::from(thrown).while_doing(what)
}

impl Storage for Opfs {
    async fn list(&self) -> Result<Vec<FileNo>> {
        let lens = self.files.lens().await?;
        let holding = lens.into_iter().filter(|(_, len)| *len > 0).map(|(number, _)| number);
        Ok(holding.filter(|number| !MANIFEST_SLOTS.contains(number)).collect())
    }

    async fn prepare(&self, live: &[FileNo], _logs: usize) {
        self.files.open_first(live).await;
    }

    async fn adopt(&self, live: &[FileNo]) -> Result<()> {
        self.files.adopt(live)
    }

    async fn create(&self) -> Result<FileNo> {
        self.files.create().await
    }

    async fn len(&self, file: FileNo) -> Result<u64> {
        self.files.with(file, &mut OpenFile::len).await
    }

    async fn read(&self, file: FileNo, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = &mut |file: &mut OpenFile| {
            let read = file.handle.read(buffer, self.at(offset)).map_err(failed("reading"));
            Ok(read? as u64)
        };
        let read = self.files.with(file, read).await.map_err(|error| error.at(file, offset));
        Ok(read? as usize)
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        let write = &mut |file: &mut OpenFile| {
            if offset > file.len()? {
                return Err(Error::io("a write past the end of the file"));
            }
            file.write(data, offset, self.at(offset))?;
            if durability == Durability::Strict {
                file.flush()?;
            }
            Ok(offset)
        };
        self.files.with(file, write).await.map_err(|error| error.at(file, offset))?;
        Ok(())
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        self.files.with(file, &mut |file| file.flush().map(|()| 0)).await?;
        Ok(())
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        self.files.truncate(file, len).await.map_err(|error| error.at(file, len))
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        self.files.remove(file)
    }

    async fn usage(&self) -> Result<u64> {
        Ok(self.files.lens().await?.iter().map(|(_, len)| len).sum())
    }

    async fn close(&self) -> Result<()> {
        self.files.close().await
    }
}
