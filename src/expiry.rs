//! The expiry index: which keys expire, and when.
//!
//! It lives in the database itself, as entries below every user key (whose first byte is at
//! least 01), written in the commit that sets the expiry:
//!
//! ```text
//! 0    1     2                  10
//! +----+-----+------------------+----------+
//! | 00 | 'E' | expires_at ms    | user key |   big-endian, so what expires next comes first
//! +----+-----+------------------+----------+
//! ```
//!
//! A row outlives the entry it was written for when that is overwritten or deleted; when its
//! time comes it finds another expiry there, or none, and only the row goes.

/// The least byte a user key starts with; the engine's own entries sort below.
pub const USER_KEYS_START: u8 = 0x01;

const PREFIX: [u8; 2] = [0x00, b'E'];

/// The row for `key` expiring at `expires_at`.
pub fn row(expires_at: u64, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(10 + key.len());
    row.extend_from_slice(&PREFIX);
    row.extend_from_slice(&expires_at.to_be_bytes());
    row.extend_from_slice(key);
    row
}

/// The time and the key that a row is about; None for bytes that are no row.
pub fn parse(row: &[u8]) -> Option<(u64, &[u8])> {
    let rest = row.strip_prefix(&PREFIX)?;
    let (time, key) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*time), key))
}

/// The range of all rows.
pub fn all() -> (Vec<u8>, Vec<u8>) {
    (row(0, &[]), vec![PREFIX[0], PREFIX[1] + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sort_by_time_and_lie_below_user_keys() {
        assert!(row(1, b"\x02z\x00") < row(2, b"\x02a\x00"));
        assert!(row(u64::MAX, b"\xff") < vec![USER_KEYS_START]);
        assert_eq!(parse(&row(7, b"\x02a\x00")), Some((7, &b"\x02a\x00"[..])));
        let (start, end) = all();
        assert!(start <= row(0, b"k") && row(u64::MAX, b"\xff") < end);
        assert_eq!(parse(b"\x00X12345678"), None);
    }
}
