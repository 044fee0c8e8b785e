//! Reading ahead: what comes next in a file, in one read, for whoever will want much of it.

use super::Table;
use super::block::Handle;
use crate::bytes::Bytes;
use crate::error::Result;
use crate::storage::Storage;
use std::rc::Rc;

/// So much is read at once.
const WINDOW_BYTES: u64 = 64 * 1024;

/// What was read at once, and where it begins in the file.
#[derive(Default)]
pub struct Window(Option<(u64, Rc<[u8]>)>);

impl Window {
    /// Where the block lies in what was read, if all of it does.
    fn place(&self, handle: Handle) -> Option<(&Rc<[u8]>, usize)> {
        let (start, buffer) = self.0.as_ref()?;
        let at = usize::try_from(handle.offset.checked_sub(*start)?).ok()?;
        let end = at.checked_add(handle.len as usize)?;
        (end <= buffer.len()).then_some((buffer, at))
    }

    /// The block, verified, if it has been read.
    pub fn block<S: Storage>(&self, table: &Table<S>, handle: Handle) -> Result<Option<Bytes>> {
        match self.place(handle) {
            Some((buffer, at)) => table.verified(buffer, at, handle).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the block and what comes next in this direction.
    pub async fn load<S: Storage>(
        &mut self,
        table: &Table<S>,
        handle: Handle,
        reverse: bool,
    ) -> Result<Bytes> {
        let (start, end) = around(handle, reverse, table.meta().bytes);
        // Where a table is cut short, the block itself may still be whole.
        self.0 = table.read(start, (end - start) as usize).await.ok().map(|read| (start, read));
        match self.block(table, handle)? {
            Some(block) => Ok(block),
            None => table.uncached(handle).await,
        }
    }
}

/// The range to read for a block of a file of `bytes`.
fn around(handle: Handle, reverse: bool, bytes: u64) -> (u64, u64) {
    let end = handle.offset.saturating_add(u64::from(handle.len));
    if reverse {
        (handle.offset.min(end.saturating_sub(WINDOW_BYTES)), end)
    } else {
        (handle.offset, end.max(handle.offset.saturating_add(WINDOW_BYTES).min(bytes)))
    }
}
