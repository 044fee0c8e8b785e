//! Codes that stand for keys while they are compared.
//!
//! A source of a merge knows how much of its key is the same as in the key it showed last, for a
//! block stores keys so. Take keys as rows of six bytes each: the number of the first row that is
//! another one, and what stands there, are a code. With it nearly every comparison of two keys is
//! one of two integers, and the keys, each somewhere else in memory, are looked at where those are
//! equal only. This is offset-value coding (Conner, 1977; Graefe and Do, 2023, "Offset-value coding
//! in database query processing").
//!
//! ```text
//! code    0xffff - row, u16 | six bytes of the key, u48
//!
//! shown last   users/ | ada
//! a source     users/ | alan        row 1, "alan\0\0"     comes first: it differs later
//! another      userx/ | a           row 0, "userx/"
//! ```
//!
//! All of it rests on this: let a <= b, both at or past the same key x, with unlike codes for x.
//! Then the code of a is the lesser one, and the code of b for a is the one for x. In reverse the
//! same is true with the bytes inverted.

use crate::bytes::{common_prefix, eight_bytes};
use crate::table::block_cursor::SAME_KEY;
use core::cmp::Ordering;

const ROW_BYTES: usize = 6;
const ROW_BITS: u32 = 48;
/// Past the last row of any key.
const ROW_END: u64 = 0xffff;

/// How a key differs from another one that comes before it, or is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(u64);

impl Code {
    /// The keys are the same.
    pub const SAME: Code = Code(0);
    /// No code of a key is greater.
    pub const LAST: Code = Code(u64::MAX);

    /// The code of a key that has its first `shared` bytes in common with the other one, and
    /// differs behind them; or is the same, which [`SAME_KEY`] says.
    pub fn new(key: &[u8], shared: usize, reverse: bool) -> Code {
        if shared == SAME_KEY {
            return Code::SAME;
        }
        let row = shared / ROW_BYTES;
        let flip = if reverse { u64::MAX } else { 0 };
        let bytes = (eight_bytes(key, row * ROW_BYTES) ^ flip) >> (u64::BITS - ROW_BITS);
        Code(ROW_END.saturating_sub(row as u64) << ROW_BITS | bytes)
    }

    /// Compares two keys that both have this code for the same other key, in the order of the
    /// direction; and tells what the one that comes later shares with the first.
    pub fn compare(self, a: &[u8], b: &[u8], reverse: bool) -> (Ordering, usize) {
        if self == Code::SAME {
            return (Ordering::Equal, SAME_KEY);
        }
        let known = ROW_END.saturating_sub(self.0 >> ROW_BITS) as usize * ROW_BYTES;
        let (rest_a, rest_b) = (a.get(known..), b.get(known..));
        let common = common_prefix(rest_a.unwrap_or_default(), rest_b.unwrap_or_default());
        let shared = known + common;
        match a.get(shared).cmp(&b.get(shared)) {
            Ordering::Equal => (Ordering::Equal, SAME_KEY),
            order if reverse => (order.reverse(), shared),
            order => (order, shared),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::block_cursor::shared;
    use proptest::prelude::*;

    /// Short ones and long ones, many of them beginnings of others.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0), Just(1), Just(255)];
        (0..3, proptest::collection::vec(byte, 0..9))
            .prop_map(|(times, end)| [b"users\0\0".repeat(times as usize), end].concat())
    }

    proptest! {
        #[test]
        fn codes_for_the_same_key_compare_as_the_keys_do(
            mut keys in [key(), key(), key()],
            reverse in any::<bool>(),
        ) {
            keys.sort();
            if reverse {
                keys.reverse();
            }
            let [x, a, b] = &keys;
            let code = |key: &[u8], other: &[u8]| Code::new(key, shared(key, other), reverse);
            let for_x = (code(a, x), code(b, x));
            prop_assert!(for_x.0 <= for_x.1);
            prop_assert_eq!(for_x.0 == Code::SAME, a == x);
            if for_x.0 != for_x.1 {
                prop_assert_eq!(code(b, a), for_x.1);
            } else {
                let (order, common) = for_x.0.compare(a, b, reverse);
                let by_key = if reverse { b.cmp(a) } else { a.cmp(b) };
                prop_assert_eq!(order, by_key);
                prop_assert_eq!(Code::new(b, common, reverse), code(b, a));
            }
        }

        #[test]
        fn without_a_key_before_them_codes_compare_as_the_keys_do(
            a in key(), b in key(), reverse in any::<bool>(),
        ) {
            let (for_none, other) = (Code::new(&a, 0, reverse), Code::new(&b, 0, reverse));
            let by_key = if reverse { b.cmp(&a) } else { a.cmp(&b) };
            prop_assert!(for_none == other || for_none.cmp(&other) == by_key);
        }
    }
}
