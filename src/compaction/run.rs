//! The rewriting: tables merged into the next level, and memtables into level 0.

use super::survivors::Survivors;
use super::writer::{Output, STRIDE_BYTES, Writer};
use super::{Choice, Employer, Failure};
use crate::blob::{Blobs, Pointer};
use crate::env::Env;
use crate::error::Result;
use crate::limits::Budgets;
use crate::memtable::Memtable;
use crate::merge::{Merge, Step};
use crate::planted::{Bug, planted};
use crate::ranges::Ranges;
use crate::record::{Op, Record};
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{RangeCursor, Table, TableMeta};
use crate::version::Version;
use std::rc::Rc;
use std::slice::Iter;

/// This many keys of a memtable are taken at once.
const PAGE_KEYS: usize = 256;
/// What a deleted range costs beside its bytes, in bytes that could be copied meanwhile.
const RANGE_COST: usize = 128;

/// Merges the tables of `choice` into tables for its target; returns those, in order.
///
/// `retained` is what the oldest reader sees: no reader has an earlier stamp or an earlier time.
/// Versions that none can see are dropped, and so is what has expired by its time (with 0,
/// nothing has). Values in the stale files of `blobs` move to new ones.
///
/// # Errors
/// Those of reading and writing tables; the tables of `choice` are as they were.
pub async fn run<E: Env>(
    env: &E,
    budgets: &Budgets,
    version: &Version<E::Storage>,
    choice: &Choice,
    retained: Snapshot,
    blobs: &Blobs,
    employer: &impl Employer,
) -> core::result::Result<Output, Failure> {
    let deeper = version.levels().iter().skip(choice.target + 1).map(Vec::as_slice);
    let mut survivors = Survivors::new(retained, deeper);
    let stale = blobs.stale();
    let (bytes, below) = (budgets.table_bytes_at(choice.target), (version, choice.target + 1));
    let mut writer = Writer::new(env, budgets, bytes, below, employer);
    let written = async {
        let mut runs = input_runs(version, choice);
        let ranges = deleted_ranges(&runs, retained.stamp, employer).await?;
        writer.delete(survivors.delete(ranges));
        runs.iter_mut().for_each(|run| run.retain(|table| !survivors.hides(table.meta())));
        let mut merge = Merge::versions(runs);
        loop {
            match merge.step()? {
                Step::Load => {
                    merge.load().await?;
                    continue;
                }
                Step::End => return Ok(()),
                Step::Entry => {}
            }
            let Some(record) = merge.record() else { return Ok(()) };
            if let Some(kept) = survivors.keep(record) {
                let moved = match pointer_into(&stale, &kept) {
                    Some(pointer) => writer.move_value(blobs, pointer).await?,
                    None => None,
                };
                let kept = kept.with_pointer(moved.as_deref());
                if !writer.add(kept)? {
                    writer.begin_table(kept).await?;
                }
            }
            if writer.worked(&record) {
                writer.breathe().await?;
            }
        }
    };
    let written = written.await;
    writer.finish(written).await
}

/// What is deleted in these tables, without what no reader needs. It is put together in the order
/// of keys, so that what is added lies at the end and moves nothing.
async fn deleted_ranges<S: Storage>(
    runs: &[Vec<Rc<Table<S>>>],
    retained: Stamp,
    employer: &impl Employer,
) -> Result<Ranges> {
    let (mut all, mut open, mut work) = (Ranges::default(), Vec::new(), 0);
    for run in runs {
        let mut tables = run.iter();
        if let Some(cursor) = next_ranges(&mut tables).await? {
            open.push((cursor, tables));
        }
    }
    loop {
        let places = open.iter().enumerate();
        let first = places.min_by(|(_, (a, _)), (_, (b, _))| a.start().cmp(b.start()));
        let Some(place) = first.map(|(place, _)| place) else { return Ok(all) };
        let Some((cursor, tables)) = open.get_mut(place) else { return Ok(all) };
        work += cursor.start().len() + RANGE_COST;
        if !cursor.add_to(&mut all, retained)? {
            match next_ranges(tables).await? {
                Some(next) => *cursor = next,
                None => drop(open.swap_remove(place)),
            }
        }
        if work >= STRIDE_BYTES {
            employer.breathe(std::mem::take(&mut work)).await?;
        }
    }
}

/// The deleted ranges of the first of these tables that has any.
async fn next_ranges<S: Storage>(
    tables: &mut Iter<'_, Rc<Table<S>>>,
) -> Result<Option<RangeCursor>> {
    for table in tables {
        if let Some(ranges) = table.ranges().await?
            && let Some(cursor) = ranges.cursor()?
        {
            return Ok(Some(cursor));
        }
    }
    Ok(None)
}

/// The encoded pointer of a version whose value is in one of the blob files `stale`.
fn pointer_into<'a>(stale: &[u64], record: &Record<'a>) -> Option<&'a [u8]> {
    match record.op {
        Op::Set { value, in_blob: true, .. } => Some(value)
            .filter(|value| Pointer::decode(value).is_some_and(|at| stale.contains(&at.blob))),
        _ => None,
    }
}

/// The tables of a choice as runs of tables that don't overlap.
fn input_runs<S: Storage>(version: &Version<S>, choice: &Choice) -> Vec<Vec<Rc<Table<S>>>> {
    let chosen = |level: usize, ids: &[u64]| -> Vec<Rc<Table<S>>> {
        let tables = version.levels().get(level).into_iter().flatten();
        tables.filter(|table| ids.contains(&table.meta().id)).cloned().collect()
    };
    let upper = chosen(choice.level, &choice.upper);
    let mut runs = match choice.level {
        0 => upper.into_iter().map(|table| vec![table]).collect(),
        _ => vec![upper],
    };
    runs.push(chosen(choice.level + 1, &choice.lower));
    runs
}

/// Writes all versions and deleted ranges of a memtable, which does not change meanwhile, into one
/// table for level 0 of `version`; None where there are none.
///
/// # Errors
/// Those of writing tables.
pub async fn flush<E: Env>(
    env: &E,
    budgets: &Budgets,
    memtable: &Memtable,
    version: &Version<E::Storage>,
    employer: &impl Employer,
) -> core::result::Result<Option<TableMeta>, Failure> {
    let mut writer = Writer::new(env, budgets, u64::MAX, (version, 0), employer);
    if !planted(Bug::RangeNotFlushed) {
        writer.delete(memtable.ranges().clone());
    }
    let written = async {
        let (mut page, mut last) = (Vec::new(), None);
        loop {
            last = memtable.versions(last.as_deref(), PAGE_KEYS, &mut page);
            for version in page.drain(..) {
                let (key, stamp) = (&*version.key, version.stamp);
                let record = Record { key, stamp, op: version.op.borrow() };
                if !writer.add(record)? {
                    writer.begin_table(record).await?;
                }
                if writer.worked(&record) {
                    writer.breathe().await?;
                }
            }
            if last.is_none() {
                return Ok(());
            }
        }
    };
    let written = written.await;
    Ok(writer.finish(written).await?.tables.pop())
}
