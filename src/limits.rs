//! Every limit and budget of the engine, in one place. client/limits.ts has those that the page
//! checks before it sends anything.

use crate::error::{Code, Error, Result};

/// The largest encoded key of a write, in bytes.
pub const KEY_BYTES_MAX: usize = 8 * 1024;
/// The largest encoded key of a read: one byte more, so that a range can end just past a key.
pub const READ_KEY_BYTES_MAX: usize = KEY_BYTES_MAX + 1;
/// The largest encoded value, in bytes, without the one that says its kind.
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// From this size on a value is kept apart from the tables, and travels beside its frame.
pub const LARGE_VALUE_BYTES: usize = 32 * 1024;
/// Checks in one commit.
pub const CHECKS_MAX: usize = 1_000;
/// Mutations in one commit.
pub const MUTATIONS_MAX: usize = 100_000;
/// Keys and values of one commit together, in bytes.
pub const COMMIT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Keys of one getMany.
pub const GET_MANY_KEYS_MAX: usize = 10_000;
/// Keys of one watch.
pub const WATCH_KEYS_MAX: usize = 1_000;
/// Ranges of one `changes` subscription, and that one commit deletes.
pub const RANGES_MAX: usize = 1_000;
/// The keys of the ranges that one commit deletes, in bytes: they end up in one block of a table,
/// which is written and read as a whole.
pub const RANGE_BYTES_MAX: usize = 1024 * 1024;
/// A whole frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Requests, keys, checks, mutations and ranges of one frame, all together.
pub const FRAME_ITEMS_MAX: usize = 1_000_000;
/// The number of entries in one page of a list.
pub const PAGE_ENTRIES_MAX: u32 = 10_000;
/// A page of a list ends once it holds this many bytes (it always holds one entry).
pub const PAGE_BYTES: usize = 512 * 1024;
/// The values in the reply to one getMany, or in the first state of a watch, in bytes: what is more
/// travels beside the frame, outside of the engine's memory.
pub const REPLY_BYTES: usize = 4 * 1024 * 1024;
/// How long a list may go without asking for its next page before its snapshot is let go.
pub const SNAPSHOT_LEASE_MS: u64 = 60_000;
/// Snapshots that one connection holds for its lists.
pub const LEASES_MAX: usize = 1_024;
/// How long after an open the lists of the host before may go on with their snapshots.
pub const LEASE_GRACE_MS: u64 = 10_000;
/// Upkeep that a failure has stopped is tried again this much later, unless that was damage: it may
/// have passed. On a full disk others may have made room, or what was deleted since, or a reader
/// that has gone, may let it do with less.
pub const RETRY_MS: u64 = 10_000;
/// The snapshots of so many hosts are kept for that, counted back from the open. Where pages come
/// and go faster than the grace is over, what they overwrite has to go some time.
pub const LEASE_HOSTS: u32 = 4;
/// An open keeps the versions of a key that lists may still see, until what it has replayed takes
/// this many bytes.
pub const REPLAY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The same for deleted ranges, in bytes as a table would have them.
pub const REPLAY_RANGE_BYTES_MAX: usize = 1024 * 1024;
/// So long after an open what it has replayed is written to a table, if that is much: the next open
/// has not to replay it again, and clients come first.
pub const REPLAYED_FLUSH_MS: u64 = 1_000;
/// Clients whose answers are kept until they have heard them.
pub const SESSIONS_MAX: usize = 256;
/// Answers kept for all clients together, where those of commits that follow on count as one.
pub const RUNS_MAX: usize = 16 * 1024;
/// How long the answers of a client that is not heard of are kept: a day, in milliseconds.
pub const SESSION_AGE_MS: u64 = 24 * 60 * 60 * 1_000;
/// So long after the last commit a database is at rest, in milliseconds.
pub const REST_MS: u64 = 1_000;
/// Logs that are kept as history, unless the database is opened with another size, in bytes.
pub const HISTORY_BYTES: u64 = 8 * 1024 * 1024;
/// The number of logs that are kept as history.
pub const HISTORY_LOGS_MAX: usize = 32;
/// A log is kept for so long after its last commit, in milliseconds, where clients may be on their
/// way to another host with events of it still to come, and at most so many bytes of such logs.
pub const HISTORY_RECENT_MS: u64 = 60_000;
pub const HISTORY_RECENT_BYTES: u64 = 64 * 1024 * 1024;
/// How much of the log is read at a time for a subscriber that catches up, in bytes.
pub const HISTORY_PAGE_BYTES: u64 = 256 * 1024;
/// How long history is kept for a subscriber that catches up and does not ask for more.
pub const CATCH_UP_LEASE_MS: u64 = 60_000;
/// Subscriptions of one connection.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;

#[cfg(not(target_arch = "wasm32"))]
/// The most that a data block may be set to hold, in bytes.
const BLOCK_BYTES_MAX: usize = 1024 * 1024;
#[cfg(not(target_arch = "wasm32"))]
/// The most bits of Bloom filter that a key may be given.
const FILTER_BITS_MAX: usize = 64;

/// Sees to it that what a caller sends is within a limit, which is counted in `units`.
///
/// # Errors
/// `TooLarge`: `message`, and the limit.
pub fn within(size: usize, max: usize, message: &str, units: &str) -> Result<()> {
    match size > max {
        true => Err(Error::new(Code::TooLarge, format!("{message} (max {max}{units})"))),
        false => Ok(()),
    }
}

/// Budgets of one open database; tests make them small.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// The memtable is written to a table once it holds about this many bytes.
    pub memtable_bytes: usize,
    /// A table may have about so many bytes of deleted ranges: they are one block, read as a whole.
    /// Past it a memtable is written to a table, and compaction starts a new one.
    pub range_bytes: usize,
    /// Data, index and filter blocks kept in memory, in bytes.
    pub cache_bytes: usize,
    /// A data block is closed once it holds this many bytes before its trailer.
    pub block_bytes: usize,
    /// Compaction starts a new table in level 1 past this many bytes; in deeper levels tables are
    /// larger, see [`Budgets::table_bytes_at`].
    pub table_bytes: u64,
    /// Level 0 is compacted once it holds this many tables.
    pub level0_tables: usize,
    /// The size of level 1 in bytes; each further level is `level_growth` times larger.
    pub level1_bytes: u64,
    /// How much larger each level is than the one above.
    pub level_growth: u64,
    /// While a database is at rest, at most so many bytes are rewritten for each byte that it has
    /// written out of memtables, so that reads have fewer sorted runs to merge. 0 for none.
    pub rest_share: u64,
    /// Bits of Bloom filter per key.
    pub filter_bits: usize,
    /// Whether blocks are compressed where that saves an eighth or more.
    pub compression: bool,
    /// Values of at least this many bytes are written to blob files.
    pub large_value_bytes: usize,
    /// A blob file is ended once it holds this many bytes; writing as many has the memtable
    /// written to a table, so that what is overwritten is found out.
    pub blob_bytes: u64,
    /// So many bytes of a large value are written or read in a row. Then what was written is
    /// flushed, since nothing can interrupt a flush, and requests run.
    pub stretch_bytes: u64,
    /// So many mutations are taken in in a row, of one commit or several. Then requests run, if
    /// they have waited for long enough.
    pub mutations_in_a_row: usize,
    /// The space in reserve for deletes on a full disk, at the most: with it a full memtable can
    /// be written to a table. 0 for none.
    pub reserve_bytes: u64,
}

/// The tables of deep levels are at most this many times as large as those of level 1.
const TABLE_GROWTH_MAX: u64 = 4;

impl Budgets {
    /// # Errors
    /// `Unsupported`, naming the first budget that is out of range.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn validate(&self) -> Result<()> {
        let in_range = [
            ("memtable_bytes", self.memtable_bytes >= 1),
            ("range_bytes", self.range_bytes >= 1),
            ("block_bytes", (1..=BLOCK_BYTES_MAX).contains(&self.block_bytes)),
            ("table_bytes", self.table_bytes >= 1),
            ("level0_tables", self.level0_tables >= 1),
            ("level1_bytes", self.level1_bytes >= 1),
            ("level_growth", self.level_growth >= 2),
            ("mutations_in_a_row", self.mutations_in_a_row >= 1),
            ("filter_bits", (1..=FILTER_BITS_MAX).contains(&self.filter_bits)),
        ];
        match in_range.iter().find(|(_, is_in_range)| !is_in_range) {
            Some((name, _)) => {
                let message = ["the budget ", name, " is out of range"].concat();
                Err(Error::new(Code::Unsupported, message))
            }
            None => Ok(()),
        }
    }

    /// The size past which compaction starts a new table in a level: twice that of the level
    /// above, up to four times that of level 1, so that much data takes no great number of files.
    pub fn table_bytes_at(&self, level: usize) -> u64 {
        let growth = 1 << level.saturating_sub(1).min(8);
        self.table_bytes.saturating_mul(TABLE_GROWTH_MAX.min(growth))
    }
}

impl Default for Budgets {
    fn default() -> Budgets {
        Budgets {
            memtable_bytes: 4 * 1024 * 1024,
            range_bytes: 256 * 1024,
            cache_bytes: 16 * 1024 * 1024,
            block_bytes: 4 * 1024,
            table_bytes: 4 * 1024 * 1024,
            level0_tables: 4,
            level1_bytes: 32 * 1024 * 1024,
            level_growth: 10,
            rest_share: 2,
            filter_bits: 10,
            compression: true,
            large_value_bytes: LARGE_VALUE_BYTES,
            blob_bytes: 8 * 1024 * 1024,
            stretch_bytes: 1024 * 1024,
            mutations_in_a_row: 256,
            reserve_bytes: 5 * 1024 * 1024,
        }
    }
}
