//! Compaction: what to rewrite, a pure function of the tables there are ([`choose`]), and the
//! rewriting, in slices between requests ([`run`]).
//!
//! The policy is leveled: flushed memtables gather in level 0, and each deeper level is a sorted
//! sequence of tables, `level_growth` times as large as the level above. A level over its size
//! gives tables to the next one.

use crate::error::Error;
use crate::storage::FileNo;

mod choose;
mod run;
mod survivors;
#[cfg(test)]
mod tests;
mod writer;

pub use choose::choose;
pub use run::{flush, run};

/// Tables to merge into the next level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The level that gives tables away.
    pub level: usize,
    /// Ids of tables of `level`.
    pub upper: Vec<u64>,
    /// Ids of the tables of `level + 1` that overlap them.
    pub lower: Vec<u64>,
}

impl Choice {
    /// Whether the one table in it can move down as it is, without [`run`]: the manifest names
    /// it in the next level, and that is all.
    pub fn is_move(&self) -> bool {
        self.upper.len() == 1 && self.lower.is_empty()
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
