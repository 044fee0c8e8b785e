//! A Bloom filter over the keys of a table: a lookup touches one cache line of it.
//!
//! The filter is a row of 64-byte lines, stored as a block is (see [`super::block`]):
//!
//! ```text
//! +-----------+-----------+-----+-----------+----------------+------+-------------+
//! | line, 64 B| line, 64 B| ... | line, 64 B| probes u8, 1..7| kind | xxh3-64 u64 |
//! +-----------+-----------+-----+-----------+----------------+------+-------------+
//! ```
//!
//! The xxh3-64 `h` of a key picks line `(h >> 32) * lines >> 32`, and in it, for each probe `i`,
//! bit `h * 0x9e3779b97f4a7c15 >> 9 * i` modulo 512; bit `b` is bit `b % 8` of byte `b / 8`.
//! (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.)

use crate::hash::xxh3_64;
use crate::planted::{Bug, planted};

const LINE_BYTES: usize = 64;
const LINE_BITS: usize = 512;
/// Seven probes of nine bits each use up a hash.
const PROBES_MAX: usize = 7;

/// The hash that stands for a key.
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Appends the filter of these hashes with about `bits_per_key` bits for each.
pub fn build(out: &mut Vec<u8>, hashes: &[u64], bits_per_key: usize) {
    let start = out.len();
    let lines = (hashes.len() * bits_per_key).div_ceil(LINE_BITS).max(1);
    // ln 2 bits a key, the number of probes with the fewest false positives.
    let probes = (bits_per_key * 69 / 100).clamp(1, PROBES_MAX);
    out.resize(start + lines * LINE_BYTES, 0);
    let (table, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<LINE_BYTES>();
    for &hash in hashes {
        let Some(line) = table.get_mut(line_of(hash, lines)) else { continue };
        for bit in bits(hash, probes) {
            if let Some(byte) = line.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    out.push(probes as u8);
}

/// Whether a key may be in the table; false is certain. Bytes that are no filter exclude nothing.
pub fn may_contain(filter: &[u8], hash: u64) -> bool {
    if planted(Bug::FilterFalseNegative) && hash.is_multiple_of(16) {
        return false;
    }
    let Some((&probes, lines)) = filter.split_last() else { return true };
    let (lines, _) = lines.as_chunks::<LINE_BYTES>();
    let Some(line) = lines.get(line_of(hash, lines.len())) else { return true };
    bits(hash, usize::from(probes))
        .all(|bit| line.get(bit / 8).is_none_or(|byte| byte & (1 << (bit % 8)) != 0))
}

fn line_of(hash: u64, lines: usize) -> usize {
    (((hash >> 32) * lines as u64) >> 32) as usize
}

fn bits(hash: u64, probes: usize) -> impl Iterator<Item = usize> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..probes.min(PROBES_MAX)).map(move |probe| (mixed >> (9 * probe)) as usize % LINE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_two_in_a_hundred_absent_keys_pass_and_no_present_one_is_lost() {
        for keys in [1_u32, 100, 50_000] {
            let hashes: Vec<u64> = (0..keys).map(|key| hash(&key.to_be_bytes())).collect();
            let mut filter = Vec::new();
            build(&mut filter, &hashes, 10);
            assert!(hashes.iter().all(|hash| may_contain(&filter, *hash)));
            let absent = (keys..keys + 100_000).map(|key| hash(&key.to_be_bytes()));
            let passed = absent.filter(|hash| may_contain(&filter, *hash)).count();
            assert!(passed < 2_000, "{passed} of 100,000 passed a filter of {keys} keys");
        }
    }

    #[test]
    fn bytes_that_are_no_filter_exclude_nothing() {
        for bytes in [&[][..], &[7], &[0; 64], &[0; 5]] {
            assert!(may_contain(bytes, 1));
        }
    }
}
