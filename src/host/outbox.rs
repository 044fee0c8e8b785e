//! What waits to be sent to one client: replies and events, already encoded, so that taking a
//! frame is one concatenation.

use crate::error::{Code, Error};
use crate::external::External;
use crate::wire::{Event, Failure, Reply, Response};
use serde::Serialize;

/// What to do about a damaged file.
const DAMAGE_ADVICE: &str = "verify() finds all damage, and salvage: true lists what is left";

/// What an empty outbox keeps of its memory, in bytes: there may be many of them.
const KEPT_BYTES: usize = 1024;

/// Encoded replies and events, with their counts.
#[derive(Default)]
pub(super) struct Outbox {
    replies: Section,
    events: Section,
}

#[derive(Default)]
struct Section {
    count: u64,
    bytes: Vec<u8>,
    attachments: Vec<External>,
}

/// A frame on its way to a client.
#[derive(Debug, Default)]
pub struct Frame {
    /// A whole [`crate::wire::ResponseFrame`].
    pub bytes: Vec<u8>,
    /// The large values that it speaks of, in order.
    pub attachments: Vec<External>,
}

impl Section {
    fn push(&mut self, item: &impl Serialize) {
        let bytes = std::mem::take(&mut self.bytes);
        let length = bytes.len();
        // Encoding into a growing Vec fails only for a type without a known length, and the wire
        // has none.
        if let Ok(mut bytes) = postcard::to_extend(item, bytes) {
            self.count += 1;
            bytes.shrink_to(2 * (length + 64).max(bytes.len()));
            self.bytes = bytes;
        }
    }

    fn drain_into(&mut self, frame: &mut Frame) {
        crate::varint::put(&mut frame.bytes, self.count);
        frame.bytes.append(&mut self.bytes);
        self.bytes.shrink_to(KEPT_BYTES);
        frame.attachments.append(&mut self.attachments);
        self.count = 0;
    }

    fn bytes(&self) -> usize {
        self.attachments.iter().fold(self.bytes.len(), |sum, large| sum + large.size())
    }
}

impl Outbox {
    pub(super) fn reply(&mut self, sequence: u64, response: Response<'_>) {
        response.attach_to(&mut self.replies.attachments);
        self.replies.push(&Reply { sequence, response });
    }

    pub(super) fn error(&mut self, sequence: u64, error: Error) {
        let error = match error.code() {
            Code::Corruption => error.advising(DAMAGE_ADVICE),
            _ => error,
        };
        let message = error.to_string();
        let failure = Failure { code: error.code() as u8, message: &message };
        self.reply(sequence, Response::Error(failure));
    }

    pub(super) fn event(&mut self, event: Event<'_>) {
        event.attach_to(&mut self.events.attachments);
        self.events.push(&event);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.replies.count == 0 && self.events.count == 0
    }

    /// Bytes that wait, attachments included.
    pub(super) fn bytes(&self) -> usize {
        self.replies.bytes() + self.events.bytes()
    }

    /// A whole `ResponseFrame`, or None where nothing waits.
    pub(super) fn take(&mut self, epoch: u32) -> Option<Frame> {
        if self.is_empty() {
            return None;
        }
        let room = 16 + self.replies.bytes.len() + self.events.bytes.len();
        let mut frame = Frame { bytes: Vec::with_capacity(room), attachments: Vec::new() };
        crate::varint::put(&mut frame.bytes, u64::from(epoch));
        self.replies.drain_into(&mut frame);
        self.events.drain_into(&mut frame);
        Some(frame)
    }
}
