//! What fuzzing starts from: real encodings of everything, taken from the golden databases and
//! from the vectors that Rust and TypeScript share.

use super::{INPUT_BYTES_MAX, folder};
use crate::golden::fixture;
use kvass::hash::xxh3_64_with_seed;
use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};

/// The trailer of a block.
const TRAILER_BYTES: usize = 9;
/// Blocks are looked for up to this length.
const BLOCK_BYTES_MAX: usize = 5000;
/// Blocks of one table that are taken.
const BLOCKS_MAX: usize = 8;

/// Writes the seeds to the corpus.
///
/// # Errors
/// Those of the file system.
pub fn write_seeds() -> Result<()> {
    for (target, file) in [("key", "keys"), ("frame", "frames")] {
        for (number, bytes) in vectors(file)?.iter().enumerate() {
            write(target, &format!("{file}-{number}"), bytes)?;
        }
    }
    for (number, bytes) in vectors("values")?.iter().enumerate() {
        // The sum of the value and itself.
        let twice = [&[(bytes.len() << 2) as u8 | 2], &bytes[..], &bytes[..]].concat();
        write("value", &format!("values-{number}"), &twice)?;
    }
    write(
        "hello",
        "hello",
        &[b"KVSH".as_slice(), &[1, 0, 2, 0, 1, 0, 2, 0], &[7; 16], &[0]].concat(),
    )?;
    write("lz4", "words", &[&[30, 0, 0, 0, 0x3f, b'a', b'b', b'c'][..], &[3, 0, 4, 0]].concat())?;
    write("blob", "value", &blob())?;
    for image in golden()? {
        let name = image.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let format = image.parent().and_then(Path::file_name).unwrap_or_default().display();
        let name = format!("{name}-{format}");
        let bytes = fs::read(&image)?;
        for how in 0..2 {
            write("database", &format!("{name}-{how}"), &[&[how], &bytes[..]].concat())?;
        }
        for (number, file) in fixture::decode(&bytes).unwrap_or_default() {
            from_file(&format!("{name}-{number}"), &file)?;
        }
    }
    Ok(())
}

/// A pointer and its blob file with a value of five bytes. Nobody looks at the checksums.
fn blob() -> Vec<u8> {
    let pointer = [&[7, 64, 5, 3], &[0; 8][..]].concat();
    let id_and_salt = [7_u64.to_le_bytes(), 99_u64.to_le_bytes()].concat();
    let header = [b"kvassblb".as_slice(), &[2, 0, 0, 0, 0, 0, 0, 0], &id_and_salt, &[0; 32]];
    [&[pointer.len() as u8], &pointer[..], &header.concat(), b"bytes"].concat()
}

/// What one file of a database has for the targets.
fn from_file(name: &str, file: &[u8]) -> Result<()> {
    match file.get(..8) {
        Some(b"kvassman") => write("manifest", name, file),
        Some(b"kvasslog") => {
            let payload = file.get(64 + 24..64 + 24 + 64).unwrap_or_default();
            write("record", name, payload)?;
            write("log", name, file)
        }
        Some(b"kvasstbl") => {
            for (number, block) in blocks(file).iter().enumerate() {
                write("block", &format!("{name}-{number}"), block)?;
            }
            write("table", name, file)
        }
        _ => Ok(()),
    }
}

/// The first blocks of a table, each with its trailer: found by trying where checksums hold.
fn blocks(table: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let salt = table.get(24..32).and_then(|salt| salt.first_chunk()).copied().unwrap_or_default();
    let format = table.get(8).copied().unwrap_or_default();
    // The length of the header.
    let mut at = if format > 1 { 48 } else { 32 };
    while found.len() < BLOCKS_MAX {
        let seed = u64::from_le_bytes(salt).wrapping_add(at as u64);
        let holds = |len: &usize| {
            let block = table.get(at..at + len).and_then(|block| block.split_last_chunk::<8>());
            block.is_some_and(|(covered, sum)| {
                u64::from_le_bytes(*sum) == xxh3_64_with_seed(covered, seed)
            })
        };
        let Some(len) = (TRAILER_BYTES..BLOCK_BYTES_MAX).find(holds) else { break };
        found.extend(table.get(at..at + len));
        at += len;
    }
    found
}

fn golden() -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for format in fs::read_dir(folder().join("../tests/golden"))? {
        let format = format?.path();
        if format.is_dir() {
            for file in fs::read_dir(format)? {
                images.push(file?.path());
            }
        }
    }
    images.retain(|image| image.extension().is_some_and(|extension| extension == "kvass"));
    Ok(images)
}

/// The bytes of all `"hex": "..."` of a file of vectors.
fn vectors(file: &str) -> Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(folder().join(format!("../tests/vectors/{file}.json")))?;
    let text = text.replace("\"hex\":\"", "\"hex\": \"");
    let texts = text.split("\"hex\": \"").skip(1).filter_map(|rest| rest.split('"').next());
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = |hex: &str| hex.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    Ok(texts.filter_map(bytes).collect())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    if bytes.len() > INPUT_BYTES_MAX as usize {
        return Ok(());
    }
    let corpus = folder().join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    fs::write(corpus.join(name), bytes)
}
