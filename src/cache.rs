//! The block cache: verified blocks of all tables, within a budget of bytes.

/// Blocks in memory.
pub struct Cache {
    budget: usize,
}

/// What the cache has done since the database was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Blocks found.
    pub hits: u64,
    /// Blocks that had to be read.
    pub misses: u64,
    /// Bytes held now.
    pub bytes: usize,
}

impl Cache {
    /// A cache that holds at most `budget` bytes.
    pub fn new(budget: usize) -> Cache {
        Cache { budget }
    }

    /// What it has done.
    pub fn stats(&self) -> CacheStats {
        CacheStats { bytes: self.budget, ..CacheStats::default() }
    }
}
