//! The files of one directory, and which of their handles are open.
//!
//! At most [`HANDLES_MAX`] handles are open (Safari allows about 250); the one that was not used
//! for the longest time makes room. Files that nobody needs any more become spares, and
//! [`SPARES_READY`] of those are kept empty with their handles open: making a file is slow, and
//! impossible at a full quota. A spare is emptied when its handle is opened, so one that a killed
//! page left behind with bytes in it is harmless.
//!
//! Chromium counts what an open file has held against the quota until its handle is closed,
//! however short the file was cut meanwhile. So one that is cut or emptied is closed, and opened
//! again when it is needed.

use super::bindings::{self, Directory, FileHandle, Options, SyncHandle};
use super::{check_written, failed};
use crate::error::{Code, Error, Result};
use crate::signal::{Signal, Task, Turnstile, all};
use crate::storage::file_map::FileMap;
use crate::storage::{FileNo, MANIFEST_SLOTS};
use crate::wasm::js::{self, Exception, Tried};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;

/// Handles that are open at once, those of the spares included.
pub const HANDLES_MAX: usize = 100;
/// Empty files that are kept with their handles open.
const SPARES_READY: usize = 4;
/// How many of them an open needs: it begins two logs. And how many files it reads, usually.
const SPARES_AT_OPEN: usize = 2;
const LIVE_AT_OPEN: usize = 6;
/// Spares beyond this many are deleted.
const SPARES_MAX: usize = 8;

/// All files of a database.
pub struct Files {
    directory: Directory,
    create: Options,
    state: RefCell<State>,
    /// Whoever opens, makes or deletes files, one at a time.
    gate: Turnstile,
}

#[derive(Default)]
struct State {
    /// Every file that is in the directory.
    files: FileMap<Entry>,
    uses: u64,
    tidying: bool,
    closed: bool,
}

#[derive(Default)]
struct Entry {
    open: Option<OpenFile>,
    /// The length while the file is not open, once it was asked for.
    len: Option<u64>,
    /// The value of [`State::uses`] at its last use.
    used: u64,
    /// Nobody's file. Once it is open it holds no bytes.
    spare: bool,
    /// Somebody's file that is not there: its number is not for another.
    missing: bool,
    /// Whether its handle was flushed when it was closed. Who wrote it before may have ended
    /// before its flush.
    flushed: bool,
    /// What went wrong then, until whoever flushes the file is told.
    failed: Option<Error>,
}

impl Entry {
    /// Closes the handle. Where flushing it fails, that is for those to hear who wrote the file.
    fn close(&mut self) {
        if let Some(mut open) = self.open.take() {
            // Nothing says that a later handle flushes what this one wrote.
            self.failed = open.flush().err();
            self.flushed = self.failed.is_none();
            self.len = open.len;
        }
    }

    /// Empties a spare that is open, and closes it if that gives space back.
    fn empty(&mut self) -> Result<()> {
        if let Some(open) = &mut self.open
            && open.len()? > 0
        {
            open.truncate(0)?;
            self.close();
            // Nothing of it is left to be told of.
            self.failed = None;
        }
        Ok(())
    }
}

/// What is done with an open file, and the number that comes of it: one type for all, so that
/// waiting for a handle is compiled once.
pub type Run<'a> = &'a mut dyn FnMut(&mut OpenFile) -> Result<u64>;

/// A file whose handle is open.
pub struct OpenFile {
    pub handle: SyncHandle,
    /// Known once it was asked for: nobody else changes it.
    len: Option<u64>,
    /// Whether something was written since the last flush.
    unflushed: bool,
    /// As in [`Entry`], of an earlier handle.
    failed: Option<Error>,
}

impl OpenFile {
    /// The length in bytes.
    pub fn len(&mut self) -> Result<u64> {
        match self.len {
            Some(len) => Ok(len),
            None => {
                let len = self.handle.get_size().map_err(failed("asking for a length"))? as u64;
                self.len = Some(len);
                Ok(len)
            }
        }
    }

    /// Writes all of `data` at `offset`, which `at` holds too.
    pub fn write(&mut self, data: &[u8], offset: u64, at: &Options) -> Result<()> {
        let before = self.len.take();
        self.unflushed = true;
        check_written(self.handle.write(data, at).map_err(failed("writing"))?, data.len())?;
        self.len = before.map(|len| len.max(offset + data.len() as u64));
        Ok(())
    }

    /// Makes what was written durable. Where that failed behind the back of whoever wrote it, it
    /// fails once more.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.unflushed {
            self.handle.flush().map_err(failed("flushing"))?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, len: u64) -> Result<()> {
        self.len = None;
        self.unflushed = true;
        if len == 0 {
            // Nothing is left of what could not be flushed.
            self.failed = None;
        }
        self.handle.truncate(len as f64).map_err(failed("truncating"))?;
        self.len = Some(len);
        Ok(())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.handle.close();
    }
}

fn closed() -> Error {
    Error::new(Code::Closed, "the storage was closed")
}

fn missing(file: FileNo) -> Error {
    Error::corruption(file, 0, "the file is missing")
}

/// What a failure to open a handle means.
fn open_failure(exception: &Exception) -> Error {
    match exception.name.as_str() {
        // WebKit says InvalidStateError when another handle is open. A directory that was found
        // before its database was deleted is not there: the next one is.
        "NoModificationAllowedError" | "InvalidStateError" | "NotFoundError" => {
            exception.with_code(Code::Busy, "another tab or worker holds the files of the database")
        }
        // Calling what is not there is a TypeError.
        "NotSupportedError" | "SecurityError" | "TypeError" => {
            exception.with_code(Code::Unsupported, "OPFS has no access handles here")
        }
        _ => exception.while_doing("opening a file"),
    }
}

impl State {
    /// The entry of a file that somebody owns.
    fn owned(&mut self, file: FileNo) -> Result<&mut Entry> {
        if self.closed {
            return Err(closed());
        }
        let entry = self.files.get_mut(file).filter(|entry| !entry.spare && !entry.missing);
        entry.ok_or_else(|| missing(file))
    }

    fn spares(&self) -> impl Iterator<Item = (FileNo, &Entry)> {
        self.files.iter().filter(|(_, entry)| entry.spare)
    }

    /// Turns a spare that is ready into somebody's file.
    fn take_spare(&mut self) -> Option<FileNo> {
        let ready = self.spares().find(|(_, entry)| entry.open.is_some());
        let number = ready.map(|(number, _)| number)?;
        self.files.get_mut(number)?.spare = false;
        Some(number)
    }

    /// Closes the handle that was not used for the longest time, where no more can be opened.
    fn make_room(&mut self) {
        if self.files.iter().filter(|(_, entry)| entry.open.is_some()).count() < HANDLES_MAX {
            return;
        }
        let closable = self.files.iter_mut().filter(|(number, entry)| {
            entry.open.is_some() && !entry.spare && !MANIFEST_SLOTS.contains(number)
        });
        if let Some((_, entry)) = closable.min_by_key(|(_, entry)| entry.used) {
            entry.close();
        }
    }

    /// What is to be done for the spares next.
    fn chore(&self) -> Option<Chore> {
        if self.closed {
            return None;
        }
        let (ready, raw): (Vec<_>, Vec<_>) = self.spares().partition(|(_, e)| e.open.is_some());
        let last = |spares: &[(FileNo, &Entry)]| spares.last().map(|(number, _)| *number);
        match (ready.len(), last(&raw)) {
            (..SPARES_READY, Some(file)) => Some(Chore::Prepare(file)),
            (..SPARES_READY, None) => Some(Chore::Prepare(self.files.unused())),
            (_, Some(file)) => Some(Chore::Delete(file)),
            (..=SPARES_MAX, None) => None,
            (_, None) => last(&ready).map(Chore::Delete),
        }
    }

    /// Closes all handles, the manifest slots' last.
    fn close(&mut self) {
        self.closed = true;
        while self.files.pop().is_some() {}
    }
}

enum Chore {
    /// Delete a spare.
    Delete(FileNo),
    /// Open and empty a spare, making it if it is not there.
    Prepare(FileNo),
}

/// Runs a task to its end, also where who waits for it gives up: a handle that comes when nobody
/// takes it any more would keep its file from being opened until it is collected as garbage.
async fn to_its_end(task: Task<'static, Error>) -> Result<()> {
    let outcome = Rc::new((Cell::new(None), Signal::default()));
    let there = outcome.clone();
    spawn_local(async move {
        there.0.set(Some(task.await));
        there.1.notify();
    });
    outcome.1.until(|| outcome.0.take()).await
}

impl Files {
    pub fn new(directory: Directory) -> Files {
        let create = Options::new();
        create.set_create(true);
        Files { directory, create, state: RefCell::default(), gate: Turnstile::default() }
    }

    /// Takes in which files there are, and opens the manifest slots.
    pub async fn open_slots(&self) -> Result<()> {
        let [first, second] = MANIFEST_SLOTS;
        all(vec![
            Box::pin(self.open(first)),
            Box::pin(self.open(second)),
            Box::pin(self.take_in_names()),
        ])
        .await
    }

    async fn take_in_names(&self) -> Result<()> {
        let names = self.directory.keys().map_err(failed("listing the files"))?;
        loop {
            let next = js::settle(names.next()).await;
            let next = next.map_err(|e| open_failure(&e))?;
            let next: bindings::Next = next.unchecked_into();
            if next.done() {
                return Ok(());
            }
            // A name that is no number is none of ours.
            if let Some(number) = next.value().as_string().and_then(|name| name.parse().ok()) {
                self.state.borrow_mut().files.entry(number);
            }
        }
    }

    /// Opens the handle of `file`, making the file if it is not there. The caller holds the
    /// gate, or nobody else has this value yet.
    pub async fn open(&self, file: FileNo) -> Result<()> {
        self.state.borrow_mut().make_room();
        let handle = self.open_handle(file).await.map_err(|e| open_failure(&e).at(file, 0))?;
        let mut state = self.state.borrow_mut();
        if state.closed {
            handle.close();
            return Err(closed());
        }
        state.uses += 1;
        let used = state.uses;
        let entry = state.files.entry(file);
        // It was opened for somebody who is to find it open.
        entry.used = used;
        let failed = entry.failed.take().filter(|_| !entry.spare);
        entry.open = Some(OpenFile { handle, len: None, unflushed: !entry.flushed, failed });
        if entry.spare
            && let Err(error) = entry.empty()
        {
            // A spare that is open is taken for an empty one.
            entry.open = None;
            return Err(error);
        }
        Ok(())
    }

    async fn open_handle(&self, file: FileNo) -> Tried<SyncHandle> {
        let found = self.directory.get_file_handle(&file.to_string(), &self.create);
        let found: FileHandle = js::settle(found).await?.unchecked_into();
        Ok(js::settle(found.create_sync_access_handle()).await?.unchecked_into())
    }

    /// Runs `run` on `file`, opening its handle first where it is not open.
    pub async fn with(self: &Rc<Files>, file: FileNo, run: Run<'_>) -> Result<u64> {
        // It may have been closed again, to make room, before this goes on.
        while self.state.borrow_mut().owned(file)?.open.is_none() {
            to_its_end(Box::pin(self.clone().reopen(file))).await?;
        }
        let mut state = self.state.borrow_mut();
        state.uses += 1;
        let used = state.uses;
        let entry = state.owned(file)?;
        entry.used = used;
        run(entry.open.as_mut().ok_or_else(closed)?)
    }

    /// Cuts a file to `len` bytes, and closes it: none of the manifest, which keeps others out.
    pub async fn truncate(self: &Rc<Files>, file: FileNo, len: u64) -> Result<()> {
        let cut = &mut |open: &mut OpenFile| {
            if len > open.len()? {
                return Err(Error::io("a cut past the end of the file"));
            }
            open.truncate(len)?;
            Ok(len)
        };
        self.with(file, cut).await?;
        self.state.borrow_mut().owned(file)?.close();
        Ok(())
    }

    async fn reopen(self: Rc<Files>, file: FileNo) -> Result<()> {
        let _turn = self.gate.enter().await;
        if self.state.borrow_mut().owned(file)?.open.is_none() {
            self.open(file).await?;
        }
        Ok(())
    }

    /// An empty file under an unused number.
    pub async fn create(self: &Rc<Files>) -> Result<FileNo> {
        loop {
            let ready = self.state.borrow_mut().take_spare();
            if let Some(number) = ready {
                self.tidy();
                return Ok(number);
            }
            to_its_end(Box::pin(self.clone().make())).await?;
        }
    }

    /// Makes a spare ready where there is none.
    async fn make(self: Rc<Files>) -> Result<()> {
        let _turn = self.gate.enter().await;
        let number = {
            let state = self.state.borrow();
            if state.closed {
                return Err(closed());
            }
            if state.spares().any(|(_, spare)| spare.open.is_some()) {
                return Ok(());
            }
            let spare = state.spares().next().map(|(number, _)| number);
            spare.unwrap_or_else(|| state.files.unused())
        };
        self.prepare(number).await
    }

    async fn prepare(&self, file: FileNo) -> Result<()> {
        self.state.borrow_mut().files.entry(file).spare = true;
        self.open(file).await
    }

    /// Opens the handles of the first files in `live`, and those of the spares that an open needs,
    /// to be emptied by [`Files::adopt`].
    pub async fn open_first(&self, live: &[FileNo]) {
        let _turn = self.gate.enter().await;
        let first = MANIFEST_SLOTS.len() as FileNo;
        let spares = (first..).filter(|file| !live.contains(file)).take(SPARES_AT_OPEN);
        // One that is missing is damage, and is not to be made anew.
        let there = |file: &FileNo| self.state.borrow().files.get(*file).is_some();
        let live = live.iter().copied().take(LIVE_AT_OPEN).filter(there);
        let files = live.chain(spares);
        // Who needs one that does not open tries it again, and is told.
        let _ = all(files.map(|file| Box::pin(self.open(file)) as _).collect()).await;
    }

    /// Makes spares of all files that are not in `live`.
    pub fn adopt(self: &Rc<Files>, live: &[FileNo]) -> Result<()> {
        let mut state = self.state.borrow_mut();
        if state.closed {
            return Err(closed());
        }
        for file in live {
            if state.files.get(*file).is_none() {
                state.files.entry(*file).missing = true;
            }
        }
        for (number, entry) in state.files.iter_mut() {
            entry.spare = !MANIFEST_SLOTS.contains(&number) && !live.contains(&number);
            if entry.spare {
                entry.empty()?;
            }
        }
        drop(state);
        self.tidy();
        Ok(())
    }

    /// Makes a spare of `file`.
    pub fn remove(self: &Rc<Files>, file: FileNo) -> Result<()> {
        let mut state = self.state.borrow_mut();
        if state.files.get(file).is_some_and(|entry| entry.missing) {
            state.files.remove(file);
            return Ok(());
        }
        let ready = state.spares().filter(|(_, spare)| spare.open.is_some()).count();
        let entry = state.owned(file)?;
        if ready < SPARES_READY {
            entry.empty()?;
        } else {
            // Not needed, it is deleted: emptying a large file would hold up requests.
            entry.open = None;
        }
        entry.spare = true;
        drop(state);
        self.tidy();
        Ok(())
    }

    /// Sees to the spares in the background. Where it fails, the storage does with fewer of them
    /// or more, and the call that meets the cause reports it.
    fn tidy(self: &Rc<Files>) {
        let mut state = self.state.borrow_mut();
        if !state.tidying && state.chore().is_some() {
            state.tidying = true;
            let files = self.clone();
            spawn_local(async move {
                while files.do_chore().await.is_ok_and(|more| more) {}
                files.state.borrow_mut().tidying = false;
            });
        }
    }

    /// Does what is to be done next for the spares; returns whether there was anything.
    async fn do_chore(&self) -> Result<bool> {
        let _turn = self.gate.enter().await;
        let chore = self.state.borrow().chore();
        match chore {
            Some(Chore::Prepare(file)) => self.prepare(file).await?,
            Some(Chore::Delete(file)) => self.delete(file).await?,
            None => return Ok(false),
        }
        Ok(true)
    }

    async fn delete(&self, file: FileNo) -> Result<()> {
        if let Some(entry) = self.state.borrow_mut().files.get_mut(file) {
            entry.open = None;
        }
        let removed = js::settle(self.directory.remove_entry(&file.to_string())).await;
        removed.map_err(|e| e.while_doing("deleting a file"))?;
        self.state.borrow_mut().files.remove(file);
        Ok(())
    }

    /// The length of every file that somebody owns.
    pub async fn lens(&self) -> Result<Vec<(FileNo, u64)>> {
        let numbers: Vec<FileNo> = {
            let state = self.state.borrow();
            if state.closed {
                return Err(closed());
            }
            let owned = |(_, entry): &(FileNo, &Entry)| !entry.spare && !entry.missing;
            state.files.iter().filter(owned).map(|(number, _)| number).collect()
        };
        let mut lens = Vec::with_capacity(numbers.len());
        for number in numbers {
            let len = self.len(number).await;
            match self.state.borrow_mut().owned(number) {
                // Removed since the numbers were collected.
                Err(error) if error.code() == Code::Corruption => (),
                _ => lens.push((number, len.map_err(|error| error.at(number, 0))?)),
            }
        }
        Ok(lens)
    }

    /// The length of a file, found out without opening its handle.
    async fn len(&self, file: FileNo) -> Result<u64> {
        let known = match self.state.borrow_mut().owned(file)? {
            Entry { open: Some(open), .. } => Some(open.len()?),
            entry => entry.len,
        };
        if let Some(len) = known {
            return Ok(len);
        }
        let len = self.stored_len(file).await.map_err(|e| e.while_doing("asking for a length"))?;
        self.state.borrow_mut().owned(file)?.len = Some(len);
        Ok(len)
    }

    async fn stored_len(&self, file: FileNo) -> Tried<u64> {
        let found = self.directory.get_file_handle(&file.to_string(), &Options::new());
        let found: FileHandle = js::settle(found).await?.unchecked_into();
        let blob: bindings::Blob = js::settle(found.get_file()).await?.unchecked_into();
        Ok(blob.size() as u64)
    }

    /// Closes all handles. What waits for one fails. A handle that is just being opened is waited
    /// for: a worker that ends meanwhile may leave its file locked for a moment.
    pub async fn close(&self) -> Result<()> {
        {
            let mut state = self.state.borrow_mut();
            if state.closed {
                return Err(closed());
            }
            state.close();
        }
        let _turn = self.gate.enter().await;
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.state.get_mut().close();
    }
}
