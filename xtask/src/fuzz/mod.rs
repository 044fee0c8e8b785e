//! Fuzzing by cargo fuzz, which `cargo install cargo-fuzz` installs; it needs nightly Rust.
//!
//! What a run finds new stays in fuzz/corpus; `cargo +nightly fuzz cmin TARGET` makes that
//! small again. An input that fails is in fuzz/artifacts: once the defect is mended it belongs in
//! fuzz/regressions, which the tests run.

mod seeds;

use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

pub use seeds::write_seeds;

/// The most that the canary may take to be found, in seconds.
const CANARY_S: u32 = 60;
/// Longer inputs find nothing that shorter ones don't, and slowly.
const INPUT_BYTES_MAX: u32 = 32 * 1024;
/// An input that takes longer is reported as a hang, in seconds.
const HANG_S: u32 = 10;
/// One allocation larger than that is reported, in MiB.
const ALLOCATION_MIB_MAX: u32 = 64;

/// The folder of the targets.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Fuzzes each target (those named, or all) for so many seconds, after the canary has shown that
/// a defect is noticed.
///
/// # Errors
/// Where a target fails, or the canary does not.
pub fn run(seconds: u32, targets: &[&str]) -> Result<()> {
    let regressions = folder().join("regressions");
    if fuzz("canary", CANARY_S, &[])? {
        return Err(Error::other("the canary lives: defects are not noticed"));
    }
    println!("the canary died, as it must");
    for target in all()?.iter().filter(|target| targets.is_empty() || targets.contains(&&***target))
    {
        let known = regressions.join(target);
        let known = known.to_str().filter(|_| known.exists());
        if !fuzz(target, seconds, known.as_slice())? {
            return Err(Error::other(format!("{target} failed: see above and fuzz/artifacts")));
        }
    }
    Ok(())
}

/// The targets but for the canary.
fn all() -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for file in fs::read_dir(folder().join("fuzz_targets"))? {
        let path = file?.path();
        targets.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    targets.retain(|target| target != "canary");
    targets.sort();
    Ok(targets)
}

/// Runs a target; false if it failed.
fn fuzz(target: &str, seconds: u32, more: &[&str]) -> Result<bool> {
    println!("{target}: {seconds} s");
    fs::create_dir_all(folder().join("corpus").join(target))?;
    let status = Command::new("cargo")
        .current_dir(folder().join(".."))
        .args(["+nightly", "fuzz", "run", target, &format!("fuzz/corpus/{target}")])
        .args(more.iter().filter(|argument| !argument.starts_with('-')))
        .args(["--", "-fork=0", "-print_final_stats=1"])
        .args(more.iter().filter(|argument| argument.starts_with('-')))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={HANG_S}"))
        .arg(format!("-malloc_limit_mb={ALLOCATION_MIB_MAX}"))
        .status()?;
    Ok(status.success())
}
