//! The engine and the page agree on the bytes of keys and values: the vectors that
//! tests/codec/vectors.test.ts holds the page to hold the engine too.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use kvass::key::{self, Part};
use kvass::value::{self, Arithmetic};
use serde::Deserialize;

#[derive(Deserialize)]
struct KeyVector {
    description: String,
    parts: Vec<(String, String)>,
    hex: String,
}

#[derive(Deserialize)]
struct ValueVector {
    description: String,
    kind: String,
    hex: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

/// Big-endian, without leading zeros.
fn magnitude(decimal: &str) -> Vec<u8> {
    let mut little: Vec<u8> = Vec::new();
    for digit in decimal.chars() {
        let mut carry = digit.to_digit(10).expect("a decimal digit");
        for byte in &mut little {
            let product = u32::from(*byte) * 10 + carry;
            *byte = product as u8;
            carry = product >> 8;
        }
        if carry > 0 {
            little.push(carry as u8);
        }
    }
    little.reverse();
    little
}

fn part((kind, text): &(String, String)) -> Part {
    match kind.as_str() {
        "bytes" => Part::Bytes(bytes(text)),
        "string" => Part::String(text.clone()),
        "bigint" => {
            let digits = text.trim_start_matches('-');
            Part::Bigint { negative: text.starts_with('-'), magnitude: magnitude(digits) }
        }
        "number" => Part::Number(text.parse().expect("a number")),
        "boolean" => Part::Boolean(text == "true"),
        other => panic!("no kind of part: {other}"),
    }
}

#[test]
fn keys_have_the_bytes_that_the_page_gives_them() {
    let vectors: Vec<KeyVector> =
        serde_json::from_str(include_str!("vectors/keys.json")).expect("the vectors");
    for KeyVector { description, parts, hex } in &vectors {
        let parts: Vec<Part> = parts.iter().map(part).collect();
        let key = key::encode(&parts).expect("a key");
        assert_eq!(key, bytes(hex), "{description}");
        assert!(key::validate(&key), "{description}");
        let decoded = key::decode(&key).expect("parts");
        assert_eq!(format!("{decoded:?}"), format!("{parts:?}"), "{description}");
    }
    assert!(!vectors.is_empty());
}

#[test]
fn values_have_kinds_that_the_engine_knows() {
    let vectors: Vec<ValueVector> =
        serde_json::from_str(include_str!("vectors/values.json")).expect("the vectors");
    for ValueVector { description, kind, hex } in &vectors {
        let bytes = bytes(hex);
        assert!(value::validate(&bytes), "{description}");
        let summed = value::apply(Arithmetic::Sum, None, &bytes);
        let computes = matches!(kind.as_str(), "u64" | "number" | "bigint");
        assert_eq!(summed.ok(), computes.then_some(bytes), "{description}");
    }
    assert!(!vectors.is_empty());
}
