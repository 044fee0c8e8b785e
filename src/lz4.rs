//! LZ4 blocks: what compresses the blocks of tables.
//!
//! The format is [LZ4's block format](https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md)
//! (Collet, 2011): sequences of literals and a copy of up to 64 KiB back, the last one of
//! literals only.
//!
//! ```text
//! +------------+-----------+----------+---------------+-----------+
//! | token      | more of   | literals | offset u16    | more of   |  the lengths go on in bytes
//! | 4 + 4 bits | the first |          | little-endian | the other |  while they are full: token
//! +------------+-----------+----------+---------------+-----------+  bits of 15, bytes of 255
//! ```
//!
//! Tests hold it to the crate `lz4_flex`, whose own code would be three times the download.

use crate::bytes::common_prefix;

/// A copy is at least this long; the token counts from it.
const MATCH_MIN: usize = 4;
/// The last bytes are literals, and no copy begins in the last [`MARGIN`] ones.
const TAIL: usize = 5;
const MARGIN: usize = 12;
const DISTANCE_MAX: usize = 0xffff;
const HASH_BITS: u32 = 11;
/// After each 64 bytes in which it finds nothing the search takes steps that are a byte longer.
const PATIENCE_BITS: u32 = 6;
/// Each byte past three of a copy makes up for so many in which nothing was found. So the few bytes
/// that are the same between random values don't have all of these searched.
const SOLACE: usize = 96;
/// What comes after an input that does not compress is searched as if up to so many bytes had been
/// searched in vain before it.
const DOUBT_MAX: usize = 512;
/// No sequence of bytes says more than this many times its length.
const EXPANSION_MAX: usize = 255;

/// Compresses; it holds a table of where four bytes were seen last, of 8 KiB.
pub struct Encoder {
    places: Vec<u32>,
    /// How many bytes in which nothing was found the next search begins with.
    doubt: usize,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { places: vec![0; 1 << HASH_BITS], doubt: 0 }
    }
}

impl Encoder {
    /// Appends `input`, compressed, to `out`; false, and `out` is of no use, where that takes more
    /// than `limit` bytes.
    pub fn compress(&mut self, input: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        self.places.fill(0);
        let most = out.len() + limit;
        // No place is free: the first bytes were seen at 0, as all other places say.
        let (mut literals_at, mut at, mut vain) = (0, 1, self.doubt);
        self.doubt = 0;
        let matches_end = input.len().saturating_sub(TAIL);
        while at < input.len().saturating_sub(MARGIN) {
            let Some(before) = self.seen_before(input, at) else {
                let step = 1 + (vain >> PATIENCE_BITS);
                vain += step;
                at += step;
                continue;
            };
            let (old, new) = (input.get(before..), input.get(at..matches_end));
            let len = common_prefix(old.unwrap_or_default(), new.unwrap_or_default());
            vain = vain.saturating_sub((len + 1 - MATCH_MIN) * SOLACE);
            let literals = input.get(literals_at..at).unwrap_or_default();
            put_sequence(out, literals, len - MATCH_MIN);
            out.extend_from_slice(&((at - before) as u16).to_le_bytes());
            put_rest(out, len - MATCH_MIN);
            at += len;
            literals_at = at;
            if out.len() > most {
                return false;
            }
        }
        let rest = input.get(literals_at..).unwrap_or_default();
        if out.len() + rest.len() > most {
            self.doubt = vain.min(DOUBT_MAX);
            return false;
        }
        put_sequence(out, rest, 0);
        out.len() <= most
    }

    /// Where the four bytes at `at` were seen before, near enough; they are now seen at `at`.
    fn seen_before(&mut self, input: &[u8], at: usize) -> Option<usize> {
        let word = word(input, at)?;
        let slot = (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize;
        let before = core::mem::replace(self.places.get_mut(slot)?, at as u32) as usize;
        (at - before <= DISTANCE_MAX && self::word(input, before)? == word).then_some(before)
    }
}

fn word(input: &[u8], at: usize) -> Option<u32> {
    input.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// The token, the rest of the number of literals and these.
fn put_sequence(out: &mut Vec<u8>, literals: &[u8], match_len: usize) {
    out.push((literals.len().min(15) << 4 | match_len.min(15)) as u8);
    put_rest(out, literals.len());
    out.extend_from_slice(literals);
}

/// What the token has no room for.
fn put_rest(out: &mut Vec<u8>, len: usize) {
    if let Some(rest) = len.checked_sub(15) {
        out.resize(out.len() + rest / 255, 255);
        out.push((rest % 255) as u8);
    }
}

/// Whether so many bytes can come of `compressed` ones: to be asked before room is made for them.
pub fn can_hold(compressed: usize, len: usize) -> bool {
    len / EXPANSION_MAX <= compressed
}

/// Decompresses `input` into `out`; None, and `out` holds anything, where it is no LZ4 block or
/// does not fill `out` exactly.
pub fn decompress(mut input: &[u8], out: &mut [u8]) -> Option<()> {
    let mut at = 0;
    loop {
        let (token, rest) = input.split_first()?;
        input = rest;
        let len = take_len(token >> 4, &mut input)?;
        let (literals, rest) = input.split_at_checked(len)?;
        out.get_mut(at..)?.get_mut(..literals.len())?.copy_from_slice(literals);
        at += literals.len();
        if rest.is_empty() {
            return (at == out.len()).then_some(());
        }
        let (distance, rest) = rest.split_first_chunk()?;
        input = rest;
        let len = take_len(token & 15, &mut input)?.checked_add(MATCH_MIN)?;
        let distance = usize::from(u16::from_le_bytes(*distance));
        let (start, end) = (at.checked_sub(distance)?, at.checked_add(len)?);
        if distance == 0 || end > out.len() {
            return None;
        }
        // What is copied may go on into what the copy writes: then it repeats.
        while at < end {
            let part = (at - start).min(end - at);
            out.copy_within(start..start + part, at);
            at += part;
        }
    }
}

fn take_len(bits: u8, input: &mut &[u8]) -> Option<usize> {
    let mut len = usize::from(bits);
    if bits == 15 {
        loop {
            let (more, rest) = input.split_first()?;
            *input = rest;
            len = len.checked_add(usize::from(*more))?;
            if *more < 255 {
                break;
            }
        }
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn compressed(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(Encoder::default().compress(input, usize::MAX / 2, &mut out));
        out
    }

    /// Runs of few and of many different bytes, so that there is something to copy.
    fn inputs() -> impl Strategy<Value = Vec<u8>> {
        let run = prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(0u8..3, 0..400),
            (any::<u8>(), 0usize..700).prop_map(|(byte, len)| vec![byte; len]),
        ];
        vec(run, 0..12).prop_map(|runs| runs.concat())
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back_here_and_from_lz4_flex(input in inputs()) {
            let bytes = compressed(&input);
            let mut out = vec![0xaa; input.len()];
            prop_assert_eq!(decompress(&bytes, &mut out), Some(()));
            prop_assert_eq!(&out, &input);
            prop_assert_eq!(lz4_flex::block::decompress(&bytes, input.len()).unwrap(), input);
            prop_assert!(can_hold(bytes.len(), out.len()));
        }

        #[test]
        fn what_lz4_flex_compressed_comes_back(input in inputs()) {
            let mut out = vec![0xaa; input.len()];
            prop_assert_eq!(decompress(&lz4_flex::block::compress(&input), &mut out), Some(()));
            prop_assert_eq!(out, input);
        }

        #[test]
        fn any_bytes_are_refused_or_fill_the_room_as_in_lz4_flex(
            bytes in vec(any::<u8>(), 0..60),
            room in 0usize..300,
        ) {
            let mut out = vec![0; room];
            let ours = decompress(&bytes, &mut out).map(|()| out);
            let theirs = lz4_flex::block::decompress(&bytes, room).ok();
            if let Some(ours) = ours {
                prop_assert_eq!(Some(ours), theirs);
            }
        }

        #[test]
        fn damaged_bytes_never_panic(input in inputs(), flips in vec(any::<(u16, u8)>(), 1..4)) {
            let mut bytes = compressed(&input);
            for (place, flip) in flips {
                let place = usize::from(place) % bytes.len();
                bytes[place] ^= flip;
            }
            let mut out = vec![0; input.len()];
            let _ = decompress(&bytes, &mut out);
        }

        #[test]
        fn no_more_is_written_than_the_limit_and_one_sequence(
            input in inputs(),
            limit in 0usize..2_000,
        ) {
            let len = compressed(&input).len();
            let mut out = vec![7; 3];
            let fits = Encoder::default().compress(&input, limit, &mut out);
            prop_assert_eq!(fits, len <= limit);
            prop_assert!(!fits || out.len() == 3 + len);
        }
    }

    #[test]
    fn bytes_without_a_pattern_hide_none_that_follows() {
        let rng = crate::rng::Rng::new(3);
        let row = |n| format!("{{\"id\":{n},\"name\":\"somebody\",\"active\":true}}").into_bytes();
        let rows: Vec<u8> = (100..150).flat_map(row).collect();
        let alone = compressed(&rows).len();
        assert!(alone < rows.len() / 3);
        for len in [100, 500, 1_000] {
            let both = compressed(&[rng.bytes(len), rows.clone()].concat()).len();
            assert!(both < len + len / 50 + alone + alone / 3, "{both} of {len} and {alone}");
        }
    }

    #[test]
    fn copies_of_every_distance_and_length_come_back() {
        let rng = crate::rng::Rng::new(5);
        for distance in (1..40).chain([255, 256, 65_535, 65_536, 70_000]) {
            let mut input = rng.bytes(distance);
            for len in (4..40).chain([258, 259, 274, 600]) {
                let start = input.len() - distance;
                (0..len).for_each(|index| input.push(input[start + index]));
                input.push(rng.next() as u8);
            }
            let mut out = vec![0; input.len()];
            decompress(&compressed(&input), &mut out).unwrap();
            assert_eq!(out, input, "distance {distance}");
        }
    }
}
