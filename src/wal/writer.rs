//! Appending to a log in groups: commits that wait together share one write.
//!
//! The writer does no I/O, so that nothing is borrowed while a write is under way:
//! [`LogWriter::take_group`] hands out the bytes and their place, commits gather in the next
//! group meanwhile, and [`LogWriter::written`] takes the buffer back. One group is under way at
//! a time. After a write or a flush that failed the writer must not be used again.

use super::payload::{self, Client};
use super::{CHECKED_FROM, HEADER_BYTES, Head, LogRef, Previous, RECORD_BYTES};
use crate::error::{Code, Error, Result};
use crate::limits::SESSIONS_MAX;
use crate::planted::{Bug, planted};
use crate::sessions::ClientId;
use crate::storage::{Durability, FileNo};
use core::mem;

/// A buffer that grew past this is not kept for the next group.
const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// The end of a log that is being written.
#[derive(Debug)]
pub struct LogWriter {
    log: LogRef,
    previous: Option<Previous>,
    group: Vec<u8>,
    spare: Vec<u8>,
    written: u64,
    durable: u64,
    marked: u64,
    /// The clients that records of this log name, by their numbers.
    clients: Vec<ClientId>,
}

/// Bytes to be written at `offset` of `file`.
#[derive(Debug)]
pub struct Group {
    /// The log's file.
    pub file: FileNo,
    /// Where in it.
    pub offset: u64,
    /// The header, if it is the first group, and whole records.
    pub bytes: Vec<u8>,
}

impl LogWriter {
    /// A writer of an empty log. `previous` is the last log before it that holds records; it must
    /// be durable to that length before the first group of this one is written.
    pub fn new(log: LogRef, previous: Option<Previous>) -> LogWriter {
        let (group, spare, clients) = (Vec::new(), Vec::new(), Vec::new());
        LogWriter { log, previous, group, spare, written: 0, durable: 0, marked: 0, clients }
    }

    /// A writer of the log after this one, which must be durable by now.
    pub fn successor(&self, log: LogRef) -> LogWriter {
        let this = Previous { id: self.log.id, len: self.written };
        LogWriter::new(log, if self.is_empty() { self.previous } else { Some(this) })
    }

    /// The log.
    pub fn log(&self) -> &LogRef {
        &self.log
    }

    /// The length of the file in bytes: all groups for which `written` was called.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Adds the record of a commit of `sender` (if it has one), the client by its number in this
    /// log; `ops` appends what it did.
    ///
    /// # Errors
    /// `TooLarge` for a payload of 4 GiB; nothing is added then.
    pub fn commit(
        &mut self,
        mut head: payload::Head,
        ops: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        let mut new = None;
        if let Some(payload::Sender { client, .. }) = &mut head.sender
            && let Client::New(id) = *client
        {
            // One that is further back is named again, and has another number from then on: a host
            // that stays may see any number of clients come and go within a log.
            let recent = self.clients.len().saturating_sub(SESSIONS_MAX);
            let known = self.clients.iter().skip(recent).position(|known| *known == id);
            match known {
                Some(place) => *client = Client::Known((recent + place) as u64 + 1),
                None => new = Some(id),
            }
        }
        self.record(|out| {
            head.begin(out);
            ops(out);
            Ok(())
        })?;
        self.clients.extend(new);
        Ok(())
    }

    /// Adds a record to the group; `encode` appends its payload (at least a byte) to what is
    /// already there. Where it fails, nothing is added.
    ///
    /// # Errors
    /// What `encode` returns; `TooLarge` for a payload of 4 GiB.
    pub fn record<T>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<T>) -> Result<T> {
        let start = self.group.len();
        self.group.extend_from_slice(&self.log.marker());
        self.group.resize(start + RECORD_BYTES, 0);
        let result = encode(&mut self.group).and_then(|output| {
            let length = self.group.len().saturating_sub(start + RECORD_BYTES);
            let too_large = |_| Error::new(Code::TooLarge, "a log record of 4 GiB");
            let length = u32::try_from(length).map_err(too_large)?;
            let field = self.group.get_mut(start + CHECKED_FROM..).unwrap_or_default();
            put(field, &length.to_le_bytes());
            Ok(output)
        });
        if result.is_err() {
            self.group.truncate(start);
        }
        result
    }

    /// The records added so far, sealed for the end of the file; None if there are none.
    pub fn take_group(&mut self) -> Option<Group> {
        if self.group.is_empty() {
            return None;
        }
        let mut bytes = mem::replace(&mut self.group, mem::take(&mut self.spare));
        if self.written == 0 {
            bytes.splice(..0, self.log.header(self.previous));
            self.seal(bytes.get_mut(HEADER_BYTES..).unwrap_or_default(), HEADER_BYTES as u64);
        } else {
            self.seal(&mut bytes, self.written);
        }
        Some(Group { file: self.log.file, offset: self.written, bytes })
    }

    /// A mark for the end of the file, where all of it is durable and no later record will say
    /// so yet; None where there is nothing to mark. It is a hint, to be written relaxed: the
    /// next group is written over it, `written` is not called for it, and where writing it fails
    /// there is a torn tail behind all that counts.
    pub fn take_mark(&mut self) -> Option<Group> {
        let settled = self.group.is_empty() && self.durable == self.written;
        if !settled || self.marked == self.written {
            return None;
        }
        self.marked = self.written;
        let mut bytes = self.log.marker().to_vec();
        bytes.resize(RECORD_BYTES, 0);
        self.seal(&mut bytes, self.written);
        Some(Group { file: self.log.file, offset: self.written, bytes })
    }

    /// To be called once a group has been written, with what the write was asked for.
    pub fn written(&mut self, group: Group, durability: Durability) {
        self.written = group.offset + group.bytes.len() as u64;
        if durability == Durability::Strict {
            self.durable = self.written;
        }
        if group.bytes.capacity() <= SPARE_BYTES_MAX {
            self.spare = group.bytes;
            self.spare.clear();
        }
    }

    /// To be called after a flush of the file, with the `len` from before it was asked for.
    pub fn synced(&mut self, through: u64) {
        self.durable = self.durable.max(through);
    }

    /// Fills in what is only known when a group is written: the durable length, and with it and
    /// the offset the checksum.
    fn seal(&self, mut records: &mut [u8], mut offset: u64) {
        let overstated = planted(Bug::DurableOverstated);
        let durable = if overstated { self.written } else { self.durable };
        while let Some(head) = Head::parse(records)
            && let Some((record, rest)) = records.split_at_mut_checked(RECORD_BYTES + head.length)
        {
            put(record.get_mut(CHECKED_FROM + 4..).unwrap_or_default(), &durable.to_le_bytes());
            let checked = record.get(CHECKED_FROM..).unwrap_or_default();
            let checksum = self.log.checksum(offset, checked);
            put(record.get_mut(4..).unwrap_or_default(), &checksum.to_le_bytes());
            offset += record.len() as u64;
            records = rest;
        }
    }
}

fn put(place: &mut [u8], field: &[u8]) {
    place.iter_mut().zip(field).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::Verdict;
    use crate::stamp::Stamp;
    use crate::wal::payload::LoggedOp;

    #[test]
    fn a_client_is_named_again_where_many_were_named_since() {
        use crate::wal::payload::Commit;
        let log = LogRef { id: 1, file: 2, salt: [1; 8] };
        let mut writer = LogWriter::new(log, None);
        let mut names = Vec::new();
        let many = 2 * SESSIONS_MAX as u16;
        for number in (0..many).chain([many - 1, 0, 0]) {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&number.to_le_bytes());
            let stamp = Stamp { epoch: 1, counter: 1 };
            let sender = payload::Sender { client: Client::New(id), sequence: 1, acked_through: 0 };
            let (sender, verdict) = (Some(sender), Verdict::Applied);
            let from = writer.group.len() + RECORD_BYTES;
            let head = payload::Head { stamp, time_ms: 1, sender, verdict };
            writer.commit(head, |_| {}).unwrap();
            let commit = Commit::decode(&writer.group[from..]).unwrap();
            names.push(commit.head.sender.unwrap().client);
        }
        let [.., known, again, then] = names.as_slice() else { panic!("too few") };
        assert_eq!(*known, Client::Known(u64::from(many)));
        assert_eq!(*again, Client::New([0; 16]));
        assert_eq!(*then, Client::Known(u64::from(many) + 1));
    }

    #[test]
    fn a_record_has_the_bytes_of_the_format_document() {
        let log = LogRef { id: 1, file: 2, salt: [1, 2, 3, 4, 5, 6, 7, 8] };
        let mut writer = LogWriter::new(log, None);
        let (stamp, time_ms) = (Stamp { epoch: 1, counter: 1 }, 1_700_000_000_000);
        let head = payload::Head { stamp, time_ms, sender: None, verdict: Verdict::Applied };
        let op = LoggedOp::Set { value: &[0x01, 0xf5], expires_at: 0, in_blob: false };
        writer.commit(head, |out| payload::op(out, b"\x02a\x00", op)).unwrap();
        let group = writer.take_group().unwrap();
        let hex: String = group.bytes[HEADER_BYTES..].iter().map(|b| format!("{b:02x}")).collect();
        let wanted = "010203043277b5f48cb17f17110000000000000000000000\
                      010180d095ffbc310001030261000201f5";
        assert_eq!(hex, wanted);
    }
}
