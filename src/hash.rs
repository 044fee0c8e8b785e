//! The hash behind every checksum and filter: xxh3-64.

pub use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The hash without a seed. That is the one with seed 0, and calling it so keeps a second copy
/// of xxh3 out of the download.
pub fn xxh3_64(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, 0)
}

/// Whether a checksum that was read is the one that was computed. A fuzz target has every one
/// hold, for a guess almost never does.
pub fn holds(read: u64, computed: u64) -> bool {
    #[cfg(any(test, feature = "fuzzing"))]
    if crate::fuzzing::every_checksum_holds() {
        return true;
    }
    read == computed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_0_is_the_unseeded_hash_at_every_length() {
        let bytes: Vec<u8> = (0..2_000_u32).map(|i| (i * i) as u8).collect();
        for len in 0..bytes.len() {
            let bytes = &bytes[..len];
            assert_eq!(xxh3_64(bytes), xxhash_rust::xxh3::xxh3_64(bytes), "{len} bytes");
        }
    }
}
