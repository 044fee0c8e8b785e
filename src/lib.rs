//! kvass: an embedded, ordered, transactional key-value store for the web platform.
//!
//! The engine is single-threaded and asynchronous. It has no clock, no randomness and no I/O of
//! its own: an [`env::Env`] hands all three in, so that the same code runs in a browser worker,
//! natively under test and inside a simulator. `src/wasm/` is the only place that knows a browser
//! exists. docs/ARCHITECTURE.md follows a put and a get through the modules below.

#[cfg(any(test, feature = "fuzzing"))]
extern crate self as kvass;

pub mod blob;
pub mod bytes;
pub mod cache;
pub mod commit;
pub mod compaction;
pub mod crowd;
pub mod db;
pub mod env;
pub mod error;
pub mod expiry;
pub mod external;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod hash;
pub mod history;
pub mod host;
pub mod key;
mod landmarks;
pub mod limits;
pub mod lz4;
pub mod manifest;
pub mod memtable;
pub mod merge;
#[cfg(test)]
mod model;
pub mod planted;
pub mod ranges;
pub mod reader;
pub mod record;
pub mod rng;
pub mod sessions;
pub mod signal;
pub mod snapshot;
pub mod stamp;
pub mod storage;
pub mod table;
pub mod value;
pub mod varint;
pub mod version;
pub mod wal;
#[cfg(target_arch = "wasm32")]
pub mod wasm;
pub mod wire;
