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

fn take_long(bytes: &mut &[u8]) -> Option<u64> {
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
