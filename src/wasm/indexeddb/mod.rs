//! Files in an IndexedDB database, as records of up to 32 KiB.
//!
//! ```text
//! database "kvass:" name, version 1
//!
//!   store "chunks"    key: a number, file * 2^33 + offset    value: Uint8Array, 1 to 32768 bytes
//!
//!     file 7   0               32768                 65536      69632  70012
//!              |  one piece    |  one piece          | piece    |piece|  <- end of the file
//!              '-- a slot -----'-- a slot -----------'-- a slot ------- - - -
//!
//!   store "meta"      "owner"    a number that the current owner has drawn at random
//!                     "sync"     a number that every sync counts up
//! ```
//!
//! Pieces of a file follow each other without a gap, and none crosses the end of a slot. So a
//! read is one `getAll` over the slots it touches, the length of a file is in its last piece, and
//! an append is one `put`: of a new piece, or of the last one, made longer, while it is small.
//! Where bytes are overwritten or cut off, the slots they are in are written anew.
//!
//! Every change of a file is one transaction, behind the fence of [`connection`]. What the last
//! open left behind of a change is all or nothing.
//!
//! Durability is the browser's: a `strict` transaction makes itself and all that were complete
//! before it durable, because Chromium flushes the log that they share, WebKit checkpoints the
//! database (SQLite) and Firefox synchronizes its log (SQLite too) at the commit.

use crate::error::{Code, Error, Result};
use crate::storage::file_map::FileMap;
use crate::storage::{Durability, FileNo, MANIFEST_SLOTS, Storage};
use crate::wasm::js::Thrown;
use bindings::Store;
use connection::{Change, Connection};
use js_sys::{Array, Uint8Array};
use layout::{FILE_BYTES_MAX, FILES_MAX, PIECE_BYTES, slot_end, slot_start};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use wasm_bindgen::prelude::*;

mod bindings;
mod calls;
mod connection;
mod layout;

/// A [`Storage`] in an IndexedDB database.
pub struct IndexedDb {
    connection: Connection,
    state: RefCell<State>,
    syncs: Cell<u32>,
}

#[derive(Default)]
struct State {
    files: FileMap<File>,
    /// Whether `files` has every file. Before that, only the database knows.
    adopted: bool,
    /// Whether the lengths of all files were asked for.
    surveyed: bool,
}

#[derive(Default)]
struct File {
    /// Known once it was asked for, except while the file is being changed.
    len: Option<u64>,
    /// The last piece, while it is small enough to be made longer.
    tail: Vec<u8>,
    /// A change is under way, or was given up: only the database knows the length.
    changing: bool,
}

fn missing(file: FileNo) -> Error {
    Error::corruption(file, 0, "the file is missing")
}

impl IndexedDb {
    /// Opens the files of the database `name` and takes them over: whoever had them open before
    /// can't write any more.
    ///
    /// # Errors
    /// `Unsupported` where there is no IndexedDB, `NewerFormat` where a newer kvass has made the
    /// database, `Io` when the browser does not open it within ten seconds.
    pub async fn open(name: &str) -> Result<IndexedDb> {
        let connection = Connection::open(format!("kvass:{name}")).await?;
        Ok(IndexedDb { connection, state: RefCell::default(), syncs: Cell::new(0) })
    }

    /// How many calls have not ended.
    pub fn calls(&self) -> usize {
        self.connection.calls()
    }

    /// Fails where `file` is known not to be there.
    fn check(&self, file: FileNo) -> Result<()> {
        self.connection.check()?;
        let state = self.state.borrow();
        let there = MANIFEST_SLOTS.contains(&file) || state.files.get(file).is_some();
        if there || (!state.adopted && file < FILES_MAX) { Ok(()) } else { Err(missing(file)) }
    }

    /// The lengths of the files in `files` that hold any bytes, in order, as the database has
    /// them.
    async fn survey(&self, files: Range<FileNo>) -> Result<Vec<(FileNo, u64)>> {
        let ask =
            |chunks: &Store| Ok(vec![chunks.get_all_keys(&layout::files_in(files.clone())?)?]);
        let keys = self.connection.read(&ask).await?.pop().unwrap_or_default();
        let mut last: Vec<(FileNo, u64)> = Vec::new();
        let keys: &Array = keys.unchecked_ref();
        for (file, offset) in keys.iter().filter_map(|key| layout::parse_key(&key)) {
            match last.last_mut() {
                Some((same, furthest)) if *same == file => *furthest = offset,
                _ => last.push((file, offset)),
            }
        }
        if last.is_empty() {
            return Ok(last);
        }
        let ask = |chunks: &Store| {
            let get =
                |(file, offset): &(FileNo, u64)| chunks.get(&layout::key(*file, *offset).into());
            last.iter().map(get).collect()
        };
        let pieces = self.connection.read(&ask).await?;
        for ((_, offset), piece) in last.iter_mut().zip(pieces) {
            *offset += piece_bytes(piece).map_or(0, |piece| u64::from(piece.length()));
        }
        Ok(last)
    }

    /// The length of every file that is there.
    async fn lens(&self) -> Result<Vec<(FileNo, u64)>> {
        self.connection.check()?;
        if !self.state.borrow().surveyed {
            let lens = self.survey(0..FILES_MAX).await?;
            let mut state = self.state.borrow_mut();
            if !state.adopted {
                return Ok(lens);
            }
            let mut lens = lens.into_iter().peekable();
            for (file, entry) in state.files.iter_mut() {
                while lens.next_if(|(other, _)| *other < file).is_some() {}
                entry.learn(lens.next_if(|(other, _)| *other == file).map_or(0, |(_, len)| len));
            }
            state.surveyed = true;
        }
        let files: Vec<FileNo> = self.state.borrow().files.iter().map(|(file, _)| file).collect();
        let mut lens = Vec::with_capacity(files.len());
        for file in files {
            lens.push((file, self.known_len(file).await?));
        }
        Ok(lens)
    }

    async fn known_len(&self, file: FileNo) -> Result<u64> {
        let known = self.state.borrow().files.get(file).and_then(|entry| entry.len);
        if let Some(len) = known {
            return Ok(len);
        }
        let len = self.survey(file..file + 1).await?.first().map(|(_, len)| *len);
        let mut state = self.state.borrow_mut();
        let adopted = state.adopted;
        match state.files.get_mut(file) {
            Some(entry) => {
                entry.learn(len.unwrap_or(0));
                Ok(entry.len.or(len).unwrap_or(0))
            }
            None if adopted && !MANIFEST_SLOTS.contains(&file) => len.ok_or_else(|| missing(file)),
            // Until it is said which files there are, one without bytes is not told from none.
            None => Ok(len.unwrap_or(0)),
        }
    }

    /// Changes a file in one transaction, after which it has `len` bytes and `tail` for its
    /// last piece.
    async fn change(
        &self,
        file: FileNo,
        durability: Durability,
        (len, tail): (u64, Vec<u8>),
        change: Change<'_>,
    ) -> Result<()> {
        self.with(file, |entry| {
            (entry.changing, entry.len) = (true, None);
            entry.tail.clear();
        });
        let outcome = self.connection.write(durability, change).await;
        self.with(file, |entry| {
            entry.changing = false;
            if outcome.is_ok() {
                (entry.len, entry.tail) = (Some(len), tail);
            }
        });
        outcome
    }

    fn with<T>(&self, file: FileNo, look: impl FnOnce(&mut File) -> T) -> T {
        look(self.state.borrow_mut().files.entry(file))
    }

    /// The bytes of `file` in `range`; fewer at its end.
    async fn read_range(&self, file: FileNo, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let read = self.read(file, range.start, &mut bytes).await?;
        bytes.truncate(read);
        Ok(bytes)
    }

    async fn append(
        &self,
        file: FileNo,
        len: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        let end = len + data.len() as u64;
        let mut tail = self.with(file, |entry| std::mem::take(&mut entry.tail));
        let begin = len - tail.len() as u64;
        let grows = tail.len() + data.len() <= PIECE_BYTES && slot_end(begin + 1) >= end;
        if !tail.is_empty() && grows {
            tail.extend_from_slice(data);
            let piece = Uint8Array::from(tail.as_slice());
            let put = |chunks: &Store, _: &Store| put(chunks, file, begin, &piece);
            return self.change(file, durability, (end, tail), &put).await;
        }
        let last = layout::split(len, data).last().map_or(&[][..], |(_, piece)| piece);
        let tail = if last.len() < PIECE_BYTES { last.to_vec() } else { Vec::new() };
        let puts = |chunks: &Store, _: &Store| put_pieces(chunks, file, len, data);
        self.change(file, durability, (end, tail), &puts).await
    }

    async fn overwrite(
        &self,
        file: FileNo,
        len: u64,
        (offset, data): (u64, &[u8]),
        durability: Durability,
    ) -> Result<()> {
        let (first, end) = (slot_start(offset), offset + data.len() as u64);
        let mut whole = self.read_range(file, first..offset).await?;
        whole.extend_from_slice(data);
        let kept = end..len.min(slot_end(end)).max(end);
        if !kept.is_empty() {
            whole.extend(self.read_range(file, kept).await?);
        }
        let rewrite = |chunks: &Store, _: &Store| {
            chunks.delete(&layout::pieces_in(file, first..slot_end(end))?)?;
            put_pieces(chunks, file, first, &whole)
        };
        self.change(file, durability, (len.max(end), Vec::new()), &rewrite).await
    }
}

impl File {
    fn learn(&mut self, len: u64) {
        if !self.changing && self.len.is_none() {
            self.len = Some(len);
        }
    }
}

/// The bytes of a piece; None for a value that is none of ours.
fn piece_bytes(piece: JsValue) -> Option<Uint8Array> {
    piece.dyn_into().ok()
}

fn put(chunks: &Store, file: FileNo, offset: u64, piece: &Uint8Array) -> Thrown<()> {
    chunks.put(piece, &layout::key(file, offset).into()).map(|_| ())
}

fn put_pieces(chunks: &Store, file: FileNo, offset: u64, data: &[u8]) -> Thrown<()> {
    for (begin, piece) in layout::split(offset, data) {
        put(chunks, file, begin, &Uint8Array::from(piece))?;
    }
    Ok(())
}

/// Copies what `pieces`, which follow each other from `position` on, have of the bytes from
/// `offset` on; returns how many bytes that are.
fn gather(pieces: &Array, mut position: u64, offset: u64, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    for piece in pieces.iter().map_while(piece_bytes) {
        let end = position + u64::from(piece.length());
        let from = (offset + done as u64).max(position);
        let to = end.min(offset + buffer.len() as u64);
        if from < to
            && let Some(target) = buffer.get_mut(done..done + (to - from) as usize)
        {
            piece.subarray((from - position) as u32, (to - position) as u32).copy_to(target);
            done += target.len();
        }
        position = end;
    }
    done
}

impl Storage for IndexedDb {
    async fn list(&self) -> Result<Vec<FileNo>> {
        let lens = self.lens().await?;
        let holding = lens.into_iter().filter(|(_, len)| *len > 0).map(|(number, _)| number);
        Ok(holding.filter(|number| !MANIFEST_SLOTS.contains(number)).collect())
    }

    async fn adopt(&self, live: &[FileNo]) -> Result<()> {
        let mut files = FileMap::<File>::default();
        for file in MANIFEST_SLOTS.iter().chain(live) {
            files.entry(*file);
        }
        let delete_strangers = |chunks: &Store, _: &Store| {
            let mut next = 0;
            for file in files.iter().map(|(file, _)| file).chain([FILES_MAX]) {
                if next < file {
                    chunks.delete(&layout::files_in(next..file)?)?;
                }
                next = file + 1;
            }
            Ok(())
        };
        self.connection.write(Durability::Relaxed, &delete_strangers).await?;
        let mut state = self.state.borrow_mut();
        for (file, entry) in files.iter_mut() {
            *entry = state.files.remove(file).unwrap_or_default();
        }
        state.files = files;
        state.adopted = true;
        Ok(())
    }

    async fn create(&self) -> Result<FileNo> {
        self.connection.check()?;
        let mut state = self.state.borrow_mut();
        let number = state.files.unused();
        *state.files.entry(number) = File { len: Some(0), ..File::default() };
        Ok(number)
    }

    async fn len(&self, file: FileNo) -> Result<u64> {
        self.check(file)?;
        self.known_len(file).await
    }

    async fn read(&self, file: FileNo, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.check(file)?;
        let (first, end) = (slot_start(offset), offset + buffer.len() as u64);
        if first >= end || end > FILE_BYTES_MAX {
            return Ok(0);
        }
        let ask = |chunks: &Store| Ok(vec![chunks.get_all(&layout::pieces_in(file, first..end)?)?]);
        let results = self.connection.read(&ask).await.map_err(|error| error.at(file, offset))?;
        let pieces = results.into_iter().next().unwrap_or_default();
        Ok(gather(pieces.unchecked_ref(), first, offset, buffer))
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        let len = self.len(file).await?;
        let end = offset + data.len() as u64;
        if offset > len || end > FILE_BYTES_MAX {
            return Err(Error::io("a write past the end of the file").at(file, offset));
        }
        let outcome = match durability {
            _ if offset < len && !data.is_empty() => {
                self.overwrite(file, len, (offset, data), durability).await
            }
            _ if !data.is_empty() => self.append(file, len, data, durability).await,
            Durability::Strict => self.sync(file).await,
            Durability::Relaxed => Ok(()),
        };
        outcome.map_err(|error| error.at(file, offset))
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        self.check(file)?;
        let count = self.syncs.get().wrapping_add(1);
        self.syncs.set(count);
        let put = |_: &Store, meta: &Store| meta.put(&count.into(), &"sync".into()).map(|_| ());
        self.connection.write(Durability::Strict, &put).await
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        let before = self.len(file).await?;
        if len > before {
            return Err(Error::io("a cut past the end of the file").at(file, len));
        }
        if len == before {
            return Ok(());
        }
        let first = slot_start(len);
        let kept = self.read_range(file, first..len).await?;
        let cut = |chunks: &Store, _: &Store| {
            chunks.delete(&layout::pieces_in(file, first..FILE_BYTES_MAX)?)?;
            put_pieces(chunks, file, first, &kept)
        };
        self.change(file, Durability::Relaxed, (len, Vec::new()), &cut).await
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        self.check(file)?;
        let delete = |chunks: &Store, _: &Store| {
            chunks.delete(&layout::files_in(file..file + 1)?).map(|_| ())
        };
        self.change(file, Durability::Relaxed, (0, Vec::new()), &delete).await?;
        self.state.borrow_mut().files.remove(file);
        Ok(())
    }

    async fn usage(&self) -> Result<u64> {
        Ok(self.lens().await?.iter().map(|(_, len)| len).sum())
    }

    async fn close(&self) -> Result<()> {
        if self.connection.check().is_err_and(|error| error.code() == Code::Closed) {
            return Err(Error::new(Code::Closed, "the storage was closed"));
        }
        self.connection.close();
        Ok(())
    }
}
