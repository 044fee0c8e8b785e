//! Finds entries by the hash of their key: open addressing with linear probing, so that a search
//! looks at one or two places in memory that lie side by side. Nothing is ever removed.

/// The entry of a bucket that is free.
const FREE: u32 = u32::MAX;
/// The least number of buckets, but for none; a power of two, as all are.
const BUCKETS_MIN: usize = 64;

/// The numbers of entries, by hash.
#[derive(Default)]
pub struct Hashes {
    /// Three in four are used at most.
    buckets: Vec<Bucket>,
    used: usize,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Of the hash, the half that says where to begin.
    hash: u32,
    entry: u32,
}

impl Hashes {
    /// The entry with this hash of which `is_it` is true.
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = hash as u32;
        let mut at = self.wrapped(hash as usize);
        loop {
            let bucket = self.buckets.get(at)?;
            if bucket.entry == FREE {
                return None;
            }
            if bucket.hash == hash && is_it(bucket.entry) {
                return Some(bucket.entry);
            }
            at = self.wrapped(at + 1);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Reads the places where all these belong, each somewhere else in memory. A processor waits
    /// for several of them at once here, and to add one it waits for that: whether a place is free,
    /// which says what comes next, can't be foreseen.
    pub fn fetch(&self, hashes: impl Iterator<Item = u64>) {
        let place = |hash| self.buckets.get(self.wrapped(hash as u32 as usize));
        let entries = hashes.filter_map(place).map(|bucket| bucket.entry);
        std::hint::black_box(entries.fold(0, |all, entry| all ^ entry));
    }

    /// Adds an entry.
    pub fn insert(&mut self, hash: u64, entry: u32) {
        if self.used >= self.buckets.len() / 4 * 3 {
            let free = Bucket { hash: 0, entry: FREE };
            let more = vec![free; (2 * self.buckets.len()).max(BUCKETS_MIN)];
            let old = std::mem::replace(&mut self.buckets, more);
            old.into_iter().filter(|bucket| bucket.entry != FREE).for_each(|old| self.put(old));
        }
        self.used += 1;
        self.put(Bucket { hash: hash as u32, entry });
    }

    /// Takes the first free bucket from the one on that belongs to the hash.
    fn put(&mut self, bucket: Bucket) {
        let mut at = self.wrapped(bucket.hash as usize);
        while self.buckets.get(at).is_some_and(|other| other.entry != FREE) {
            at = self.wrapped(at + 1);
        }
        if let Some(free) = self.buckets.get_mut(at) {
            *free = bucket;
        }
    }

    fn wrapped(&self, at: usize) -> usize {
        at & self.buckets.len().wrapping_sub(1)
    }
}
