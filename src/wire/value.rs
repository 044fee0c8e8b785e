//! A value on the wire: bytes in the frame, or an attachment that travels beside it.
//!
//! ```text
//! in the frame   | length varint, 1 or more | tag byte | payload |
//! beside it      | 00 | tag byte | length of the payload, varint |
//! ```
//!
//! Attachments hold payloads alone, in the order in which the frame speaks of them.

use super::Blob;
use crate::blob;
use crate::external::External;
use core::fmt;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// A value of an answer or an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Tag byte and payload.
    Inline(Blob<'a>),
    /// The tag byte, and the payload that travels beside the frame.
    Attached(u8, External),
}

impl Value<'_> {
    /// Tag byte and payload in one piece: for tests and tools.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Value::Inline(bytes) => bytes.to_vec(),
            Value::Attached(kind, payload) => [&[*kind], &**payload].concat(),
        }
    }

    pub(super) fn attach_to(&self, out: &mut Vec<External>) {
        if let Value::Attached(_, payload) = self {
            out.push(payload.clone());
        }
    }
}

impl<'a> From<&'a blob::Value> for Value<'a> {
    fn from(value: &'a blob::Value) -> Value<'a> {
        match value {
            blob::Value::Inline(bytes) => Value::Inline(Blob(bytes)),
            blob::Value::Large { kind, payload } => Value::Attached(*kind, payload.clone()),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Inline(bytes) => bytes.serialize(serializer),
            Value::Attached(kind, payload) => (0u8, kind, payload).serialize(serializer),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Value<'de>, A::Error> {
                let missing = || A::Error::missing_field("part of a value");
                let bytes: Blob<'de> = parts.next_element()?.ok_or_else(missing)?;
                if !bytes.is_empty() {
                    return Ok(Value::Inline(bytes));
                }
                let kind = parts.next_element()?.ok_or_else(missing)?;
                Ok(Value::Attached(kind, parts.next_element()?.ok_or_else(missing)?))
            }
        }
        deserializer.deserialize_tuple(3, Parts)
    }
}
