//! What the engine is given from outside: storage, time, randomness and turns.

use crate::storage::Storage;
use std::rc::Rc;

pub mod manual;

pub use manual::ManualEnv;

/// The outside world of one database.
///
/// The engine calls nothing else that is not a pure function, which is what makes it replay
/// exactly under test.
pub trait Env: 'static {
    /// Where the files live.
    type Storage: Storage;

    /// The storage of this database; shared, since open tables read from it by themselves.
    fn storage(&self) -> &Rc<Self::Storage>;

    /// Milliseconds since the Unix epoch. It may jump in both directions; the engine never lets
    /// its own time run backwards within an open.
    fn now_ms(&self) -> u64;

    /// Fills `buffer` with random bytes (file salts).
    fn fill_random(&self, buffer: &mut [u8]);

    /// Resolves once the requests that are already waiting have been taken in. A strict
    /// group calls it before its flush, so that the commits queued behind it share that flush.
    fn turn(&self) -> impl Future<Output = ()>;

    /// As [`Env::turn`], for a background task that has used up its slice: while requests keep
    /// coming in, it may leave them more time than a turn.
    fn rest(&self) -> impl Future<Output = ()> {
        self.turn()
    }

    /// Bytes of memory that the engine runs in, where that is known; 0 where it is not.
    fn memory_bytes(&self) -> u64 {
        0
    }

    /// Whether a background task has used up its slice (a few milliseconds since its last
    /// `turn`) and should let requests run.
    fn slice_used_up(&self) -> bool;
}
