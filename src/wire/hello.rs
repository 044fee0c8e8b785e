//! The first message of a connection, each way. Its layout stays as it is for ever, so that any
//! two versions of the package can tell each other which protocols and formats they know.
//!
//! ```text
//! Hello (client to host)
//! 0       4            6            8          10         12          28       29
//! +-------+------------+------------+----------+----------+-----------+--------+-------+
//! | KVSH  | protocol   | protocol   | format   | format   | client id | length | build |
//! |       | oldest u16 | newest u16 | oldest   | newest   | 16 bytes  | u8     | UTF-8 |
//! +-------+------------+------------+----------+----------+-----------+--------+-------+
//!
//! Welcome (host to client)
//! 0       4            6           8           12       13
//! +-------+------------+-----------+-----------+--------+-------+----------+
//! | KVSW  | protocol   | format    | epoch u32 | length | build | database |   integers
//! |       | chosen u16 | u16       |           | u8     | UTF-8 | 16 bytes |   little-endian
//! +-------+------------+-----------+-----------+--------+-------+----------+
//! ```

use super::{PROTOCOL, PROTOCOL_OLDEST};
use crate::error::{Code, Error, Result};

/// What a client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest and newest protocol that it speaks.
    pub protocol: (u16, u16),
    /// Oldest and newest file format that it knows.
    pub format: (u16, u16),
    /// Its random id.
    pub client: [u8; 16],
}

impl Hello {
    /// Reads a hello; the build is for people to read and not returned.
    ///
    /// # Errors
    /// `MalformedFrame`.
    pub fn decode(bytes: &[u8]) -> Result<Hello> {
        let parse = || {
            let (magic, rest) = bytes.split_first_chunk::<4>()?;
            let (versions, rest) = rest.split_first_chunk::<8>()?;
            let (client, rest) = rest.split_first_chunk::<16>()?;
            let (length, build) = rest.split_first()?;
            let [a, b, c, d, e, f, g, h] = *versions;
            let whole = magic == b"KVSH" && build.len() == usize::from(*length);
            whole.then_some(Hello {
                protocol: (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
                format: (u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h])),
                client: *client,
            })
        };
        parse().ok_or_else(|| Error::new(Code::MalformedFrame, "the first message is no hello"))
    }

    /// The protocol to speak with this client: the newest that both know.
    ///
    /// # Errors
    /// `VersionMismatch` where there is none in common.
    pub fn choose(&self) -> Result<u16> {
        newest_common(self.protocol, (PROTOCOL_OLDEST, PROTOCOL)).ok_or_else(|| {
            let message = match self.protocol.1 < PROTOCOL_OLDEST {
                true => {
                    "this tab has an older kvass than the one that holds the database: reload it"
                }
                false => {
                    "the tab that holds the database has an older kvass than this: reload that"
                }
            };
            Error::new(Code::VersionMismatch, message)
        })
    }
}

/// The newest version in two ranges, each of the oldest and the newest.
fn newest_common(some: (u16, u16), others: (u16, u16)) -> Option<u16> {
    let newest = some.1.min(others.1);
    (newest >= some.0.max(others.0)).then_some(newest)
}

/// The host's answer. `database` is the random id of the database: one that was deleted and made
/// anew has another.
pub fn welcome(protocol: u16, format: u16, epoch: u32, database: &[u8; 16]) -> Vec<u8> {
    let build = env!("CARGO_PKG_VERSION").as_bytes();
    let mut bytes = b"KVSW".to_vec();
    bytes.extend_from_slice(&protocol.to_le_bytes());
    bytes.extend_from_slice(&format.to_le_bytes());
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.push(build.len() as u8);
    bytes.extend_from_slice(build);
    bytes.extend_from_slice(database);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_protocol_that_both_know_is_chosen() {
        let host = (3, 5);
        for (client, chosen) in [
            ((1, 2), None),
            ((1, 3), Some(3)),
            ((2, 4), Some(4)),
            ((4, 4), Some(4)),
            ((3, 5), Some(5)),
            ((5, 9), Some(5)),
            ((1, 9), Some(5)),
            ((6, 9), None),
            ((5, 3), None),
        ] {
            assert_eq!(newest_common(client, host), chosen, "{client:?}");
            assert_eq!(newest_common(host, client), chosen, "{client:?}");
        }
    }

    #[test]
    fn a_client_without_a_protocol_in_common_hears_which_side_is_older() {
        let choose = |oldest, newest| {
            Hello { protocol: (oldest, newest), format: (1, 2), client: [0; 16] }.choose()
        };
        assert_eq!(choose(PROTOCOL_OLDEST - 1, PROTOCOL + 1), Ok(PROTOCOL));
        for (oldest, newest, advice) in [
            (1, PROTOCOL_OLDEST - 1, "this tab has an older kvass"),
            (PROTOCOL + 1, PROTOCOL + 2, "the tab that holds the database has an older"),
        ] {
            let error = choose(oldest, newest).expect_err("nothing in common");
            assert_eq!(error.code(), Code::VersionMismatch);
            assert!(error.message().contains(advice), "{error}");
        }
    }
}
