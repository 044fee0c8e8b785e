//! The entries that every engine is given: keys of 16 bytes, values of 100, both without a
//! pattern that would suit one of them.

use kvass::rng::Rng;

/// A string part as kvass encodes it: a tag, 14 hex digits, an end.
pub type Key = [u8; 16];
/// A byte string as kvass encodes it: a tag, then 99 random bytes.
pub type Value = [u8; 100];

/// Keys asked for one after the other; more than a processor's caches have room for.
const LOOKUPS: usize = 100_000;

pub struct Data {
    /// In the random order in which they are loaded.
    pub entries: Vec<(Key, Value)>,
    /// Some of the keys, in another random order.
    pub present: Vec<Key>,
    /// Keys that are not there, between those that are.
    pub absent: Vec<Key>,
}

impl Data {
    pub fn new(count: usize) -> Data {
        let entries: Vec<_> = (0..count as u64).map(key).map(|key| (key, value(&key))).collect();
        let rng = Rng::new(1);
        let picked = (0..LOOKUPS).map(|_| rng.below(count as u64));
        Data {
            entries,
            present: picked.map(key).collect(),
            absent: (0..LOOKUPS as u64).map(|index| key(count as u64 + index)).collect(),
        }
    }

    pub fn sorted(&self) -> Vec<(Key, Value)> {
        let mut sorted = self.entries.clone();
        sorted.sort_unstable();
        sorted
    }
}

/// The `index`th key: no two have the same digits, for 56 bits are mixed without losing one.
fn key(index: u64) -> Key {
    const MASK: u64 = (1 << 56) - 1;
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) & MASK;
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) & MASK;
    let mixed = mixed ^ (mixed >> 31);
    let mut key = [0; 16];
    key[0] = 0x02;
    for (place, digit) in key[1..15].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(mixed >> (4 * (13 - place))) as usize & 15];
    }
    key
}

/// What belongs to a key, so that an answer can be held against it.
pub fn value(key: &Key) -> Value {
    let mut value = [0; 100];
    value[0] = 0x03;
    Rng::new(seed(key)).fill(&mut value[1..]);
    value
}

/// Whether a value is the one of `key`, by its length and its first random bytes: enough to see
/// that the right one came, and too little to count in a measurement.
pub fn belongs(key: &Key, value: &[u8]) -> bool {
    value.len() == 100 && value[1..9] == Rng::new(seed(key)).next().to_le_bytes()
}

fn seed(key: &Key) -> u64 {
    u64::from_le_bytes(*key.last_chunk().expect("a key is longer"))
        ^ u64::from_be_bytes(*key.first_chunk().expect("a key is longer"))
}
