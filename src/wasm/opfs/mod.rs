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
//! closed last: whoever has them owns the database. Everything that needs no handle opened is
//! done within the first poll, without a promise, directly between linear memory and the file.

use crate::error::{Code, Error, Result};
use crate::storage::{Durability, FileNo, MANIFEST_SLOTS, Storage};
use crate::wasm::js::{self, Exception};
use bindings::{Directory, Options};
use files::{Files, OpenFile};
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};

mod bindings;
mod files;

pub use files::HANDLES_MAX;

/// A page that is reloaded may find the handles of its old worker open for a moment.
const BUSY_RETRIES: u32 = 40;
const BUSY_RETRY_MS: i32 = 25;
/// The longest file name, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// A [`Storage`] in the origin private file system.
pub struct Opfs {
    files: Rc<Files>,
    at: Options,
}

impl Opfs {
    /// Opens the files of the database `name`, exclusively.
    ///
    /// # Errors
    /// `Unsupported` where there is no OPFS or no access handle (private windows, old browsers,
    /// outside of dedicated workers), `Busy` when another worker holds the files, `TooLarge` for
    /// a name that makes no file name.
    pub async fn open(name: &str) -> Result<Opfs> {
        let name = directory_name(name);
        if name.len() > NAME_BYTES_MAX {
            return Err(Error::new(Code::TooLarge, "the name of the database is too long"));
        }
        let root = js::settle(bindings::get_directory()).await;
        let root = root.map_err(|e| e.with_code(Code::Unsupported, "OPFS can't be used here"))?;
        let kvass = directory(root.unchecked_ref(), "kvass").await?;
        let files = Rc::new(Files::new(directory(&kvass, &name).await?));
        for slot in MANIFEST_SLOTS {
            open_patiently(&files, slot).await?;
        }
        files.take_in_names().await?;
        Ok(Opfs { files, at: Options::new() })
    }

    fn at(&self, offset: u64) -> &Options {
        self.at.set_at(offset as f64);
        &self.at
    }
}

async fn directory(parent: &Directory, name: &str) -> Result<Directory> {
    let create = Options::new();
    create.set_create(true);
    let directory = js::settle(parent.get_directory_handle(name, &create)).await;
    let directory = directory.map_err(|e| e.while_doing("opening the database's directory"))?;
    Ok(directory.unchecked_into())
}

/// Opens a manifest slot, waiting a little for a worker that is just ending.
async fn open_patiently(files: &Files, slot: FileNo) -> Result<()> {
    let mut retries = BUSY_RETRIES;
    loop {
        match files.open(slot).await {
            Err(error) if error.code() == Code::Busy && retries > 0 => retries -= 1,
            outcome => return outcome,
        }
        js::sleep(BUSY_RETRY_MS).await;
    }
}

/// The name of the directory of a database.
fn directory_name(name: &str) -> String {
    if name.is_empty() {
        return "%".into();
    }
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    encoded
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
        let cut = &mut |file: &mut OpenFile| {
            if len > file.len()? {
                return Err(Error::io("a cut past the end of the file"));
            }
            file.truncate(len)?;
            Ok(len)
        };
        self.files.with(file, cut).await.map_err(|error| error.at(file, len))?;
        Ok(())
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
