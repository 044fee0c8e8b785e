//! Compaction: what to rewrite, a pure function of the tables there are ([`choose`]), and the
//! rewriting, in slices between requests ([`run`]).
//!
//! The policy is leveled: flushed memtables gather in level 0, and each deeper level is a sorted
//! sequence of tables, `level_growth` times as large as the level above. A level over its size
//! gives tables to the next one; where all are within theirs, tombstones go down to what they hide.
//! While nobody writes, levels within theirs are merged too, so that reads have fewer to merge.

use crate::error::{Error, Result};
use crate::storage::FileNo;
use std::cell::Cell;

mod burden;
mod choose;
mod levels;
mod rest;
mod run;
mod survivors;
#[cfg(test)]
mod tests;
mod tombstones;
mod writer;

pub use burden::burden;
pub use choose::choose;
pub use rest::merge_runs;
pub use run::{LOOK_COST, flush, run};
pub use writer::{Output, STRIDE_BYTES};

/// Tables to merge into the next level, or to write anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The level that gives tables away.
    pub level: usize,
    /// The level that gets what comes of it: the next one, or the same.
    pub target: usize,
    /// Ids of tables of `level`.
    pub upper: Vec<u64>,
    /// Ids of the tables of the next level that overlap them; none where `target` is `level`.
    pub lower: Vec<u64>,
}

impl Choice {
    /// Whether the one table in it can move down as it is, without [`run`]: the manifest names
    /// it in the next level, and that is all.
    pub fn is_move(&self) -> bool {
        self.target > self.level && self.upper.len() == 1 && self.lower.is_empty()
    }
}

/// What a flush or a compaction asks of the database it works for.
pub trait Employer {
    /// A number for a table, never given to another.
    fn next_id(&self) -> u64;

    /// Called after every [`STRIDE_BYTES`] or so of work, with the bytes: lets requests run when
    /// they have waited for long enough.
    ///
    /// # Errors
    /// What makes going on pointless.
    fn breathe(&self, worked: usize) -> impl Future<Output = Result<()>>;
}

/// The last number that was given away: an employer that nobody else waits for.
impl Employer for Cell<u64> {
    fn next_id(&self) -> u64 {
        self.set(self.get() + 1);
        self.get()
    }

    async fn breathe(&self, _worked: usize) -> Result<()> {
        Ok(())
    }
}

/// What came of writing tables that could not be finished.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// Files created before it, which nothing names: the caller removes them.
    pub files: Vec<FileNo>,
}
