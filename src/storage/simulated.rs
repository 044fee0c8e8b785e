//! A disk for tests: it remembers what is durable, crashes, fails and delays as it is told, and
//! does so again from the same seed.
//!
//! - After a [`SimulatedStorage::crash`] a file holds its bytes as of its last sync, and each
//!   later write was kept, dropped, cut at a sector, kept in some sectors or turned to garbage;
//!   later truncations, creations and removals happened or did not. The number of a removed file
//!   is handed out again, so a file made anew may show its predecessor's bytes.
//! - A sync that falls short makes some of the writes durable and gives up the others: they can be
//!   read until the process ends, and no later sync makes them durable.
//! - A strict write is first written and then synced; with deferred completions a crash can
//!   come between the two.
//!
//! The method comes from redb's and LevelDB's crash tests.

use super::{Durability, FileNo, MANIFEST_SLOTS, Storage};
use crate::env::manual::deferred;
use crate::error::{Code, Error, Result};
use crate::rng::Rng;
use file::File;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

mod file;
#[cfg(test)]
mod tests;

/// A call of [`Storage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `list`
    List,
    /// `adopt`
    Adopt,
    /// `create`
    Create,
    /// `len` and `usage`
    Len,
    /// `read`
    Read,
    /// `write`
    Write,
    /// `sync`, and the second half of a strict `write`
    Sync,
    /// `truncate`
    Truncate,
    /// `remove`
    Remove,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this code and does nothing.
    Fail(Code),
    /// A write writes only its first half and fails with `Io`, and a sync fails having given up
    /// some of what it should write; any other call does nothing.
    Short,
    /// The power goes: a write or a sync of this moment is as torn as those before it, and every
    /// later call fails with `Io`.
    PowerCut,
}

/// Files in memory that can crash. A clone is another handle to the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedStorage {
    disk: Rc<Disk>,
}

#[derive(Debug)]
struct Disk {
    rng: Rng,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<FileNo, File>,
    /// Files of the database that were missing when it was opened.
    missing: BTreeSet<FileNo>,
    faults: Vec<Planned>,
    quota_bytes: Option<u64>,
    polls_max: u32,
    writing: BTreeSet<FileNo>,
    powered_off: bool,
    closed: bool,
}

#[derive(Debug)]
struct Planned {
    /// None: any call.
    call: Option<Call>,
    /// How many calls are let through first.
    after: u64,
    fault: Fault,
}

impl SimulatedStorage {
    /// An empty disk.
    pub fn new(seed: u64) -> SimulatedStorage {
        let slots = MANIFEST_SLOTS.map(|slot| (slot, File::permanent()));
        SimulatedStorage::with_files(BTreeMap::from(slots), Rng::new(seed))
    }

    fn with_files(files: BTreeMap<FileNo, File>, rng: Rng) -> SimulatedStorage {
        let state = RefCell::new(State { files, ..State::default() });
        SimulatedStorage { disk: Rc::new(Disk { rng, state }) }
    }

    /// The disk after a power cut at this moment; this one stays as it is. Faults, quota and
    /// delays are not taken over.
    #[must_use]
    pub fn crash(&self, rng: &Rng) -> SimulatedStorage {
        let state = self.disk.state.borrow();
        let survivors = state.files.iter().filter_map(|(number, file)| {
            let after = file.after_crash(rng);
            after.map(|file| (*number, file))
        });
        SimulatedStorage::with_files(survivors.collect(), Rng::new(rng.next()))
    }

    /// How many things a power cut at this moment may have kept or dropped: writes, cuts,
    /// creations and removals since the last sync of their file.
    pub fn choices(&self) -> u32 {
        self.disk.state.borrow().files.values().map(File::choices).sum()
    }

    /// The disk after a power cut that kept those of the [`SimulatedStorage::choices`] whose bit
    /// is set, whole, and dropped the others.
    #[must_use]
    pub fn crash_keeping(&self, mut kept: u64) -> SimulatedStorage {
        let state = self.disk.state.borrow();
        let survivors = state.files.iter().filter_map(|(number, file)| {
            let after = file.after_choices(kept);
            kept >>= file.choices();
            after.map(|file| (*number, file))
        });
        SimulatedStorage::with_files(survivors.collect(), Rng::new(kept))
    }

    /// The disk after the process ended in whatever way: all that was written is there, though
    /// it is no more durable than before, but for what a failed sync gave up.
    #[must_use]
    pub fn restart(&self) -> SimulatedStorage {
        let mut files = self.disk.state.borrow().files.clone();
        files.values_mut().for_each(File::forget_given_up);
        SimulatedStorage::with_files(files, Rng::new(self.disk.rng.next()))
    }

    /// Lets `fault` happen to one call of this kind (None: of any kind), once `after` of them
    /// have passed.
    pub fn inject(&self, call: Option<Call>, after: u64, fault: Fault) {
        self.disk.state.borrow_mut().faults.push(Planned { call, after, fault });
    }

    /// Ends all faults that are still to come, and the quota.
    pub fn clear_faults(&self) {
        let mut state = self.disk.state.borrow_mut();
        state.faults.clear();
        state.quota_bytes = None;
    }

    /// Whether the power has gone.
    pub fn powered_off(&self) -> bool {
        self.disk.state.borrow().powered_off
    }

    /// Whether a sync failed, so that what was written may be lost though the power stays on.
    pub fn gave_up(&self) -> bool {
        self.disk.state.borrow().files.values().any(File::has_given_up)
    }

    /// A quota that leaves room for so many bytes beside what there is now; None for no quota.
    pub fn set_room_bytes(&self, bytes: Option<u64>) {
        let mut state = self.disk.state.borrow_mut();
        state.quota_bytes = bytes.map(|bytes| state.usage() + bytes);
    }

    /// Bytes that all files together may hold. A write past it writes what fits and fails with
    /// `QuotaExceeded`; at it nothing can be created.
    pub fn set_quota_bytes(&self, bytes: Option<u64>) {
        self.disk.state.borrow_mut().quota_bytes = bytes;
    }

    /// Lets each call be pending up to `polls` times, at random, after it has taken effect.
    pub fn set_polls_max(&self, polls: u32) {
        self.disk.state.borrow_mut().polls_max = polls;
    }

    /// Flips a bit of a file for good.
    pub fn flip_bit(&self, file: FileNo, offset: u64, bit: u32) {
        if let Some(file) = self.disk.state.borrow_mut().files.get_mut(&file) {
            file.flip_bit(offset, bit);
        }
    }

    /// Takes a part of a file away for good, which stays as long as it is.
    pub fn lose_part(&self, file: FileNo, part: Range<u64>) {
        if let Some(file) = self.disk.state.borrow_mut().files.get_mut(&file) {
            file.lost = part;
        }
    }

    /// What a file holds now; empty if there is none.
    pub fn contents(&self, file: FileNo) -> Vec<u8> {
        let state = self.disk.state.borrow();
        state.files.get(&file).map(|file| file.bytes.clone()).unwrap_or_default()
    }

    /// The numbers of the files there are, in order.
    pub fn file_numbers(&self) -> Vec<FileNo> {
        let state = self.disk.state.borrow();
        let there = state.files.iter().filter(|(_, file)| file.exists);
        there.map(|(number, _)| *number).collect()
    }

    /// Takes a file away behind the back of its user; a manifest slot loses its bytes.
    pub fn lose(&self, file: FileNo) {
        let lost = if MANIFEST_SLOTS.contains(&file) { File::permanent() } else { File::default() };
        self.disk.state.borrow_mut().files.insert(file, lost);
    }

    async fn call<T>(&self, call: Call, f: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let (result, polls) = {
            let mut state = self.disk.state.borrow_mut();
            let result = state.begin(call).and_then(|fault| match fault {
                None => f(&mut state),
                Some(fault) => Err(fault.error()),
            });
            (result, self.disk.polls(&state))
        };
        deferred(polls).await;
        result
    }
}

impl Disk {
    fn polls(&self, state: &State) -> u32 {
        self.rng.below(u64::from(state.polls_max) + 1) as u32
    }
}

impl Fault {
    fn error(self) -> Error {
        match self {
            Fault::Fail(code) => Error::new(code, "an injected failure"),
            Fault::Short => Error::io("an injected short write"),
            Fault::PowerCut => Error::io("the power is off"),
        }
    }
}

impl State {
    /// Says what is to go wrong with a call that begins; an error once nothing works any more.
    fn begin(&mut self, call: Call) -> Result<Option<Fault>> {
        if self.closed {
            return Err(Error::new(Code::Closed, "the storage was closed"));
        }
        if self.powered_off {
            return Err(Fault::PowerCut.error());
        }
        let mut due = None;
        self.faults.retain_mut(|planned| {
            if planned.call.is_some_and(|wanted| wanted != call) {
                return true;
            }
            if planned.after == 0 && due.is_none() {
                due = Some(planned.fault);
                return false;
            }
            planned.after = planned.after.saturating_sub(1);
            true
        });
        self.powered_off = due == Some(Fault::PowerCut);
        Ok(due)
    }

    fn file(&mut self, file: FileNo) -> Result<&mut File> {
        let missing = || Error::corruption(file, 0, "the file is missing");
        self.files.get_mut(&file).filter(|file| file.exists).ok_or_else(missing)
    }

    fn existing(&self) -> impl Iterator<Item = (FileNo, &File)> {
        self.files.iter().filter(|(_, file)| file.exists).map(|(number, file)| (*number, file))
    }

    fn usage(&self) -> u64 {
        self.existing().map(|(_, file)| file.bytes.len() as u64).sum()
    }

    fn create(&mut self) -> Result<FileNo> {
        if self.quota_bytes.is_some_and(|quota| self.usage() >= quota) {
            return Err(Error::new(Code::QuotaExceeded, "no room for another file"));
        }
        let taken = |number: &FileNo| {
            let exists = self.files.get(number).is_some_and(|file| file.exists);
            exists || self.missing.contains(number)
        };
        let first = MANIFEST_SLOTS.len() as FileNo;
        let number = (first..).find(|number| !taken(number)).unwrap_or(first);
        self.files.entry(number).or_default().exists = true;
        Ok(number)
    }

    fn remove(&mut self, file: FileNo) -> Result<()> {
        if self.missing.remove(&file) {
            return Ok(());
        }
        let removed = self.file(file)?;
        removed.exists = MANIFEST_SLOTS.contains(&file);
        removed.truncate(0);
        Ok(())
    }

    /// Writes what the fault and the quota let through.
    fn write(
        &mut self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        fault: Option<Fault>,
    ) -> Result<()> {
        let quota = self.quota_bytes.map(|quota| quota.saturating_sub(self.usage()));
        let there = self.file(file)?;
        let len = there.bytes.len() as u64;
        if offset > len {
            return Err(Error::io("a write past the end of the file").at(file, offset));
        }
        let room = quota.map_or(usize::MAX, |free| (len - offset + free) as usize);
        let wanted = match fault {
            None | Some(Fault::PowerCut) => data.len(),
            Some(Fault::Short) => data.len() / 2,
            Some(Fault::Fail(_)) => 0,
        };
        there.write(offset, data.get(..wanted.min(room)).unwrap_or_default());
        match fault {
            Some(fault) => Err(fault.error()),
            None if room < wanted => Err(Error::new(Code::QuotaExceeded, "the disk is full")),
            None => Ok(()),
        }
    }
}

/// Marks a file as being written; two writes at once break the contract of [`Storage`].
struct Writing<'a> {
    disk: &'a Disk,
    file: FileNo,
}

impl<'a> Writing<'a> {
    fn begin(disk: &'a Disk, file: FileNo) -> Writing<'a> {
        let alone = disk.state.borrow_mut().writing.insert(file);
        assert!(alone, "file {file} is written from two places at once");
        Writing { disk, file }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.disk.state.borrow_mut().writing.remove(&self.file);
    }
}

impl Storage for SimulatedStorage {
    async fn list(&self) -> Result<Vec<FileNo>> {
        let list = |state: &mut State| {
            let holding = state.existing().filter(|(_, file)| !file.bytes.is_empty());
            let numbers = holding.map(|(number, _)| number);
            Ok(numbers.filter(|number| !MANIFEST_SLOTS.contains(number)).collect())
        };
        self.call(Call::List, list).await
    }

    async fn adopt(&self, live: &[FileNo]) -> Result<()> {
        let adopt = |state: &mut State| {
            let kept = |number: &FileNo| MANIFEST_SLOTS.contains(number) || live.contains(number);
            let numbers = state.existing().map(|(number, _)| number);
            let spares: Vec<_> = numbers.filter(|number| !kept(number)).collect();
            spares.into_iter().try_for_each(|number| state.remove(number))?;
            let there: BTreeSet<_> = state.existing().map(|(number, _)| number).collect();
            state.missing = live.iter().copied().filter(|file| !there.contains(file)).collect();
            Ok(())
        };
        self.call(Call::Adopt, adopt).await
    }

    async fn create(&self) -> Result<FileNo> {
        self.call(Call::Create, State::create).await
    }

    async fn len(&self, file: FileNo) -> Result<u64> {
        self.call(Call::Len, |state| Ok(state.file(file)?.bytes.len() as u64)).await
    }

    async fn read(&self, file: FileNo, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.call(Call::Read, |state| Ok(state.file(file)?.read(offset, buffer))).await
    }

    async fn write(
        &self,
        file: FileNo,
        offset: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<()> {
        let writing = Writing::begin(&self.disk, file);
        let (result, polls) = {
            let mut state = self.disk.state.borrow_mut();
            let begun = state.begin(Call::Write);
            let result = begun.and_then(|fault| state.write(file, offset, data, fault));
            (result, self.disk.polls(&state))
        };
        deferred(polls).await;
        drop(writing);
        result?;
        match durability {
            Durability::Strict => self.sync(file).await,
            Durability::Relaxed => Ok(()),
        }
    }

    async fn sync(&self, file: FileNo) -> Result<()> {
        let (result, polls) = {
            let mut state = self.disk.state.borrow_mut();
            let begun = state.begin(Call::Sync);
            let result = begun.and_then(|fault| match (fault, state.file(file)?) {
                (None, synced) => {
                    synced.sync();
                    Ok(())
                }
                (Some(fault), failed) => {
                    if fault == Fault::Short {
                        failed.fail_sync(&self.disk.rng);
                    }
                    Err(fault.error())
                }
            });
            (result, self.disk.polls(&state))
        };
        deferred(polls).await;
        result
    }

    async fn truncate(&self, file: FileNo, len: u64) -> Result<()> {
        let truncate = |state: &mut State| {
            let there = state.file(file)?;
            if len > there.bytes.len() as u64 {
                return Err(Error::io("a cut past the end of the file").at(file, len));
            }
            there.truncate(len);
            Ok(())
        };
        self.call(Call::Truncate, truncate).await
    }

    async fn remove(&self, file: FileNo) -> Result<()> {
        self.call(Call::Remove, |state| state.remove(file)).await
    }

    async fn usage(&self) -> Result<u64> {
        self.call(Call::Len, |state| Ok(state.usage())).await
    }

    async fn close(&self) -> Result<()> {
        self.disk.state.borrow_mut().closed = true;
        Ok(())
    }
}
