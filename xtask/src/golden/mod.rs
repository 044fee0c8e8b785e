//! Golden files: small databases of the format that this build writes, which every later build
//! must read. tests/golden/README.md says what is in them and when to make new ones.

mod databases;
#[path = "../../../tests/golden/fixture.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
pub mod fixture;
mod maker;

use kvass::manifest::FORMAT;
use maker::Maker;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// Where the golden files of this format belong.
pub fn folder() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    tests.join(FORMAT.to_string())
}

/// Writes the databases to a folder that is not there yet: those of a format that was published
/// are never made again.
///
/// # Errors
/// Those of the file system.
pub fn write(folder: &Path) -> Result<()> {
    if folder.exists() {
        return Err(Error::other(format!("{} is there already", folder.display())));
    }
    fs::create_dir_all(folder)?;
    for (name, make) in databases::DATABASES {
        let mut maker = Maker::new();
        make(&mut maker);
        let image = fixture::encode(&maker.files());
        let stats = kvass::env::manual::block_on(maker.db().stats()).map_err(Error::other)?;
        println!("{name}: {} bytes; tables and bytes by level: {:?}", image.len(), stats.levels);
        fs::write(folder.join(format!("{name}.kvass")), image)?;
        fs::write(folder.join(format!("{name}.txt")), maker.expected())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_golden_database_can_be_made_and_holds_what_it_is_to_hold() {
        for (_, make) in databases::DATABASES {
            let mut maker = Maker::new();
            make(&mut maker);
            assert!(maker.expected().starts_with("format "));
            assert!(fixture::decode(&fixture::encode(&maker.files())).is_some());
        }
    }
}
