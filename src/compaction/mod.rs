//! Compaction: what to rewrite, a pure function of the tables there are ([`choose`]), and the
//! rewriting, in slices between requests ([`run`]).

use crate::env::Env;
use crate::error::Error;
use crate::limits::Budgets;
use crate::memtable::Memtable;
use crate::snapshot::Snapshot;
use crate::storage::FileNo;
use crate::table::TableMeta;
use crate::version::Version;

/// Tables to merge into the next level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The level whose size asks for it.
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

/// What came of writing tables.
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// Files created before it: the caller removes them.
    pub files: Vec<FileNo>,
}

/// What to compact next, if any level is over its size.
pub fn choose(_levels: &[Vec<&TableMeta>], _budgets: &Budgets) -> Option<Choice> {
    unimplemented!()
}

/// Merges the tables of `choice` into tables for the level below; returns those, in order.
/// `retained` is what the oldest reader sees: versions that neither it nor a later one can see
/// are dropped, and so is what expired by its time (0: nothing has).
///
/// # Errors
/// Those of reading and writing tables.
pub async fn run<E: Env>(
    _env: &E,
    _budgets: &Budgets,
    _version: &Version<E::Storage>,
    _choice: &Choice,
    _retained: Snapshot,
    _next_id: &mut impl FnMut() -> u64,
) -> Result<Vec<TableMeta>, Failure> {
    unimplemented!()
}

/// Writes the versions of a memtable into one table for level 0; None
/// where there are none.
///
/// # Errors
/// Those of writing tables.
pub async fn flush<E: Env>(
    _env: &E,
    _budgets: &Budgets,
    _memtable: &Memtable,
    _next_id: &mut impl FnMut() -> u64,
) -> Result<Option<TableMeta>, Failure> {
    unimplemented!()
}
