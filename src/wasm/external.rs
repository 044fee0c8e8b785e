//! Large values in buffers of JavaScript's.

use crate::error::{Code, Error, Result};
use crate::wasm::js::Thrown;
use js_sys::Uint8Array;
use std::fmt;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// The constructor that may throw: there may be no memory.
    #[wasm_bindgen(js_name = Uint8Array)]
    type Buffer;
    #[wasm_bindgen(catch, constructor, js_class = "Uint8Array")]
    fn new(len: u32) -> Thrown<Buffer>;
}

/// Bytes in a Uint8Array that has its buffer to itself; cloning it copies none of them.
#[derive(Clone)]
pub struct External(Rc<Uint8Array>);

impl External {
    /// So many zeros, to be filled.
    ///
    /// # Errors
    /// `TooLarge` where there is no memory for them.
    pub fn zeroed(len: usize) -> Result<External> {
        let no_memory = |_| Error::new(Code::TooLarge, "there is no memory for a large value");
        let buffer = Buffer::new(len as u32).map_err(no_memory)?;
        Ok(buffer.unchecked_into::<Uint8Array>().into())
    }

    /// How many bytes there are.
    pub fn size(&self) -> usize {
        self.0.length() as usize
    }

    /// Copies the bytes from `offset` on, as many as `buffer` takes and there are.
    pub fn copy_to(&self, offset: usize, buffer: &mut [u8]) {
        let end = self.size().min(offset.saturating_add(buffer.len()));
        if let Some(buffer) = end.checked_sub(offset).and_then(|len| buffer.get_mut(..len)) {
            self.0.subarray(offset as u32, end as u32).copy_to(buffer);
        }
    }

    /// Puts `bytes`, which fit, at `offset`.
    pub fn fill(&mut self, offset: usize, bytes: &[u8]) {
        self.0.subarray(offset as u32, (offset + bytes.len()) as u32).copy_from(bytes);
    }

    /// The bytes to be transferred: a copy where somebody else has them too.
    pub fn into_buffer(self) -> Uint8Array {
        Rc::try_unwrap(self.0).unwrap_or_else(|shared| shared.slice(0, shared.length()))
    }
}

impl From<Uint8Array> for External {
    fn from(bytes: Uint8Array) -> External {
        External(Rc::new(bytes))
    }
}

impl PartialEq for External {
    fn eq(&self, other: &External) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size())
    }
}
