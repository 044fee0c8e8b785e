//! A host and its clients, all of which send one frame at a time.

use super::{START_MS, commit, frame, set};
use kvass::db::{Db, Options};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::external::External;
use kvass::host::{Frame, Host};
use kvass::manifest::FORMAT;
use kvass::storage::memory::MemoryStorage;
use kvass::wire::{PROTOCOL, Request, Response, ResponseFrame};
use std::cell::RefCell;
use std::rc::Rc;

pub const CLIENT: [u8; 16] = [7; 16];

/// Frames by connection, as they were posted.
pub type Posted = Rc<RefCell<Vec<(u32, Vec<u8>)>>>;

pub struct Harness {
    pub host: Rc<Host<ManualEnv<MemoryStorage>>>,
    pub posted: Posted,
    sequence: u64,
}

impl Harness {
    pub fn new() -> Harness {
        let env = ManualEnv::new(Rc::new(MemoryStorage::new()), START_MS, 1);
        let db = block_on(Db::open(env, Options::default())).expect("a new database opens");
        let posted: Posted = Rc::default();
        let sink = posted.clone();
        let post = Box::new(move |id, frame: Frame| sink.borrow_mut().push((id, frame.bytes)));
        let host = Host::new(db, "memory", None, post);
        let mut harness = Harness { host, posted, sequence: 0 };
        harness.connect(1);
        harness
    }

    pub fn connect(&mut self, id: u32) {
        self.host.connect(id, &hello(PROTOCOL, PROTOCOL)).expect("a fair hello");
    }

    /// Sends requests in one frame; returns the frame of answers.
    pub fn send(&mut self, id: u32, requests: Vec<Request<'_>>) -> Vec<u8> {
        self.send_with(id, requests, Vec::new()).bytes
    }

    /// The same with large values beside it.
    pub fn send_with(
        &mut self,
        id: u32,
        requests: Vec<Request<'_>>,
        attachments: Vec<External>,
    ) -> Frame {
        let first = self.sequence + 1;
        self.sequence += requests.len() as u64;
        let bytes = frame(CLIENT, first, requests);
        block_on(self.host.clone().frame(id, bytes, attachments)).expect("a well-formed frame");
        self.host.take_outbox(id).expect("every request is answered")
    }
}

pub fn hello(oldest: u16, newest: u16) -> Vec<u8> {
    let mut hello = b"KVSH".to_vec();
    for version in [oldest, newest, FORMAT, FORMAT] {
        hello.extend_from_slice(&version.to_le_bytes());
    }
    hello.extend_from_slice(&CLIENT);
    hello.extend_from_slice(&[4]);
    hello.extend_from_slice(b"test");
    hello
}

pub fn decode(bytes: &[u8]) -> ResponseFrame<'_> {
    postcard::from_bytes(bytes).expect("a response frame")
}

pub fn responses(bytes: &[u8]) -> Vec<Response<'_>> {
    let mut replies = decode(bytes).replies;
    replies.sort_by_key(|reply| reply.sequence);
    replies.into_iter().map(|reply| reply.response).collect()
}

pub fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Request<'a> {
    Request::Commit(commit(vec![], vec![set(key, value)]))
}

pub fn value_of(response: &Response<'_>) -> Option<Vec<u8>> {
    match response {
        Response::Entry(entry) => entry.as_ref().map(|entry| entry.value.to_vec()),
        other => panic!("{other:?} is no entry"),
    }
}
