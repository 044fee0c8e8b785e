//! Large values on their way into the database: written to a blob file before anything points at
//! them. Called by tasks inside the entrance, so one value is written at a time.

use super::Db;
use crate::blob::{
    Append, BlobFile, BlobMeta, HEADER_BYTES, Large, Pieces, Pointer, Stretch, Value,
};
use crate::commit::{Staged, StagedOp, StagedValue};
use crate::env::Env;
use crate::error::{Code, Result};
use crate::planted::{Bug, planted};
use crate::record::Op;
use crate::storage::Storage;
use crate::value;
use std::rc::Rc;

impl<E: Env> Db<E> {
    /// Writes the large values of a commit, which log and memtable will only point at. They are
    /// flushed with the group of the log that does. Where the storage is full, history gives way.
    ///
    /// # Errors
    /// Those of the storage; nothing has changed then.
    pub(super) async fn store_large(&self, staged: &mut [Staged<'_>]) -> Result<()> {
        let before = self.tables.blobs.active().map(|file| (file.size(), file));
        let stored = self.append_all(staged).await;
        if stored.is_err() {
            self.take_back(staged, before).await;
        }
        stored
    }

    /// Gives back what came before a value that could not be written: `before` is the file that
    /// was written to first, and how long it was.
    async fn take_back(&self, staged: &[Staged<'_>], before: Option<(u64, Rc<BlobFile>)>) {
        let blobs = &self.tables.blobs;
        let pointers = staged.iter().filter_map(|one| match &one.op {
            StagedOp::Set { pointer, .. } => Pointer::decode(pointer.as_deref()?),
            _ => None,
        });
        let written = pointers.filter_map(|pointer| blobs.find(pointer.blob));
        for file in written.chain(blobs.active()) {
            let size = match &before {
                Some((size, first)) if Rc::ptr_eq(first, &file) => *size,
                _ => HEADER_BYTES as u64,
            };
            if file.size() > size {
                file.shrink(size);
                self.cut_blob(&file).await;
            }
        }
    }

    async fn append_all(&self, staged: &mut [Staged<'_>]) -> Result<()> {
        let threshold = self.options.budgets.large_value_bytes;
        for one in staged {
            let StagedOp::Set { value, pointer, .. } = &mut one.op else { continue };
            let (kind, pieces) = match value {
                StagedValue::External { kind, payload } => (*kind, Pieces::of_external(payload)),
                StagedValue::Bytes(bytes) if bytes.len() >= threshold => {
                    match bytes.split_first() {
                        // What the engine may have to compute with stays at hand.
                        Some((kind, payload)) if value::is_opaque(*kind) => {
                            (*kind, Pieces::of_bytes(payload))
                        }
                        _ => continue,
                    }
                }
                StagedValue::Bytes(_) => continue,
            };
            let mut history_may_go = true;
            let written = loop {
                match self.append_large(kind, pieces.clone()).await {
                    Err(error) if error.code() == Code::QuotaExceeded && history_may_go => {
                        history_may_go = false;
                        if !self.free_history().await? {
                            return Err(error);
                        }
                    }
                    appended => break appended?,
                }
            };
            *pointer = Some(written.encode());
        }
        Ok(())
    }

    async fn append_large(&self, kind: u8, pieces: Pieces<'_>) -> Result<Pointer> {
        let file = self.blob_for(pieces.size()).await?;
        let mut append = Append::new(&file, kind, pieces);
        let appended = self.append_in_stretches(&file, &mut append).await;
        let was_flushed = self.is_flushed_on_its_way(append.written());
        match &appended {
            Ok(pointer) => self.tables.blobs.wrote(&file, pointer.len, was_flushed),
            Err(error) => {
                self.cut_blob(&file).await;
                // Nothing rests on a file whose flush may have failed.
                if error.code() != Code::QuotaExceeded || was_flushed {
                    self.end_blob();
                }
            }
        }
        appended
    }

    async fn append_in_stretches(
        &self,
        file: &BlobFile,
        append: &mut Append<'_>,
    ) -> Result<Pointer> {
        let storage = &**self.env.storage();
        let mut stretch = self.stretch();
        loop {
            if let Some(pointer) = append.step(storage).await? {
                if self.is_flushed_on_its_way(pointer.len) {
                    storage.sync(file.meta().file).await?;
                }
                return Ok(pointer);
            }
            if stretch.is_over(append.written()) {
                storage.sync(file.meta().file).await?;
                self.give_way().await;
            }
        }
    }

    /// Whether a value of so many bytes, or so much of one, is flushed before its group is.
    fn is_flushed_on_its_way(&self, bytes: u64) -> bool {
        bytes >= self.options.budgets.stretch_bytes
    }

    /// The blob file to write a value of `len` bytes to. One that is flushed on its way has none
    /// before it in its file that are still to be flushed: they could be lost with a flush that
    /// fails, and the next flush would not tell.
    async fn blob_for(&self, len: u64) -> Result<Rc<BlobFile>> {
        let active = self.tables.blobs.active();
        let has_others = active.is_some_and(|active| self.tables.blobs.is_unflushed(&active));
        if has_others && self.is_flushed_on_its_way(len) {
            self.end_blob();
        }
        self.blob_with_room().await
    }

    /// Gives back the space behind the last value of a file; where that fails it is dead space.
    async fn cut_blob(&self, file: &BlobFile) {
        let _ = self.env.storage().truncate(file.meta().file, file.size()).await;
    }

    /// The blob file to write to: a new one, named by the manifest first, where there is none or
    /// it is full.
    async fn blob_with_room(&self) -> Result<Rc<BlobFile>> {
        self.end_full_blob();
        if let Some(active) = self.tables.blobs.active() {
            return Ok(active);
        }
        // Where a power cut takes the file nothing points into it yet, and an open lets go of it.
        let file = self.env.storage().create().await?;
        let mut salt = [0; 8];
        self.env.fill_random(&mut salt);
        let (id, salt) = (self.new_id(), u64::from_le_bytes(salt));
        let meta = BlobMeta { id, file, salt, bytes: 0, logs_before: u64::MAX };
        let stored = self.edit(&mut |manifest| manifest.blobs.push(meta.clone())).await;
        if stored.is_err() {
            self.tables.in_doubt.borrow_mut().push(file);
        }
        stored?;
        let blob = BlobFile::new(meta);
        self.tables.blobs.add(blob.clone());
        self.tables.blobs.switch(Some(blob.clone()), 0);
        Ok(blob)
    }

    /// Ends the blob file that is written to, if it is full.
    pub(super) fn end_full_blob(&self) {
        let active = self.tables.blobs.active();
        if active.is_some_and(|active| active.size() >= self.options.budgets.blob_bytes) {
            self.end_blob();
        }
    }

    /// Ends the blob file that is written to. Commits that point into it and are not logged yet
    /// go to the current log, those before are in earlier ones.
    pub(super) fn end_blob(&self) {
        let next_log = self.log.borrow().log().id + 1;
        self.tables.blobs.switch(None, next_log);
    }

    /// Flushes the large values that the group of the log taken just now points at.
    pub(super) async fn flush_large(&self) -> Result<()> {
        for file in self.tables.blobs.take_unflushed() {
            if !planted(Bug::LargeNotFlushed) {
                self.env.storage().sync(file).await?;
            }
        }
        self.tables.blobs.flushed();
        Ok(())
    }

    /// The large value that a version points at; None for any other version. To be called while
    /// that version can be read: once located, the value stays readable.
    ///
    /// # Errors
    /// `Corruption` where it points nowhere.
    pub fn locate(&self, op: Op<'_>) -> Result<Option<Large>> {
        match op {
            Op::Set { value, in_blob: true, .. } => self.tables.blobs.locate(value).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads a large value. Other requests run in between.
    ///
    /// # Errors
    /// `Corruption` with file and offset where it is damaged, and those of the storage.
    pub async fn read_large(&self, large: &Large) -> Result<Value> {
        let storage = &**self.env.storage();
        self.tables.blobs.read(storage, large, self.stretch(), self.pause()).await
    }

    /// What to do every so often in the midst of a long read.
    pub(super) fn pause(&self) -> impl AsyncFn() -> Result<()> {
        async || {
            self.give_way().await;
            self.check_open()
        }
    }

    pub(super) fn stretch(&self) -> Stretch {
        Stretch::new(self.options.budgets.stretch_bytes)
    }
}
