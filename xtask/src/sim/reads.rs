//! Reads, and what the model says of their answers.

use super::model::{Key, Row, Seen};
use super::oracle::{Verdict, fail};
use super::world::{Database, Done, Listed, World};
use kvass::db::Range;
use kvass::error::Result;
use kvass::snapshot::Snapshot;

impl World {
    pub fn get(&mut self, key: Key) -> Verdict {
        let db = self.db()?;
        let polled = self.tasks.spawn(0, async move {
            let snapshot = db.snapshot();
            let found = db.get(&key, snapshot).await;
            let found = found.map(|found| found.map(|(stamp, value)| (stamp, value.to_vec())));
            Done::Read { key, snapshot, found }
        });
        self.polled(polled).map(|_| ())
    }

    pub fn list(
        &mut self,
        from: Key,
        to: Key,
        reverse: bool,
        limit: usize,
        snapshot: Option<Snapshot>,
    ) -> Verdict {
        let db = self.db()?;
        let polled = self.tasks.spawn(0, async move {
            let snapshot = snapshot.unwrap_or_else(|| db.snapshot());
            let listed = rows(&db, (&from, &to), reverse, limit, snapshot).await;
            Done::List { from, to, reverse, limit, snapshot, listed }
        });
        self.polled(polled).map(|_| ())
    }

    pub fn count(&mut self, range: (Key, Key)) -> Verdict {
        let db = self.db()?;
        let polled = self.tasks.spawn(0, async move {
            let snapshot = db.snapshot();
            let (start, end) = (&range.0, &range.1);
            let count = db.count(Range { start, end, reverse: false }, snapshot).await;
            Done::Count { range, snapshot, count }
        });
        self.polled(polled).map(|_| ())
    }

    pub fn counted(
        &mut self,
        (start, end): &(Key, Key),
        seen: Seen,
        count: Result<u64>,
    ) -> Verdict {
        let Some(count) = self.readable("a count", count)? else { return Ok(()) };
        self.counts.reads += 1;
        let (least, most) = self.oracle.model.count(start, end, seen);
        match (least..=most).contains(&count) {
            true => Ok(()),
            false => fail("counts answer as the model does", format!("{count}, not {least}")),
        }
    }

    pub fn check_list(
        &self,
        (from, to): (&[u8], &[u8]),
        reverse: bool,
        limit: usize,
        seen: Seen,
        rows: &[Row],
    ) -> std::result::Result<(), String> {
        let rising = rows.windows(2).all(|pair| (pair[0].0 < pair[1].0) != reverse);
        if !rising || rows.len() > limit {
            return Err(format!("{} rows of {limit}, out of order", rows.len()));
        }
        let model = &self.oracle.model;
        let inside = |key: &[u8]| from <= key && key < to;
        for (key, stamp, value) in rows {
            if !inside(key) {
                return Err(format!("{key:?} is outside {from:?}..{to:?}"));
            }
            let found = Some((*stamp, value.as_slice()));
            model.check(key, seen, found)?;
        }
        // What was not listed, of the stretch that was.
        let last = rows.last().filter(|_| rows.len() == limit).map(|row| row.0.as_slice());
        let passed = |key: &[u8]| match last {
            Some(last) if reverse => key > last,
            Some(last) => key < last,
            None => true,
        };
        let mut listed: Vec<&[u8]> = rows.iter().map(|row| row.0.as_slice()).collect();
        listed.sort_unstable();
        for key in model.keys().filter(|key| inside(key) && passed(key)) {
            if listed.binary_search(&key.as_slice()).is_err() {
                model.check(key, seen, None)?;
            }
        }
        Ok(())
    }
}

/// Lists a range of user keys.
pub async fn rows(
    db: &Database,
    (start, end): (&[u8], &[u8]),
    reverse: bool,
    limit: usize,
    snapshot: Snapshot,
) -> Listed {
    let (mut rows, mut large) = (Vec::new(), Vec::new());
    db.list(Range { start, end, reverse }, snapshot, |record| {
        if let kvass::record::Op::Set { value, .. } = record.op {
            rows.push((record.key.to_vec(), record.stamp, value.to_vec()));
            large.push(db.locate(record.op));
        }
        rows.len() < limit
    })
    .await?;
    for ((_, _, value), large) in rows.iter_mut().zip(large) {
        if let Some(large) = large? {
            *value = db.read_large(&large).await?.to_vec();
        }
    }
    Ok(rows)
}
