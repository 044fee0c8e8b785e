//! Errors: a stable code that callers branch on, and a message that says what to do.

use crate::manifest::FORMAT;
use core::fmt;
use std::borrow::Cow;

/// What kind of failure it is. The number is the code on the wire and never changes its meaning;
/// client/errors.ts has the same table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// Another tab or worker holds the database.
    Busy = 1,
    /// The database or handle was closed.
    Closed = 2,
    /// A file is damaged; the error names file and offset. What is undamaged stays readable.
    Corruption = 3,
    /// The storage is full. The commit was not applied.
    QuotaExceeded = 4,
    /// The storage failed: a short write, a failed flush, a lost connection.
    Io = 5,
    /// The files were written by a newer version of kvass.
    NewerFormat = 6,
    /// A mutation does not fit the value it meets (`sum` on something that is no number).
    /// Shown to JavaScript as a TypeError.
    TypeMismatch = 7,
    /// A limit of limits.rs was exceeded. Shown to JavaScript as a TypeError.
    TooLarge = 8,
    /// A frame could not be decoded; nothing was changed.
    MalformedFrame = 9,
    /// The snapshot of a list was held longer than its lease.
    SnapshotExpired = 10,
    /// The write may or may not have been applied.
    OutcomeUnknown = 11,
    /// This storage, option or platform feature is not there.
    Unsupported = 12,
    /// Client and host speak no common version of the protocol.
    VersionMismatch = 13,
    /// The host ended (a panic, a failed allocation) before it answered.
    HostLost = 14,
    /// The request's deadline passed before it was answered.
    Timeout = 15,
    /// The commits that a subscriber has not seen are not kept any more.
    HistoryGone = 16,
}

/// Any failure of the engine.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    place: Option<(u32, u64)>,
}

/// The result of anything that touches storage.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An error without a place in a file.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Inner { code, message: message.into(), place: None }))
    }

    /// Damage in `file` (its physical number) at `offset`.
    pub fn corruption(file: u32, offset: u64, message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Code::Corruption, message).at(file, offset)
    }

    /// A failure of the storage itself.
    pub fn io(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Code::Io, message)
    }

    /// What is in `file` has a `format` that is newer than all that are known here.
    pub fn newer_format(what: &str, format: u16, file: u32) -> Error {
        let message = format!("{what} of format {format}, newer than {FORMAT}: update the page");
        Error::new(Code::NewerFormat, message).at(file, 0)
    }

    /// The same error, naming the file (its physical number) and the byte offset it is about.
    #[must_use]
    pub fn at(mut self, file: u32, offset: u64) -> Error {
        self.0.place = Some((file, offset));
        self
    }

    /// The same error, saying what else can be done.
    #[must_use]
    pub fn advising(mut self, advice: &str) -> Error {
        self.0.message = [&self.0.message, ": ", advice].concat().into();
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Whether it tells of bytes that are not as they were written, or not to be understood.
    pub fn is_damage(&self) -> bool {
        matches!(self.code(), Code::Corruption | Code::NewerFormat)
    }

    /// The message without its place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The physical file number and byte offset, where the error is about one.
    pub fn place(&self) -> Option<(u32, u64)> {
        self.0.place
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.place {
            Some((file, offset)) => write!(f, " (file {file}, offset {offset})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.code)
    }
}

impl std::error::Error for Error {}
