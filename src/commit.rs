//! A commit before it is logged: validated, its checks decided, its mutations turned into plain
//! sets and deletes, of keys and of ranges. Nothing here changes the database; a commit that fails
//! leaves no trace.

use crate::blob::Value;
use crate::bytes::Bytes;
use crate::error::{Code, Error, Result};
use crate::expiry;
use crate::external::External;
use crate::limits;
use crate::memtable::{Memtable, OwnedOp};
use crate::planted::{Bug, planted};
use crate::ranges::Ranges;
use crate::record::{Found, alive};
use crate::stamp::Stamp;
use crate::wire::{Commit, Mutation};
use crate::{key, value};
use std::borrow::Cow;
use std::rc::Rc;

/// What came of a commit that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied under this stamp.
    Committed(Stamp),
    /// The check at this place did not hold; nothing was applied.
    CheckFailed(u32),
}

/// A mutation in its final form.
pub struct Staged<'a> {
    /// The encoded key.
    pub key: Cow<'a, [u8]>,
    /// What happens to it.
    pub op: StagedOp<'a>,
}

/// What happens to a key.
pub enum StagedOp<'a> {
    /// It gets a value.
    Set {
        /// The value.
        value: StagedValue<'a>,
        /// The encoded pointer to it, once it was written to a blob file.
        pointer: Option<Vec<u8>>,
        /// Milliseconds since the Unix epoch; 0 is never.
        expires_at: u64,
    },
    /// It is deleted.
    Delete,
    /// It is deleted because its time has come.
    Expire,
    /// It is deleted, and all keys behind it before `end`.
    DeleteRange {
        /// The first key that is not.
        end: &'a [u8],
    },
}

/// A value that a commit sets.
#[derive(Clone, Debug)]
pub enum StagedValue<'a> {
    /// Tag byte and payload.
    Bytes(Cow<'a, [u8]>),
    /// One that came beside its frame.
    External {
        /// The tag byte.
        kind: u8,
        /// The payload.
        payload: External,
    },
}

impl StagedValue<'_> {
    /// Tag byte and payload; of one that came beside its frame the tag byte and a zero, which say
    /// of what kind it is.
    pub fn bytes(&self) -> &[u8] {
        match self {
            StagedValue::Bytes(bytes) => bytes,
            StagedValue::External { kind, .. } => value::example(*kind),
        }
    }

    /// The value for those who watch.
    pub fn to_value(&self) -> Value {
        match self {
            StagedValue::Bytes(bytes) => Value::Inline(Bytes::copy(bytes)),
            StagedValue::External { kind, payload } => {
                Value::Large { kind: *kind, payload: payload.clone() }
            }
        }
    }
}

impl Staged<'_> {
    /// What a set stores, or that points at it; nothing for all else.
    pub fn stored(&self) -> &[u8] {
        match &self.op {
            StagedOp::Set { value, pointer, .. } => {
                pointer.as_deref().unwrap_or_else(|| value.bytes())
            }
            _ => &[],
        }
    }

    /// Writes it to a table of what the commit has done so far, as the mutation at `place`.
    fn write_to(&self, table: &Memtable, place: usize) {
        let (key, stamp) = (&*self.key, Stamp { epoch: 0, counter: place as u64 + 1 });
        let op = match &self.op {
            StagedOp::Set { value, expires_at, .. } => {
                let (value, expires_at) = (Bytes::copy(value.bytes()), *expires_at);
                OwnedOp::Set { value, expires_at, in_blob: false }
            }
            StagedOp::Delete | StagedOp::Expire => OwnedOp::Delete,
            StagedOp::DeleteRange { end } => {
                return table.delete_range(&Rc::from(key), &Rc::from(*end), stamp, stamp);
            }
        };
        table.insert(key, stamp, op, stamp);
    }
}

/// Where a commit that is being staged reads the present from.
pub trait Present {
    /// The stamp and value of a key, unpublished commits before this one included; None where
    /// it is absent or expired.
    fn latest(&self, key: &[u8]) -> impl Future<Output = Result<Option<(Stamp, Vec<u8>)>>>;

    /// The stamp alone, without copying the value.
    fn latest_stamp(&self, key: &[u8]) -> impl Future<Output = Result<Option<Stamp>>>;
}

/// Looks at a client's commit before anything is read or written for it.
///
/// # Errors
/// `TooLarge` past a limit, `MalformedFrame` for bytes that are no key or value.
pub fn validate(commit: &Commit<'_>) -> Result<()> {
    let too_large = |message: String| Err(Error::new(Code::TooLarge, message));
    if commit.checks.len() > limits::CHECKS_MAX {
        return too_large(format!("Too many checks (max {})", limits::CHECKS_MAX));
    }
    if commit.mutations.len() > limits::MUTATIONS_MAX {
        return too_large(format!("Too many mutations (max {})", limits::MUTATIONS_MAX));
    }
    for check in &commit.checks {
        validate_read_key(&check.key)?;
    }
    let (mut bytes, mut ranges, mut range_bytes) = (0usize, 0, 0);
    for mutation in &commit.mutations {
        let own = validate_mutation(mutation)?;
        bytes = bytes.saturating_add(own);
        if matches!(mutation, Mutation::DeleteRange { .. }) {
            (ranges, range_bytes) = (ranges + 1, range_bytes + own);
        }
    }
    if ranges > limits::RANGES_MAX {
        return too_large(format!("Too many ranges (max {})", limits::RANGES_MAX));
    }
    if range_bytes > limits::RANGE_BYTES_MAX {
        let max = limits::RANGE_BYTES_MAX;
        return too_large(format!("Keys of ranges too large (max {max} bytes)"));
    }
    if bytes > limits::COMMIT_BYTES_MAX {
        let max = limits::COMMIT_BYTES_MAX;
        return too_large(format!("Total mutation size too large (max {max} bytes)"));
    }
    Ok(())
}

/// Whether a commit writes nothing.
pub fn only_deletes(commit: &Commit<'_>) -> bool {
    let deletes =
        |one: &Mutation<'_>| matches!(one, Mutation::Delete { .. } | Mutation::DeleteRange { .. });
    commit.mutations.iter().all(deletes)
}

/// A key that a client wants to read.
///
/// # Errors
/// `TooLarge` or `MalformedFrame`.
pub fn validate_read_key(bytes: &[u8]) -> Result<()> {
    if bytes.len() > limits::READ_KEY_BYTES_MAX {
        let max = limits::READ_KEY_BYTES_MAX;
        let message = format!("Key too large for read (max {max} bytes)");
        return Err(Error::new(Code::TooLarge, message));
    }
    validate_key(bytes)
}

/// A range that a client names. Its ends need not be keys; an empty one is a range too.
///
/// # Errors
/// `TooLarge`, and `MalformedFrame` where it ends before it starts.
pub fn validate_range(start: &[u8], end: &[u8]) -> Result<()> {
    let max = limits::READ_KEY_BYTES_MAX + 1;
    if start.len() > max || end.len() > max {
        let message = format!("Key too large for read (max {} bytes)", max - 1);
        return Err(Error::new(Code::TooLarge, message));
    }
    match start <= end {
        true => Ok(()),
        false => Err(Error::new(Code::MalformedFrame, "a range that ends before it starts")),
    }
}

fn validate_key(bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() || !key::validate(bytes) {
        return Err(Error::new(Code::MalformedFrame, "bytes that are no key"));
    }
    Ok(())
}

fn validate_mutation(mutation: &Mutation<'_>) -> Result<usize> {
    let (bytes, operand, stamp_bytes) = match mutation {
        Mutation::Set { key, value, stamp_key, .. } => {
            (key, Some(value), if *stamp_key { key::VERSIONSTAMP_PART_BYTES } else { 0 })
        }
        Mutation::SetLarge { key, stamp_key, .. } => {
            (key, None, if *stamp_key { key::VERSIONSTAMP_PART_BYTES } else { 0 })
        }
        Mutation::Delete { key } => (key, None, 0),
        Mutation::DeleteRange { start, end } => {
            validate_range(start, end)?;
            return Ok(start.len() + end.len());
        }
        Mutation::Sum { key, value }
        | Mutation::Min { key, value }
        | Mutation::Max { key, value } => (key, Some(value), 0),
    };
    let key_bytes = bytes.len() + stamp_bytes;
    if key_bytes > limits::KEY_BYTES_MAX {
        let message = format!("Key too large for write (max {} bytes)", limits::KEY_BYTES_MAX);
        return Err(Error::new(Code::TooLarge, message));
    }
    if stamp_bytes == 0 || !bytes.is_empty() {
        validate_key(bytes)?;
    }
    let (value_bytes, is_value) = match (operand, mutation) {
        (Some(operand), _) => (operand.len(), value::validate(operand)),
        (None, Mutation::SetLarge { kind, value, .. }) => {
            (1 + value.size(), value.size() > 0 && value::is_opaque(*kind))
        }
        (None, _) => return Ok(key_bytes),
    };
    if value_bytes > 1 + limits::VALUE_BYTES_MAX {
        let message = format!("Value too large (max {} bytes)", limits::VALUE_BYTES_MAX);
        return Err(Error::new(Code::TooLarge, message));
    }
    if !is_value {
        return Err(Error::new(Code::MalformedFrame, "bytes that are no value"));
    }
    Ok(key_bytes + value_bytes)
}

/// The place of the first check that does not hold.
///
/// # Errors
/// Those of reading.
pub async fn failed_check(commit: &Commit<'_>, present: &impl Present) -> Result<Option<u32>> {
    for (place, check) in (0..).zip(&commit.checks) {
        let there = present.latest_stamp(&check.key).await?;
        if there != check.versionstamp.map(Stamp::from_bytes) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Turns the mutations of a commit that will have `stamp`, at `now_ms`, into sets and deletes.
///
/// # Errors
/// `TypeMismatch` where a sum, min or max does not fit what it meets, and those of reading.
pub async fn stage<'a>(
    commit: &Commit<'a>,
    stamp: Stamp,
    now_ms: u64,
    present: &impl Present,
) -> Result<Vec<Staged<'a>>> {
    let mut staging =
        Staging { now_ms, staged: Vec::with_capacity(commit.mutations.len()), written: None };
    for mutation in &commit.mutations {
        match mutation {
            Mutation::Set { key, value, expire_in_ms, stamp_key } => {
                let value = StagedValue::Bytes(Cow::Borrowed(value.0));
                let key = stamped(key.0, stamp_key.then_some(stamp));
                staging.push(staged_set(key, value, expires_at(*expire_in_ms, now_ms)));
            }
            Mutation::SetLarge { key, kind, value, expire_in_ms, stamp_key } => {
                let value = StagedValue::External { kind: *kind, payload: value.clone() };
                let key = stamped(key.0, stamp_key.then_some(stamp));
                staging.push(staged_set(key, value, expires_at(*expire_in_ms, now_ms)));
            }
            Mutation::Delete { key } => {
                staging.push(Staged { key: Cow::Borrowed(key.0), op: StagedOp::Delete });
            }
            Mutation::DeleteRange { start, end } => {
                let key = Cow::Borrowed(start.0.max(&[expiry::USER_KEYS_START]));
                if *key < *end.0 {
                    staging.push(Staged { key, op: StagedOp::DeleteRange { end: end.0 } });
                }
            }
            Mutation::Sum { key, value } => {
                staging.compute(value::Arithmetic::Sum, key.0, value.0, present).await?;
            }
            Mutation::Min { key, value } => {
                staging.compute(value::Arithmetic::Min, key.0, value.0, present).await?;
            }
            Mutation::Max { key, value } => {
                staging.compute(value::Arithmetic::Max, key.0, value.0, present).await?;
            }
        }
    }
    let mut staged = staging.staged;
    if !planted(Bug::RangeSparesOwnCommit) {
        drop_deleted(&mut staged);
    }
    Ok(staged)
}

/// Drops what a later mutation of the commit deletes by its range: a range hides older commits
/// only, so that all else that the commit says of the keys in it stays.
fn drop_deleted(staged: &mut Vec<Staged<'_>>) {
    if !staged.iter().any(|staged| matches!(staged.op, StagedOp::DeleteRange { .. })) {
        return;
    }
    let (mut deleted, once) = (Ranges::default(), Stamp::MAX);
    staged.reverse();
    staged.retain(|Staged { key, op }| match op {
        StagedOp::DeleteRange { end } => {
            deleted.insert(&Rc::from(&**key), &Rc::from(*end), once, once);
            true
        }
        _ => deleted.newest(key, once) != once,
    });
    staged.reverse();
}

fn stamped(key: &[u8], stamp: Option<Stamp>) -> Cow<'_, [u8]> {
    match stamp {
        Some(stamp) => Cow::Owned(key::with_versionstamp(key, stamp)),
        None => Cow::Borrowed(key),
    }
}

/// When a value that is set now for a span of time expires; 0 is never.
fn expires_at(expire_in_ms: Option<u64>, now_ms: u64) -> u64 {
    expire_in_ms.map_or(0, |span| now_ms.saturating_add(span).max(1))
}

fn staged_set<'a>(key: Cow<'a, [u8]>, value: StagedValue<'a>, expires_at: u64) -> Staged<'a> {
    Staged { key, op: StagedOp::Set { value, pointer: None, expires_at } }
}

/// The mutations staged so far. `written` has what they leave behind, key by key; it is only
/// made once a mutation needs to read what an earlier one of the same commit wrote.
struct Staging<'a> {
    now_ms: u64,
    staged: Vec<Staged<'a>>,
    written: Option<Memtable>,
}

impl<'a> Staging<'a> {
    fn push(&mut self, staged: Staged<'a>) {
        if let Some(written) = &self.written {
            staged.write_to(written, self.staged.len());
        }
        self.staged.push(staged);
    }

    async fn compute(
        &mut self,
        arithmetic: value::Arithmetic,
        key: &'a [u8],
        operand: &'a [u8],
        present: &impl Present,
    ) -> Result<()> {
        let staged = &self.staged;
        let written = self.written.get_or_insert_with(|| {
            let written = Memtable::default();
            staged.iter().enumerate().for_each(|(place, one)| one.write_to(&written, place));
            written
        });
        let current = match written.get(key, crate::table::hash(key), Stamp::MAX) {
            Some(Found::Set { value, expires_at, .. }) if alive(expires_at, self.now_ms) => {
                Some(value.to_vec())
            }
            Some(_) => None,
            None => present.latest(key).await?.map(|(_, value)| value),
        };
        let result = value::apply(arithmetic, current.as_deref(), operand)?;
        let value = StagedValue::Bytes(Cow::Owned(result));
        self.push(staged_set(Cow::Borrowed(key), value, 0));
        Ok(())
    }
}
