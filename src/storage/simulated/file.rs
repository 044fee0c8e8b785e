//! A simulated file: what it holds, what of that is durable, and what a crash may make of it.

use crate::rng::Rng;
use std::ops::Range;

/// Disks write sectors whole, in any order.
const SECTOR_BYTES: u64 = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub exists: bool,
    pub bytes: Vec<u8>,
    /// What is not returned any more.
    pub lost: Range<u64>,
    durable_exists: bool,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Whether a sync failed.
    given_up: bool,
}

/// A change since the last sync.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    Truncate { len: u64 },
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data } => overwrite(bytes, *offset, data),
            Change::Truncate { len } => bytes.truncate(*len as usize),
        }
    }

    /// What a crash leaves of the change.
    fn apply_torn(&self, bytes: &mut Vec<u8>, rng: &Rng) {
        let Change::Write { offset, data } = self else {
            if rng.one_in(2) {
                self.apply(bytes);
            }
            return;
        };
        match rng.below(6) {
            0 => {}
            1 => overwrite(bytes, *offset, &rng.bytes(data.len())),
            2 => {
                let kept = rng.below(data.len() as u64 + 1);
                let border = (offset + kept) / SECTOR_BYTES * SECTOR_BYTES;
                let kept = border.saturating_sub(*offset) as usize;
                overwrite(bytes, *offset, data.get(..kept).unwrap_or_default());
            }
            3 => self.sectors(|at, sector| {
                if rng.one_in(2) {
                    overwrite(bytes, at, sector);
                }
            }),
            _ => self.apply(bytes),
        }
    }

    /// Hands out the written bytes, sector by sector.
    fn sectors(&self, mut write: impl FnMut(u64, &[u8])) {
        let Change::Write { offset, data } = self else { return };
        let (mut at, mut rest) = (*offset, data.as_slice());
        while !rest.is_empty() {
            let room = (SECTOR_BYTES - at % SECTOR_BYTES) as usize;
            let (sector, later) = rest.split_at(room.min(rest.len()));
            write(at, sector);
            (at, rest) = (at + sector.len() as u64, later);
        }
    }
}

/// Writes `data` at `offset`; a gap before it, which only a crash can leave, reads as zeros.
fn overwrite(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let start = offset as usize;
    let end = start + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(start..end) {
        place.copy_from_slice(data);
    }
}

impl File {
    /// A file that has always been there.
    pub fn permanent() -> File {
        File { exists: true, durable_exists: true, ..File::default() }
    }

    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..));
        let found = buffer.iter_mut().zip(rest.unwrap_or_default());
        let read = found.map(|(to, from)| *to = *from).count();
        let place = |at: u64| read.min(at.saturating_sub(offset) as usize);
        let (start, end) = (place(self.lost.start), place(self.lost.end));
        match buffer.get_mut(start..end) {
            Some(lost) if !lost.is_empty() => {
                lost.iter_mut().for_each(|byte| *byte = !*byte);
                start
            }
            _ => read,
        }
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        self.change(Change::Write { offset, data: data.to_vec() });
    }

    pub fn truncate(&mut self, len: u64) {
        self.change(Change::Truncate { len });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }

    /// Makes the file durable as it is, its existence included.
    pub fn sync(&mut self) {
        self.pending.drain(..).for_each(|change| change.apply(&mut self.durable));
        self.durable_exists = self.exists;
    }

    /// What a failed sync leaves: of each change since the last one some part is durable, and the
    /// rest won't be, though it can be read (as on Linux, where the pages count as clean then and
    /// are forgotten some time later).
    pub fn fail_sync(&mut self, rng: &Rng) {
        self.given_up = true;
        self.pending.drain(..).for_each(|change| change.apply_torn(&mut self.durable, rng));
    }

    /// Whether a sync has failed.
    pub fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// Forgets what was written, can be read and will never be durable.
    pub fn forget_given_up(&mut self) {
        if std::mem::take(&mut self.given_up) {
            self.bytes.clone_from(&self.durable);
            self.pending.iter().for_each(|change| change.apply(&mut self.bytes));
        }
    }

    /// Flips one bit, of what is durable too: decay, not a crash. Nothing past the end.
    pub fn flip_bit(&mut self, offset: u64, bit: u32) {
        for bytes in [&mut self.bytes, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// What a crash may have kept or dropped: whether it exists, and each change since the sync.
    pub fn choices(&self) -> u32 {
        u32::from(self.exists != self.durable_exists) + self.pending.len() as u32
    }

    /// The file after a crash that kept the choices whose bits are set. None where it is gone.
    pub fn after_choices(&self, kept: u64) -> Option<File> {
        let unsettled = u32::from(self.exists != self.durable_exists);
        let exists = if unsettled == 1 && kept & 1 == 0 { !self.exists } else { self.exists };
        let mut bytes = self.durable.clone();
        for (bit, change) in (unsettled..).zip(&self.pending) {
            if kept >> bit & 1 == 1 {
                change.apply(&mut bytes);
            }
        }
        exists.then(|| File { bytes: bytes.clone(), durable: bytes, ..File::permanent() })
    }

    /// The file after a crash: the durable bytes, and of the changes since any part, in any
    /// state. None where it is gone.
    pub fn after_crash(&self, rng: &Rng) -> Option<File> {
        let settled = self.exists == self.durable_exists;
        let exists = if settled { self.exists } else { rng.one_in(2) };
        if !exists {
            return None;
        }
        let mut bytes = self.durable.clone();
        self.pending.iter().for_each(|change| change.apply_torn(&mut bytes, rng));
        Some(File { bytes: bytes.clone(), durable: bytes, ..File::permanent() })
    }
}
