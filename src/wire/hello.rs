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
//! +-------+------------+-----------+-----------+--------+-------+
//! | KVSW  | protocol   | format    | epoch u32 | length | build |    integers little-endian
//! |       | chosen u16 | u16       |           | u8     | UTF-8 |    protocol 0: none in common
//! +-------+------------+-----------+-----------+--------+-------+
//! ```

use super::PROTOCOL;
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

    /// The protocol to speak with this client.
    ///
    /// # Errors
    /// `VersionMismatch` where there is none in common.
    pub fn choose(&self) -> Result<u16> {
        let (oldest, newest) = self.protocol;
        if (oldest..=newest).contains(&PROTOCOL) {
            return Ok(PROTOCOL);
        }
        let message = format!(
            "this tab speaks kvass protocols {oldest} to {newest}, the host {PROTOCOL}: reload"
        );
        Err(Error::new(Code::VersionMismatch, message))
    }
}

/// The host's answer.
pub fn welcome(protocol: u16, format: u16, epoch: u32) -> Vec<u8> {
    let build = env!("CARGO_PKG_VERSION").as_bytes();
    let mut bytes = b"KVSW".to_vec();
    bytes.extend_from_slice(&protocol.to_le_bytes());
    bytes.extend_from_slice(&format.to_le_bytes());
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.push(build.len() as u8);
    bytes.extend_from_slice(build);
    bytes
}
