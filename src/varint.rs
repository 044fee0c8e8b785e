//! Unsigned integers in LEB128: seven bits a byte, the lowest first, the top bit set on all but
//! the last byte. At most ten bytes; one way to write each number.

/// Appends `value`.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front of `bytes`; None where they are cut short, go past 64 bits or
/// are longer than the number needs. Only success moves `bytes`.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    if let [byte @ 0..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Some(u64::from(*byte));
    }
    take_long(bytes)
}

// Apart, so that the usual number of one byte needs no more than that.
#[inline(never)]
fn take_long(bytes: &mut &[u8]) -> Option<u64> {
    match bytes.first_chunk() {
        Some(eight) if u64::from_le_bytes(*eight) & TOP_BITS != TOP_BITS => {
            let (value, len) = within_eight(u64::from_le_bytes(*eight))?;
            *bytes = bytes.get(len..)?;
            Some(value)
        }
        _ => take_bytewise(bytes),
    }
}

/// The top bits of eight bytes.
const TOP_BITS: u64 = 0x8080_8080_8080_8080;

/// The number at the front of eight bytes, and how many of them it takes: all at once, for a
/// branch for each byte is a guess. None too where it goes on behind them.
pub fn within_eight(eight: u64) -> Option<(u64, usize)> {
    let bits = (!eight & TOP_BITS).trailing_zeros() + 1;
    if bits > u64::BITS {
        return None;
    }
    let number = eight << (64 - bits) >> (64 - bits);
    if bits > 8 && number >> (bits - 8) == 0 {
        return None;
    }
    // Puts the groups of seven bits next to each other, in pairs, then fours, then all.
    let pairs = number & 0x007f_007f_007f_007f | (number & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    let value = fours & 0x0000_0000_0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4;
    Some((value, bits as usize / 8))
}

fn take_bytewise(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (place, &byte) in bytes.iter().take(10).enumerate() {
        let shift = 7 * place as u32;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part || (byte == 0 && place > 0) {
            return None;
        }
        value |= part << shift;
        if byte < 0x80 {
            *bytes = bytes.get(place + 1..)?;
            return Some(value);
        }
    }
    None
}

/// Appends a byte string after its length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes a byte string that stands after its length, without copying it; None where `bytes` are
/// cut short.
pub fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *bytes;
    let len = usize::try_from(take(&mut rest)?).ok()?;
    let (taken, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_comes_back_and_its_bytes_are_used_up(value in any::<u64>(), shift in 0..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put(&mut out, value);
            let mut bytes = out.as_slice();
            prop_assert_eq!(take(&mut bytes), Some(value));
            prop_assert!(bytes.is_empty());
            out.extend([0xff; 8]);
            let mut bytes = out.as_slice();
            prop_assert_eq!(take(&mut bytes), Some(value));
            prop_assert_eq!(bytes, [0xff; 8]);
        }

        #[test]
        fn eight_bytes_at_once_are_read_as_one_by_one(
            bytes in vec(prop_oneof![any::<u8>(), Just(0), Just(0x80), Just(0xff)], 8..12)
        ) {
            let (mut at_once, mut one_by_one) = (bytes.as_slice(), bytes.as_slice());
            prop_assert_eq!(take(&mut at_once), take_bytewise(&mut one_by_one));
            prop_assert_eq!(at_once, one_by_one);
        }

        #[test]
        fn what_is_read_is_what_would_be_written(bytes in vec(any::<u8>(), 0..12)) {
            let mut rest = bytes.as_slice();
            if let Some(value) = take(&mut rest) {
                let mut out = Vec::new();
                put(&mut out, value);
                prop_assert_eq!(&out[..], &bytes[..bytes.len() - rest.len()]);
            } else {
                prop_assert_eq!(rest, &bytes[..]);
            }
        }
    }

    #[test]
    fn cut_short_too_large_and_too_long_are_refused() {
        let mut large = [0xff; 10];
        large[9] = 2;
        for bytes in [&[][..], &[0x80], &[0x80, 0x00], &large, &[0x80; 11]] {
            assert_eq!(take(&mut { bytes }), None, "{bytes:02x?}");
        }
        assert_eq!(take_bytes(&mut &[3, 1, 2][..]), None);
        assert_eq!(take_bytes(&mut &[2, 1, 2][..]), Some(&[1u8, 2][..]));
    }
}
