//! The manifest.

/// The version of all formats on disk that this build writes, and the newest it reads.
pub const FORMAT: u16 = 1;
