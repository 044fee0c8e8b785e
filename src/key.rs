//! Keys: tuples of parts, encoded so that bytes compare as the tuples do.
//!
//! The encoding is the FoundationDB tuple layer's, as Deno KV uses it. Parts stand one behind
//! the other; a tag says the type and with it the order between types:
//!
//! ```text
//! bytes    01 | bytes, each 00 as 00 FF | 00
//! string   02 | UTF-8, each 00 as 00 FF | 00
//! bigint   14                                        zero
//!          14+n | n bytes                            n of 1 to 8: big-endian, no leading zeros
//!          1D | n | n bytes                          n of 9 to 255
//!          14-n | n bytes, 0B | FF-n | n bytes       below zero: the magnitude's complement
//! number   21 | 8 bytes: IEEE 754 big-endian; the sign bit flipped at or above zero, all bits
//!               flipped below; the one NaN is 7FF8000000000000
//! boolean  26 false, 27 true
//! ```

use crate::stamp::Stamp;

const BYTES: u8 = 0x01;
const STRING: u8 = 0x02;
const LONG_NEGATIVE: u8 = 0x0b;
const ZERO: u8 = 0x14;
const LONG_POSITIVE: u8 = 0x1d;
const NUMBER: u8 = 0x21;
const FALSE: u8 = 0x26;
const TRUE: u8 = 0x27;

const SIGN_BIT: u64 = 1 << 63;
const NAN_BITS: u64 = 0x7ff8 << 48;

/// The length of an encoded versionstamp part: a string of 20 hex digits.
pub const VERSIONSTAMP_PART_BYTES: usize = 22;
/// The longest magnitude of a bigint part.
pub const BIGINT_BYTES_MAX: usize = 255;

/// A part of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A Uint8Array.
    Bytes(Vec<u8>),
    /// A string.
    String(String),
    /// A bigint.
    Bigint {
        /// Whether it is below zero; false for zero.
        negative: bool,
        /// Big-endian, without leading zeros, at most [`BIGINT_BYTES_MAX`] bytes.
        magnitude: Vec<u8>,
    },
    /// A number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
}

/// Encodes a key; None for a bigint that is not in its shape.
pub fn encode(parts: &[Part]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => put_escaped(&mut out, BYTES, bytes),
            Part::String(string) => put_escaped(&mut out, STRING, string.as_bytes()),
            Part::Bigint { negative, magnitude } => put_bigint(&mut out, *negative, magnitude)?,
            Part::Number(number) => {
                out.push(NUMBER);
                out.extend_from_slice(&ordered_bits(*number).to_be_bytes());
            }
            Part::Boolean(boolean) => out.push(if *boolean { TRUE } else { FALSE }),
        }
    }
    Some(out)
}

/// Decodes a key; None for bytes that [`encode`] does not make.
pub fn decode(mut key: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while !key.is_empty() {
        let (tag, content, rest) = split(key)?;
        parts.push(match tag {
            BYTES => Part::Bytes(unescape(content)),
            STRING => Part::String(String::from_utf8(unescape(content)).ok()?),
            NUMBER => Part::Number(number(content)?),
            FALSE => Part::Boolean(false),
            TRUE => Part::Boolean(true),
            _ if tag < ZERO => {
                Part::Bigint { negative: true, magnitude: content.iter().map(|b| !b).collect() }
            }
            _ => Part::Bigint { negative: false, magnitude: content.to_vec() },
        });
        key = rest;
    }
    Some(parts)
}

/// Whether these bytes are a key: at least one part, and each the one encoding of its value.
/// It allocates nothing: every key of a frame passes through it.
pub fn validate(mut key: &[u8]) -> bool {
    let empty = key.is_empty();
    while !key.is_empty() {
        let Some((tag, content, rest)) = split(key) else { return false };
        let valid = match tag {
            STRING => content.is_ascii() || is_escaped_utf8(content),
            NUMBER => number(content).is_some(),
            _ => true,
        };
        if !valid {
            return false;
        }
        key = rest;
    }
    !empty
}

/// `key` with the versionstamp of a commit as one more part, a string of 20 hex digits.
pub fn with_versionstamp(key: &[u8], stamp: Stamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + VERSIONSTAMP_PART_BYTES);
    out.extend_from_slice(key);
    put_escaped(&mut out, STRING, stamp.to_string().as_bytes());
    out
}

/// Splits the first part off: its tag, its content as it is encoded, and what follows. Checks
/// the frame of the part and that a bigint is the shortest of its value.
fn split(key: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = key.split_first()?;
    let (content, rest) = match tag {
        BYTES | STRING => {
            let end = terminator(rest)?;
            (rest.get(..end)?, rest.get(end + 1..)?)
        }
        NUMBER => rest.split_at_checked(8)?,
        FALSE | TRUE => rest.split_at_checked(0)?,
        LONG_NEGATIVE | LONG_POSITIVE => {
            let (&len, rest) = rest.split_first()?;
            let len = if tag == LONG_NEGATIVE { !len } else { len };
            rest.split_at_checked(usize::from(len)).filter(|_| len > 8)?
        }
        LONG_NEGATIVE..=LONG_POSITIVE => rest.split_at_checked(usize::from(tag.abs_diff(ZERO)))?,
        _ => return None,
    };
    let leading = content.first().copied();
    let padded = match tag {
        LONG_NEGATIVE..ZERO => leading == Some(0xff),
        ZERO..=LONG_POSITIVE => leading == Some(0),
        _ => false,
    };
    (!padded).then_some((tag, content, rest))
}

/// The place of the 00 that ends an escaped string.
fn terminator(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let zero = from + bytes.get(from..)?.iter().position(|byte| *byte == 0)?;
        if bytes.get(zero + 1) != Some(&0xff) {
            return Some(zero);
        }
        from = zero + 2;
    }
}

/// Whether escaped bytes are UTF-8. No code point spans a zero byte, so the stretches between
/// the escapes can be looked at one by one.
fn is_escaped_utf8(content: &[u8]) -> bool {
    let mut stretches = content.split(|byte| *byte == 0);
    let first = stretches.next().unwrap_or_default();
    let after_escape = |stretch: &[u8]| match stretch.split_first() {
        Some((0xff, rest)) => core::str::from_utf8(rest).is_ok(),
        _ => false,
    };
    core::str::from_utf8(first).is_ok() && stretches.all(after_escape)
}

fn unescape(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len());
    let mut escaped = false;
    for &byte in content {
        if !escaped {
            bytes.push(byte);
        }
        escaped = byte == 0 && !escaped;
    }
    bytes
}

fn put_escaped(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    for (place, stretch) in bytes.split(|byte| *byte == 0).enumerate() {
        if place > 0 {
            out.extend_from_slice(&[0, 0xff]);
        }
        out.extend_from_slice(stretch);
    }
    out.push(0);
}

fn put_bigint(out: &mut Vec<u8>, negative: bool, magnitude: &[u8]) -> Option<()> {
    let len = u8::try_from(magnitude.len()).ok()?;
    if magnitude.first() == Some(&0) || (negative && len == 0) {
        return None;
    }
    match (negative, len) {
        (false, 0..=8) => out.push(ZERO + len),
        (true, 0..=8) => out.push(ZERO - len),
        (false, _) => out.extend_from_slice(&[LONG_POSITIVE, len]),
        (true, _) => out.extend_from_slice(&[LONG_NEGATIVE, !len]),
    }
    let flip = if negative { 0xff } else { 0 };
    out.extend(magnitude.iter().map(|byte| byte ^ flip));
    Some(())
}

/// The bits of a number, arranged so that they compare as the numbers do.
fn ordered_bits(number: f64) -> u64 {
    let bits = if number.is_nan() { NAN_BITS } else { number.to_bits() };
    if bits & SIGN_BIT == 0 { bits ^ SIGN_BIT } else { !bits }
}

/// The inverse of [`ordered_bits`]; None for a NaN that is not the canonical one.
fn number(content: &[u8]) -> Option<f64> {
    let bits = u64::from_be_bytes(content.try_into().ok()?);
    let bits = if bits & SIGN_BIT == 0 { !bits } else { bits ^ SIGN_BIT };
    let number = f64::from_bits(bits);
    (!number.is_nan() || bits == NAN_BITS).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bigint(value: i128) -> Part {
        let magnitude = value.unsigned_abs().to_be_bytes();
        let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
        Part::Bigint { negative: value < 0, magnitude: magnitude[zeros..].to_vec() }
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..12).prop_map(Part::Bytes),
            "[\\x00\\u{1}a\\u{7f}\\u{ffff}\\u{10000}]{0,6}".prop_map(Part::String),
            (any::<i128>(), 0..128u32).prop_map(|(value, shift)| bigint(value >> shift)),
            any::<f64>().prop_map(Part::Number),
            any::<bool>().prop_map(Part::Boolean),
        ]
    }

    /// The order of parts as deno-kv defines it.
    fn compare(a: &Part, b: &Part) -> std::cmp::Ordering {
        let rank = |part: &Part| match part {
            Part::Bytes(_) => 0,
            Part::String(_) => 1,
            Part::Bigint { .. } => 2,
            Part::Number(_) => 3,
            Part::Boolean(_) => 4,
        };
        match (a, b) {
            (Part::Bytes(a), Part::Bytes(b)) => a.cmp(b),
            (Part::String(a), Part::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Part::Bigint { negative: true, .. }, Part::Bigint { negative: false, .. }) => {
                std::cmp::Ordering::Less
            }
            (Part::Bigint { negative: false, .. }, Part::Bigint { negative: true, .. }) => {
                std::cmp::Ordering::Greater
            }
            (Part::Bigint { negative, magnitude: a }, Part::Bigint { magnitude: b, .. }) => {
                let order = a.len().cmp(&b.len()).then_with(|| a.cmp(b));
                if *negative { order.reverse() } else { order }
            }
            (Part::Number(a), Part::Number(b)) => {
                let canonical = |x: f64| if x.is_nan() { f64::from_bits(NAN_BITS) } else { x };
                canonical(*a).total_cmp(&canonical(*b))
            }
            (Part::Boolean(a), Part::Boolean(b)) => a.cmp(b),
            _ => rank(a).cmp(&rank(b)),
        }
    }

    proptest! {
        #[test]
        fn keys_compare_as_their_parts_do(a in vec(part(), 0..4), b in vec(part(), 0..4)) {
            let parts = a.iter().zip(&b).map(|(a, b)| compare(a, b));
            let order = parts.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then);
            let order = order.then(a.len().cmp(&b.len()));
            prop_assert_eq!(encode(&a).unwrap().cmp(&encode(&b).unwrap()), order);
        }

        #[test]
        fn a_key_comes_back_and_is_valid(parts in vec(part(), 1..5)) {
            let key = encode(&parts).unwrap();
            prop_assert!(validate(&key));
            let decoded = decode(&key).unwrap();
            prop_assert_eq!(encode(&decoded).unwrap(), key);
            let same = parts.iter().zip(&decoded).all(|(a, b)| compare(a, b).is_eq());
            prop_assert!(same && parts.len() == decoded.len());
        }

        #[test]
        fn bytes_are_valid_exactly_where_they_decode_and_encode_back(
            bytes in vec(prop_oneof![0..0x28u8, Just(0xff), any::<u8>()], 0..24)
        ) {
            let decoded = decode(&bytes);
            prop_assert_eq!(validate(&bytes), decoded.is_some() && !bytes.is_empty());
            if let Some(parts) = decoded {
                prop_assert_eq!(encode(&parts).unwrap(), bytes);
            }
        }

        #[test]
        fn a_damaged_key_is_judged_alike_by_both(
            parts in vec(part(), 1..4), place in any::<prop::sample::Index>(), bit in 0..8u32
        ) {
            let mut key = encode(&parts).unwrap();
            *place.get_mut(&mut key) ^= 1u8 << bit;
            prop_assert_eq!(validate(&key), decode(&key).is_some());
        }
    }

    #[test]
    fn the_encoding_is_that_of_the_tuple_layer() {
        let cases: [(Part, &[u8]); 10] = [
            (Part::Bytes(vec![1, 0, 2]), b"\x01\x01\x00\xff\x02\x00"),
            (Part::String("a\0é".into()), b"\x02a\x00\xff\xc3\xa9\x00"),
            (bigint(0), b"\x14"),
            (bigint(256), b"\x16\x01\x00"),
            (bigint(-1), b"\x13\xfe"),
            (bigint(1 << 64), b"\x1d\x09\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
            (bigint(-(1 << 64)), b"\x0b\xf6\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
            (Part::Number(1.0), b"\x21\xbf\xf0\x00\x00\x00\x00\x00\x00"),
            (Part::Number(-0.0), b"\x21\x7f\xff\xff\xff\xff\xff\xff\xff"),
            (Part::Boolean(true), b"\x27"),
        ];
        for (part, bytes) in cases {
            assert_eq!(encode(&[part]).unwrap(), bytes);
        }
    }

    #[test]
    fn a_versionstamp_is_a_string_part() {
        let stamp = Stamp { epoch: 1, counter: 0xabc };
        let key = with_versionstamp(&encode(&[bigint(7)]).unwrap(), stamp);
        let parts = [bigint(7), Part::String("00000001000000000abc".into())];
        assert_eq!(key, encode(&parts).unwrap());
        assert_eq!(key.len(), 2 + VERSIONSTAMP_PART_BYTES);
    }

    #[test]
    fn bigints_out_of_shape_are_not_encoded() {
        for (negative, magnitude) in [(false, vec![0, 1]), (true, vec![]), (false, vec![1; 256])] {
            assert_eq!(encode(&[Part::Bigint { negative, magnitude }]), None);
        }
    }
}
