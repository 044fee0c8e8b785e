//! The rewriting: tables merged into the next level, and memtables into level 0.

use super::survivors::Survivors;
use super::tombstones::{Next, RANGE_COST, Tombstones};
use super::writer::{Output, Writer};
use super::{Choice, Employer, Failure};
use crate::blob::{Blobs, Pointer};
use crate::env::Env;
use crate::error::Result;
use crate::limits::Budgets;
use crate::memtable::{Memtable, Page};
use crate::merge::{Merge, Step};
use crate::planted::{Bug, planted};
use crate::record::{Op, Record};
use crate::snapshot::Snapshot;
use crate::stamp::Stamp;
use crate::storage::Storage;
use crate::table::{Table, TableMeta, Wanted};
use crate::version::Version;
use std::rc::Rc;

/// This many keys of a memtable are taken at once.
const PAGE_KEYS: usize = 256;
/// What looking for a key in deeper tables costs, in bytes that could be copied meanwhile.
pub const LOOK_COST: usize = 1024;

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
    let sizes = (budgets.table_bytes_at(choice.target), budgets.range_bytes);
    let mut writer = Writer::new(env, budgets, sizes, (version, choice.target + 1), employer);
    let written = async {
        let runs = input_runs(version, choice);
        let may_hide_large = survivors.may_hide_large(&runs);
        let mut tombstones = Tombstones::new(&runs, retained.stamp);
        let hidden = match planted(Bug::RangeIgnoresSnapshot) {
            true => Stamp::MAX,
            false => retained.stamp,
        };
        let mut merge = Merge::versions(runs, Some(hidden));
        // Since the last load anything was found.
        let mut found = true;
        loop {
            match merge.step()? {
                Step::Load => {
                    merge.load().await?;
                    if !std::mem::take(&mut found) {
                        writer.has_worked(budgets.block_bytes);
                        writer.breathe().await?;
                    }
                    continue;
                }
                Step::End => break,
                Step::Entry => found = true,
            }
            let Some(record) = merge.record() else { break };
            pass(&mut tombstones, Some(record.key), &survivors, &mut writer).await?;
            if let Some(kept) = survivors.keep(record) {
                let moved = match pointer_into(&stale, &kept) {
                    Some(pointer) => writer.move_value(blobs, pointer).await?,
                    None => None,
                };
                let kept = kept.with_pointer(moved.as_deref());
                let deleted = tombstones.newest(kept.key, Stamp::MAX);
                while !writer.add(kept, deleted)? {
                    let over = tombstones.over().cloned().and_then(|over| survivors.settle(over));
                    writer.begin_table(over).await?;
                }
                if may_hide_large && kept.op == Op::Delete {
                    writer.hide(large_below(version, choice.target + 1, kept.key).await);
                    writer.has_worked(LOOK_COST);
                }
            }
            if writer.has_read(&record) {
                writer.breathe().await?;
            }
        }
        pass(&mut tombstones, None, &survivors, &mut writer).await
    };
    let written = written.await;
    writer.finish(written).await
}

/// Has the deleted ranges written that end before a key, or all that are left, and what lies over
/// the key read.
async fn pass<E: Env>(
    tombstones: &mut Tombstones<E::Storage>,
    key: Option<&[u8]>,
    survivors: &Survivors<'_, E::Storage>,
    writer: &mut Writer<'_, E, impl Employer>,
) -> Result<()> {
    loop {
        let worked = match tombstones.next(key) {
            Next::Nothing => return Ok(()),
            Next::Read => tombstones.read().await?,
            Next::Passed(range) => {
                if let Some(range) = survivors.settle(range)
                    && writer.delete(range)
                {
                    writer.finish_table(true, None).await?;
                }
                RANGE_COST
            }
        };
        if writer.has_worked(worked) {
            writer.breathe().await?;
        }
    }
}

/// The bytes of the large value that a key has in the tables of `level` and deeper. What can't be
/// read counts as none: whoever reads it is told.
async fn large_below<S: Storage>(version: &Version<S>, level: usize, key: &[u8]) -> u64 {
    match version.find_from(level, Wanted::new(key, Stamp::MAX)).await {
        Ok(Some(found)) => found.large_bytes(),
        _ => 0,
    }
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
/// table for level 0 of `version`; None where there are none. Its tombstones of single keys hide
/// `dead` bytes of large values there.
///
/// # Errors
/// Those of writing tables.
pub async fn flush<E: Env>(
    env: &E,
    budgets: &Budgets,
    (memtable, dead): (&Memtable, u64),
    version: &Version<E::Storage>,
    employer: &impl Employer,
) -> core::result::Result<Option<TableMeta>, Failure> {
    let sizes = (u64::MAX, usize::MAX);
    let mut writer = Writer::new(env, budgets, sizes, (version, 0), employer);
    if !planted(Bug::RangeNotFlushed) {
        for range in memtable.ranges().fragments() {
            writer.delete(range.clone());
        }
    }
    let written = async {
        let (mut page, mut last) = (Page::default(), None);
        loop {
            page.clear();
            last = memtable.versions(last.as_deref(), PAGE_KEYS, &mut page);
            for record in page.iter() {
                let deleted = memtable.ranges().newest(record.key, Stamp::MAX);
                while !writer.add(record, deleted)? {
                    writer.begin_table(None).await?;
                }
                if writer.has_read(&record) {
                    writer.breathe().await?;
                }
            }
            if last.is_none() {
                writer.hide(dead);
                return Ok(());
            }
        }
    };
    let written = written.await;
    Ok(writer.finish(written).await?.tables.pop())
}
