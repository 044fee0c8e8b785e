//! Bytes outside of the engine's memory: where a large value is while it travels.
//!
//! In the browser that is a buffer of JavaScript's, because wasm memory never shrinks: the value
//! goes between it and the storage in pieces, through a small buffer of the engine's. Natively it
//! is plain memory.

#[cfg(target_arch = "wasm32")]
pub use crate::wasm::external::External;
#[cfg(not(target_arch = "wasm32"))]
pub use native::External;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// On the wire only the length stands in the frame; the bytes travel beside it.
impl Serialize for External {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.size() as u64).serialize(serializer)
    }
}

/// As many zeros: the bytes travel beside the frame.
impl<'de> Deserialize<'de> for External {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<External, D::Error> {
        let len = usize::deserialize(deserializer)?;
        External::zeroed(len).map_err(serde::de::Error::custom)
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use crate::bytes;
    use crate::error::Result;
    use std::rc::Rc;

    /// See the module; cloning it copies no bytes.
    #[derive(Clone, Debug, PartialEq)]
    pub struct External(Rc<[u8]>);

    impl External {
        /// So many zeros, to be filled.
        ///
        /// # Errors
        /// `TooLarge` where there is no memory for them.
        pub fn zeroed(len: usize) -> Result<External> {
            Ok(External(bytes::zeroed(len)))
        }

        /// How many bytes there are.
        pub fn size(&self) -> usize {
            self.0.len()
        }

        /// Copies the bytes from `offset` on, as many as `buffer` takes and there are.
        pub fn copy_to(&self, offset: usize, buffer: &mut [u8]) {
            let there = self.0.get(offset..).unwrap_or_default();
            buffer.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
        }

        /// Puts `bytes` at `offset`; not to be called once there are clones.
        pub fn fill(&mut self, offset: usize, bytes: &[u8]) {
            let there = Rc::get_mut(&mut self.0).and_then(|all| all.get_mut(offset..));
            there.unwrap_or_default().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        }
    }

    impl From<&[u8]> for External {
        fn from(bytes: &[u8]) -> External {
            External(Rc::from(bytes))
        }
    }

    impl std::ops::Deref for External {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &self.0
        }
    }
}
