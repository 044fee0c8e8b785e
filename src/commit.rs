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

const KEY_OF_READ: &str = "Key too large for read";

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

/// Where a commit that is being staged reads the present from. All of it goes by one time, or what
/// a check has found could be gone when a sum looks at it.
pub trait Present {
    /// The stamp and value of a key, unpublished commits before this one included; None where
    /// it is absent or expired at `now_ms`.
    fn latest(
        &self,
        key: &[u8],
        now_ms: u64,
    ) -> impl Future<Output = Result<Option<(Stamp, Vec<u8>)>>>;

    /// The stamp alone, without copying the value.
    fn latest_stamp(&self, key: &[u8], now_ms: u64) -> impl Future<Output = Result<Option<Stamp>>>;

    /// So many mutations are looked at in a row.
    fn in_a_row(&self) -> usize;

    /// Lets others run after that. No other commit is decided meanwhile.
    fn give_way(&self) -> impl Future<Output = ()>;
}

/// Looks at a client's commit before anything is read or written for it.
///
/// # Errors
/// `TooLarge` past a limit, `MalformedFrame` for bytes that are no key or value.
pub fn validate(commit: &Commit<'_>) -> Result<()> {
    limits::within(commit.checks.len(), limits::CHECKS_MAX, "Too many checks", "")?;
    limits::within(commit.mutations.len(), limits::MUTATIONS_MAX, "Too many mutations", "")?;
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
    limits::within(ranges, limits::RANGES_MAX, "Too many ranges", "")?;
    limits::within(range_bytes, limits::RANGE_BYTES_MAX, "Keys of ranges too large", " bytes")?;
    limits::within(bytes, limits::COMMIT_BYTES_MAX, "Total mutation size too large", " bytes")
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
    limits::within(bytes.len(), limits::READ_KEY_BYTES_MAX, KEY_OF_READ, " bytes")?;
    validate_key(bytes)
}

/// A range that a client names. Its ends need not be keys; an empty one is a range too.
///
/// # Errors
/// `TooLarge`, and `MalformedFrame` where it ends before it starts.
pub fn validate_range(start: &[u8], end: &[u8]) -> Result<()> {
    // Past a key of that size there is room for an end that excludes nothing of it.
    let longest = start.len().max(end.len()).saturating_sub(1);
    limits::within(longest, limits::READ_KEY_BYTES_MAX, KEY_OF_READ, " bytes")?;
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
    limits::within(key_bytes, limits::KEY_BYTES_MAX, "Key too large for write", " bytes")?;
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
    limits::within(
        value_bytes.saturating_sub(1),
        limits::VALUE_BYTES_MAX,
        "Value too large",
        " bytes",
    )?;
    if !is_value {
        return Err(Error::new(Code::MalformedFrame, "bytes that are no value"));
    }
    Ok(key_bytes + value_bytes)
}

/// The place of the first check that does not hold at `now_ms`.
///
/// # Errors
/// Those of reading.
pub async fn failed_check(
    commit: &Commit<'_>,
    now_ms: u64,
    present: &impl Present,
) -> Result<Option<u32>> {
    for (place, check) in (0..).zip(&commit.checks) {
        let there = present.latest_stamp(&check.key, now_ms).await?;
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
    let computes = commit.mutations.iter().any(is_computed);
    let (staged, written) =
        (Vec::with_capacity(commit.mutations.len()), computes.then(Memtable::default));
    let mut staging = Staging { now_ms, staged, written };
    for (place, mutation) in commit.mutations.iter().enumerate() {
        if place > 0 && place.is_multiple_of(present.in_a_row()) {
            present.give_way().await;
        }
        let (arithmetic, key, operand) = match mutation {
            Mutation::Set { key, value, expire_in_ms, stamp_key } => {
                let value = StagedValue::Bytes(Cow::Borrowed(value.0));
                let key = stamped(key.0, stamp_key.then_some(stamp));
                staging.push(staged_set(key, value, expires_at(*expire_in_ms, now_ms)));
                continue;
            }
            Mutation::SetLarge { key, kind, value, expire_in_ms, stamp_key } => {
                let value = StagedValue::External { kind: *kind, payload: value.clone() };
                let key = stamped(key.0, stamp_key.then_some(stamp));
                staging.push(staged_set(key, value, expires_at(*expire_in_ms, now_ms)));
                continue;
            }
            Mutation::Delete { key } => {
                staging.push(Staged { key: Cow::Borrowed(key.0), op: StagedOp::Delete });
                continue;
            }
            Mutation::DeleteRange { start, end } => {
                let key = Cow::Borrowed(start.0.max(&[expiry::USER_KEYS_START]));
                if *key < *end.0 {
                    staging.push(Staged { key, op: StagedOp::DeleteRange { end: end.0 } });
                }
                continue;
            }
            Mutation::Sum { key, value } => (value::Arithmetic::Sum, key.0, value.0),
            Mutation::Min { key, value } => (value::Arithmetic::Min, key.0, value.0),
            Mutation::Max { key, value } => (value::Arithmetic::Max, key.0, value.0),
        };
        staging.compute(arithmetic, key, operand, present).await?;
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

/// Whether what a mutation writes depends on what is there.
fn is_computed(mutation: &Mutation<'_>) -> bool {
    matches!(mutation, Mutation::Sum { .. } | Mutation::Min { .. } | Mutation::Max { .. })
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

/// The mutations staged so far. `written` has what they leave behind, key by key, where a mutation
/// of the same commit has to read it.
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
        let hash = crate::table::hash(key);
        let written = self.written.as_ref();
        let current = match written.and_then(|written| written.get(key, hash, Stamp::MAX)) {
            Some(Found::Set { value, expires_at, .. }) if alive(expires_at, self.now_ms) => {
                Some(value.to_vec())
            }
            Some(_) => None,
            None => present.latest(key, self.now_ms).await?.map(|(_, value)| value),
        };
        let result = value::apply(arithmetic, current.as_deref(), operand)?;
        let value = StagedValue::Bytes(Cow::Owned(result));
        self.push(staged_set(Cow::Borrowed(key), value, 0));
        Ok(())
    }
}
