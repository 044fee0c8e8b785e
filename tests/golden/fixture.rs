//! A golden database: its files in one, and what must be read from them.
//!
//! ```text
//! NAME.kvass   | kvassimg | count u32 | number u32, length u32 | ... | bytes | bytes | ...
//! ```
//!
//! Numbers and lengths of the files, then their bytes in the same order; integers little-endian.
//!
//! `NAME.txt` has two lines, `format N` and `at T` (when it was written, milliseconds since 1970),
//! and a line for each entry in the order of keys: the encoded key, the versionstamp, when it
//! expires (0 for never), the encoded value. Bytes are hex digits; of a value longer than
//! [`SHOWN_BYTES`], the length and the FNV-1a hash (32 bits) stand for it as `LENGTH:HASH`.

use kvass::error::Result;
use kvass::storage::{Durability, FileNo, MANIFEST_SLOTS, Storage};

const MAGIC: &[u8; 8] = b"kvassimg";
/// The longest value that is written out.
const SHOWN_BYTES: usize = 64;
/// Files of one database, numbers and count alike: those that arbitrary bytes may ask for.
const FILES_MAX: u32 = 64;

/// The files of a database that is closed: their numbers and bytes.
pub type Files = Vec<(FileNo, Vec<u8>)>;

/// The files in one.
pub fn encode(files: &Files) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(files.len() as u32).to_le_bytes());
    for (number, bytes) in files {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    }
    files.iter().for_each(|(_, bytes)| out.extend_from_slice(bytes));
    out
}

/// The files that were put in one; None for anything else.
pub fn decode(image: &[u8]) -> Option<Files> {
    let mut rest = image.strip_prefix(MAGIC)?;
    let count = take_u32(&mut rest).filter(|count| *count <= FILES_MAX)?;
    let mut index = Vec::new();
    for _ in 0..count {
        let number = take_u32(&mut rest).filter(|number| *number < FILES_MAX)?;
        index.push((number, take_u32(&mut rest)? as usize));
    }
    let mut files = Files::new();
    for (number, length) in index {
        let (bytes, behind) = rest.split_at_checked(length)?;
        files.push((number, bytes.to_vec()));
        rest = behind;
    }
    rest.is_empty().then_some(files)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

/// Puts the files into a storage that is empty.
///
/// # Errors
/// Those of the storage.
pub async fn place<S: Storage>(files: &Files, storage: &S) -> Result<()> {
    let last = files.iter().map(|(number, _)| *number).max().unwrap_or_default();
    let mut made = Vec::from(MANIFEST_SLOTS);
    while !made.contains(&last) {
        made.push(storage.create().await?);
    }
    for number in made {
        match files.iter().find(|(file, _)| *file == number) {
            Some((_, bytes)) => storage.write(number, 0, bytes, Durability::Strict).await?,
            None => storage.remove(number).await?,
        }
    }
    Ok(())
}

/// An encoded key or a value as a text.
pub fn shown(bytes: &[u8]) -> String {
    if bytes.len() > SHOWN_BYTES {
        let fnv = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        return format!("{}:{:08x}", bytes.len(), bytes.iter().fold(0x811c_9dc5, fnv));
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
