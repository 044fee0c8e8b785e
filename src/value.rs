//! Values: a tag byte and a payload, and the arithmetic that the engine does on them.
//!
//! ```text
//! 01 | CBOR                       any other structured value
//! 02 | u64, 8 bytes little-endian
//! 03 | bytes
//! 04 | number, IEEE 754 double little-endian
//! 05 | bigint: sign (0 or 1 for below zero), magnitude big-endian without leading zeros
//! ```
//!
//! The engine looks into a value only where a commit sums, so CBOR stays unread here.

use crate::error::{Code, Error, Result};
use crate::limits::{self, VALUE_BYTES_MAX};
use core::cmp::Ordering;

const CBOR: u8 = 0x01;
const U64: u8 = 0x02;
const BYTES: u8 = 0x03;
const NUMBER: u8 = 0x04;
const BIGINT: u8 = 0x05;

/// A mutation that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// The sum: of u64 modulo 2^64, of numbers, of bigints.
    Sum,
    /// The smaller of two u64.
    Min,
    /// The larger of two u64.
    Max,
}

impl Arithmetic {
    fn name(self) -> &'static str {
        match self {
            Arithmetic::Sum => "sum",
            Arithmetic::Min => "min",
            Arithmetic::Max => "max",
        }
    }
}

/// An encoded value, taken apart as far as the engine understands it.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Cbor,
    U64(u64),
    Bytes,
    Number(f64),
    Bigint { negative: bool, magnitude: &'a [u8] },
}

impl<'a> Kind<'a> {
    fn of(value: &'a [u8]) -> Option<Kind<'a>> {
        let (tag, payload) = value.split_first()?;
        Some(match *tag {
            CBOR if !payload.is_empty() => Kind::Cbor,
            U64 => Kind::U64(u64::from_le_bytes(payload.try_into().ok()?)),
            BYTES => Kind::Bytes,
            NUMBER => Kind::Number(f64::from_le_bytes(payload.try_into().ok()?)),
            BIGINT => {
                let (sign, magnitude) = payload.split_first()?;
                let zero_below_zero = *sign == 1 && magnitude.is_empty();
                if *sign > 1 || zero_below_zero || magnitude.first() == Some(&0) {
                    return None;
                }
                Kind::Bigint { negative: *sign == 1, magnitude }
            }
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Cbor => "a structured value",
            Kind::U64(_) => "KvU64",
            Kind::Bytes => "Uint8Array",
            Kind::Number(_) => "Number",
            Kind::Bigint { .. } => "BigInt",
        }
    }
}

/// Whether values of this kind are never computed with; only those go to blob files.
pub fn is_opaque(kind: u8) -> bool {
    kind == CBOR || kind == BYTES
}

/// A value of an opaque kind, which tells `apply` of what kind a large one is.
pub fn example(kind: u8) -> &'static [u8] {
    if kind == BYTES { &[BYTES] } else { &[CBOR, 0] }
}

/// Whether these bytes have the shape of a value: a known tag and a payload that fits it.
pub fn validate(value: &[u8]) -> bool {
    Kind::of(value).is_some()
}

/// The value that a computing mutation leaves where `current` is (None: no entry, and the
/// operand is stored). The messages are Deno's.
///
/// # Errors
/// `TypeMismatch` where the kinds don't fit, `TooLarge` for a bigint past `VALUE_BYTES_MAX`,
/// `Corruption` where `current` is no value.
pub fn apply(arithmetic: Arithmetic, current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
    let mismatch = |message: String| Err(Error::new(Code::TypeMismatch, message));
    let name = arithmetic.name();
    let current = match current.map(Kind::of) {
        Some(None) => return Err(Error::new(Code::Corruption, "a stored value has no known kind")),
        found => found.flatten(),
    };
    let operand_kind = Kind::of(operand);
    match (arithmetic, current, operand_kind) {
        (_, Some(Kind::U64(a)), Some(Kind::U64(b))) => Ok(encode_u64(match arithmetic {
            Arithmetic::Sum => a.wrapping_add(b),
            Arithmetic::Min => a.min(b),
            Arithmetic::Max => a.max(b),
        })),
        (_, Some(_), Some(Kind::U64(_))) => mismatch(format!(
            "Failed to perform '{name}' mutation on a non-U64 value in the database"
        )),
        (_, None, Some(Kind::U64(_))) => Ok(operand.to_vec()),
        (Arithmetic::Min | Arithmetic::Max, ..) => {
            mismatch(format!("Failed to perform '{name}' mutation on a non-U64 operand"))
        }
        (_, None, Some(Kind::Number(_) | Kind::Bigint { .. })) => Ok(operand.to_vec()),
        (_, Some(Kind::Number(a)), Some(Kind::Number(b))) => Ok(encode_number(a + b)),
        (
            _,
            Some(Kind::Bigint { negative: a_negative, magnitude: a }),
            Some(Kind::Bigint { negative: b_negative, magnitude: b }),
        ) => sum_bigints((a_negative, a), (b_negative, b)),
        (_, Some(a), Some(b)) => mismatch(format!("Cannot sum {} with {}", a.name(), b.name())),
        (_, None, _) | (_, _, None) => {
            mismatch("Failed to perform 'sum' mutation on a non-numeric operand".to_owned())
        }
    }
}

fn encode_u64(value: u64) -> Vec<u8> {
    [&[U64][..], &value.to_le_bytes()].concat()
}

fn encode_number(value: f64) -> Vec<u8> {
    [&[NUMBER][..], &value.to_le_bytes()].concat()
}

fn sum_bigints(a: (bool, &[u8]), b: (bool, &[u8])) -> Result<Vec<u8>> {
    let (larger, smaller) = match a.1.len().cmp(&b.1.len()).then_with(|| a.1.cmp(b.1)) {
        Ordering::Less => (b, a),
        Ordering::Equal | Ordering::Greater => (a, b),
    };
    let mut digits = add_magnitudes(larger.1, smaller.1, larger.0 != smaller.0);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let negative = larger.0 && !digits.is_empty();
    digits.extend_from_slice(&[u8::from(negative), BIGINT]);
    digits.reverse();
    limits::within(digits.len(), VALUE_BYTES_MAX, "Value too large", " bytes")?;
    Ok(digits)
}

/// Adds the smaller magnitude to the larger, or takes it away. The result has the lowest byte
/// first, and may have zeros behind its highest.
fn add_magnitudes(larger: &[u8], smaller: &[u8], subtract: bool) -> Vec<u8> {
    let mut digits = Vec::with_capacity(larger.len() + 3);
    let mut carry = 0;
    let padding = core::iter::repeat(&0);
    for (a, b) in larger.iter().rev().zip(smaller.iter().rev().chain(padding)) {
        let b = if subtract { -i16::from(*b) } else { i16::from(*b) };
        let sum = i16::from(*a) + b + carry;
        digits.push(sum.rem_euclid(256) as u8);
        carry = sum.div_euclid(256);
    }
    if carry > 0 {
        digits.push(1);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bigint(value: i128) -> Vec<u8> {
        let magnitude = value.unsigned_abs().to_be_bytes();
        let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
        [&[BIGINT, u8::from(value < 0)][..], &magnitude[zeros..]].concat()
    }

    fn message(arithmetic: Arithmetic, current: Option<&[u8]>, operand: &[u8]) -> String {
        let error = apply(arithmetic, current, operand).unwrap_err();
        assert_eq!(error.code(), Code::TypeMismatch);
        error.message().to_owned()
    }

    proptest! {
        #[test]
        fn u64_wraps_and_compares(a: u64, b: u64) {
            let compute = |what| apply(what, Some(&encode_u64(a)), &encode_u64(b)).unwrap();
            prop_assert_eq!(compute(Arithmetic::Sum), encode_u64(a.wrapping_add(b)));
            prop_assert_eq!(compute(Arithmetic::Min), encode_u64(a.min(b)));
            prop_assert_eq!(compute(Arithmetic::Max), encode_u64(a.max(b)));
        }

        #[test]
        fn bigints_add(a: i128, b: i128, shifts in (1..127u32, 1..127u32)) {
            let (a, b) = (a >> shifts.0, b >> shifts.1);
            let sum = apply(Arithmetic::Sum, Some(&bigint(a)), &bigint(b)).unwrap();
            prop_assert_eq!(sum, bigint(a + b));
            let zero = apply(Arithmetic::Sum, Some(&bigint(a)), &bigint(-a)).unwrap();
            prop_assert_eq!(zero, bigint(0));
        }

        #[test]
        fn numbers_add(a: f64, b: f64) {
            let sum = apply(Arithmetic::Sum, Some(&encode_number(a)), &encode_number(b)).unwrap();
            prop_assert_eq!(sum, encode_number(a + b));
        }

        #[test]
        fn no_bytes_make_it_panic_and_what_it_returns_is_a_value(
            current: Option<Vec<u8>>, operand: Vec<u8>, tags in (1..6u8, 1..6u8), which in 0..3usize
        ) {
            let mut current = current;
            let mut operand = operand;
            current.iter_mut().for_each(|value| value.insert(0, tags.0));
            operand.insert(0, tags.1);
            let which = [Arithmetic::Sum, Arithmetic::Min, Arithmetic::Max][which];
            if let Ok(value) = apply(which, current.as_deref(), &operand) {
                prop_assert!(validate(&value));
            }
        }
    }

    #[test]
    fn a_missing_entry_takes_the_operand() {
        for operand in [encode_u64(7), encode_number(-0.0), bigint(-300)] {
            assert_eq!(apply(Arithmetic::Sum, None, &operand).unwrap(), operand);
        }
        assert_eq!(apply(Arithmetic::Min, None, &encode_u64(7)).unwrap(), encode_u64(7));
    }

    #[test]
    fn kinds_that_do_not_fit_are_told_in_denos_words() {
        let (u64, number, cbor) = (encode_u64(1), encode_number(1.0), [CBOR, 0xf6]);
        assert_eq!(
            message(Arithmetic::Sum, Some(&number), &u64),
            "Failed to perform 'sum' mutation on a non-U64 value in the database"
        );
        assert_eq!(
            message(Arithmetic::Max, Some(&cbor), &u64),
            "Failed to perform 'max' mutation on a non-U64 value in the database"
        );
        assert_eq!(
            message(Arithmetic::Min, Some(&u64), &number),
            "Failed to perform 'min' mutation on a non-U64 operand"
        );
        assert_eq!(message(Arithmetic::Sum, Some(&u64), &number), "Cannot sum KvU64 with Number");
        assert_eq!(
            message(Arithmetic::Sum, Some(&number), &bigint(1)),
            "Cannot sum Number with BigInt"
        );
        assert_eq!(
            message(Arithmetic::Sum, None, &cbor),
            "Failed to perform 'sum' mutation on a non-numeric operand"
        );
    }

    #[test]
    fn a_bigint_past_the_limit_is_refused() {
        let mut value = vec![0xff; VALUE_BYTES_MAX];
        (value[0], value[1]) = (BIGINT, 0);
        let error = apply(Arithmetic::Sum, Some(&value), &bigint(1)).unwrap_err();
        assert_eq!(error.code(), Code::TooLarge);
    }

    #[test]
    fn only_the_shapes_of_the_table_are_values() {
        let valid: [&[u8]; 5] =
            [&[CBOR, 0], &[BYTES], &[BIGINT, 0], &[BIGINT, 1, 1], &encode_u64(0)];
        assert!(valid.into_iter().all(validate));
        let invalid: [&[u8]; 9] = [
            &[],
            &[CBOR],
            &[U64, 1],
            &[NUMBER],
            &[BIGINT],
            &[BIGINT, 1],
            &[BIGINT, 0, 0],
            &[BIGINT, 2, 1],
            &[6, 0],
        ];
        assert!(!invalid.into_iter().any(validate));
    }
}
