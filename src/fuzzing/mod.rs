//! Fuzz targets: what each does with arbitrary bytes. None may panic, hang, or allocate by a
//! count that it has not held against the bytes there are.
//!
//! `cargo run -p xtask -- fuzz` runs them under libFuzzer (fuzz/), where nightly Rust has
//! it. The inputs it kept are in fuzz/corpus, those that ever failed in fuzz/regressions: the
//! tests below run every target on all of them.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a failure is a panic here")]

mod canary;
mod decoders;
mod files;
mod operations;
#[cfg(test)]
mod tests;

#[path = "../../tests/golden/fixture.rs"]
#[allow(dead_code, reason = "the tool that writes the files uses the rest")]
mod fixture;

use std::cell::Cell;

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 14] = [
    ("blob", files::blob),
    ("block", decoders::block),
    ("canary", canary::canary),
    ("database", files::database),
    ("frame", decoders::frame),
    ("hello", decoders::hello),
    ("key", decoders::key),
    ("log", files::log),
    ("lz4", decoders::lz4),
    ("manifest", files::manifest),
    ("operations", operations::operations),
    ("record", decoders::record),
    ("table", files::table),
    ("value", decoders::value),
];

/// Runs the target of this name.
///
/// # Panics
/// Where the target finds a defect, or there is none of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    (target.expect("a target").1)(data);
}

thread_local! {
    static EVERY_CHECKSUM_HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// See [`crate::hash::holds`].
pub(crate) fn every_checksum_holds() -> bool {
    EVERY_CHECKSUM_HOLDS.get()
}

/// Runs a target to which every checksum holds.
fn trusting(run: impl FnOnce()) {
    EVERY_CHECKSUM_HOLDS.set(true);
    run();
    EVERY_CHECKSUM_HOLDS.set(false);
}
