//! History: logs whose commits are in tables by now, kept so that the change log can be read back.
//!
//! The write-ahead log has every commit in order, so it is the change log too. A log that tables
//! have made superfluous stays, named by the manifest with its length and its last commit, until
//! the retention lets it go: by the size of all, by age, by number; the oldest first, and never
//! one that a reader has yet to finish, as long as that reader asks for more.

use crate::limits::{
    CATCH_UP_LEASE_MS, HISTORY_BYTES, HISTORY_LOGS_MAX, HISTORY_RECENT_BYTES, HISTORY_RECENT_MS,
};
use crate::reader::Reader as Fields;
use crate::stamp::Stamp;
use crate::wal::LogRef;
use serde::Serialize;
use std::cell::Cell;

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// The size of all logs that are kept, in bytes. What tables don't have yet is always there.
    pub bytes: u64,
    /// A log goes this long after its last commit, in milliseconds.
    pub ms: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { bytes: HISTORY_BYTES, ms: u64::MAX }
    }
}

/// A log that is not written any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryLog {
    /// Which one.
    pub log: LogRef,
    /// Its length in bytes: what follows in the file is no part of it.
    pub bytes: u64,
    /// Its last commit.
    pub last: Stamp,
    /// When that was, in milliseconds since the Unix epoch.
    pub last_ms: u64,
    /// Bytes of the large values that its commits wrote, which are kept with it.
    pub large_bytes: u64,
}

impl HistoryLog {
    /// What it takes to keep it, in bytes.
    fn size(&self) -> u64 {
        self.bytes.saturating_add(self.large_bytes)
    }

    /// Reads what serde wrote; None where it is something else.
    pub(crate) fn decode(rest: &mut Fields<'_>) -> Option<HistoryLog> {
        Some(HistoryLog {
            log: LogRef::decode(rest)?,
            bytes: rest.u64()?,
            last: rest.stamp()?,
            last_ms: rest.u64()?,
            large_bytes: rest.u64()?,
        })
    }
}

/// When the oldest log is kept no longer that would have gone already if it were not recent;
/// `u64::MAX` where there is none.
pub fn kept_until(history: &[HistoryLog], retention: Retention, now_ms: u64) -> u64 {
    let bytes: u64 = history.iter().map(HistoryLog::size).sum();
    let oldest = history.first().filter(|log| {
        let is_much = bytes > retention.bytes || history.len() > HISTORY_LOGS_MAX;
        is_much || log.last_ms.saturating_add(retention.ms) <= now_ms
    });
    let until_ms = oldest.map(|log| log.last_ms.saturating_add(HISTORY_RECENT_MS));
    until_ms.filter(|until_ms| now_ms < *until_ms).unwrap_or(u64::MAX)
}

/// Takes the logs that are not to be kept any longer off `history`, which is in the order of its
/// commits. `reading` is the last commit that the slowest reader has; `is_awaited` is whether
/// clients may turn up that have not heard of the most recent ones.
pub fn let_go(
    history: &mut Vec<HistoryLog>,
    retention: Retention,
    now_ms: u64,
    reading: Option<Stamp>,
    is_awaited: bool,
) -> Vec<HistoryLog> {
    let mut bytes = history.iter().map(HistoryLog::size).fold(0u64, u64::saturating_add);
    let mut count = 0;
    for log in history.iter() {
        let is_old = log.last_ms.saturating_add(retention.ms) <= now_ms;
        let is_much = bytes > retention.bytes || history.len() - count > HISTORY_LOGS_MAX;
        let is_recent = is_awaited
            && log.last_ms.saturating_add(HISTORY_RECENT_MS) > now_ms
            && bytes <= HISTORY_RECENT_BYTES;
        let is_unread = reading.is_some_and(|after| log.last > after);
        if is_unread || is_recent || !(is_old || is_much) {
            break;
        }
        bytes = bytes.saturating_sub(log.size());
        count += 1;
    }
    history.drain(..count).collect()
}

/// Where a reader of the change log is.
#[derive(Debug)]
pub struct Reader {
    /// It has the commits through this one.
    pub(crate) after: Cell<Stamp>,
    /// The number of the log that it reads, and where in it.
    pub(crate) place: Cell<Option<(u64, u64)>>,
    pub(crate) asked_ms: Cell<u64>,
    pub(crate) is_reading: Cell<bool>,
}

impl Reader {
    /// A reader that has the commits through `after`.
    pub(crate) fn new(after: Stamp, now_ms: u64) -> Reader {
        let (place, asked_ms) = (Cell::new(None), Cell::new(now_ms));
        Reader { after: Cell::new(after), place, asked_ms, is_reading: Cell::new(false) }
    }

    /// Whether the logs that it has not read are to be kept for it.
    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        self.asked_ms.get().saturating_add(CATCH_UP_LEASE_MS) > now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(counter: u64, bytes: u64) -> HistoryLog {
        let log = LogRef { id: counter, file: 9, salt: [1; 8] };
        let last = Stamp { epoch: 1, counter };
        HistoryLog { log, bytes, last, last_ms: counter * 1_000, large_bytes: 0 }
    }

    fn kept(retention: Retention, now_ms: u64, reading: Option<u64>) -> Vec<u64> {
        let mut history = vec![log(10, 100), log(20, 100), log(30, 100)];
        let reading = reading.map(|counter| Stamp { epoch: 1, counter });
        let gone = let_go(&mut history, retention, now_ms, reading, false);
        assert_eq!(gone.len() + history.len(), 3);
        history.iter().map(|log| log.last.counter).collect()
    }

    #[test]
    fn history_goes_by_size_by_age_and_by_number_the_oldest_first() {
        let unbounded = Retention { bytes: u64::MAX, ms: u64::MAX };
        assert_eq!(kept(unbounded, u64::MAX - 1, None), [10, 20, 30]);
        assert_eq!(kept(Retention { bytes: 250, ..unbounded }, 0, None), [20, 30]);
        assert_eq!(kept(Retention { bytes: 0, ..unbounded }, 0, None), []);
        assert_eq!(kept(Retention { ms: 5_000, ..unbounded }, 24_999, None), [20, 30]);
        assert_eq!(kept(Retention { ms: 5_000, ..unbounded }, 25_000, None), [30]);
        let mut many: Vec<_> = (0..100).map(|counter| log(counter, 1)).collect();
        let_go(&mut many, unbounded, 0, None, false);
        assert_eq!(many.len(), HISTORY_LOGS_MAX);
    }

    #[test]
    fn what_is_recent_stays_for_clients_that_may_turn_up_within_bounds() {
        let nothing = Retention { bytes: 0, ms: 0 };
        let kept = |now_ms, bytes, is_awaited| {
            let mut history = vec![log(10, bytes), log(20, bytes), log(30, bytes)];
            let_go(&mut history, nothing, now_ms, None, is_awaited);
            history.iter().map(|log| log.last.counter).collect::<Vec<_>>()
        };
        assert_eq!(kept(69_999, 1, true), [10, 20, 30]);
        assert_eq!(kept(70_000, 1, true), [20, 30]);
        assert_eq!(kept(90_000, 1, true), []);
        assert_eq!(kept(69_999, HISTORY_RECENT_BYTES / 2, true), [20, 30]);
        assert_eq!(kept(69_999, 1, false), []);
        let many: Vec<_> = (0..=HISTORY_LOGS_MAX as u64).map(|counter| log(counter, 1)).collect();
        let unbounded = Retention { bytes: u64::MAX, ms: u64::MAX };
        assert_eq!(kept_until(&many, unbounded, 0), HISTORY_RECENT_MS, "too many for ever");
        let due = |now_ms| kept_until(&[log(10, 1), log(20, 1)], nothing, now_ms);
        assert_eq!([due(69_999), due(70_000)], [70_000, u64::MAX]);
    }

    #[test]
    fn what_a_reader_has_not_read_stays() {
        let nothing = Retention { bytes: 0, ms: 0 };
        assert_eq!(kept(nothing, 0, Some(0)), [10, 20, 30]);
        assert_eq!(kept(nothing, 0, Some(20)), [30]);
        assert_eq!(kept(nothing, 0, Some(30)), []);
    }
}
